"""When what is in a decision journal happened, and which tick decided for whom by then. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

from stoker.vocabulary import ModelKey

Line = Mapping[str, Any]


class Times:
    """A journal looked through once: ``take`` each line. ``dated``: every snapshot tells the
    time of day, so that ``first`` and ``last`` (of ticks) are seconds since 1970; else they
    are what the clock of the machine said.
    """

    def __init__(self) -> None:
        self.dated = True
        self.ticks = 0
        self.first = self.last = 0.0
        self.models: dict[ModelKey, None] = {}
        self._offset = 0.0

    def take(self, line: Line) -> None:
        """Raises KeyError, ValueError or TypeError on a line that is none."""
        match line["kind"]:
            case "snapshot":
                self.dated &= "wall" in line
                self._offset = offset_of(line)
                for entry in line["models"]:
                    self.models[ModelKey(*entry["model"])] = None
            case "config":
                self.models[ModelKey(*line["model"])] = None
            case "tick":
                self.last = line["t"] + self._offset
                if not self.ticks:
                    self.first = self.last
                self.ticks += 1


def offset_of(snapshot: Line) -> float:
    """What to add to times behind this snapshot."""
    return float(snapshot["wall"] - snapshot["time"]) if "wall" in snapshot else 0.0


def ticks_by(
    lines: Iterable[Line], at: float, only: ModelKey | None = None
) -> dict[int, set[ModelKey]]:
    """By number of the tick (from 0) the models for which that one decided last until ``at``
    (as ``Times`` tells time). Models that were not there by then are left out.
    """
    latest: dict[ModelKey, int] = {}
    rows: dict[int, ModelKey] = {}
    there: dict[ModelKey, None] = {}
    number, offset = -1, 0.0
    for line in lines:
        if line["kind"] == "snapshot":
            offset = offset_of(line)
        if line.get("t", line.get("time", -inf)) + offset > at:
            break  # what a model was by then must not change any more
        match line["kind"]:
            case "snapshot":
                rows = {entry["row"]: ModelKey(*entry["model"]) for entry in line["models"]}
                there = dict.fromkeys(rows.values())
                latest = {model: tick for model, tick in latest.items() if model in there}
            case "config":
                rows[line["row"]] = model = ModelKey(*line["model"])
                there[model] = None
            case "removed":
                model = ModelKey(*line["model"])
                there.pop(model, None)
                latest.pop(model, None)
            case "tick":
                number += 1
                decided = line["rows"]
                models = there if decided is None else [rows[row] for row in decided]
                latest.update(dict.fromkeys(models, number))
    found: dict[int, set[ModelKey]] = {}
    for model, tick in latest.items():
        if only in (None, model):
            found.setdefault(tick, set()).add(model)
    return found
