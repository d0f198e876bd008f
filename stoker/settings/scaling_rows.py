"""Tunables of the decider, one model at a time."""

from __future__ import annotations

from collections.abc import Iterator

from stoker.settings import kinds
from stoker.settings.kinds import Kind
from stoker.settings.tunable import COUNT_MAX, Section, Tunable
from stoker.vocabulary import Aggregation, Metric, PolicyName


def scaling_rows() -> Iterator[Tunable]:
    def row(
        name: str,
        kind: Kind,
        default: str | None,
        reason: str,
        *,
        low: str = "",
        above: str = "",
        high: str = "",
        also: str = "",
    ) -> Tunable:
        return Tunable(name, Section.SCALING, kind, default, reason, low, above, high, also)

    yield row(
        "policy",
        kinds.choice(PolicyName),
        "kpa",
        "What sizes a model: kpa as Knative does; hybrid-histogram also learns its idle times, to"
        " keep or wake its last replica accordingly; seasonal also starts replicas ahead of what"
        " came at the same time of earlier seasons; erlang-c sizes for a promised wait (slo-wait)."
        " See docs/policies.md.",
    )
    yield row(
        "metric",
        kinds.choice(Metric),
        "concurrency",
        "Use rps where requests are short and uniform, so that arrivals say more than overlap.",
    )
    yield row(
        "target",
        kinds.NUMBER,
        None,
        "The load one replica is meant to take, before the percentage; unset: container-concurrency"
        " or else the default of the metric. Set it where the server batches well below its limit.",
        low="0.01",
        high="1e9",
    )
    yield row(
        "container-concurrency-target-default",
        kinds.NUMBER,
        "100",
        "The concurrency one replica is meant to take when neither target nor"
        " container-concurrency says so.",
        low="0.01",
        high="1e9",
    )
    yield row(
        "container-concurrency-target-percentage",
        kinds.PERCENTAGE,
        "70",
        "Lower keeps more room in each replica for the next request, higher packs tighter."
        " As in Knative, values up to 1 are read as fractions.",
        above="0",
        high="100",
    )
    yield row(
        "target-utilization-percentage",
        kinds.PERCENTAGE,
        None,
        "The same for either metric, before container-concurrency-target-percentage;"
        " unset: that percentage for concurrency, 70 for rps.",
        low="1",
        high="100",
    )
    yield row(
        "requests-per-second-target-default",
        kinds.NUMBER,
        "200",
        "The requests per second one replica is meant to take when metric is rps and no target"
        " is set.",
        low="0.01",
        high="1e9",
    )
    yield row(
        "min-scale",
        kinds.COUNT,
        "0",
        "Keep this many replicas whatever the load, where a cold start is never acceptable.",
        low="0",
        high=COUNT_MAX,
    )
    yield row(
        "max-scale",
        kinds.COUNT,
        "0",
        "Bound what one model may take; 0: no bound.",
        low="0",
        high=COUNT_MAX,
    )
    yield row(
        "initial-scale",
        kinds.COUNT,
        "1",
        "How many replicas a model that was just added starts with; 0: none until it is asked.",
        low="0",
        high=COUNT_MAX,
    )
    yield row(
        "activation-scale",
        kinds.COUNT,
        "1",
        "How many replicas to start when a model leaves zero; more where the first request is"
        " always followed by many.",
        low="1",
        high=COUNT_MAX,
    )
    yield row(
        "enable-scale-to-zero",
        kinds.BOOLEAN,
        "true",
        "false keeps one replica at all times.",
    )
    yield row(
        "stable-window",
        kinds.WHOLE_SECONDS,
        "60s",
        "Longer smooths more and keeps replicas longer after load has gone, shorter follows load.",
        low="6s",
        high="1h",
    )
    yield row(
        "panic-window-percentage",
        kinds.PERCENTAGE,
        "10",
        "The panic window as a share of the stable window, rounded to whole seconds, at least 1s;"
        " smaller reacts to shorter bursts.",
        low="1",
        high="100",
    )
    yield row(
        "panic-threshold-percentage",
        kinds.PERCENTAGE,
        "200",
        "How far load in the panic window must exceed what is there before panic mode begins.",
        low="110",
        high="1000",
    )
    yield row(
        "max-scale-up-rate",
        kinds.NUMBER,
        "1000",
        "The largest factor of one decision upwards; lower where starting many replicas at once"
        " hurts.",
        above="1",
        high="1e9",
    )
    yield row(
        "max-scale-down-rate",
        kinds.NUMBER,
        "2",
        "The largest factor of one decision downwards.",
        above="1",
        high="1e9",
    )
    yield row(
        "target-burst-capacity",
        kinds.NUMBER,
        "211",
        "The burst that must fit without queueing; while spare capacity is below it the activator"
        " stays in the path. 0: only at zero, -1: always.",
        low="0",
        high="1e9",
        also="-1",
    )
    yield row(
        "scale-down-delay",
        kinds.WHOLE_SECONDS,
        "0s",
        "Load must have been lower for this long before replicas go; holds them between bursts.",
        low="0s",
        high="1h",
    )
    yield row(
        "scale-to-zero-grace-period",
        kinds.DURATION,
        "30s",
        "How long the last replica stays while traffic moves back to the activator.",
        above="0s",
        high="1h",
    )
    yield row(
        "scale-to-zero-pod-retention-period",
        kinds.DURATION,
        "0s",
        "How long the last replica is kept at least after the decision for zero; longer where a"
        " cold start costs more than idling.",
        low="0s",
        high="1h",
    )
    yield row(
        "window-aggregation",
        kinds.choice(Aggregation),
        "linear",
        "weighted-exponential lets recent seconds count more.",
    )
    yield row(
        "count-starting-as-capacity",
        kinds.BOOLEAN,
        "true",
        "false ignores replicas on their way up, as Knative does, and so may start more than"
        " needed while a slow model loads.",
    )
    yield row(
        "keep-alive-default",
        kinds.DURATION,
        "4h",
        "With policy hybrid-histogram: how long the last replica stays after load while the"
        " model's idle times show no pattern; shorter where idling costs more than a cold start.",
        low="0s",
        high="168h",
    )
    yield row(
        "season",
        kinds.WHOLE_SECONDS,
        "24h",
        "With policy seasonal, and for idle times of hours with hybrid-histogram: after how long"
        " load repeats itself; 168h where the days of the week differ.",
        low="1h",
        high="168h",
    )
    yield row(
        "season-quantile",
        kinds.PERCENTAGE,
        "90",
        "With the same policies: which quantile of earlier seasons' load is to be expected; lower"
        " where one unusual day must not be paid for again.",
        low="0",
        high="100",
    )
    yield row(
        "slo-wait",
        kinds.DURATION,
        "1s",
        "With policy erlang-c: how long requests may wait for a slot; near the service time or"
        " above, far fewer replicas will do.",
        low="0s",
        high="1h",
    )
    yield row(
        "slo-quantile",
        kinds.PERCENTAGE,
        "99",
        "With policy erlang-c: the share of requests that must not wait longer than slo-wait.",
        low="1",
        high="99.999",
    )
