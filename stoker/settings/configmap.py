"""A Kubernetes ConfigMap with settings for all models, as ``stoker tune`` writes it.

Its ``data:`` holds what may stand under ``defaults:`` in a settings file, every value a text,
as Knative's ``config-autoscaler`` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stoker.errors import Problem, SettingsError
from stoker.settings.blocks import DEFAULTS_BLOCK, read_block, shown
from stoker.settings.document import Document
from stoker.settings.table import IGNORED_KNATIVE_KEYS

NAME = "stoker-config"


def is_configmap(text: str) -> bool:
    """Whether the file says that it is a ConfigMap; whether a right one is another matter."""
    root = Document(text).root
    return isinstance(root, Mapping) and root.get("kind") == "ConfigMap"


def load_configmap(text: str, source: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What it sets, by field, and notices for people. Raises SettingsError with every problem."""
    document = Document(text)
    problems = list(document.problems)
    root = document.root
    if not isinstance(root, Mapping) or root.get("kind") != "ConfigMap":
        problems.append(Problem("kind", "", "is not ConfigMap", "ConfigMap"))
        raise SettingsError(source, problems)
    data = root.get("data")
    notices: tuple[str, ...] = ()
    if isinstance(data, Mapping):
        without = [key for key in data if key in IGNORED_KNATIVE_KEYS]
        notices = tuple(f"data.{key} has no effect: {IGNORED_KNATIVE_KEYS[key]}" for key in without)
        data = {key: value for key, value in data.items() if key not in without}
    elif data is not None:
        line = document.line(("data",))
        problems.append(Problem("data", shown(data), "is not a mapping of settings", line=line))
        data = None
    values, found = read_block(DEFAULTS_BLOCK, data, ("data",), document)
    problems += found
    metadata = root.get("metadata")
    if not isinstance(metadata, Mapping) or not metadata.get("name"):
        problems.append(Problem("metadata.name", "", "is missing", hint=f"for example {NAME}"))
    if problems:
        raise SettingsError(source, problems)
    return values, notices
