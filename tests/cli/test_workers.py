"""``stoker up --workers N`` as a user meets it: shared load, deaths, replacement, the end."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.clients import Client, Load
from tests.cli.running import (
    PATIENCE,
    Running,
    alive,
    cli,
    echo_command,
    taken_port,
    wait_until,
)

QUICK: dict[str, Any] = {"stable-window": "6s", "readiness": "/ready", "initial-scale": 0}
HOST = "echo.localhost"


def echo(*options: str, **settings: Any) -> dict[str, Any]:
    """One quick model's block."""
    return {**QUICK, "command": echo_command(*options), **settings}


def document(model: dict[str, Any] | None = None, **process: Any) -> dict[str, Any]:
    """Two workers, one model; process settings with _ for -."""
    settings = {name.replace("_", "-"): value for name, value in process.items()}
    return {"stoker": {"workers": 2, **settings}, "models": {"echo": model or echo()}}


@contextlib.contextmanager
def running(tmp_path: Path, settings: dict[str, Any]) -> Iterator[Running]:
    """With all workers up; what went wrong inside is shown with a failure."""
    with Running(tmp_path, settings) as stoker:
        try:
            yield stoker
        except BaseException as caught:
            caught.add_note(stoker.log.read_text())
            raise


@pytest.fixture(scope="module")
def stoker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two workers that one test after the other makes use of; each leaves them as they were."""
    with running(tmp_path_factory.mktemp("workers"), document()) as shared:
        assert shared.request("/echo", host=HOST, body=b"first")[0] == 200
        yield shared


def exits(stoker: Running, cause: str) -> float:
    return stoker.metric(f'stoker_worker_exits_total{{cause="{cause}"}}')


def answered(stoker: Running, model: str = "echo") -> float:
    """How many requests for the model were answered with 2xx."""
    _, text, _ = stoker.request("/metrics", port=stoker.admin_port)
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.decode().splitlines()
        if line.startswith("stoker_requests_total{")
        and f'model="default/{model}"' in line
        and 'code="2xx"' in line
    )


def pids(stoker: Running) -> dict[str, int]:
    return {worker["worker"]: worker["pid"] for worker in stoker.workers()}


def all_serve(stoker: Running, but: set[int], count: int = 2) -> bool:
    """Whether ``count`` workers take requests, none of them in ``but``."""
    workers = stoker.workers()
    return len(workers) == count and all(
        worker["stage"] == "serving" and worker["pid"] not in but for worker in workers
    )


def test_workers_share_the_work_and_are_one_to_look_at(stoker: Running) -> None:
    """Connections are spread; metrics, status and explain tell of all workers together."""
    assert len(set(pids(stoker).values()) - {stoker.process.pid}) == 2
    before = answered(stoker)
    clients = [Client(stoker.port, HOST) for _ in range(32)]
    for number, client in enumerate(clients):
        body = str(number).encode()
        assert client.ask("/echo", body) == (200, body)
    total = before + 32
    assert answered(stoker) == total
    assert stoker.metric('stoker_request_seconds_count{model="default/echo"}') == total
    assert stoker.metric("stoker_workers ") == 2
    assert stoker.metric("stoker_client_connections") == 32
    # Each connection goes to either by the toss of a coin: all 32 alike would be bad luck
    # once in 2,000,000,000 times.
    assert 0 < stoker.metric('stoker_worker_connections{slot="0"}') < 32
    assert min(worker["connections"] for worker in stoker.workers()) > 0
    assert stoker.model("echo")["answered"] == total
    told = stoker.admin("/api/explain/echo")
    assert told["requests"]["answered"] == told["state"]["answered"] == total
    assert told["requests"]["recent_waits"][0]["waited"] > 0
    done = cli("status", "--admin", f"127.0.0.1:{stoker.admin_port}", "--json")
    assert json.loads(done.stdout)["models"][0]["answered"] == total
    status, text, _ = stoker.request("/api/explain/nobody", port=stoker.admin_port)
    assert (status, b"default/echo" in text) == (404, True)
    for client in clients:
        client.close()


def test_a_worker_that_dies_is_replaced_and_the_others_do_not_notice(stoker: Running) -> None:
    """kill -9: the other's connections live on, new ones are served, no counter goes back."""
    died = exits(stoker, "died")
    clients = [Client(stoker.port, HOST) for _ in range(24)]
    for client in clients:
        assert client.ask("/echo", b"before")[0] == 200
    before = answered(stoker)
    connections = {w["pid"]: w["connections"] for w in stoker.workers()}
    victim, other = connections
    os.kill(victim, signal.SIGKILL)
    # At once: whoever has to come anew is served by the other, or the next.
    for client in clients:
        assert client.ask("/echo", b"after") == (200, b"after")
    assert sum(client.stale for client in clients) == connections[victim]
    wait_until(lambda: all_serve(stoker, {victim}), why="another worker")
    assert other in pids(stoker).values()
    assert exits(stoker, "died") == died + 1
    assert answered(stoker) == before + 24
    assert stoker.model("echo")["answered"] == before + 24
    assert "signal SIGKILL" in stoker.log.read_text()
    for client in clients:
        client.close()


