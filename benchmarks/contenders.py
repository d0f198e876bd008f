"""The ways from a client to the backend that are compared: direct, the peers, Stoker.

A proxy has core 0 to itself, with one worker; whatever is behind it and the load share
core 1.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.common import Report
from benchmarks.local import local_stoker
from benchmarks.processes import cpu_seconds, free_ports, pin, running

PROXY_CORE, LOAD_CORE = 0, 1
DIRECT = "none (direct)"
STOKER = "Stoker"
STOKER_ALL = "Stoker, all on"
# Everything that can be switched on and is paid by every request.
ALL_ON_PROCESS = {
    "tenancy": "api-key",
    "access-log": "access.log",
    "access-log-format": "json",
    "tracing": "propagate",
    "log-sample": 0.001,
}
ALL_ON_MODEL = {"answer-headers": "all", "hold-comments": "5s", "total-timeout": "10m"}

ModelSettings = Mapping[str, Any]


def enough_cores() -> bool:
    """Whether this process may use a core for the proxy and another for the load."""
    return {PROXY_CORE, LOAD_CORE} <= os.sched_getaffinity(0)


@dataclass(frozen=True, slots=True)
class Contender:
    """One way from the load to the backend. ``without`` are subtrees that are not the proxy's."""

    name: str
    port: int
    pid: int | None = None
    without: frozenset[int] = frozenset()

    def cpu_seconds(self) -> float:
        """CPU used by the proxy so far; 0 where there is none in the way."""
        return cpu_seconds(self.pid, self.without) if self.pid is not None else 0.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What is behind the proxies.

    ``upstream(directory, port)`` is the command of the backend the peers forward to;
    ``replica(directory)`` that of Stoker's own, with ``{port}`` in it; it writes its process
    id to ``directory/pid``. ``model`` are further settings of Stoker's one model, ``bench``.
    """

    upstream: Callable[[Path, int], peers.Command]
    replica: Callable[[Path], peers.Command]
    model: ModelSettings = field(default_factory=dict)


def nginx_scene(nginx: str, answer: str, model: ModelSettings | None = None) -> Scene:
    """nginx behind all proxies, giving the same answer to everything."""

    def upstream(directory: Path, port: int) -> peers.Command:
        return peers.nginx_backend(nginx, directory, port, answer)

    def replica(directory: Path) -> peers.Command:
        command = peers.nginx_backend(nginx, directory, "@PORT@", answer)
        config = directory / "nginx.conf"
        filled = f"{config}.{{port}}"
        command = [filled if part == str(config) else part for part in command]
        fill = f'sed s/@PORT@/{{port}}/ "{config}" > "{filled}"'
        script = f'{fill}; echo $$ > "{directory}/pid"; exec "$@"'
        return ["sh", "-c", script, "sh", *command]

    return Scene(upstream, replica, model or {})


@contextlib.contextmanager
def contenders(
    directory: Path, report: Report, scene: Scene, names: Collection[str] | None = None
) -> Iterator[list[Contender]]:
    """Start the backend and every proxy there is, the direct way first, Stoker last.

    ``names`` are those wanted; None: all but ``STOKER_ALL``. The report notes which peers are
    missing.
    """
    ports = iter(free_ports(1 + len(peers.PEERS)))
    with contextlib.ExitStack() as stack:

        def start(name: str, command: peers.Command, port: int, core: int) -> Contender:
            log = directory / f"{name}.log"
            process = stack.enter_context(running(command, port=port, cores={core}, log=log))
            return Contender(name, port, process.pid)

        backend = next(ports)
        (directory / "backend").mkdir(parents=True, exist_ok=True)
        start("backend", scene.upstream(directory / "backend", backend), backend, LOAD_CORE)
        found = [Contender(DIRECT, backend)]
        for peer in peers.PEERS:
            if names is not None and peer.name not in names:
                continue
            binary = peer.find()
            if binary is None:
                report.note(f"{peer.name} is missing ({peer.package}): not compared with.")
                continue
            port = next(ports)
            command = peer.command(binary, directory / peer.name, port, backend)
            found.append(start(peer.name, command, port, PROXY_CORE))
        if names is None or STOKER in names:
            found.append(stack.enter_context(_stoker(directory / "stoker", scene)))
        if names is not None and STOKER_ALL in names:
            place = directory / "stoker-all"
            found.append(stack.enter_context(_stoker(place, scene, all_on=True)))
        yield found


@contextlib.contextmanager
def _stoker(directory: Path, scene: Scene, *, all_on: bool = False) -> Iterator[Contender]:
    """Stoker with one awake model whose replica is the same kind of backend, on its core."""
    replica = directory / "replica"
    replica.mkdir(parents=True, exist_ok=True)
    model = {
        "command": scene.replica(replica),
        "directory": str(peers.ROOT),
        "min-scale": 1,
        "max-scale": 1,
        **scene.model,
        **(ALL_ON_MODEL if all_on else {}),
    }
    settings = ALL_ON_PROCESS if all_on else {}
    with local_stoker(directory, {"bench": model}, cores={PROXY_CORE}, settings=settings) as stoker:
        stoker.wait_for("bench", lambda state: state.ready == 1, "its replica to be ready")
        replica_pid = int((replica / "pid").read_text())
        pin(replica_pid, {LOAD_CORE})
        name = STOKER_ALL if all_on else STOKER
        yield Contender(name, stoker.port, stoker.pid, frozenset({replica_pid}))
