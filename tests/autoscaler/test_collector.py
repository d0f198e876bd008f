"""Who is believed about which second: epochs, sequences, silence, jitter, pokes."""

from __future__ import annotations

from array import array

import pytest

from autoscaler.collector import Collector
from autoscaler.planner import Planner
from stoker.columns import ColumnEncoder, StatColumns
from stoker.vocabulary import Metric, ModelKey, Poke, ScalingConfig, Stat, StatReport
from tests.autoscaler.driving import A, B

C = ModelKey("default", "c")


class World:
    """A collector on a planner with models A and B, awake, and reports made short."""

    def __init__(self, **config: float) -> None:
        self.planner = Planner()
        self.collector = Collector(self.planner, patience=5.0)
        for model in (A, B):
            self.planner.set_model(
                model,
                ScalingConfig(initial_scale=1, **config),  # type: ignore[arg-type]
                0.0,
            )

    def report(
        self,
        time: float,
        sequence: int = -1,
        reporter: str = "r1",
        epoch: int = 1,
        now: float | None = None,
        **loads: float,
    ) -> bool:
        return self.collector.take(
            stat_report(time, sequence, reporter, epoch, **loads), time if now is None else now
        )

    def poke(self, time: float, model: ModelKey = A, queued: int = 1, epoch: int = 1) -> bool:
        return self.collector.poke(Poke("r1", epoch, model, queued, 0, time), time) is not None

    def average(self, now: float, model: ModelKey = A) -> float:
        """Over everything since the first second that anything was said of."""
        rows = self.planner.rows.resolve([model]).rows
        return float(self.planner.windows.averages(now, 0, rows).stable[0])

    @property
    def dropped(self) -> dict[str, int]:
        return dict(self.collector.dropped)


def stat_report(
    time: float, sequence: int = -1, reporter: str = "r1", epoch: int = 1, **loads: float
) -> StatReport:
    stats = tuple(
        Stat(ModelKey("default", name), load / 2, load / 2, int(load), 0)
        for name, load in loads.items()
    )
    return StatReport(
        reporter, epoch, int(time * 10) if sequence < 0 else sequence, time, 1.0, stats
    )


def test_queued_and_active_are_one() -> None:
    """Concurrency is what waits and what runs, together."""
    world = World()
    assert world.report(1.0, a=8.0)
    assert world.average(1.0) == 8.0
    assert world.average(1.0, B) == 0.0


def test_silence_of_the_living_is_zero() -> None:
    """A report that does not mention a model says zero for its second."""
    world = World()
    world.report(1.0, a=8.0)
    world.report(2.0)
    world.report(3.0, b=2.0)
    world.report(4.0)
    assert world.average(4.0) == 2.0
    assert world.average(4.0, B) == 0.5


def test_reporters_are_summed() -> None:
    """Two activators of one model: their loads add up."""
    world = World()
    world.report(1.0, a=8.0)
    world.report(1.4, reporter="r2", a=4.0)
    assert world.average(1.5) == 12.0
    assert world.collector.reporters == 2


def test_old_news_is_dropped() -> None:
    """An epoch that is over, a sequence number that was there: counted, not believed."""
    world = World()
    world.report(1.0, epoch=2, sequence=7, a=8.0)
    assert not world.report(2.0, epoch=1, sequence=9, a=100.0)
    assert not world.report(2.0, epoch=2, sequence=7, a=100.0)
    assert not world.poke(2.0, epoch=1)
    assert world.report(2.0, epoch=3, sequence=1, a=4.0)
    assert world.dropped == {"old-epoch": 2, "old-sequence": 1}
    assert world.average(2.0) == 6.0


@pytest.mark.parametrize("load", [float("nan"), -1.0, float("inf")])
def test_impossible_loads_are_dropped(load: float) -> None:
    """A report with a number that cannot be is dropped as a whole."""
    world = World()
    stats = (Stat(B, 1.0, 0.0, 1, 1), Stat(A, load, 0.0, 1, 1))
    assert not world.collector.take(StatReport("r1", 1, 1, 1.0, 1.0, stats), 1.0)
    assert world.dropped == {"bad-value": 1}
    assert world.average(1.0, B) == -1.0


@pytest.mark.parametrize(
    ("time", "interval"), [(float("nan"), 1.0), (1.0, 0.0), (1.0, float("inf"))]
)
def test_impossible_times_are_dropped(time: float, interval: float) -> None:
    """So is one whose time or interval cannot be."""
    world = World()
    assert not world.collector.take(StatReport("r1", 1, 1, time, interval, ()), 1.0)
    assert world.dropped == {"bad-value": 1}


def test_a_model_named_twice_is_refused() -> None:
    """One Stat per model: two would hide a mistake of the reporter."""
    world = World()
    twice = (Stat(A, 1.0, 0.0, 1, 1),) * 2
    assert not world.collector.take(StatReport("r1", 1, 1, 1.0, 1.0, twice), 1.0)