def test_replacing_all_workers_under_load_loses_nothing(stoker: Running) -> None:
    """SIGUSR2 while clients ask without pause, some slowly: each request is answered."""
    old = set(pids(stoker).values())
    before = answered(stoker)
    replaced, died = exits(stoker, "replaced"), exits(stoker, "died")
    clients = [Client(stoker.port, HOST) for _ in range(8)]

    def path(count: int) -> str:
        return "/slow?seconds=0.3" if count % 7 == 0 else "/echo"

    with Load(clients, path) as load:
        wait_until(lambda: load.answered > 50, why="load")
        stoker.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: all_serve(stoker, old), why="all workers to be new")
        now = load.answered
        wait_until(lambda: load.answered > now + 50, why="load on the new ones")
    assert (load.errors, load.wrong) == ([], [])
    assert set(load.statuses) == {200}
    assert exits(stoker, "replaced") == replaced + 2
    assert exits(stoker, "died") == died
    # What the old ones have counted is not lost, nor counted twice.
    assert answered(stoker) == before + load.answered
    assert "workers replaced" in stoker.log.read_text()


def test_a_connection_made_before_a_worker_goes_may_still_ask(stoker: Running) -> None:
    """One that has sent nothing yet, and one with half a head: both are answered."""
    old = set(pids(stoker).values())
    begun = stoker.log.read_text().count("replacing 2 workers")
    fresh = [socket.create_connection(("127.0.0.1", stoker.port)) for _ in range(8)]
    for sock in fresh[:4]:
        sock.sendall(b"GET /echo HTTP/1.1\r\nHo")
    wait_until(lambda: stoker.metric("stoker_client_connections") == 8, why="8 connections")
    stoker.process.send_signal(signal.SIGUSR2)
    wait_until(
        lambda: stoker.log.read_text().count("replacing 2 workers") > begun, why="the signal"
    )
    for sock in fresh[4:]:
        sock.sendall(b"GET /echo HTTP/1.1\r\nHo")
    for sock in fresh:
        sock.sendall(b"st: echo.localhost\r\n\r\n")
    for sock in fresh:
        with sock, sock.makefile("rb") as file:
            assert file.readline() == b"HTTP/1.1 200 OK\r\n"
    wait_until(lambda: all_serve(stoker, old), why="all workers to be new")


def test_a_worker_that_is_told_to_end_gets_a_successor_first(stoker: Running) -> None:
    """SIGTERM to a worker alone: its slow answer is finished; it is replaced, not missed."""
    replaced = exits(stoker, "replaced")
    answers: list[int] = []
    askers = [
        threading.Thread(
            target=lambda: answers.append(
                stoker.request("/slow?seconds=2", host=HOST, body=b"x")[0]
            )
        )
        for _ in range(8)
    ]
    for asker in askers:
        asker.start()
    stoker.wait_for("echo", lambda m: m["active"] == 8, "active in 8 requests")
    victim = stoker.workers()[0]["pid"]
    os.kill(victim, signal.SIGTERM)
    wait_until(lambda: all_serve(stoker, {victim}), why="its successor")
    for asker in askers:
        asker.join(PATIENCE)
    assert answers == [200] * 8
    assert exits(stoker, "replaced") == replaced + 1
    assert stoker.process.poll() is None


def test_reloaded_settings_reach_workers_and_their_successors(stoker: Running) -> None:
    """A new model and a new limit are in force in all workers, also in one started later."""
    body = b"x" * 2000
    settings = stoker.document
    lowered = {**settings["stoker"], "max-body-bytes": "1Ki"}
    models = {**settings["models"], "second": echo()}
    stoker.write({"stoker": lowered, "models": models})
    wait_until(lambda: "settings reloaded: 2 models" in stoker.log.read_text(), why="reload")

    def everywhere(text: bytes) -> set[int]:
        # With 16 connections at least one goes to each worker, but for once in 30,000.
        return {stoker.request("/echo", host="second.localhost", body=text)[0] for _ in range(16)}

    wait_until(lambda: everywhere(body) == {413}, why="the limit everywhere")
    assert everywhere(b"x") == {200}
    victim = stoker.workers()[0]["pid"]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: all_serve(stoker, {victim}), why="another worker")
    assert everywhere(body) == {413}
    assert everywhere(b"x") == {200}
    stoker.write(settings)
    wait_until(lambda: everywhere(b"x") == {404}, why="the model to be gone everywhere")
    assert answered(stoker, "second") == 0


