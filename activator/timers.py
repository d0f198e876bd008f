"""What is done again and again, on a grid of time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

log = logging.getLogger("stoker.activator")


def next_turn(due: float, now: float, seconds: float) -> float:
    """When it is due after a turn that was due at ``due`` and is over at ``now``.

    Turns stay on the grid of the first: each one 2 ms late and none earlier than a second
    after the one before, reports of load would fall out of step with the decisions made
    from them within minutes, and leave a whole second out every eight minutes. Turns that
    were missed are left out.
    """
    return due + seconds * (1 + max(0.0, now - due) // seconds)


async def every(seconds: float, what: Callable[[], None]) -> None:
    """Call ``what`` each ``seconds``, the first time after as many. What it raises is logged."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due = next_turn(due, loop.time(), seconds)
        await asyncio.sleep(due - loop.time())
        try:
            what()
        except Exception:
            log.exception("a timer failed; going on")
