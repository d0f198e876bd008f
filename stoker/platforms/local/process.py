"""One replica's belongings in Stoker's process: its pipe, its probe, its port."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from stoker.platforms.local.output import OutputReader, OutputRing
from stoker.platforms.local.pauses import Probed
from stoker.platforms.local.probe import probe_until_ready
from stoker.platforms.local.reaper_client import ReaperClient
from stoker.platforms.local.supervision import Supervision
from stoker.vocabulary import Address, LaunchConfig

HOST = "127.0.0.1"


class ReplicaProcess:
    """From the moment its port is chosen until its process is known to be gone."""

    def __init__(self, supervision: Supervision, id: str, launch: LaunchConfig, port: int) -> None:
        """Raises OSError if no pipe can be had."""
        self.supervision = supervision
        self.launch = launch
        self.address = Address(HOST, port)
        self.output = OutputRing(launch.output_bytes)
        self.pid = 0
        self._id = id
        self._probe: asyncio.Task[None] | None = None
        read_end, self._write_end = os.pipe()
        self._reader = OutputReader(read_end, self.output)

    def spawn(self, reaper: ReaperClient) -> None:
        """Have the reaper start it. Raises OSError if there is no reaper to do so."""
        port = str(self.address.port)
        argv = [part.replace("{port}", port) for part in self.launch.command]
        env = {"PORT": port, "STOKER_PORT": port}
        env |= {name: value.replace("{port}", port) for name, value in self.launch.env}
        reaper.spawn(self._id, argv, env, self.launch.directory, self._write_end)

    def probe(
        self,
        expected: tuple[float, float] | None,
        probing: Probed,
        on_ready: Callable[[], None],
        on_outcome: Callable[[str], None],
    ) -> None:
        """Probe in the background until it is ready, or ``stop_probing()``.

        ``expected`` and ``probing``: see ``pause_before_next``.
        """
        self._probe = asyncio.get_running_loop().create_task(
            probe_until_ready(
                *(self.address, self.launch.readiness_path),
                expected=expected,
                probing=probing,
                on_ready=on_ready,
                on_outcome=on_outcome,
            )
        )

    def stop_probing(self) -> None:
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None

    def finish_output(self) -> None:
        """Its writers are dead: take the rest of what they wrote."""
        self._reader.close()

    def close(self) -> None:
        self.stop_probing()
        self._reader.close()
