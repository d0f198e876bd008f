"""Messages between two processes: in order, without waiting, and what is said of failures."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from stoker.errors import UnknownModelError, WorkerError
from stoker.platforms.relay import channel
from stoker.platforms.relay.channel import frame
from tests.platforms.relay.pairs import End, connected, until


async def test_messages_arrive_whole_and_in_order() -> None:
    """Small, large and many: as they were said, both ways."""
    one, other = End(), End()
    said: list[Any] = [("a", 1), b"x" * 3_000_000, *range(2000), None, {"key": [1.5]}]
    async with connected(one, other):
        for message in said:
            one.send(message)
        other.send("back")
        await until(lambda: len(other.told) == len(said) and one.told)
        assert other.told == said
        assert one.told == ["back"]


async def test_frames_are_cut_anywhere() -> None:
    """Bytes that trickle in one at a time are the same messages."""
    ours, theirs = socket.socketpair()
    other = End()
    with ours:
        ours.setblocking(False)
        await other.open(theirs)
        loop = asyncio.get_running_loop()
        for byte in frame("first") + frame(("second", 2)):
            await loop.sock_sendall(ours, bytes([byte]))
            await asyncio.sleep(0)
        await until(lambda: len(other.told) == 2)
        assert other.told == ["first", ("second", 2)]
        other.close()
        await other.wait_closed()


async def test_questions_are_answered() -> None:
    """By functions and coroutine functions; what they refuse is raised where it was asked."""

    async def later(value: int) -> int:
        await asyncio.sleep(0)
        return value + 1

    def refuse(kind: str) -> None:
        raise {"model": UnknownModelError, "value": ValueError, "bug": KeyError}[kind](kind)

    one, other = End(), End({"double": lambda x: 2 * x, "later": later, "refuse": refuse})
    async with connected(one, other):
        answers = await asyncio.gather(
            *(one.ask("double", n, timeout=10) for n in range(50)), one.ask("later", 1, timeout=10)
        )
        assert answers == [*range(0, 100, 2), 2]
        with pytest.raises(UnknownModelError, match="model"):
            await one.ask("refuse", "model", timeout=10)
        with pytest.raises(ValueError, match="value"):
            await one.ask("refuse", "value", timeout=10)
        for what in (("refuse", "bug"), ("nothing-like-it",)):
            with pytest.raises(WorkerError, match=what[0]):
                await one.ask(*what, timeout=10)
        assert other.told == []


async def test_an_answer_that_comes_too_late_harms_nothing() -> None:
    """TimeoutError for who asked; the next question gets its own answer."""
    release = asyncio.Event()

    async def slow() -> str:
        await release.wait()
        return "late"

    one, other = End(), End({"slow": slow, "quick": lambda: "soon"})
    async with connected(one, other):
        with pytest.raises(TimeoutError):
            await one.ask("slow", timeout=0.01)
        release.set()
        assert await one.ask("quick", timeout=10) == "soon"


async def test_a_lost_channel_is_told_once() -> None:
    """Who waits for an answer is told, and so is who asks later; saying goes nowhere."""
    never = asyncio.Event()
    one, other = End(), End({"wait": never.wait})
    async with connected(one, other):
        asked = asyncio.ensure_future(one.ask("wait", timeout=30))
        await asyncio.sleep(0)
        other.close()
        with pytest.raises(WorkerError, match="ended"):
            await asked
        await one.wait_closed()
        assert (one.losses, one.lost, one.behind) == (1, True, True)
        one.send("into nothing")
        assert not one.offer("neither")
        with pytest.raises(WorkerError, match="gone"):
            await one.ask("wait", timeout=30)
        never.set()
    assert one.losses == 1


async def test_before_it_is_open_nothing_is_said() -> None:
    """A channel that was never opened refuses, and can be closed."""
    end = End()
    end.send("x")
    assert end.behind
    assert not end.offer("x")
    with pytest.raises(WorkerError):
        await end.ask("x", timeout=1)
    end.close()


async def test_who_does_not_read_is_offered_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offers are refused while the other end is behind; beyond all hope the channel ends."""
    monkeypatch.setattr(channel, "BEHIND", 100_000)
    monkeypatch.setattr(channel, "HOPELESS", 1_000_000)
    ours, theirs = socket.socketpair()
    one = End()
    with theirs:  # nobody ever reads from it
        await one.open(ours)
        offered = 0
        while one.offer(b"x" * 50_000):
            offered += 1
            assert offered < 1000
        assert one.behind
        said = 0
        while not one.lost:
            one.send(b"x" * 50_000)
            await asyncio.sleep(0)
            said += 1
            assert said < 1000
        await one.wait_closed()
    assert one.losses == 1


async def test_a_taker_that_raises_loses_nothing_else() -> None:
    """It is logged; what comes behind is taken. So with bytes that are no message."""

    def take(message: object) -> None:
        if message == "bad":
            raise RuntimeError("on purpose")

    one, other = End(), End(take=take)
    async with connected(one, other):
        one.send("bad")
        one.send_frame(channel.LENGTH.pack(3) + b"\xff\xff\xff")
        one.send("good")
        await until(lambda: "good" in other.told)
        assert other.told == ["bad", "good"]
