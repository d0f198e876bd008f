"""The decider's benchmark measures what it says it does."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from benchmarks import decider


@pytest.mark.parametrize("columns", [True, False])
def test_every_report_is_taken(columns: bool) -> None:
    """Both forms of report reach the windows of every model, second by second."""
    bench = decider.Bench(30)
    bench.measure(columns, 3)
    assert bench.collector.dropped == {}
    averages = bench.planner.windows.averages(bench.second + 0.5, 30)
    assert averages.valid.all()
    assert bench.planner.windows.rings
    assert all(
        (ring.slots.last[:30] == bench.second).all()
        for ring in bench.planner.windows.rings.values()
    )


def test_it_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every size and form has its row; the figure with the limit is that of columns."""
    file = tmp_path / "figures.json"
    monkeypatch.setattr(decider, "SIZES", (1, 20))
    monkeypatch.setattr(decider, "arguments", lambda _: argparse.Namespace(json=file, quick=True))
    assert decider.main() in (0, 1)
    told = json.loads(file.read_text())
    assert [row[:2] for row in told["rows"]] == [
        [1, "columns"],
        [1, "objects"],
        [20, "columns"],
        [20, "objects"],
    ]
    limits = {figure["name"]: figure["limit"] for figure in told["figures"]}
    assert limits["decision at 20 models, report as columns"] == 200.0
    assert [name for name, limit in limits.items() if limit] == [
        "decision at 20 models, report as columns"
    ]
