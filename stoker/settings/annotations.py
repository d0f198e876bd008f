"""A model's settings from the annotations of a Kubernetes object.

``stoker.dev/KEY`` for every setting of a model but those that say how a local process is
launched; ``autoscaling.knative.dev/KEY`` is read too, so that a Knative Service's annotations
can be taken along. Where both say the same, ours wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stoker.errors import Problem, SettingsError
from stoker.settings import resolve
from stoker.settings.blocks import make_block, read_block
from stoker.settings.table import IGNORED_KNATIVE_KEYS, KNOWN_ELSEWHERE, MODEL_TUNABLES
from stoker.settings.tunable import Section, Tunable
from stoker.vocabulary import ModelKey, ModelSpec

OURS = "stoker.dev/"
KNATIVE = "autoscaling.knative.dev/"


def _applies(tunable: Tunable) -> bool:
    if tunable.section is Section.LAUNCH:
        return tunable.name == "drain-timeout"
    return tunable.name not in ("namespace", "listeners")


ANNOTATED = {name: tunable for name, tunable in MODEL_TUNABLES.items() if _applies(tunable)}
_BLOCK = make_block("Annotations", ANNOTATED.values())


@dataclass(frozen=True, slots=True)
class Annotated:
    """What an object's annotations say. ``drain_timeout`` in seconds; ``notices`` are remarks
    for people about what has no effect."""

    spec: ModelSpec
    drain_timeout: float
    notices: tuple[str, ...] = ()


def read_annotations(
    key: ModelKey,
    annotations: Mapping[str, str],
    *,
    others: frozenset[str] = frozenset(),
    defaults: Mapping[str, Any] | None = None,
) -> Annotated:
    """The model of an object. ``others``: names behind ``stoker.dev/`` that are no settings;
    ``defaults``: values by field, under those of the annotations.

    Raises SettingsError with every problem; each names its annotation.
    """
    raw: dict[str, str] = {}
    written_as: dict[str, str] = {}
    notices: list[str] = []
    for name, value in annotations.items():
        if name.startswith(KNATIVE):
            setting = _kebab(name.removeprefix(KNATIVE))
            setting = KNOWN_ELSEWHERE.get(setting, setting)
            if setting in ANNOTATED:
                raw[setting], written_as[setting] = value, name
            else:
                why = IGNORED_KNATIVE_KEYS.get(setting, "it means nothing here")
                notices.append(f"{name} has no effect: {why}")
    for name, value in annotations.items():
        if name.startswith(OURS) and (setting := name.removeprefix(OURS)) not in others:
            raw[setting], written_as[setting] = value, name
    values, problems = read_block(_BLOCK, raw, ())
    everything = resolve.model_values(defaults or {}, values)
    if not problems:
        problems = resolve.contradictions(everything)
    if problems:
        raise SettingsError(str(key), [_named(problem, written_as) for problem in problems])
    spec = ModelSpec(
        key=key,
        hosts=everything.get("hosts", ()),
        aliases=everything.get("aliases", ()),
        scaling=resolve.scaling_config(everything),
        serving=resolve.serving_config(everything),
    )
    return Annotated(spec, everything["drain_timeout"], tuple(notices))


def _kebab(name: str) -> str:
    """Knative's first annotations were in camel case: ``minScale``."""
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name)


def _named(problem: Problem, written_as: Mapping[str, str]) -> Problem:
    """The same with the annotation's own name, or saying that it stands elsewhere; the hint for
    files does not fit."""
    setting, dot, inner = problem.where.partition(".")
    hint = problem.hint if "under" not in problem.hint else "it is no setting of annotations"
    fixed: dict[str, Any] = {
        "where": written_as.get(setting, f"{setting} of all models") + dot + inner
    }
    return problem._replace(**fixed, hint=hint)
