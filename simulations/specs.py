"""The settings of simulated models: from a settings file or a ConfigMap, and from ``--set``.

They are read and checked by the very code that reads them for a running Stoker; models of a
trace that the file does not name get its defaults.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from stoker.errors import Problem, SettingsError
from stoker.settings import ProcessConfig, load
from stoker.settings.document import Document
from stoker.settings.kinds import Raw
from stoker.vocabulary import ModelKey, ModelSpec

TEMPLATE = "any-model"
"""Stands in the file for every model that it does not name."""
_COMMAND = ["simulated", "{port}"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run takes from settings. ``shown``: what differs from the built-in defaults, as
    it was written; ``notices``: remarks for people about what has no effect.
    """

    specs: dict[ModelKey, ModelSpec]
    process: ProcessConfig
    shown: dict[str, str]
    notices: tuple[str, ...]


def settings_for(
    models: Iterable[ModelKey],
    path: str | None = None,
    assignments: Sequence[str] = (),
    flag: str = "--set",
) -> Settings:
    """The settings of ``models``: built-in defaults < the file at ``path`` < ``assignments``
    (``key=value``, for every model), which came with ``flag``. Raises SettingsError with every
    problem.
    """
    own = _assigned(assignments, flag)
    root = {} if path is None else _file(path)
    defaults = {**_mapping(root.get("defaults")), **own}
    blocks = {
        name: {"command": _COMMAND, **_mapping(block), **own}
        for name, block in _mapping(root.get("models")).items()
    }
    blocks[TEMPLATE] = {"command": _COMMAND}
    merged = {"stoker": root.get("stoker") or {}, "defaults": defaults, "models": blocks}
    config = load(yaml.safe_dump(merged, allow_unicode=True), flag if own else path or "")
    known = {spec.key: spec for spec in config.models}
    template = known.pop(ModelKey.parse(TEMPLATE))
    return Settings(
        {key: known.get(key) or replace(template, key=key) for key in models},
        config.process,
        {key: str(value) for key, value in defaults.items() if isinstance(value, str)},
        config.notices,
    )


def _assigned(assignments: Sequence[str], flag: str) -> dict[str, str]:
    """``key=value`` texts as a block; each is right by itself."""
    own: dict[str, str] = {}
    problems = []
    for text in assignments:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key:
            problems.append(Problem(text, "", "is not key=value", hint="as in stable-window=30s"))
        elif key in own:
            problems.append(Problem(key, value, "is set twice", hint="set it once"))
        else:
            own[key] = value
    if problems:
        raise SettingsError(flag, problems)
    if own:
        alone = {"defaults": own, "models": {TEMPLATE: {"command": _COMMAND}}}
        _checked(yaml.safe_dump(alone, allow_unicode=True), flag, "defaults.")
    return own


def _checked(text: str, source: str, prefix: str = "") -> None:
    """Raises SettingsError for what is wrong, but for what only a start would need."""
    try:
        load(text, source, base_directory=str(Path(source).parent))
    except SettingsError as error:
        problems = [
            problem._replace(where=problem.where.removeprefix(prefix), line=0)
            if prefix
            else problem
            for problem in error.problems
            if not (problem.message == "is missing" and problem.where.endswith(".command"))
            and not (problem.where == "models" and not problem.value)
        ]
        if problems:
            raise SettingsError(source, problems) from None


def _file(path: str) -> Mapping[str, Raw]:
    """The file's parts: a settings file, or a ConfigMap, whose data are defaults."""
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or str(error)) if isinstance(error, OSError) else "is not text"
        raise SettingsError(path, [Problem("file", "", why)]) from None
    root = Document(text).root
    if isinstance(root, Mapping) and root.get("kind") == "ConfigMap":
        data = _mapping(root.get("data"))
        alone = {"defaults": data, "models": {TEMPLATE: {"command": _COMMAND}}}
        _checked(yaml.safe_dump(alone, allow_unicode=True), path, "defaults.")
        return {"defaults": data}
    _checked(text, path)
    return root if isinstance(root, Mapping) else {}


def _mapping(raw: Any) -> dict[str, Any]:
    return dict(raw) if isinstance(raw, Mapping) else {}
