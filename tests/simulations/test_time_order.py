"""The virtual clock never goes back."""

from __future__ import annotations

import pytest

from simulations.loop import Loop
from tests.simulations.runs import run, trace


def test_a_poke_is_answered_now_and_not_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Holds after a silence, whose pokes could have been decided on long before: nobody gets a
    slot before coming, and whatever happens does so in the order of time.
    """
    moments = []
    control = Loop._control

    def watched(self: Loop, now: float, arrival: float) -> float:
        moments.append((self.clock.time, now))
        return control(self, now, arrival)

    monkeypatch.setattr(Loop, "_control", watched)
    made = run(trace(0.0, 0.052, 0.098, 0.14, 1.016, 183.06, 183.16, 183.9, 400.5, 400.6))
    assert made.totals.answered == 10
    assert len(moments) > 100
    assert [(before, now) for before, now in moments if now < before] == []
