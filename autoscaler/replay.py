"""Decisions made anew from the journal: one from its evidence, or a whole run from its lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import numpy as np

from autoscaler.journal import Verdict
from autoscaler.planner import Planner
from autoscaler.window import Averages
from stoker.vocabulary import (
    Aggregation,
    Decision,
    Metric,
    ModelKey,
    Plan,
    PolicyName,
    ScalingConfig,
)


def again(verdict: Verdict, config: ScalingConfig | None = None) -> Decision:
    """The decision of ``verdict`` made anew, or as it were with other settings."""
    decision, evidence = verdict
    now, model = decision.time, decision.model
    planner = Planner()
    row = planner.set_model(model, config or evidence.config, now)
    planner.state.put(
        row,
        {
            "ready": evidence.ready,
            "starting": evidence.starting,
            "start_seconds": evidence.start_seconds,
            "asked": evidence.asked,
            "begun": True,
        },
    )
    planner.policy.put(row, evidence.policy)
    planner.to_zero.put(row, evidence.to_zero)
    averages = Averages(
        np.array([evidence.stable]), np.array([evidence.panic]), np.array([evidence.valid])
    )
    return planner.conclude(np.array([row]), averages, now).decisions[0]


def replay(lines: Iterable[Mapping[str, object]]) -> Iterator[Plan]:
    """Repeat a recorded run: the plan of each of its ticks.

    ``lines`` are those a ``Journal`` gave its writer, from a snapshot on or from the very
    beginning. Raises KeyError, ValueError or TypeError on lines that are none.
    """
    planner = Planner()
    models: dict[int, ModelKey] = {}
    for line in lines:
        fields = cast(Mapping[str, Any], line)
        match fields["kind"]:
            case "snapshot":
                for entry in fields["models"]:
                    model = ModelKey(*entry["model"])
                    models[entry["row"]] = model
                    planner.set_model(model, _config(entry["config"]), fields["time"])
                    state = entry["state"]
                    planner.set_counts(
                        model, int(state["ready"]), int(state["starting"]), fields["time"]
                    )
                planner.restore(fields)
            case "restored":
                planner.restore(fields["snapshot"], fields["shift"])
            case "config":
                model = ModelKey(*fields["model"])
                models[fields["row"]] = model
                planner.set_model(model, _config(fields["config"]), fields["t"])
            case "removed":
                planner.remove_model(ModelKey(*fields["model"]), fields["t"])
            case "counts":
                model = ModelKey(*fields["model"])
                planner.set_counts(model, fields["ready"], fields["starting"], fields["t"])
            case "start-seconds":
                model = ModelKey(*fields["model"])
                planner.set_start_seconds(model, fields["seconds"], fields["t"])
            case "gave-up":
                planner.forget_asked(ModelKey(*fields["model"]), fields["t"])
            case "open":
                planner.open_second(fields["s"])
            case "load":
                rows = planner.rows.resolve(models[row] for row in fields["rows"]).rows
                planner.add_load(fields["s"], rows, np.array(fields["values"]))
            case "service":
                rows = planner.rows.resolve(models[row] for row in fields["rows"]).rows
                planner.add_service(rows, np.array(fields["busy"]), np.array(fields["completions"]))
            case "tick":
                rows = fields["rows"]
                yield planner.decide(
                    fields["t"], None if rows is None else [models[row] for row in rows]
                )


def _config(fields: Mapping[str, Any]) -> ScalingConfig:
    return ScalingConfig(
        **{
            **fields,
            "policy": PolicyName(fields.get("policy", PolicyName.KPA)),
            "metric": Metric(fields["metric"]),
            "window_aggregation": Aggregation(fields["window_aggregation"]),
        }
    )
