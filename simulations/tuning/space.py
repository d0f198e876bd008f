"""What is tried: settings and their values, samples that fill the space, steps around the best.

Values are written as in a settings file and go through the same table, so that what is found
can be pasted back. Left out on purpose: ``target-burst-capacity`` (the activator is in every
request's path, so it changes nothing), ``initial-scale`` (only for models just added),
``window-aggregation`` (its weights make any window one of five seconds; a short window says
the same), the policies that learn for days, and whatever bounds what a model may take.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulations.lanes import Floats
from simulations.trace import Trace
from stoker.settings import resolve
from stoker.settings.table import MODEL_TUNABLES
from stoker.settings.tunable import Section
from stoker.vocabulary import Metric, ModelKey, ModelSpec, PolicyName, ScalingConfig

Candidate = tuple[tuple[str, str], ...]
"""Settings that differ from those in force, by name, as written in a file; sorted."""

_KEPT_BY_KNATIVE = frozenset(("metric", "max-scale", "container-concurrency-target-default"))
"""Of the settings in force, what stays with Knative's defaults: load is measured the same way,
and nobody gets more room."""


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """The settings in force: values by field, as ``stoker.settings`` reads them."""

    values: Mapping[str, Any]

    def resolved(self, candidate: Candidate) -> dict[str, Any]:
        """Every setting's value with those of ``candidate`` on top."""
        own = {
            MODEL_TUNABLES[name].field: MODEL_TUNABLES[name].read(text) for name, text in candidate
        }
        return resolve.model_values(self.values, own)

    def scaling(self, candidate: Candidate) -> ScalingConfig:
        """What the decider is told."""
        return resolve.scaling_config(self.resolved(candidate))

    def spec(self, key: ModelKey, candidate: Candidate) -> ModelSpec:
        """The model ``key`` as it would be configured."""
        values = self.resolved(candidate)
        return ModelSpec(
            key,
            scaling=resolve.scaling_config(values),
            serving=resolve.serving_config(values),
        )

    def allows(self, candidate: Candidate) -> bool:
        """Whether the settings go together."""
        return not resolve.contradictions(self.resolved(candidate))

    def changes(self, candidate: Candidate) -> Candidate:
        """Those of ``candidate`` that are not in force already."""
        now = resolve.model_values(self.values)
        then = self.resolved(candidate)
        return tuple(
            (name, text)
            for name, text in candidate
            if then[MODEL_TUNABLES[name].field] != now.get(MODEL_TUNABLES[name].field)
        )

    def knative(self) -> Candidate:
        """Knative's defaults, and its way of not counting replicas that are on their way up."""
        defaults = {
            name: tunable.default
            for name, tunable in MODEL_TUNABLES.items()
            if tunable.section is Section.SCALING
            and tunable.default is not None
            and name not in _KEPT_BY_KNATIVE
        }
        return tuple(sorted({**defaults, "count-starting-as-capacity": "false"}.items()))


