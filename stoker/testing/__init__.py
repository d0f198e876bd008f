"""For tests, ours and yours: a clock that stands still, a world in memory, and the suite
that every world has to pass."""

from __future__ import annotations

from stoker.testing.clock import ManualClock
from stoker.testing.conformance import CHECKS, Subject, check_platform, poll_until
from stoker.testing.fake_platform import FakePlatform, ScaleCall

__all__ = [
    "CHECKS",
    "FakePlatform",
    "ManualClock",
    "ScaleCall",
    "Subject",
    "check_platform",
    "poll_until",
]
