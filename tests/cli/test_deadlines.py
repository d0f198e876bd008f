"""Callers' deadlines against a real Stoker: refused for what was learned, and woken for."""

from __future__ import annotations

from pathlib import Path

from tests.cli.running import Running, echo_command, wait_until


def test_a_model_is_woken_for_a_caller_who_cannot_wait(tmp_path: Path) -> None:
    """It has 504 at once and a Retry-After; who comes again finds the model awake."""
    models = {
        "seen": {"command": echo_command(), "min-scale": 1},
        "asleep": {"command": echo_command(), "initial-scale": 0},
    }
    with Running(tmp_path, {"models": models}) as stoker:
        # What is known of starts was learned from another model.
        stoker.wait_for("seen", lambda model: model["phase"] == "ready", "ready")
        hurry = {"stoker-deadline": "1ms"}

        def refused() -> bool:
            status, body, head = stoker.request("/echo", host="asleep.localhost", headers=hurry)
            return status == 504 and b"deadline-unreachable" in body and "Retry-After" in head

        # The estimate is there once the first start has been counted.
        wait_until(refused, why="a refusal at once")
        stoker.wait_for("asleep", lambda model: model["phase"] == "ready", "awake")
        patient = {"stoker-deadline": "30"}
        status, body, _ = stoker.request(
            "/echo", host="asleep.localhost", body=b"hello", headers=patient
        )
        assert (status, body) == (200, b"hello")
        assert stoker.metric(
            'stoker_refusals_total{model="default/asleep",reason="deadline-unreachable"}'
        )
