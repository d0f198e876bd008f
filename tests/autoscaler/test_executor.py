"""Commands are carried out one at a time per model, the latest wins, failures are retried."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from autoscaler.executor import Executor, Trouble
from stoker.errors import PlatformError, UnknownModelError
from stoker.vocabulary import ModelKey, ScaleTo
from tests.autoscaler.driving import A, B


class LoopClock:
    """The loop's own time, virtual under looptime."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return self.now()


class Slow:
    """A platform whose calls wait until let go, and fail as told."""

    def __init__(self) -> None:
        self.calls: list[tuple[ModelKey, int]] = []
        self.times: list[float] = []
        self.errors: list[Exception] = []
        self.go = asyncio.Event()
        self.go.set()
        self.called = asyncio.Event()

    async def scale(self, model: ModelKey, replicas: int, victims: Sequence[str] = ()) -> None:
        self.calls.append((model, replicas))
        self.times.append(asyncio.get_running_loop().time())
        self.called.set()
        await self.go.wait()
        if self.errors:
            raise self.errors.pop(0)


class World:
    def __init__(self) -> None:
        self.platform = Slow()
        self.done: list[ScaleTo] = []
        self.failed: list[Trouble] = []
        self.fails = asyncio.Event()
        self.refused: list[str] = []
        self.executor = Executor(
            self.platform,
            LoopClock(),
            on_done=self.done.append,
            on_failed=self._failed,
            on_refused=lambda _, error: self.refused.append(error),
        )

    def _failed(self, command: ScaleTo, trouble: Trouble) -> None:
        self.failed.append(trouble)
        self.fails.set()

    async def until_failed(self, times: int) -> None:
        while len(self.failed) < times:
            self.fails.clear()
            await self.fails.wait()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.executor.close()


async def test_the_latest_wish_wins(world: World) -> None:
    """While one call is under way, only the last of the wishes that follow is kept."""
    world.platform.go.clear()
    world.executor.want(ScaleTo(A, 1))
    world.executor.want(ScaleTo(B, 7))
    await world.platform.called.wait()
    for replicas in (2, 3, 4):
        world.executor.want(ScaleTo(A, replicas))
    world.platform.go.set()
    await world.executor.idle()
    assert world.platform.calls == [(A, 1), (B, 7), (A, 4)]
    assert [command.replicas for command in world.done if command.model == A] == [1, 4]
    assert world.executor.outcomes[A, "ok"] == 2


@pytest.mark.looptime
async def test_failures_are_retried_with_back_off(world: World) -> None:
    """0.5, 1, 2 s ... up to 30 s; the trouble can be asked for meanwhile."""
    world.platform.errors = [PlatformError("busy")] * 9
    world.executor.want(ScaleTo(A, 3))
    assert world.executor.trouble(A) is None
    assert world.executor.trouble(B) is None
    await world.until_failed(1)
    assert world.executor.trouble(A) == Trouble(3, 1, "PlatformError: busy", 0.5)
    await world.executor.idle()
    gaps = [b - a for a, b in zip(world.platform.times, world.platform.times[1:], strict=False)]
    assert gaps == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30, 30])
    assert world.executor.trouble(A) is None
    assert world.executor.outcomes[A, "failed"] == 9


@pytest.mark.looptime
async def test_a_new_wish_does_not_wait_for_the_back_off(world: World) -> None:
    """Another number may well succeed: it is tried at once."""
    world.platform.errors = [PlatformError("busy")] * 6
    world.executor.want(ScaleTo(A, 3))
    await world.until_failed(6)
    before = asyncio.get_running_loop().time()
    world.executor.want(ScaleTo(A, 2))
    await world.executor.idle()
    assert world.platform.calls[-1] == (A, 2)
    assert asyncio.get_running_loop().time() == before


async def test_refusals_are_not_repeated(world: World) -> None:
    """What cannot succeed is given up, and said so."""
    world.platform.errors = [UnknownModelError("default/a: no such model")]
    world.executor.want(ScaleTo(A, 3))
    await world.executor.idle()
    assert world.refused == ["UnknownModelError: default/a: no such model"]
    assert world.executor.outcomes[A, "refused"] == 1
    world.executor.want(ScaleTo(A, 3))
    await world.executor.idle()
    assert len(world.done) == 1


@pytest.mark.looptime
async def test_a_model_that_goes_takes_its_wish_along(world: World) -> None:
    """Nothing more is tried for it; a model of the same name later begins anew."""
    world.platform.errors = [PlatformError("busy")]
    world.executor.want(ScaleTo(A, 3))
    await world.until_failed(1)
    world.executor.drop(A)
    world.executor.drop(B)
    world.executor.want(ScaleTo(A, 1))
    await world.executor.idle()
    assert world.platform.calls == [(A, 3), (A, 1)]
    assert world.executor.outcomes == {(A, "ok"): 1}


@pytest.mark.looptime
async def test_closing_gives_up(world: World) -> None:
    """What is being retried or under way is left, at once."""
    world.platform.errors = [PlatformError("busy")]
    world.executor.want(ScaleTo(A, 3))
    await world.until_failed(1)
    world.platform.go.clear()
    world.platform.called.clear()
    world.executor.want(ScaleTo(B, 3))
    await world.platform.called.wait()
    await world.executor.close()
    await world.executor.idle()
    assert world.platform.calls == [(A, 3), (B, 3)]
    assert asyncio.get_running_loop().time() == 0.0
