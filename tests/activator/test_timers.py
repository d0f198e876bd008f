"""What is done again and again stays on its grid of time."""

from __future__ import annotations

import asyncio

import pytest

from activator.timers import every, next_turn


def test_lateness_does_not_add_up() -> None:
    """Each of a thousand turns is over 3 ms late; the next is due a second after the last was."""
    due = 5.25
    for turn in range(1, 1001):
        due = next_turn(due, due + 0.003, 1.0)
        assert due == 5.25 + turn


def test_missed_turns_are_left_out() -> None:
    """After 2.5 s in which nothing could be done the next turn is the next one on the grid."""
    assert next_turn(10.0, 12.5, 1.0) == 13.0
    assert next_turn(10.0, 12.0, 1.0) == 13.0
    assert next_turn(10.0, 10.0, 1.0) == 11.0


def test_a_clock_that_is_behind_brings_no_second_turn() -> None:
    """A timer that fired a little early does not have the same turn twice."""
    assert next_turn(10.0, 9.9995, 1.0) == 11.0


async def test_a_failure_is_logged_and_the_next_turn_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """That the second turn raises is told, and the third comes all the same."""
    called: list[None] = []
    thrice = asyncio.Event()

    def what() -> None:
        called.append(None)
        if len(called) == 2:
            raise RuntimeError("no")
        if len(called) == 3:
            thrice.set()

    task = asyncio.get_running_loop().create_task(every(0.001, what))
    async with asyncio.timeout(30):
        await thrice.wait()
    task.cancel()
    await asyncio.wait([task])
    assert [record.message for record in caplog.records] == ["a timer failed; going on"]
