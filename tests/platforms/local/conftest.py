"""What the tests of the local platform share: a platform, models, and waiting."""

from __future__ import annotations

import os
import select
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from stoker.platform import ModelOutage, ReplicaChanged, ReplicaEvent, ReplicaGone
from stoker.platforms.local import LocalPlatform
from stoker.testing import poll_until
from stoker.vocabulary import LaunchConfig, ModelKey, ModelSpec, Outage, Phase, Replica
from tests.servers import echo_command

KEY = ModelKey.parse("echo")


def echo_spec(*options: str, key: ModelKey = KEY, **launch: Any) -> ModelSpec:
    """A model of echo servers, with short times unless told otherwise."""
    settings: dict[str, Any] = {
        "command": echo_command(*options),
        "readiness_path": "/",
        "start_timeout": 20.0,
        "drain_timeout": 20.0,
        "grace_period": 10.0,
        "restart_backoff": 0.01,
        "restart_backoff_cap": 0.05,
    }
    return ModelSpec(key, launch=LaunchConfig(**{**settings, **launch}))


def exists(pid: int) -> bool:
    """Whether the process is there and not merely a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def wait_readable(fd: int) -> None:
    """Wait for a file descriptor without a loop; a pidfd is readable when its process ended."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    assert poll.poll(30_000), "nothing came within 30 s"


def open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


class World:
    """A local platform, all it announced, and the waiting for it."""

    def __init__(self, platform: LocalPlatform) -> None:
        self.platform = platform
        self.events: list[ReplicaEvent] = []
        self.drains = True
        platform.watch_replicas(self._hear)

    def _hear(self, event: ReplicaEvent) -> None:
        self.events.append(event)
        if (
            self.drains
            and isinstance(event, ReplicaChanged)
            and event.replica.phase is Phase.DRAINING
        ):
            self.platform.drained(event.replica.id)

    async def until(self, condition: Callable[[], bool], timeout: float = 30.0) -> None:
        await poll_until(self.platform, condition, timeout)

    @property
    def living(self) -> dict[str, Replica]:
        living: dict[str, Replica] = {}
        for event in self.events:
            if isinstance(event, ReplicaChanged):
                living[event.replica.id] = event.replica
            elif isinstance(event, ReplicaGone):
                living.pop(event.replica.id, None)
        return living

    @property
    def gone(self) -> list[Replica]:
        return [event.replica for event in self.events if isinstance(event, ReplicaGone)]

    @property
    def outages(self) -> list[Outage | None]:
        return [event.outage for event in self.events if isinstance(event, ModelOutage)]

    def ready(self) -> list[Replica]:
        return [r for r in self.living.values() if r.phase is Phase.READY]

    async def scale(self, count: int, key: ModelKey = KEY) -> list[Replica]:
        """Scale and wait until exactly that many are there, all ready."""
        await self.platform.scale(key, count)
        await self.until(lambda: len(self.ready()) == len(self.living) == count)
        return self.ready()

    async def first_gone(self) -> Replica:
        await self.until(lambda: bool(self.gone))
        return self.gone[0]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A started platform without models; closed afterwards."""
    async with LocalPlatform() as platform:
        yield World(platform)
