"""Where the traces that others published are, if this machine has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PLACE = Path(os.environ.get("STOKER_TRACES") or ROOT.parent / "shared" / "traces")
SAMPLES = ROOT / "tests" / "data" / "traces"

needs_real_traces = pytest.mark.skipif(
    not PLACE.is_dir(), reason=f"no folder ../shared/traces beside {ROOT.name}, nor STOKER_TRACES"
)


def real(name: str) -> str:
    """The path of a published trace. A folder without it is a mistake, not a reason to skip."""
    path = PLACE / name
    assert path.is_file(), f"{name} is not in {PLACE}"
    return str(path)


def sample(name: str) -> str:
    """The path of a small file in a published format, written for these tests."""
    path = SAMPLES / name
    assert path.exists(), name
    return str(path)
