"""Journals played again: equal bit for bit, explained at any moment, and with other settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.evidence import Evidence
from autoscaler.journal import Journal
from autoscaler.planner import Planner
from simulations.journal_times import Times, offset_of, ticks_by
from simulations.replay import MOST_MISMATCHES, Compared, Mismatch, Replay, Span
from stoker.vocabulary import Decision, ModelKey, ScalingConfig
from tests.autoscaler.driving import A, B, Moment, configs, loads, say
from tests.properties import costly

C = ModelKey("default", "c")
MODELS = (A, B, C)
WALL = 1_000_000.0
few = costly(8)

# What may happen between two ticks.
happenings = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(MODELS), configs),
    st.tuples(st.just("remove"), st.sampled_from(MODELS)),
    st.tuples(
        st.just("load"),
        st.sampled_from(MODELS),
        st.builds(Moment, loads, st.integers(0, 12), st.integers(0, 3)),
    ),
    st.tuples(st.just("gave-up"), st.sampled_from(MODELS)),
    st.tuples(st.just("poke"), st.sampled_from(MODELS)),
    st.tuples(st.just("rotate")),
    st.tuples(st.just("start anew")),
    st.tuples(st.just("restore")),
)
Story = Sequence[Sequence[tuple[Any, ...]]]
stories = st.lists(st.lists(happenings, max_size=4), min_size=1, max_size=12)


class Recorded:
    """A planner that lives through a story, its journal, and its decisions as they were."""

    def __init__(self, story: Story) -> None:
        self.lines: list[dict[str, Any]] = []
        self.ticks: list[tuple[float, set[ModelKey], dict[ModelKey, Decision]]] = []
        self._start(0.0)
        for second, happened in enumerate(story):
            for number, (what, *about) in enumerate(happened):
                self._happens(what, about, second + 0.1 + number / 100)
            self.planner.open_second(second)
            self._tick(second + 0.5, None)
        self.lines = json.loads(json.dumps(self.lines))

    def _start(self, now: float) -> None:
        self.planner = Planner(journal=Journal(writer=self.lines.append))
        self._rotate(now)

    def _rotate(self, now: float) -> None:
        snapshot = {"kind": "snapshot", **self.planner.snapshot(now), "wall": WALL + now}
        self.lines.append(json.loads(json.dumps(snapshot)))

    def _happens(self, what: str, about: Sequence[Any], now: float) -> None:
        planner = self.planner
        match what:
            case "set":
                planner.set_model(about[0], about[1], now)
            case "remove":
                planner.remove_model(about[0], now)
            case "load":
                model, moment = about
                planner.set_counts(model, moment.ready, moment.starting, now)
                if moment.load is not None and model in planner.rows.index:
                    say(planner, int(now), {model: moment.load})
            case "gave-up":
                planner.forget_asked(about[0], now)
            case "poke":
                if about[0] in planner.rows.index:
                    self._tick(now, about)
            case "rotate":
                self._rotate(now)
            case "start anew":
                self._start(now)
            case _:
                planner.restore(planner.snapshot(now))

    def _tick(self, now: float, models: Sequence[ModelKey] | None) -> None:
        self.planner.decide(now, models)
        there = self.planner.rows.index
        decided = {model: self.planner.decision(model) for model in there}
        self.ticks.append(
            (
                now,
                set(there) if models is None else set(models),
                {model: decision for model, decision in decided.items() if decision},
            )
        )

    def played(self, **options: Any) -> Replay:
        replay = Replay(**options)
        for line in self.lines:
            replay.take(line)
        replay.finish()
        return replay

    @property
    def written(self) -> int:
        return sum(line["kind"] == "decision" for line in self.lines)


@few
@given(stories)
def test_every_decision_is_made_again(story: Story) -> None:
    """Whatever happens to models: settings, removal, loads, new files, new starts, restores."""
    recorded = Recorded(story)
    replay = recorded.played()
    assert replay.mismatches == []
    assert replay.equal == replay.recorded == recorded.written
    assert replay.ticks == len(recorded.ticks)


@few
@given(stories, st.data())
def test_a_forged_decision_is_found(story: Story, data: st.DataObject) -> None:
    """Changed, left out or invented: told with when, for whom and what, and nothing else."""
    forged = Recorded([[("set", A, ScalingConfig())], *story])
    places = [n for n, line in enumerate(forged.lines) if line["kind"] == "decision"]
    place = data.draw(st.sampled_from(places))
    line = forged.lines[place]
    # Before a new start the last decisions may be missing: see below.
    later = any(line["kind"] == "snapshot" for line in forged.lines[place:])
    way = data.draw(st.sampled_from(["changed", "left out", "invented"]))
    time, model = line["time"] + WALL, ModelKey(*line["model"])
    genuine = {name: line[name] for name in line if name != "kind"}
    if way == "changed":
        line["stable"] += 1e-9
        expected = Mismatch(time, model, {**genuine, "stable": line["stable"]}, genuine)
    elif way == "left out":
        del forged.lines[place]
        expected = Mismatch(time, model, None, genuine)
    else:
        forged.lines.insert(place, {**line, "model": ["other", "x"]})
        invented = {**genuine, "model": ["other", "x"]}
        expected = Mismatch(time, ModelKey("other", "x"), invented, None)
    replay = forged.played()
    if way == "left out" and later:
        assert replay.mismatches in ([expected], [])
    else:
        assert replay.mismatches == [expected]
    assert replay.recorded - replay.equal == (way != "left out")


def test_many_differences_are_counted() -> None:
    """The first are kept."""
    recorded = Recorded([[("set", A, ScalingConfig(min_scale=1 + n % 2))] for n in range(20)])
    for line in recorded.lines:
        if line["kind"] == "decision":
            line["reason"] = "forged"
    replay = recorded.played()
    assert len(replay.mismatches) == MOST_MISMATCHES
    assert replay.more_mismatches == recorded.written - MOST_MISMATCHES > 0


def test_what_was_lost_with_a_process_is_no_difference() -> None:
    """Killed within a tick: its decisions are missing before the next start, or at the end
    where the last line is torn, but not elsewhere.
    """
    recorded = Recorded([[("set", A, ScalingConfig())], [("start anew",)]])
    lines = recorded.lines
    place = next(n for n, line in enumerate(lines) if line["kind"] == "decision")
    del lines[place]
    assert recorded.played().mismatches == []
    cut = Replay()
    for line in lines[:place]:
        cut.take(line)
    cut.finish(torn=True)
    assert cut.mismatches == []
    told = Replay()
    for line in lines[:place]:
        told.take(line)
    told.finish()
    assert [mismatch.recorded for mismatch in told.mismatches] == [None]


@few
@given(stories, st.data())
def test_any_moment_is_explained(story: Story, data: st.DataObject) -> None:
    """For every model the decision in force then, with what it was made from; with the same
    settings it comes out the same, with others as they say.
    """
    recorded = Recorded(story)
    at = data.draw(st.floats(0.0, len(story) + 1.0))
    expected: dict[ModelKey, tuple[int, Decision]] = {}
    times = [time for time, _, _ in recorded.ticks]
    for number, (time, models, decisions) in enumerate(recorded.ticks):
        if time > at:
            break
        expected.update({model: (number, decisions[model]) for model in models})
    if any(what in ("remove", "start anew") for happened in story for what, *_ in happened):
        # What is gone by then is left out; which that is, see the next test.
        found = ticks_by(recorded.lines, at + WALL)
        kept = {model for models in found.values() for model in models}
        assert kept <= set(expected)
        expected = {model: expected[model] for model in kept}
    moments: dict[int, set[ModelKey]] = {}
    for model, (number, _) in expected.items():
        moments.setdefault(number, set()).add(model)
    assert ticks_by(recorded.lines, at + WALL) == moments
    for model in MODELS:
        only = {n: {model} for n, models in moments.items() if model in models}
        assert ticks_by(recorded.lines, at + WALL, model) == only
    unchanged = recorded.played(moments=moments, change=lambda model, config: config)
    assert set(unchanged.moments) == set(expected)
    for model, moment in unchanged.moments.items():
        number, decision = expected[model]
        assert moment.time == times[number] + WALL
        assert moment.decided.decision == moment.other == decision
        assert isinstance(moment.decided.evidence, Evidence)
    none = recorded.played(moments=moments)
    assert all(moment.other is None for moment in none.moments.values())
    pinned = recorded.played(
        moments=moments, change=lambda model, config: replace(config, min_scale=7, max_scale=7)
    )
    for moment in pinned.moments.values():
        assert moment.other is not None
        assert moment.other.desired == 7


def test_who_is_gone_is_not_explained() -> None:
    """Removed by then, or of an earlier start of Stoker."""
    config = ScalingConfig()
    story: Story = [[("set", A, config), ("set", B, config)], [("remove", A)], [("start anew",)]]
    recorded = Recorded(story)
    assert ticks_by(recorded.lines, WALL + 0.6) == {0: {A, B}}
    assert ticks_by(recorded.lines, WALL + 1.6) == {1: {B}}
    assert ticks_by(recorded.lines, WALL + 2.6) == {}


@few
@given(stories, st.integers(0, 2))
def test_other_settings_are_compared_tick_by_tick(story: Story, floor: int) -> None:
    """Against a planner that had the other settings all along: decisions, differences,
    replica-seconds and when, of every model.
    """

    def change(model: ModelKey, config: ScalingConfig) -> ScalingConfig:
        if model == B:
            return config
        return replace(config, min_scale=config.min_scale + floor, scale_down_delay=5.0)

    # What is taken over from elsewhere is what was remembered under the recorded settings.
    story = [[each for each in happened if each[0] != "restore"] for happened in story]
    recorded = Recorded(story)
    other = Recorded(
        [
            [(w, *(a if w != "set" else (a[0], change(a[0], a[1])))) for w, *a in happened]
            for happened in story
        ]
    )
    replay = recorded.played(change=change)
    expected: dict[ModelKey, Compared] = {}
    wanted: dict[ModelKey, tuple[float, float]] = {}
    last = 0.0
    ends = _ends(story)
    tick = 0
    pairs = list(zip(recorded.ticks, other.ticks, strict=True))
    for time, gone in sorted(
        [(time, None) for (time, _, _), _ in pairs] + ends, key=lambda item: item[0]
    ):
        # What was wanted from the last tick of a start to its end is not known.
        for model in list(wanted) if gone is None else gone:
            then, now = wanted.get(model, (0, 0))
            compared = expected.setdefault(model, Compared())
            compared.seconds_then += then * (time - last)
            compared.seconds_now += now * (time - last)
        if gone is not None:
            for model in gone or list(wanted):
                wanted.pop(model, None)
            continue
        last = time
        (_, models, then_), (_, _, now_) = pairs[tick]
        tick += 1
        for model in models:
            compared = expected.setdefault(model, Compared())
            compared.decisions += 1
            compared.differ += then_[model].desired != now_[model].desired
            wanted[model] = (then_[model].desired, now_[model].desired)
    expected = {model: compared for model, compared in expected.items() if compared.decisions}
    assert {m for m, compared in replay.compared.items() if compared.decisions} == set(expected)
    for model in expected:
        compared = replay.compared[model]
        assert (compared.decisions, compared.differ) == (
            expected[model].decisions,
            expected[model].differ,
        )
        assert compared.seconds_then == pytest.approx(expected[model].seconds_then)
        assert compared.seconds_now == pytest.approx(expected[model].seconds_now)
        apart = sum((span.now - span.then) * (span.end - span.begin) for span in compared.spans)
        assert apart == pytest.approx(compared.seconds_now - compared.seconds_then)
        assert model != B or compared.spans == []


def _ends(
    story: Story,
) -> list[tuple[float, list[ModelKey] | None]]:
    """When models stop to count: removed, or (none named: all) Stoker started anew."""
    found: list[tuple[float, list[ModelKey] | None]] = []
    for second, happened in enumerate(story):
        for number, (what, *about) in enumerate(happened):
            if what == "remove":
                found.append((second + 0.1 + number / 100, [about[0]]))
            elif what == "start anew":
                found.append((second + 0.1 + number / 100, []))
    return found


def test_differences_are_spans_of_time() -> None:
    """From the tick that differs to the one that agrees again; a new pair is a new span."""
    steady = ("load", A, Moment(70.0, 1, 0))
    one, two = ("set", A, ScalingConfig()), ("set", A, ScalingConfig(min_scale=2))
    story: Story = [[one, steady], [steady], [two], [], [("remove", A)], []]
    recorded = Recorded(story)
    replay = recorded.played(change=lambda model, config: replace(config, min_scale=3))
    assert replay.compared[A].spans == [
        Span(WALL + 0.5, WALL + 2.5, 1.0, 3.0),
        Span(WALL + 2.5, WALL + 4.1, 2.0, 3.0),
    ]
    assert replay.compared[A].seconds_then == pytest.approx(2 + 3.2)
    assert replay.compared[A].seconds_now == pytest.approx(3 * 3.6)


def test_spans_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beyond the bound are counted."""
    monkeypatch.setattr("simulations.replay.MOST_SPANS", 2)
    story: Story = [[("set", A, ScalingConfig(min_scale=n))] for n in range(1, 6)]
    replay = Recorded(story).played(change=lambda m, c: replace(c, min_scale=c.min_scale + 1))
    assert (len(replay.compared[A].spans), replay.compared[A].more) == (2, 3)


def test_when_it_was() -> None:
    """First and last tick, by the time of day where every file tells it."""
    recorded = Recorded([[("set", A, ScalingConfig())], [("rotate",), ("set", B, ScalingConfig())]])
    times = Times()
    for line in recorded.lines:
        times.take(line)
    assert (times.first, times.last, times.ticks) == (WALL + 0.5, WALL + 1.5, 2)
    assert (times.dated, list(times.models)) == (True, [A, B])
    del recorded.lines[0]["wall"]
    undated = Times()
    for line in recorded.lines:
        undated.take(line)
    assert not undated.dated
    assert offset_of(recorded.lines[0]) == 0.0
    assert recorded.played().offset == WALL