def test_unknown_models_are_left_out() -> None:
    """What is said of the others still counts."""
    world = World()
    assert world.report(1.0, c=5.0, a=8.0)
    assert world.dropped == {"unknown-model": 1}
    assert world.average(1.0) == 8.0


def test_jitter_neither_doubles_nor_loses_a_second() -> None:
    """Reports at 1.999, 3.001 and 3.999 fill three seconds with one report each."""
    world = World()
    for time in (1.999, 3.001, 3.999, 5.001, 5.999):
        world.report(time, a=8.0)
    assert world.average(6.0) == 8.0
    assert world.dropped == {}


def test_too_many_reports_are_merged() -> None:
    """A reporter may run ahead by one second; beyond that reports replace each other."""
    world = World()
    for number in range(6):
        assert world.report(1.0 + number / 10, a=8.0)
    assert world.dropped == {"merged": 4}
    assert world.average(2.0) == 8.0


def test_a_late_reporter_repeats_itself() -> None:
    """Missed seconds get what was said last, for as long as patience lasts."""
    world = World()
    world.report(1.0, a=8.0)
    world.collector.advance(4.5)
    assert world.average(4.5) == 8.0
    world.report(5.0, a=3.0)
    assert world.average(5.0) == 7.0
    world.report(7.0)
    assert world.average(7.0) == round((4 * 8 + 3 + 3 + 0) / 7, 6)


def test_a_silent_reporter_is_dropped() -> None:
    """After its time it says nothing any more, not even zero, until it speaks again."""
    world = World()
    world.report(1.0, a=8.0)
    world.collector.advance(6.0)
    world.collector.advance(6.1)
    assert world.collector.reporters == 0
    assert world.dropped == {"silent-reporter": 1}
    world.collector.advance(30.0)
    assert world.average(30.0) == 8.0
    assert world.report(31.0, sequence=1, a=2.0)
    assert world.collector.reporters == 1


def test_a_clock_that_is_off_is_not_believed() -> None:
    """A report from another clock counts for the second it arrives in."""
    world = World()
    world.report(1_000_000.0, now=5.0, a=8.0)
    assert world.average(5.0) == 8.0


def test_rates() -> None:
    """Models scaled on rates get arrivals per second; in a poke, what is queued."""
    world = World(metric=Metric.RPS)  # type: ignore[arg-type]
    stats = (Stat(A, 100.0, 100.0, 6, 0),)
    world.collector.take(StatReport("r1", 1, 1, 2.0, 2.0, stats), 2.0)
    assert world.average(2.0) == 3.0
    world.poke(2.5, queued=9)
    assert world.average(2.5) == 9.0


def test_a_poke_counts_at_once() -> None:
    """The level it tells of is seen by the decision that it asks for."""
    world = World()
    assert world.poke(10.2, queued=3)
    assert world.average(10.2) == 3.0


def test_a_poke_lifts_and_does_not_add() -> None:
    """Several pokes, and what was reported for that second, count by the highest."""
    world = World()
    world.report(1.0, a=2.0, b=50.0)
    assert world.poke(1.1, queued=1)
    assert world.average(1.1) == 2.0
    assert world.poke(1.2, queued=5)
    assert world.poke(1.3, queued=4)
    assert world.average(1.3) == 5.0
    assert world.poke(1.4, queued=6)
    assert world.average(1.4) == 6.0
    world.report(2.0, a=6.0)
    assert world.average(2.0) == 6.0


def test_a_poke_of_a_restarted_reporter() -> None:
    """A newer epoch in a poke ends the older one."""
    world = World()
    world.report(1.0, a=8.0)
    assert world.poke(1.5, queued=9, epoch=2)
    assert not world.report(2.0, a=8.0, epoch=1)
    assert world.report(2.0, epoch=2, a=9.0)


def test_bad_pokes() -> None:
    """Unknown models and impossible numbers ask for nothing."""
    world = World()
    assert not world.poke(1.0, model=C)
    assert not world.poke(1.0, queued=-1)
    assert world.dropped == {"unknown-model": 1, "bad-value": 1}


def test_late_stats_do_not_reach_the_next_tenant() -> None:
    """What a reporter is held to of a model that is gone is not given to its row's next."""
    world = World()
    world.report(1.0, a=8.0, b=1.0)
    row = world.planner.rows.index[A]
    world.planner.remove_model(A, 1.5)
    assert world.planner.set_model(C, ScalingConfig(), 1.6) == row
    world.collector.advance(4.0)
    assert world.average(4.0, C) == 0.0
    assert world.average(4.0, B) == 1.0
    assert world.poke(4.1, model=C, queued=2)
    assert world.average(4.1, C) == 1.0


