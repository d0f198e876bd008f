"""A Kubernetes ConfigMap with settings for all models, as ``stoker tune`` writes it.

Its ``data:`` holds what may stand under ``defaults:`` in a settings file, and those settings
of the process that change while it runs; every value is a text, as in Knative's
``config-autoscaler``. ``stoker check`` reads a file, a Stoker in a cluster the object itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stoker.errors import Problem, SettingsError
from stoker.settings import resolve
from stoker.settings.annotations import ANNOTATED, OURS
from stoker.settings.blocks import make_block, read_block, shown
from stoker.settings.document import Document
from stoker.settings.kinds import Raw
from stoker.settings.local import environment_name, load
from stoker.settings.resolve import ProcessConfig
from stoker.settings.table import IGNORED_KNATIVE_KEYS, MODEL_TUNABLES, PROCESS_TUNABLES

NAME = "stoker-config"

# Activators in a cluster find each other; a name that models have too is the models' there.
_OF_MODELS = {name: t for name, t in MODEL_TUNABLES.items() if t.shared}
_OF_PROCESSES = {
    name: t
    for name, t in PROCESS_TUNABLES.items()
    if t.live and name not in MODEL_TUNABLES and name != "peers"
}
_BLOCK = make_block("ConfigMapBlock", (*_OF_MODELS.values(), *_OF_PROCESSES.values()))
_NOT_IN_A_CLUSTER = "it is about commands that Stoker starts itself"


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """What a ConfigMap says. ``models``: values by field, under those of each model;
    ``processes``: texts by setting, see ``process_config``. ``notices`` are remarks for people
    about what has no effect."""

    models: Mapping[str, Any] = field(default_factory=dict)
    processes: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


def is_configmap(text: str) -> bool:
    """Whether the file says that it is a ConfigMap; whether a right one is another matter."""
    root = Document(text).root
    return isinstance(root, Mapping) and root.get("kind") == "ConfigMap"


def load_configmap(text: str, source: str) -> ClusterSettings:
    """A file's. Raises SettingsError with every problem."""
    document = Document(text)
    problems = list(document.problems)
    root = document.root
    if not isinstance(root, Mapping) or root.get("kind") != "ConfigMap":
        problems.append(Problem("kind", "", "is not ConfigMap", "ConfigMap"))
        raise SettingsError(source, problems)
    settings, found = _read(root.get("data"), document)
    problems += found
    metadata = root.get("metadata")
    if not isinstance(metadata, Mapping) or not metadata.get("name"):
        problems.append(Problem("metadata.name", "", "is missing", hint=f"for example {NAME}"))
    if problems:
        raise SettingsError(source, problems)
    return settings


def read_data(data: Mapping[str, str], source: str) -> ClusterSettings:
    """An object's. Raises SettingsError with every problem."""
    settings, problems = _read(data)
    if problems:
        raise SettingsError(source, problems)
    return settings


def process_config(
    processes: Mapping[str, str],
    source: str,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> ProcessConfig:
    """``ClusterSettings.processes`` in one process, whose variables and command line win.

    Raises SettingsError where they contradict each other.
    """
    text = json.dumps({"stoker": dict(processes), "models": {}})
    try:
        return load(text, source, environ=environ, overrides=overrides).process
    except SettingsError as error:
        problems = [
            problem._replace(where=problem.where.replace("stoker.", "data.", 1), line=0)
            for problem in error.problems
        ]
        raise SettingsError(source, problems) from None


def _read(data: Raw, document: Document | None = None) -> tuple[ClusterSettings, list[Problem]]:
    if data is not None and not isinstance(data, Mapping):
        line = document.line(("data",)) if document else 0
        problem = Problem("data", shown(data), "is not a mapping of settings", line=line)
        return ClusterSettings(), [problem]
    data = data or {}
    without = {key: IGNORED_KNATIVE_KEYS[key] for key in data if key in IGNORED_KNATIVE_KEYS}
    values, problems = read_block(
        _BLOCK,
        {key: value for key, value in data.items() if key not in without},
        ("data",),
        document,
    )
    without |= {
        key: _NOT_IN_A_CLUSTER for key in data if key in _OF_MODELS and key not in ANNOTATED
    }
    notices = tuple(f"data.{key} has no effect: {why}" for key, why in without.items())
    models = {t.field: values[t.field] for t in _OF_MODELS.values() if t.field in values}
    processes = {name: str(data[name]) for name, t in _OF_PROCESSES.items() if t.field in values}
    problems = [_hinted(problem) for problem in problems]
    if not problems:
        everything = resolve.model_values(models)
        problems = [
            p._replace(
                where=f"data.{p.where}", line=document.line(("data", p.where)) if document else 0
            )
            for p in resolve.contradictions(everything)
        ]
        try:
            process_config(processes, "")
        except SettingsError as error:
            problems += error.problems
    return ClusterSettings(models, processes, notices), problems


def _hinted(problem: Problem) -> Problem:
    """Hints of settings files lead to blocks that a ConfigMap does not have."""
    name = problem.where.removeprefix("data.")
    if "belongs under" not in problem.hint:
        return problem
    if name in ANNOTATED:
        hint = f"annotate a Deployment with {OURS}{name}"
    elif name in PROCESS_TUNABLES:
        hint = f"set {environment_name(name)} where Stoker is started"
    else:
        hint = "it has no meaning in a cluster"
    return problem._replace(hint=hint)
