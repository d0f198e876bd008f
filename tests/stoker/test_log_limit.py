"""How many lines a flood writes, and that the rest is counted."""

from __future__ import annotations

import pytest

from stoker import log_limit
from stoker.log_limit import Hidden, LogLimit, Sampler


def test_a_flood_is_cut_off_and_summed_up() -> None:
    """Five of a thousand lines in a second; the others are told once the second is over."""
    limit: LogLimit[str] = LogLimit(5)
    shown = sum(limit.allows("a", 10.0 + n / 2000) for n in range(1000))
    assert shown == 5
    assert limit.due(10.9) == []
    assert limit.due(11.0) == [Hidden("a", 995)]
    assert limit.due(12.0) == []
    assert limit.allows("a", 12.0)


def test_nothing_is_lost_in_the_sums() -> None:
    """Shown and hidden lines together are those there were, however often one asks."""
    limit: LogLimit[int] = LogLimit(3)
    shown = hidden = 0
    for n in range(5000):
        shown += limit.allows(n % 7, n / 500)
        if n % 100 == 0:
            hidden += sum(h.count for h in limit.due(n / 500))
    hidden += sum(h.count for h in limit.rest())
    assert shown + hidden == 5000
    assert 3 * 7 <= shown <= 3 * 7 * 11


def test_a_new_second_brings_new_lines() -> None:
    """Where nothing was hidden a key's second simply begins anew."""
    limit: LogLimit[str] = LogLimit(1)
    assert limit.allows("a", 0.0)
    assert limit.allows("a", 1.0)
    assert not limit.allows("a", 1.5)


def test_all_together_are_bounded_too() -> None:
    """A thousand models with one refusal each write 20 lines, not a thousand."""
    limit: LogLimit[int] = LogLimit(1)
    assert sum(limit.allows(n, 5.0) for n in range(1000)) == 20
    told = limit.due(6.0, most=3)
    assert [h.count for h in told] == [1, 1, 1, 977]
    assert told[-1].key is None


def test_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """More keys than are told apart are still counted."""
    monkeypatch.setattr(log_limit, "MOST_KEYS", 2)
    limit: LogLimit[str] = LogLimit(5)
    assert [limit.allows(key, 0.0) for key in "abc"] == [True, True, False]
    assert limit.due(0.5) == [Hidden(None, 1)]


@pytest.mark.parametrize(("share", "taken"), [(0.0, 0), (0.01, 10), (0.3, 300), (1.0, 1000)])
def test_a_sampler_takes_its_share_evenly(share: float, taken: int) -> None:
    """Of each run of requests as many as the share says, without luck."""
    sampler = Sampler(share)
    picked = [n for n in range(1, 1001) if sampler.takes()]
    assert len(picked) == taken
    if share == 0.01:
        assert picked == list(range(100, 1001, 100))