def test_a_changed_layout_alone_voids_nothing() -> None:
    """A model more, or one changed, and what is held of the others still counts."""
    world = World()
    world.report(1.0, a=8.0)
    world.planner.set_model(C, ScalingConfig(), 1.5)
    world.collector.advance(4.0)
    assert world.average(4.0) == 8.0


def columns(encoder: ColumnEncoder, time: float, epoch: int = 1, **loads: float) -> StatColumns:
    return encoder.encode(stat_report(time, -1, "r1", epoch, **loads))


def test_columns_say_the_same() -> None:
    """The same reports by objects and by columns fill the same windows."""
    objects, other = World(), World()
    encoder = ColumnEncoder()
    for report in (
        stat_report(1.0, a=8.0),
        stat_report(2.0, b=3.0, a=1.0, c=9.0),
        stat_report(3.0),
        stat_report(4.0, c=1.0, b=7.0),
    ):
        time = report.time
        assert objects.collector.take(report, time)
        assert other.collector.take(encoder.encode(report), time)
        for model in (A, B):
            assert objects.average(time, model) == other.average(time, model)
    assert objects.dropped == other.dropped == {"unknown-model": 2}


def test_columns_follow_their_models() -> None:
    """A number keeps meaning its model when rows change hands or the model comes later."""
    world = World()
    encoder = ColumnEncoder()
    world.collector.take(columns(encoder, 1.0, a=8.0, c=5.0), 1.0)
    row = world.planner.rows.index[A]
    world.planner.remove_model(A, 1.5)
    assert world.planner.set_model(C, ScalingConfig(), 1.6) == row
    world.collector.take(columns(encoder, 2.0, a=8.0, c=5.0), 2.0)
    assert world.average(2.0, C) == 5.0
    world.planner.set_model(A, ScalingConfig(), 2.5)
    world.collector.take(columns(encoder, 3.0, a=8.0, c=5.0), 3.0)
    assert world.average(3.0) == 8.0


def test_missed_names_are_noticed() -> None:
    """Columns whose numbering we cannot know are refused until a new epoch."""
    world = World()
    encoder = ColumnEncoder()
    columns(encoder, 1.0, a=1.0)
    assert not world.collector.take(columns(encoder, 2.0, a=1.0, b=1.0), 2.0)
    assert world.dropped == {"missed-names": 1}
    assert world.collector.take(columns(encoder, 3.0, epoch=2, a=1.0), 3.0)


@pytest.mark.parametrize("ids", [[0, 0], [0, 2], [-1, 0], [0]])
def test_bad_columns_are_refused(ids: list[int]) -> None:
    """Numbers that mean nothing or the same twice, columns of different lengths."""
    world = World()
    pair = array("d", [1.0, 1.0])
    report = StatColumns(
        "r1", 1, 1, 1.0, 1.0, 0, (A, B), array("q", ids), pair, pair, array("q", [1, 1]), ids
    )
    assert not world.collector.take(report, 1.0)
    assert world.dropped == {"bad-value": 1}


def many(loads: list[float], ids: list[int], sequence: int) -> StatColumns:
    """A report of as many models as there are loads; the first one names them all."""
    names = [ModelKey("default", f"m{number}") for number in range(len(loads))]
    return StatColumns(
        *("r1", 1, sequence, float(sequence), 1.0, len(names) if sequence > 1 else 0),
        () if sequence > 1 else tuple(names),
        *(array("q", ids), array("d", bytes(8 * len(ids))), array("d", loads)),
        *(array("q", [3 * number for number in ids]), array("q", bytes(8 * len(ids)))),
    )


@pytest.mark.parametrize("metric", list(Metric))
def test_columns_in_any_order(metric: Metric) -> None:
    """Numbers may come in whatever order, and the same ones again with other loads; what a
    model is scaled on is read where it is its own."""
    world = World()
    for number in range(12):
        world.planner.set_model(
            ModelKey("default", f"m{number}"), ScalingConfig(metric=metric), 0.0
        )
    ascending = list(range(12))
    for second, ids in enumerate((ascending, ascending, ascending[::-1], [0, 2, 1, *range(3, 12)])):
        loads = [10.0 * number + second for number in ids]
        assert world.collector.take(many(loads, ids, second + 1), second + 1.0)
    for number in ascending:
        said = 3.0 * number if metric is Metric.RPS else 10.0 * number + 1.5
        assert world.average(4.0, ModelKey("default", f"m{number}")) == said


@pytest.mark.parametrize("load", [-1.0, float("nan"), float("inf")])
def test_one_impossible_load_of_many(load: float) -> None:
    """A report is refused whole, however many sound values there are beside the wrong one."""
    world = World()
    assert not world.collector.take(many([1.0] * 19 + [load], list(range(20)), 1), 1.0)
    assert world.dropped == {"bad-value": 1}
