"""``stoker check FILE``: is it right, and what does it come to?"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from stoker.certificates import server_context
from stoker.config_file import ConfigFile
from stoker.errors import CertificateError, Problem, SettingsError
from stoker.quantities import format_duration
from stoker.settings import LocalConfig
from stoker.settings.configmap import is_configmap, load_configmap
from stoker.vocabulary import Metric, ModelSpec

OK, WRONG, MISSING = 0, 1, 2

Starting = Callable[[LocalConfig, Mapping[str, str]], Sequence[Problem]]


def run_check(
    path: str,
    out: TextIO,
    environ: Mapping[str, str] | None = None,
    starting: Starting | None = None,
) -> int:
    """Print what ``path`` comes to, or every problem in it. The result is the exit code.

    0: it is right; 1: it is wrong; 2: there is no such file. ``environ`` defaults to the
    process's own, which ``stoker up`` would read too. ``starting`` tells what else a start
    would fail with.
    """
    if not Path(path).is_file():
        print(f"{path}: no such file", file=out)
        return MISSING
    environ = os.environ if environ is None else environ
    try:
        if (lines := _configmap(path)) is not None:
            print("\n".join(lines), file=out)
            return OK
        config = ConfigFile(path, environ=environ).load()
        problems = [] if starting is None else starting(config, environ)
        if problems:
            raise SettingsError(path, problems)
        process = config.process
        if process.tls_certificate:
            server_context(process.tls_certificate, process.tls_key, process.tls_min_version)
    except CertificateError as error:
        print(f"{path}: {error}\n1 problem", file=out)
        return WRONG
    except SettingsError as error:
        print(error, file=out)
        count = len(error.problems)
        print(f"{count} problem{'s' if count != 1 else ''}", file=out)
        return WRONG
    for line in summary(path, config):
        print(line, file=out)
    return OK


def _configmap(path: str) -> list[str] | None:
    """What a ConfigMap sets; None: the file is none. Raises SettingsError."""
    try:
        text = Path(path).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None  # told of in the words for settings files
    if not is_configmap(text):
        return None
    settings = load_configmap(text, path)
    count = len(settings.models) + len(settings.processes)
    lines = [f"{path}: a ConfigMap with {count} setting{'s' if count != 1 else ''}, nothing wrong"]
    return lines + [f"note: {notice}" for notice in settings.notices]


def summary(path: str, config: LocalConfig) -> list[str]:
    """A few lines per model: where it is found, what one replica takes, how many there may be."""
    count = len(config.models)
    process = config.process
    lines = [
        f"{path}: {count} model{'s' if count != 1 else ''}, nothing wrong",
        f"requests on {process.listen}, admin on {process.admin}",
    ]
    lines += [f"listener {name} on {address}" for name, address in process.listeners]
    for spec in config.models:
        lines += ["", *_model(spec)]
    if config.notices:
        lines += ["", *(f"note: {notice}" for notice in config.notices)]
    return lines


def _model(spec: ModelSpec) -> list[str]:
    scaling, serving = spec.scaling, spec.serving
    unit = "requests at once" if scaling.metric is Metric.CONCURRENCY else "requests per second"
    limit = (
        f"limit: {serving.container_concurrency}" if serving.container_concurrency else "no limit"
    )
    most = f"to {scaling.max_scale}" if scaling.max_scale else "or more"
    lines = [
        f"{spec.key}",
        f"  hosts     {', '.join((f'{spec.key.name}.localhost', *spec.hosts))}",
        f"  replicas  {scaling.min_scale} {most}, {scaling.target:g} {unit} each ({limit})",
        f"  windows   {format_duration(scaling.stable_window)} stable,"
        f" {format_duration(scaling.panic_window)} panic",
    ]
    if spec.aliases:
        lines.insert(2, f"  aliases   {', '.join(spec.aliases)}")
    if spec.launch is not None:
        ready = spec.launch.readiness_path or "its port is open"
        lines.append(f"  command   {shlex.join(spec.launch.command)}")
        lines.append(f"  ready     when {ready}{' answers' if spec.launch.readiness_path else ''}")
    return lines
