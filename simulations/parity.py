"""Differential test against Knative: the same samples in, are the same decisions out?

``python -m simulations.parity FILE...`` reads recorded scenarios (the format is described
beside the data, tests/data/README.md), runs each through the windows and the policy that the
autoscaler itself uses, and compares every tick. Exit status: 0 all equal, 1 any difference,
2 a file that cannot be read.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from math import floor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from autoscaler.policies import Supply
from autoscaler.policies.kpa import Kpa
from autoscaler.window import Shape, Windows
from stoker.errors import StokerError
from stoker.vocabulary import Aggregation, Metric, ScalingConfig

TOLERANCE = 1e-6
SHOWN = 10


class ParityFileError(StokerError):
    """A scenario file that cannot be read, or is not what it should be."""


class Tick(NamedTuple):
    """One decision. Without data: desired and excess 0, averages -1, as recorded."""

    t: float
    ready: float
    desired: float
    excess_burst_capacity: float
    valid: bool
    stable: float
    panic: float

    def decides_as(self, other: Tick) -> bool:
        """Whether desired, excess burst capacity and valid are the same."""
        return self[2:5] == other[2:5]

    def averages_as(self, other: Tick) -> bool:
        """Whether both averages are the same to 1e-6."""
        pairs = zip(self[5:], other[5:], strict=True)
        return all(abs(ours - theirs) <= TOLERANCE for ours, theirs in pairs)


class Scenario(NamedTuple):
    """Samples (time, value) and the ticks Knative made of them."""

    name: str
    config: ScalingConfig
    reachable: bool
    initial_ready: float
    samples: tuple[tuple[float, float], ...]
    ticks: tuple[Tick, ...]


class Difference(NamedTuple):
    scenario: Scenario
    theirs: Tick
    ours: Tick

    def __str__(self) -> str:
        return (
            f"{self.scenario.name} ({self.scenario.config.window_aggregation}, "
            f"{self.scenario.config.stable_window:g} s) at t = {self.theirs.t:g}, "
            f"{self.theirs.ready:g} ready:\n  theirs {_told(self.theirs)}\n  ours   "
            f"{_told(self.ours)}"
        )


def _told(tick: Tick) -> str:
    return (
        f"desired {tick.desired:g}, excess burst capacity {tick.excess_burst_capacity:g}, "
        f"{'valid' if tick.valid else 'no data'}, stable {tick.stable:.6f}, "
        f"panic {tick.panic:.6f}"
    )


def load(path: Path) -> list[Scenario]:
    """The scenarios of a file. Raises ParityFileError, which says what is wrong with it."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParityFileError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ParityFileError(f"{path}: not JSON: {error}") from error
    if not isinstance(entries, list):
        raise ParityFileError(f"{path}: a list of scenarios is expected")
    scenarios = []
    for number, entry in enumerate(entries):
        try:
            scenarios.append(_scenario(entry))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise ParityFileError(f"{path}: scenario {number}: {what}") from error
    return scenarios


def _scenario(entry: dict[str, Any]) -> Scenario:
    config = entry["config"]
    return Scenario(
        name=str(entry["name"]),
        config=ScalingConfig(
            metric=Metric(config["metric"]),
            target=float(config["target_value"]),
            capacity=float(config["total_value"]),
            activation_scale=int(config["activation_scale"]),
            stable_window=float(config["stable_window_s"]),
            panic_window=float(config["panic_window_s"]),
            panic_threshold=float(config["panic_threshold"]),
            max_scale_up_rate=float(config["max_scale_up_rate"]),
            max_scale_down_rate=float(config["max_scale_down_rate"]),
            target_burst_capacity=float(config["target_burst_capacity"]),
            scale_down_delay=float(config["scale_down_delay_s"]),
            window_aggregation=Aggregation(config["window_algorithm"]),
            count_starting_as_capacity=False,
        ),
        reachable=bool(config["reachable"]),
        initial_ready=float(entry["initial_ready"]),
        samples=tuple((float(t), float(value)) for t, value in entry["samples"]),
        ticks=tuple(
            Tick(
                float(tick["t"]),
                float(tick["ready"]),
                float(tick["desired"]),
                float(tick["excess_burst_capacity"]),
                bool(tick["valid"]),
                float(tick["stable"]),
                float(tick["panic"]),
            )
            for tick in entry["ticks"]
        ),
    )


def run(scenarios: Sequence[Scenario]) -> list[list[Tick]]:
    """Our own ticks for each scenario, all of them decided on together, one row each.

    The scenarios' ticks must be at the same times as far as they go. A sample belongs to the
    second it was taken in and counts for a tick at the beginning of that second.
    """
    windows, policy = Windows(), Kpa()
    policy.reserve(len(scenarios))
    for row, scenario in enumerate(scenarios):
        config = scenario.config
        windows.place(
            row, Shape(config.stable_window, config.panic_window, config.window_aggregation)
        )
        policy.configure(row, config, 0.0, scenario.reachable)
        policy.begin(row, scenario.initial_ready, 0.0)
    waiting = [iter([*scenario.samples, (float("inf"), 0.0)]) for scenario in scenarios]
    heads = [next(samples) for samples in waiting]
    result: list[list[Tick]] = [[] for _ in scenarios]
    for ticks in zip_longest(*(scenario.ticks for scenario in scenarios)):
        rows = np.array([row for row, tick in enumerate(ticks) if tick is not None])
        now = ticks[rows[0]].t
        for row in rows.tolist():
            while heads[row][0] < floor(now) + 1:
                second, value = heads[row]
                windows.add(floor(second), np.array([row]), np.array([value]))
                heads[row] = next(waiting[row])
        averages = windows.averages(now, len(scenarios), rows)
        ready = np.array([ticks[row].ready for row in rows.tolist()])
        verdict = policy.decide(rows, averages, Supply(ready, ready, np.zeros_like(ready)), now)
        for place, row in enumerate(rows.tolist()):
            valid = bool(averages.valid[place])
            result[row].append(
                Tick(
                    now,
                    float(ready[place]),
                    float(verdict.wanted[place]) if valid else 0.0,
                    float(verdict.excess_burst_capacity[place]) if valid else 0.0,
                    valid,
                    float(averages.stable[place]),
                    float(averages.panic[place]),
                )
            )
    return result


def compare(scenarios: Iterable[Scenario]) -> tuple[int, list[Difference], list[Difference]]:
    """Ticks compared, those decided differently, and those with only averages that differ."""
    count, decided, averaged = 0, [], []
    for scenario in scenarios:
        (ours,) = run([scenario])
        for theirs, our in zip(scenario.ticks, ours, strict=True):
            count += 1
            if not our.decides_as(theirs):
                decided.append(Difference(scenario, theirs, our))
            elif not our.averages_as(theirs):
                averaged.append(Difference(scenario, theirs, our))
    return count, decided, averaged


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m simulations.parity",
        description="Compare the autoscaler's decisions with Knative's recorded ones.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", type=Path, help="recorded scenarios")
    files = parser.parse_args(argv).files
    try:
        scenarios = [scenario for file in files for scenario in load(file)]
    except ParityFileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    count, decided, averaged = compare(scenarios)
    try:
        print(f"equal {count - len(decided)} of {count} decisions")
        if averaged:
            print(f"{len(averaged)} more have averages that differ by more than {TOLERANCE:g}")
        for difference in (decided + averaged)[:SHOWN]:
            print(difference)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has seen enough. What is still in the buffer would raise
        # again when the interpreter flushes it at its end.
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return 1 if decided or averaged else 0


if __name__ == "__main__":
    sys.exit(main())
