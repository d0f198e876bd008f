"""The published traces are read whole, and say what is known of them."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from simulations.trace import Trace, gathered
from simulations.traces import read_source
from simulations.traces.windows import Windows
from tests.simulations.traces.real import needs_real_traces, real

pytestmark = needs_real_traces


@pytest.mark.parametrize(
    ("name", "rows", "rate", "cv", "silence"),
    [
        ("AzureLLMInferenceTrace_code.csv", 8_819, 2.57, 13.2, 217.2),
        ("AzureLLMInferenceTrace_conv.csv", 19_366, 5.53, 1.1, 4.3),
    ],
)
def test_azure_llm(name: str, rows: int, rate: float, cv: float, silence: float) -> None:
    """Rows, rate, burstiness and the longest silence are those that are known."""
    loaded = read_source(real(name))
    trace = gathered(loaded)
    gaps = np.diff(trace.times)
    assert (loaded.format, len(trace), loaded.notices) == ("azure-llm", rows, ())
    assert rows / trace.duration == pytest.approx(rate, abs=0.005)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, abs=0.06)
    assert gaps.max() == pytest.approx(silence, abs=0.05)
    assert trace.prompt_tokens is not None
    assert trace.prompt_tokens.min() >= 0
    assert trace.began == pytest.approx(1_700_158_600, abs=200)  # 2023-11-16 18:16 UTC


def test_mooncake() -> None:
    """Rows and lengths of the first; times are milliseconds."""
    loaded = read_source(real("mooncake_conversation_arrivals.csv"))
    trace = gathered(loaded)
    assert (loaded.format, len(trace)) == ("mooncake", 12_031)
    assert trace.prompt_tokens is not None
    assert trace.output_tokens is not None
    assert (trace.prompt_tokens[0], trace.output_tokens[0]) == (6_758, 500)
    assert trace.duration == pytest.approx(3_537, abs=0.01)


def test_servegen() -> None:
    """Every client of 14 days, without drawing one arrival; then a few windows of them."""
    loaded = read_source(real("servegen_m-small.tar.xz"))
    assert isinstance(loaded.source, Windows)
    assert (loaded.format, len(loaded.models), loaded.notices) == ("servegen", 43, ())
    assert loaded.duration == 14 * 86_400
    assert loaded.source.arrivals == 1_420_558_786
    last = 0.0
    for block in islice(loaded.blocks(), 3):
        assert isinstance(block, Trace)
        assert 1_000_000 <= len(block) < 3_000_000
        assert block.times[0] >= last
        last = block.duration
