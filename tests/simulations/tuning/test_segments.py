"""How a trace is cut into what settings are chosen on and what they are judged on."""

from __future__ import annotations

import numpy as np
import pytest

from simulations.lanes import lanes
from simulations.tuning.segments import (
    FOLDS,
    REPLAYED_REQUESTS,
    REPLAYED_SECONDS,
    cut,
    flattened,
    segments,
)
from stoker.errors import TuningError
from tests.simulations.streams import poisson, trace


def test_segments_cover_all_but_what_leads_to_the_first() -> None:
    """An hour in 6: 450 s lead, 525 s each, one behind the other, each with its lead."""
    parts = segments(poisson(1.0, 3600.0), 6)
    assert [(s.start, s.begin, s.end) for s in parts.exact][:2] == [
        (0.0, 450.0, 975.0),
        (525.0, 975.0, 1500.0),
    ]
    assert parts.exact[-1].end == 3600.0
    assert parts.total == parts.replayed == 6 * 525
    assert [list(lanes) for lanes in parts.rough] == [[stretch] for stretch in parts.exact]


def test_every_segment_is_held_back_once() -> None:
    """Folds share nothing, and what one is chosen on is all the rest."""
    parts = segments(poisson(1.0, 3600.0), 7)
    folds = [parts.fold(number) for number in range(FOLDS)]
    assert sorted(place for fold in folds for place in fold) == list(range(7))
    for number, fold in enumerate(folds):
        assert sorted([*fold, *parts.others(number)]) == list(range(7))


def test_of_long_traces_a_part_is_replayed() -> None:
    """A week: hours of it exactly, somewhere in each segment; all of it roughly, in lanes."""
    source = trace([3600.0 * hour for hour in range(1, 168)], 7 * 86400.0)
    parts = segments(source, 12, seed=1)
    assert parts.replayed <= REPLAYED_SECONDS < parts.total
    for exact, rough in zip(parts.exact, parts.rough, strict=True):
        assert rough[0].begin <= exact.begin < exact.end <= rough[-1].end + 14
        assert exact.begin - exact.start == 600
    assert len(flattened(parts.rough)) == 12 * 14
    assert segments(source, 12, seed=2).exact != parts.exact == segments(source, 12, seed=1).exact


def test_of_busy_traces_a_part_is_replayed() -> None:
    """What costs most to replay is requests: there is a bound on them too."""
    source = poisson(500.0, 1400.0)
    parts = segments(source, 12)
    seen = sum(len(cut(source, stretch)[0]) for stretch in parts.exact)
    lead = parts.exact[0].begin - parts.exact[0].start
    share = parts.replayed / (parts.replayed + 12 * lead)
    assert seen * share == pytest.approx(REPLAYED_REQUESTS, rel=0.05)


def test_a_short_trace_is_refused() -> None:
    """It says how long it must be, and what else would do."""
    with pytest.raises(TuningError, match=r"lasts 100 s, too short for 12 .*--segments.* 140 s"):
        segments(poisson(1.0, 100.0), 12)
    assert segments(poisson(1.0, 140.0), 12).total == 120


def test_replicas_are_there_when_requests_begin() -> None:
    """Nobody comes while the first replicas start, neither exactly nor roughly."""
    source = poisson(1.0, 400.0)
    parts = segments(source, 6, start=60.0)
    assert parts.quiet == 62
    stretch = parts.exact[0]
    plain, lead = cut(source, stretch)
    part, longer = cut(source, stretch, parts.quiet)
    assert longer == lead + 62
    assert part.times.tolist() == (plain.times + 62).tolist()
    lane = lanes([(source, np.ones(len(source)))], [stretch], parts.quiet)
    assert lane.seconds == 62 + 50 + 58
    assert lane.lead == longer
    assert not lane.arrivals[:62].any()
    assert lane.arrivals.sum() == len(part)


def test_a_segment_s_arrivals_count_from_its_lead() -> None:
    """What the engine gets: its own clock, and for how long it only warms up."""
    source = trace([100.0, 500.0, 1000.0, 1500.0], 1600.0)
    part, lead = cut(source, segments(source, 3).exact[1])
    assert lead == 320
    assert part.times.tolist() == [500.0 - 426, 1000.0 - 426]
