"""Other settings for what is known only as a ScalingConfig: a journal holds nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from stoker.errors import Problem, SettingsError
from stoker.settings.blocks import make_block, read_block
from stoker.settings.resolve import MODEL_DEFAULTS, contradictions, scaling_config
from stoker.settings.table import MODEL_TUNABLES
from stoker.settings.tunable import Section
from stoker.vocabulary import Metric, ModelKey, ScalingConfig

_SCALING = [t for t in MODEL_TUNABLES.values() if t.section is Section.SCALING]
_BLOCK = make_block("ReplacedBlock", _SCALING)
_TARGET_HINT = "set target, what one replica is meant to take"


def read_settings(assignments: Sequence[str], source: str) -> dict[str, Any]:
    """The values in ``key=value`` texts by field name, checked as in a settings file.

    Raises SettingsError, naming ``source``, with every problem.
    """
    raw: dict[str, str] = {}
    problems: list[Problem] = []
    for text in assignments:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key:
            problems.append(Problem(text, "", "is not key=value", hint="as in stable-window=30s"))
        elif key in raw:
            problems.append(Problem(key, value, "is set twice", hint="set it once"))
        elif key == "metric":
            why = "cannot be replayed: the loads that were recorded are those of the metric then"
            problems.append(Problem(key, value, why))
        elif key in MODEL_TUNABLES and MODEL_TUNABLES[key] not in _SCALING:
            hint = _TARGET_HINT if key == "container-concurrency" else ""
            allowed = "the settings under Scaling in docs/settings.md"
            why = "is no setting that decisions are made by"
            problems.append(Problem(key, value, why, allowed, hint))
        else:
            raw[key] = value
    values, found = read_block(_BLOCK, raw, ())
    problems += found
    if problems:
        raise SettingsError(source, problems)
    return values


def replaced(
    model: ModelKey, config: ScalingConfig, own: Mapping[str, Any], source: str
) -> ScalingConfig:
    """``config`` as it would be if ``own`` (by field name) were among the model's settings.

    The config holds what settings came to: a capacity and a target, not which of several
    settings they came from. So the default of its metric counts as what capacity came from,
    and the percentage is that of target and capacity. What ``own`` does not touch stays as it
    is, bit for bit. Raises SettingsError, naming ``source``, where the result contradicts
    itself.
    """
    known = _values(config)
    values = {**known, **own}
    if "container_concurrency_target_percentage" in own and config.metric is not Metric.RPS:
        values.pop("target_utilization_percentage", None)  # it would win
        values.update(own)
    problems = [
        problem._replace(where=f"{model}.{problem.where}") for problem in contradictions(values)
    ]
    if problems:
        raise SettingsError(source, problems)
    before, after = asdict(scaling_config(known)), asdict(scaling_config(values))
    changed = {name: value for name, value in after.items() if value != before[name]}
    return replace(config, **changed)


def _values(config: ScalingConfig) -> dict[str, Any]:
    """Settings that come to ``config``."""
    derived = ("target", "capacity", "panic_window", "panic_threshold")
    plain = {f.name: getattr(config, f.name) for f in fields(config) if f.name not in derived}
    by_rate = config.metric is Metric.RPS
    capacity = "requests_per_second" if by_rate else "container_concurrency"
    values = {
        **MODEL_DEFAULTS,
        **plain,
        f"{capacity}_target_default": config.capacity,
        "target_utilization_percentage": config.target / config.capacity * 100,
        "container_concurrency": 0,
        "panic_threshold_percentage": config.panic_threshold * 100,
    }
    if scaling_config(values).panic_window != config.panic_window:
        # Else the default, which whole seconds hide: 10 % of 6 s come to 1 s, as 17 % do.
        values["panic_window_percentage"] = config.panic_window / config.stable_window * 100
    return values
