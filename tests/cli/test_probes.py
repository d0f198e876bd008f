"""Probing a real Stoker every second: zero stays zero, and idle models go to sleep."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from tests.cli.running import Running, echo_command

QUICK: dict[str, Any] = {
    "command": echo_command(),
    "stable-window": "6s",
    "readiness": "/ready",
    "initial-scale": 0,
    "scale-to-zero-grace-period": "1s",
    "probe-paths": "/healthz",
}


def test_probed_models_sleep(tmp_path: Path) -> None:
    """One at zero is never woken by probes; one that was used goes to sleep while probed."""
    with Running(tmp_path, {"models": {"asleep": QUICK, "awake": QUICK}}) as stoker:
        assert stoker.request("/echo", host="awake.localhost", body=b"x")[0] == 200
        stop = threading.Event()
        answers: list[tuple[str, int]] = []

        def probe() -> None:
            while not stop.is_set():
                for name in ("asleep", "awake"):
                    host = f"{name}.localhost"
                    answers.append((name, stoker.request("/healthz", host=host)[0]))
                    agent = {"User-Agent": "kube-probe/1.31"}
                    answers.append((name, stoker.request("/", host=host, headers=agent)[0]))
                stop.wait(0.2)

        prober = threading.Thread(target=probe)
        prober.start()
        try:
            stoker.wait_for("awake", lambda m: m["phase"] == "zero" and not m["replicas"], "zero")
        finally:
            stop.set()
            prober.join()
        assert len(answers) > 20
        assert {status for _, status in answers} == {200}
        assert stoker.model("asleep")["replicas"] == []
        asked = stoker.admin("/api/explain/asleep")
        assert asked["requests"]["probes"] == sum(name == "asleep" for name, _ in answers)
        assert asked["state"]["ended"] == []
        # How the other one ended is known.
        (ended,) = stoker.admin("/api/explain/awake")["state"]["ended"]
        assert "scaled down" in ended["reason"]
