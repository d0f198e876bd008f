"""A ``stoker up`` to measure: started on free ports, asked through its admin port, ended."""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.processes import free_ports, running, wait_until


@dataclass(frozen=True, slots=True)
class ModelState:
    """What the admin port says of one model. ``replicas``: all there are, in any phase."""

    phase: str
    replicas: int
    ready: int
    why: str

    @property
    def asleep(self) -> bool:
        return self.phase == "zero" and self.replicas == 0


@dataclass(frozen=True, slots=True)
class LocalStoker:
    """A running Stoker: its process id, its port for requests and its admin port."""

    pid: int
    port: int
    admin: int

    def models(self) -> dict[str, ModelState]:
        """The state of every model, by its name without the namespace."""
        return {
            model["model"].rpartition("/")[2]: ModelState(
                phase=model["phase"],
                replicas=len(model["replicas"]),
                ready=sum(replica["phase"] == "ready" for replica in model["replicas"]),
                why=model["why"],
            )
            for model in get_json(self.admin, "/api/models")["models"]
        }

    def wait_for(
        self, model: str, condition: Callable[[ModelState], bool], what: str, timeout: float = 60.0
    ) -> None:
        """Raises TimeoutError naming the model, ``what`` and the last state seen."""
        seen: list[ModelState] = []

        def holds() -> bool:
            seen[:] = [self.models()[model]]
            return condition(seen[0])

        try:
            wait_until(holds, f"waiting for {model}: {what}", timeout, interval=0.1)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; last seen {seen}") from None


@contextlib.contextmanager
def local_stoker(
    directory: Path,
    models: Mapping[str, Mapping[str, Any]],
    defaults: Mapping[str, Any] | None = None,
    cores: Collection[int] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[LocalStoker]:
    """Run ``stoker up`` for these models until the block is left.

    Models, defaults and ``settings`` (the block ``stoker:``) are as in the YAML file. Raises
    ChildProcessError or TimeoutError, with Stoker's last output, when it does not come up.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port, admin = free_ports(2)
    file = directory / "stoker.yaml"
    listen = {"listen": f"127.0.0.1:{port}", "admin": f"127.0.0.1:{admin}"}
    content = {
        "stoker": {**listen, **(settings or {})},
        "defaults": dict(defaults or {}),
        "models": dict(models),
    }
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    command = [sys.executable, "-m", "stoker", "up", str(file)]
    log = directory / "stoker.log"
    with running(command, port=admin, cores=cores, log=log) as process:
        wait_until(lambda: _answers(admin), "Stoker's /readyz", process=process)
        yield LocalStoker(process.pid, port, admin)


def get_json(port: int, path: str) -> Any:
    """GET from loopback. Raises ConnectionError unless the answer is 200."""
    return json.loads(get_text(port, path))


def get_text(port: int, path: str) -> str:
    """GET from loopback. Raises ConnectionError unless the answer is 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise ConnectionError(f"GET {path}: {response.status} {body[:200]!r}")
        return body.decode()


def _answers(admin: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=10)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
