"""Decisions made anew from the journal: one from its evidence, or a whole run from its lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

import numpy as np

from autoscaler.evidence import Recorder
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
    player = Player()
    for line in lines:
        plan = player.take(line)
        if plan is not None:
            yield plan


Change = Callable[[ModelKey, ScalingConfig], ScalingConfig]
"""The settings that a model is played with instead of the recorded ones."""


class Player:
    """Feeds a planner of its own with a recording, line by line; ``recorder`` is told of all.

    A snapshot that says what the planner remembers anyway (each file of a journal begins with
    one) changes nothing; with any other a new planner begins: something was not recorded, or
    Stoker was started anew.
    """

    def __init__(self, change: Change | None = None, recorder: Recorder | None = None) -> None:
        self.planner = Planner(journal=recorder)
        self._change = change
        self._recorder = recorder
        # By row, as recorded: rows of this planner may be others.
        self.models: dict[int, ModelKey] = {}

    def continues(self, line: Mapping[str, object]) -> bool:
        """Whether a snapshot's line says what is remembered here."""
        fields = cast(Mapping[str, Any], line)
        here = json.loads(json.dumps(self.planner.snapshot(fields["time"])))
        return bool(here["opened"] == fields["opened"] and _memories(here) == _memories(fields))

    def take(self, line: Mapping[str, object], *, goes_on: bool | None = None) -> Plan | None:
        """Play one line; the plan, if it is a tick's. ``goes_on``: what ``continues`` says of
        the recording where this player's settings are others; None: ask it.

        Raises KeyError, ValueError or TypeError on a line that is none.
        """
        fields = cast(Mapping[str, Any], line)
        planner = self.planner
        match fields["kind"]:
            case "snapshot":
                if not (self.continues(line) if goes_on is None else goes_on):
                    self._begin(fields)
                self.models = {e["row"]: ModelKey(*e["model"]) for e in fields["models"]}
            case "restored":
                planner.restore(fields["snapshot"], fields["shift"])
            case "config":
                self.models[fields["row"]] = model = ModelKey(*fields["model"])
                self._set(model, fields["config"], fields["t"])
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
                rows = planner.rows.resolve(self.models[row] for row in fields["rows"]).rows
                planner.add_load(fields["s"], rows, np.array(fields["values"]))
            case "service":
                rows = planner.rows.resolve(self.models[row] for row in fields["rows"]).rows
                planner.add_service(rows, np.array(fields["busy"]), np.array(fields["completions"]))
            case "tick":
                return planner.decide(fields["t"], self.decided(line))
        return None

    def decided(self, line: Mapping[str, object]) -> list[ModelKey] | None:
        """The models that a tick's line decided for; None: all."""
        rows = cast(list[int] | None, line["rows"])
        return None if rows is None else [self.models[row] for row in rows]

    def _begin(self, fields: Mapping[str, Any]) -> None:
        self.planner = Planner(journal=self._recorder)
        for entry in fields["models"]:
            model, state = ModelKey(*entry["model"]), entry["state"]
            self._set(model, entry["config"], fields["time"])
            self.planner.set_counts(
                model, int(state["ready"]), int(state["starting"]), fields["time"]
            )
        self.planner.restore(fields)

    def _set(self, model: ModelKey, fields: Mapping[str, Any], now: float) -> None:
        config = _config(fields)
        self.planner.set_model(model, self._change(model, config) if self._change else config, now)


def _memories(fields: Mapping[str, Any]) -> dict[ModelKey, Mapping[str, Any]]:
    """By model; which row it has is no part of what is remembered."""
    return {
        ModelKey(*entry["model"]): {name: entry[name] for name in entry if name != "row"}
        for entry in fields["models"]
    }


def _config(fields: Mapping[str, Any]) -> ScalingConfig:
    return ScalingConfig(
        **{
            **fields,
            "policy": PolicyName(fields.get("policy", PolicyName.KPA)),
            "metric": Metric(fields["metric"]),
            "window_aggregation": Aggregation(fields["window_aggregation"]),
        }
    )
