"""Two real ``stoker up`` that are each other's peers."""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tests.cli.running import Running, echo_command, free_port, wait_until


def test_a_model_with_a_limit_is_served_by_one(tmp_path: Path) -> None:
    """Whoever is asked, the owner starts and serves it; the other passes requests on."""
    (tmp_path / "token").write_text("sixteen bytes or more")
    ports = {"left": free_port(), "right": free_port()}
    with ExitStack() as stack:
        stokers = {}
        for name, port in ports.items():
            directory = tmp_path / name
            directory.mkdir()
            document: dict[str, Any] = {
                "stoker": {
                    "peer-listen": f"127.0.0.1:{port}",
                    "peer-name": name,
                    "peer-token-file": "../token",
                    "peers": {other: f"127.0.0.1:{there}" for other, there in ports.items()},
                },
                "defaults": {"container-concurrency": 1, "initial-scale": 0},
                "models": {"digits": {"command": echo_command("--concurrency-limit", "1")}},
            }
            stokers[name] = stack.enter_context(Running(directory, document))
        for stoker in stokers.values():
            wait_until(partial(stoker.metric, "stoker_peer_up"), why="peers to be up")
        for stoker in stokers.values():
            status, body, _ = stoker.request("/v2/models/digits/infer", host="digits", body=b"{}")
            assert status == 200, body
            assert json.loads(body)["path"] == "/v2/models/digits/infer"
        owners = [name for name, stoker in stokers.items() if stoker.pids("digits")]
        assert len(owners) == 1
        (other,) = set(stokers) - set(owners)
        assert stokers[other].metric("stoker_forwarded_requests_total") == 1
        assert stokers[owners[0]].metric("stoker_owned_replicas") > 0
        assert stokers[other].metric("stoker_owned_replicas") == 0
        # The owner leaves: the other starts a replica of its own and goes on.
        assert stokers[owners[0]].stop() == 0
        status, body, _ = stokers[other].request("/x", host="digits.localhost", body=b"{}")
        assert status == 200, body
        assert stokers[other].pids("digits")
