"""What processes in pods have in common: who they are, and how they end."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from stoker import logs
from stoker.cli.started import Started
from stoker.platform import ModelWatcher, ReplicaWatcher, Unsubscribe
from stoker.platforms.kubernetes.platform import KubernetesPlatform
from stoker.settings.process_rows import LogFormat
from stoker.vocabulary import ModelKey

log = logging.getLogger("stoker")

# For whom tokens of the link between activators and autoscalers are made.
AUDIENCE: Final = "stoker-autoscaler"


def own_name() -> str:
    """Who this process is among others of the cluster."""
    return os.environ.get("POD_NAME") or socket.gethostname()


def own_namespace(namespaces: Sequence[str]) -> str:
    """Where Stoker's own things are: the Lease, its Services."""
    return os.environ.get("POD_NAMESPACE") or next(iter(namespaces), "default")


def identity() -> str:
    """Unique to this run of this process."""
    return f"{own_name()}_{os.getpid()}_{secrets.token_hex(4)}"


def begun(arguments: argparse.Namespace) -> Started:
    """What it was started with; logs are set up by that. Raises SettingsError."""
    started = Started.of(arguments)
    process = started.process({})
    logs.set_up(process.log_level.value, as_json=process.log_format is LogFormat.JSON)
    return started


def told_to_stop() -> asyncio.Event:
    """Set by SIGINT and SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def until_told(
    stop: asyncio.Event,
    start: Callable[[], Awaitable[None]],
    drain: Callable[[], Awaitable[None]],
    close: Callable[[], Awaitable[None]],
) -> int:
    """A process from its start until ``stop`` is set; its exit code. ``drain`` only where it
    had started; ``close`` in any case. Raises what ``start`` raises.
    """
    starting = asyncio.ensure_future(start())
    stopped = asyncio.ensure_future(stop.wait())
    try:
        # A start waits for the API server, which may be away: it can be stopped meanwhile.
        await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await stopped
            await drain()
    finally:
        for task in (starting, stopped):
            task.cancel()
        await asyncio.gather(starting, stopped, return_exceptions=True)
        await close()
    log.info("stopped")
    return 0


class Shown:
    """The platform as ``Documents`` wants it: what pods print is in their logs."""

    def __init__(self, platform: KubernetesPlatform) -> None:
        self._platform = platform

    def watch_models(self, watcher: ModelWatcher) -> Unsubscribe:
        return self._platform.watch_models(watcher)

    def watch_replicas(self, watcher: ReplicaWatcher) -> Unsubscribe:
        return self._platform.watch_replicas(watcher)

    def output(self, replica_id: str) -> str:
        return ""

    def pause(self, model: ModelKey) -> tuple[str, float] | None:
        return None

    def process_ids(self) -> Mapping[str, int]:
        return {}
