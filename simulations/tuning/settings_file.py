"""The settings file that is to be improved: read, and written with the model's own block changed.

Settings go into the model's own block, where they win over ``defaults:`` and touch no other
model. Lines are changed one by one, so that comments and order stay; what comes out is read
again, and where it does not say what was meant (a block in braces, an anchor) nothing is
changed and the settings are told of instead.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulations.specs import settings_for
from simulations.tuning.space import Base, Candidate
from stoker.errors import SettingsError, TuningError
from stoker.settings import load, resolve
from stoker.settings.blocks import DEFAULTS_BLOCK, MODEL_BLOCK, read_block
from stoker.settings.configmap import NAME, is_configmap, load_configmap
from stoker.settings.document import Document
from stoker.settings.table import IGNORED_KNATIVE_KEYS, MODEL_TUNABLES
from stoker.settings.tunable import Section


@dataclass(frozen=True, slots=True, eq=False)
class SettingsFile:
    """``model``: whose block is meant, "" where the file is a ConfigMap, which is for all.
    ``base``: what is in force."""

    path: str
    text: str
    model: str
    base: Base

    def edited(self, candidate: Candidate) -> str | None:
        """The file with ``candidate`` in force; None where only a person can write it."""
        document = Document(self.text)
        lines = self.text.splitlines()
        block = ("models", self.model) if self.model else ("data",)
        quote = "" if self.model else '"'
        header = document.line(block)
        added = []
        for name, text in candidate:
            if not _there(document, (*block, name)):
                added.append((name, text))
                continue
            at = document.line((*block, name)) - 1
            value = rf"\g<1>{quote}{text}{quote}\g<2>"
            lines[at] = re.sub(r"(:\s*)[^#]*?(\s*(?:#.*)?)$", value, lines[at], count=1)
        indent = _indent(lines, header)
        lines[header:header] = [f"{indent}{name}: {quote}{text}{quote}" for name, text in added]
        result = "\n".join(lines) + ("\n" if self.text.endswith("\n") else "")
        return result if self._says(result, candidate) else None

    def _says(self, text: str, candidate: Candidate) -> bool:
        wanted = self.base.scaling(candidate)
        try:
            if not self.model:
                return Base(load_configmap(text, self.path).models).scaling(()) == wanted
            config = load(text, self.path)
        except SettingsError:
            return False
        specs = {spec.key.name: spec for spec in config.models}
        return self.model in specs and specs[self.model].scaling == wanted

    def diff(self, edited: str) -> list[str]:
        """A unified diff, as ``patch`` takes it."""
        return _diff(self.text, edited, self.path)


def read_settings(path: str, model: str | None) -> SettingsFile:
    """Raises SettingsError for a wrong file, TuningError where no model is meant clearly."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as caught:
        why = caught.strerror if isinstance(caught, OSError) else "is not UTF-8 text"
        raise TuningError(f"--settings = {path}: {why}; name the file of stoker up") from None
    if is_configmap(text):
        return SettingsFile(path, text, "", Base(load_configmap(text, path).models))
    config = load(text, path)
    names = [spec.key.name for spec in config.models]
    if model is None:
        if len(names) != 1:
            raise TuningError(
                f"{path} has {len(names)} models; say with --model whose settings are meant:"
                f" {', '.join(names) or 'there is none'}"
            )
        model = names[0]
    if model not in names:
        raise TuningError(f"--model = {model}: not in {path}; there: {', '.join(names) or 'none'}")
    root = Document(text).root
    assert isinstance(root, Mapping)  # it has a model
    shared = root.get("defaults")
    if isinstance(shared, Mapping):
        shared = {k: v for k, v in shared.items() if k not in IGNORED_KNATIVE_KEYS}
    values, _ = read_block(DEFAULTS_BLOCK, shared, ("defaults",))
    blocks = root["models"]
    assert isinstance(blocks, Mapping)
    own, _ = read_block(MODEL_BLOCK, blocks[model], ("models", model))
    return SettingsFile(path, text, model, Base({**values, **own}))


def read_base(settings: SettingsFile | None, assignments: Sequence[str]) -> Base:
    """What is in force: the file's, and ``key=value`` texts over it. Raises SettingsError."""
    shown = settings_for((), None, assignments).shown
    values, _ = read_block(MODEL_BLOCK, shown, ())
    return Base({**({} if settings is None else settings.base.values), **values})


def scaling_settings(base: Base, candidate: Candidate) -> list[tuple[str, str]]:
    """All scaling settings that are not the built-in defaults, as a file would say them, and
    the limit per replica that they rest on."""
    values = base.resolved(candidate)
    defaults = resolve.model_values()
    return [
        (name, tunable.kind.show(values[tunable.field]))
        for name, tunable in MODEL_TUNABLES.items()
        if (tunable.section is Section.SCALING or name == "container-concurrency")
        and tunable.field in values
        and values[tunable.field] != defaults.get(tunable.field)
    ]


def as_defaults(base: Base, candidate: Candidate) -> str:
    """A settings file in which they are for all models, of which it has none yet."""
    lines = [f"  {name}: {text}" for name, text in scaling_settings(base, candidate)]
    return "\n".join(["defaults:" if lines else "defaults: {}", *lines, "models: {}", ""])


def as_configmap(base: Base, candidate: Candidate) -> str:
    """A ConfigMap in which they are for all models."""
    lines = [f'  {name}: "{text}"' for name, text in scaling_settings(base, candidate)]
    head = ["apiVersion: v1", "kind: ConfigMap", "metadata:", f"  name: {NAME}"]
    return "\n".join([*head, "data:" if lines else "data: {}", *lines, ""])


def defaults_diff(base: Base, candidate: Candidate) -> list[str]:
    """What changes between the two as ``defaults:``, as a unified diff."""
    return _diff(as_defaults(base, ()), as_defaults(base, candidate), "stoker.yaml")


def _diff(before: str, after: str, path: str) -> list[str]:
    return list(
        difflib.unified_diff(
            before.splitlines(), after.splitlines(), f"a/{path}", f"b/{path}", lineterm=""
        )
    )


def _there(document: Document, path: tuple[str, ...]) -> bool:
    """Whether the file itself has this key."""
    part: Any = document.root
    for key in path:
        if not isinstance(part, Mapping) or key not in part:
            return False
        part = part[key]
    return True


def _indent(lines: list[str], header: int) -> str:
    """How the keys under the model's line are indented."""
    for line in lines[header:]:
        if line.strip() and not line.lstrip().startswith("#"):
            return line[: len(line) - len(line.lstrip())]
    return "    "
