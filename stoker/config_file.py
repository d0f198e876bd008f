"""The settings file of a running Stoker: read at the start, looked at again and again.

A change counts only once two looks in a row have seen the same content, so that a file that
is being written is not taken for finished. What is refused changes nothing: the last good
configuration stays, and the refusal is told once for each content.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

from stoker import telemetry
from stoker.errors import Problem, SettingsError
from stoker.settings import LocalConfig, load
from stoker.settings.table import PROCESS_TUNABLES
from stoker.vocabulary import LaunchConfig, ModelKey, ModelSpec

_log = logging.getLogger(__name__)


class Unchanged(NamedTuple):
    """Nothing new, or something new that has not been the same for two looks yet."""


class Reloaded(NamedTuple):
    """A new configuration is in force.

    ``needs_restart`` names the process settings (kebab-case) whose new values were left
    out of ``config`` because they take effect at the next start only.
    """

    config: LocalConfig
    previous: LocalConfig
    needs_restart: tuple[str, ...]


class Refused(NamedTuple):
    """The file is gone, unreadable or wrong; what was in force still is."""

    error: SettingsError


Outcome = Unchanged | Reloaded | Refused


class Generations:
    """Numbers each model's launch configurations: one more with each change.

    Models that went are remembered, so that one that comes back never reuses a number for
    another launch configuration.
    """

    def __init__(self) -> None:
        self._last: dict[ModelKey, tuple[LaunchConfig | None, int]] = {}

    def assign(self, config: LocalConfig) -> LocalConfig:
        """``config`` with the generation of every model set."""
        models = tuple(self._numbered(spec) for spec in config.models)
        return dataclasses.replace(config, models=models)

    def _numbered(self, spec: ModelSpec) -> ModelSpec:
        launch, generation = self._last.get(spec.key, (spec.launch, 1))
        if launch != spec.launch:
            generation += 1
        self._last[spec.key] = (spec.launch, generation)
        return dataclasses.replace(spec, generation=generation)


class ConfigFile:
    """One settings file and the last good configuration read from it.

    ``environ`` and ``overrides`` are those of ``stoker.settings.load``. Not thread-safe:
    ``watch`` reads in a worker thread, but only one look is under way at a time.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self._environ = dict(environ or {})
        self._overrides = dict(overrides or {})
        self._generations = Generations()
        self._config: LocalConfig | None = None
        self._error: SettingsError | None = None
        self._seen: bytes | None = None
        self._settled: bytes | None = None
        self._reloads = {"applied": 0, "refused": 0}

    @property
    def config(self) -> LocalConfig:
        """The configuration in force. Raises RuntimeError before ``load``."""
        if self._config is None:
            raise RuntimeError("ConfigFile.load() has not succeeded yet")
        return self._config

    @property
    def error(self) -> SettingsError | None:
        """Why the file as it is now is not in force; None when it is."""
        return self._error

    def load(self) -> LocalConfig:
        """Read the file for the first time. Raises SettingsError, also when it is missing."""
        content = self._read()
        self._config = self._generations.assign(self._parse(content))
        self._seen = self._settled = content
        return self._config

    def refresh(self) -> Outcome:
        """Look at the file. Never raises; an outcome other than Unchanged is told once."""
        previous = self.config
        try:
            content: bytes | None = self._read()
        except SettingsError as error:
            content, problem = None, error
        if content != self._seen:
            self._seen = content
            return Unchanged()
        if content == self._settled:
            return Unchanged()
        self._settled = content
        try:
            if content is None:
                raise problem
            wanted = self._generations.assign(self._parse(content))
        except SettingsError as error:
            self._error = error
            self._reloads["refused"] += 1
            return Refused(error)
        self._error = None
        self._reloads["applied"] += 1
        waiting = [
            tunable
            for tunable in PROCESS_TUNABLES.values()
            if not tunable.live
            and getattr(wanted.process, tunable.field) != getattr(previous.process, tunable.field)
        ]
        in_force = {t.field: getattr(previous.process, t.field) for t in waiting}
        process = dataclasses.replace(wanted.process, **in_force)
        self._config = dataclasses.replace(wanted, process=process)
        return Reloaded(self._config, previous, tuple(t.name for t in waiting))

    async def watch(
        self,
        on_change: Callable[[Reloaded | Refused], None],
        interval: float = 1.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> NoReturn:
        """Look every ``interval`` seconds until cancelled; tell ``on_change`` what is new.

        An ``on_change`` that raises is logged and ends nothing.
        """
        while True:
            await sleep(interval)
            outcome = await asyncio.to_thread(self.refresh)
            if not isinstance(outcome, Unchanged):
                try:
                    on_change(outcome)
                except Exception:
                    _log.exception("a change of %s could not be applied", self.path)

    def readings(self) -> Iterable[telemetry.Reading]:
        """How often the file was read anew, by outcome; whether it is refused now."""
        for outcome, count in self._reloads.items():
            yield telemetry.Reading(telemetry.CONFIG_RELOADS, (outcome,), count)
        yield telemetry.Reading(telemetry.CONFIG_REFUSED, (), float(self._error is not None))

    def _read(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            hint = "stoker up and stoker check take the path of a settings file"
            reason = f"cannot be read: {error.strerror}"
            raise SettingsError(
                str(self.path), [Problem("file", str(self.path), reason, hint=hint)]
            ) from error

    def _parse(self, content: bytes) -> LocalConfig:
        source = str(self.path)
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            problem = Problem("file", "", "is not UTF-8 text", line=line)
            raise SettingsError(source, [problem]) from error
        return load(
            text,
            source,
            base_directory=os.path.abspath(self.path.parent),
            environ=self._environ,
            overrides=self._overrides,
        )