@dataclass(frozen=True, slots=True)
class Dimension:
    """A setting and its values, neighbours beside each other."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """Replicas that the requests under way would fill, were none to wait: on average, and in
    the busiest second."""

    mean: float
    peak: float


def load_of(trace: Trace, service: Floats, slots: int) -> Load:
    """``slots``: requests in one replica, 0: no limit, which then counts as 100."""
    if not len(trace):
        return Load(0.0, 0.0)
    ends = np.sort(trace.times + service)
    under_way = np.arange(1, len(trace) + 1) - np.searchsorted(ends, trace.times, side="right")
    each = slots or 100
    length = max(trace.duration, 1.0)
    return Load(float(service.sum()) / length / each, float(under_way.max()) / each)


def dimensions(base: Base, load: Load) -> tuple[Dimension, ...]:
    """What is varied for these settings under this load."""
    values = base.resolved(())
    dims = [_utilization(base, values)]
    unlimited = values["metric"] is Metric.CONCURRENCY and not values["container_concurrency"]
    if unlimited and "target" not in values:
        targets = ("1", "2", "4", "7", "10", "20", "40", "70", "100", "150", "200")
        dims.append(Dimension("container-concurrency-target-default", targets))
    middle = math.sqrt(max(load.mean, 0.5) * max(load.peak, 1.0))
    steps = (load.mean / 2, load.mean, 1.5 * load.mean, middle, load.peak / 2, load.peak)
    least = {0, 1, *map(math.ceil, steps)}
    most = values["max_scale"] or math.inf
    spares = sorted(n for n in least if n <= most)
    dims += [
        Dimension("stable-window", ("6s", "10s", "15s", "30s", "60s", "120s", "300s", "600s")),
        Dimension("panic-window-percentage", ("5", "10", "20", "40", "100")),
        Dimension("panic-threshold-percentage", ("110", "130", "150", "200", "300", "500", "1000")),
        Dimension("max-scale-up-rate", ("1.5", "2", "3", "10", "1000")),
        Dimension("max-scale-down-rate", ("1.1", "1.3", "2", "4", "10", "100")),
        Dimension("scale-down-delay", ("0s", "15s", "30s", "60s", "120s", "300s", "600s")),
        Dimension(
            "scale-to-zero-pod-retention-period", ("0s", "30s", "60s", "180s", "600s", "30m")
        ),
        Dimension("min-scale", tuple(map(str, spares))),
        Dimension("activation-scale", tuple(n for n in "1235" if int(n) <= most)),
    ]
    if values["metric"] is Metric.CONCURRENCY and "policy" not in base.values:
        # The other policies learn for days what a segment's lead cannot tell them.
        dims.append(Dimension("policy", (PolicyName.KPA.value, PolicyName.ERLANG_C.value)))
        dims.append(Dimension("slo-wait", ("100ms", "500ms", "2s", "10s", "30s")))
    return tuple(dim for dim in dims if len(dim.values) > 1)


def _utilization(base: Base, values: Mapping[str, Any]) -> Dimension:
    own = values["metric"] is Metric.RPS or "target_utilization_percentage" in base.values
    name = "target-utilization-percentage" if own else "container-concurrency-target-percentage"
    return Dimension(name, tuple(str(percent) for percent in range(20, 101, 5)))


def spread(
    dims: Sequence[Dimension], base: Base, count: int, rng: np.random.Generator
) -> list[Candidate]:
    """Up to ``count`` candidates that fill the space: each setting's values come equally often,
    in an order of its own (a Latin hypercube; McKay, Beckman and Conover 1979)."""
    places = [rng.permutation(count) for _ in dims]
    shifts = rng.random((len(dims), count))
    found: dict[Candidate, None] = {}
    for at in range(count):
        chosen = {}
        for dim, place, shift in zip(dims, places, shifts, strict=True):
            share = (place[at] + shift[at]) / count
            chosen[dim.name] = dim.values[int(share * len(dim.values))]
        candidate = tuple(sorted(chosen.items()))
        if base.allows(candidate):
            found[candidate] = None
    return list(found)


def around(
    parents: Sequence[Candidate],
    dims: Sequence[Dimension],
    base: Base,
    count: int,
    rng: np.random.Generator,
    known: Sequence[Candidate],
) -> list[Candidate]:
    """Up to ``count`` new candidates near ``parents``: settings of two of them mixed, and one
    to three moved to a neighbouring value."""
    found: dict[Candidate, None] = {}
    seen = set(known)
    for _ in range(20 * count):
        if len(found) == count or not parents:
            break
        mother, father = (dict(parents[int(at)]) for at in rng.integers(len(parents), size=2))
        chosen = {}
        for dim in dims:
            one = father if rng.random() < 0.3 else mother
            chosen[dim.name] = (
                one.get(dim.name) or MODEL_TUNABLES[dim.name].default or dim.values[0]
            )
        for at in rng.choice(
            len(dims), size=min(len(dims), int(rng.integers(1, 4))), replace=False
        ):
            dim = dims[int(at)]
            place = _nearest(dim, chosen[dim.name]) + int(rng.choice((-2, -1, 1, 2)))
            chosen[dim.name] = dim.values[min(max(place, 0), len(dim.values) - 1)]
        candidate = tuple(sorted(chosen.items()))
        if candidate not in seen and base.allows(candidate):
            seen.add(candidate)
            found[candidate] = None
    return list(found)


def _nearest(dim: Dimension, text: str) -> int:
    """The place of the value nearest to ``text``, which may be none of them."""
    if text in dim.values:
        return dim.values.index(text)
    read = MODEL_TUNABLES[dim.name].read
    value = float(read(text))
    return min(range(len(dim.values)), key=lambda at: abs(float(read(dim.values[at])) - value))
