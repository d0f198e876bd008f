"""A hold outlives hold-timeout while its model visibly gets on, with real processes."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.cli.running import Running, echo_command

# What the first start took is what later ones are known to take; the second is quicker, and
# still much longer than hold-timeout.
FIRST, SECOND, TIMEOUT = 2.0, 1.4, 0.5


def model(marker: Path, cap: str) -> dict[str, Any]:
    serve = " ".join(echo_command())
    pause = f"if test -e {marker}; then sleep {SECOND}; else touch {marker}; sleep {FIRST}; fi"
    return {
        "command": ["sh", "-c", f"{pause}; exec {serve}"],
        "min-scale": 1,
        "hold-timeout": f"{TIMEOUT:g}s",
        "hold-timeout-cap": cap,
    }


def _is_ready(status: dict[str, Any]) -> bool:
    return any(replica["phase"] == "ready" for replica in status["replicas"])


def test_a_start_that_goes_as_known_is_waited_for_up_to_the_cap(tmp_path: Path) -> None:
    """Held past hold-timeout by one that may be, refused by one that may not."""
    models = {
        "moves": model(tmp_path / "a", "60s"),
        "stays": model(tmp_path / "b", f"{TIMEOUT:g}s"),
    }
    with Running(tmp_path, {"models": models}) as stoker, ThreadPoolExecutor() as pool:
        for name in models:
            stoker.wait_for(name, _is_ready, "ready")
        for name in models:
            os.kill(stoker.pids(name)[0], signal.SIGKILL)
            stoker.wait_for(name, lambda m: not _is_ready(m), "not ready")
        moves = pool.submit(stoker.request, "/pid", host="moves.localhost")
        stays = pool.submit(stoker.request, "/pid", host="stays.localhost")
        status, text, headers = moves.result()
        assert status == 200, text
        assert int(headers["stoker-queued-ms"]) > 1000 * TIMEOUT
        assert float(headers["stoker-cold-start"]) > TIMEOUT
        status, text, headers = stays.result()
        assert status == 504, text
        assert b"phase starting" in text
        assert int(headers["stoker-queued-ms"]) >= 1000 * TIMEOUT