def test_nothing_survives_kill_nine_of_the_parent(tmp_path: Path) -> None:
    """Workers, replicas and the reaper end with it, whatever is under way."""
    with running(tmp_path, document()) as stoker:
        asker = threading.Thread(target=_ask_in_vain, args=(stoker,))
        asker.start()
        stoker.wait_for("echo", lambda m: m["active"] == 1, "active")
        left = [*pids(stoker).values(), *stoker.pids("echo")]
        assert len(left) == 3
        stoker.process.kill()
        stoker.process.wait()
        for pid in left:
            wait_until(lambda pid=pid: not alive(pid), why=f"{pid} to end")  # type: ignore[misc]
        asker.join(PATIENCE)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", stoker.port)).close()


def test_a_termination_of_all_lets_requests_finish(tmp_path: Path) -> None:
    """SIGTERM under load: /readyz says no, what came is answered, then all end with 0."""
    settings = document(drain_timeout="50s", drain_delay="1s")
    with running(tmp_path, settings) as stoker:
        assert stoker.request("/readyz", port=stoker.admin_port)[:2] == (200, b"ready\n")
        clients = [Client(stoker.port, HOST) for _ in range(6)]
        with Load(
            clients, lambda count: "/slow?seconds=0.2" if count % 5 == 0 else "/echo"
        ) as load:
            wait_until(lambda: load.answered > 30, why="load")
            left = [*pids(stoker).values(), *stoker.pids("echo")]
            # To the whole group, as a supervisor may do it.
            for pid in (stoker.process.pid, *pids(stoker).values()):
                os.kill(pid, signal.SIGTERM)
            wait_until(
                lambda: (
                    stoker.request("/readyz", port=stoker.admin_port)[:2] == (503, b"stopping\n")
                ),
                why="/readyz to say no",
            )
            # For drain-delay all is as before.
            now = load.answered
            wait_until(lambda: load.answered > now + 10, why="load after the signal")
            assert stoker.process.wait(PATIENCE) == 0
        # Each client was served until nobody listened any more.
        assert (load.errors, load.wrong, load.refused) == ([], [], len(clients))
        assert set(load.statuses) == {200}
        assert not any(alive(pid) for pid in left)


def test_a_second_interrupt_stops_all_at_once(tmp_path: Path) -> None:
    """The first Ctrl-C waits for requests, the second does not."""
    with running(tmp_path, document(drain_timeout="50s")) as stoker:
        asker = threading.Thread(target=_ask_in_vain, args=(stoker,))
        asker.start()
        stoker.wait_for("echo", lambda m: m["active"] == 1, "active")
        left = list(pids(stoker).values())
        stoker.process.send_signal(signal.SIGINT)
        wait_until(lambda: "letting requests finish" in stoker.log.read_text(), why="draining")
        assert stoker.process.poll() is None
        assert stoker.stop(signal.SIGINT) == 0
        assert not any(alive(pid) for pid in left)
        asker.join(PATIENCE)


def _ask_in_vain(stoker: Running) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        stoker.request("/slow?seconds=55", host=HOST)


def test_an_address_in_use_is_named_before_anything_starts(stoker: Running, tmp_path: Path) -> None:
    """Also when another Stoker with workers has it: no silent sharing of its port."""
    with taken_port() as port:
        file = tmp_path / "stoker.yaml"
        file.write_text("stoker: {workers: 2}\nmodels: {}\n")
        done = cli(
            *("up", str(file), "--plain", "--listen", f"127.0.0.1:{port}"),
            *("--admin", "127.0.0.1:0"),
        )
        assert done.returncode == 1
        assert f"listen = 127.0.0.1:{port}: Address already in use" in done.stderr
    done = cli(
        *("up", str(file), "--plain", "--listen", f"127.0.0.1:{stoker.port}"),
        *("--admin", "127.0.0.1:0"),
    )
    assert (done.returncode, "already in use" in done.stderr) == (1, True)


def test_workers_that_cannot_start_end_the_attempt(tmp_path: Path) -> None:
    """Exit code 1 with the reason, as with one process; nothing is left running."""
    file = tmp_path / "stoker.yaml"
    # The parent sees no harm in it: nobody reads it, which whoever opens it is told.
    os.mkfifo(tmp_path / "fifo")
    file.write_text("stoker: {workers: 2, access-log: fifo}\nmodels: {}\n")
    done = cli(
        *("up", str(file), "--plain", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"),
    )
    assert done.returncode == 1, done.stderr
    assert "access-log" in done.stderr
    assert "a worker process could not start" in done.stderr


def test_the_number_of_workers_comes_from_anywhere(tmp_path: Path) -> None:
    """--workers wins over the file; auto is one per core; nonsense is refused."""
    file = tmp_path / "stoker.yaml"
    file.write_text("stoker: {workers: 0}\nmodels: {}\n")
    done = cli("check", str(file))
    assert (done.returncode, "auto or [1, 256]" in done.stdout) == (1, True)
    file.write_text("stoker: {workers: auto}\nmodels: {}\n")
    assert cli("check", str(file)).returncode == 0
    done = cli("up", str(file), "--workers", "many")
    assert (done.returncode, "--workers = many" in done.stderr) == (1, True)
