"""How many examples a property is tried with."""

from __future__ import annotations

from hypothesis import settings

USUAL = 100


def costly(quick: int) -> settings:
    """Settings for a property whose examples take long each: ``quick`` of them in ``make test``.

    New ones are drawn in each run. ``make test-all`` loads the profile "thorough", with four
    times the usual number: 25 become 100 there.
    """
    return settings(max_examples=quick * settings().max_examples // USUAL)
