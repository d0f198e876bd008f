"""``stoker simulate`` on a trace, and its report in a real browser: every figure drew."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoker import cli
from tests.simulations.browser import browser
from tests.simulations.traces.real import PLACE, real, sample

MEASURE = (Path(__file__).parent / "measure.js").read_text()
FIGURES = 15 if PLACE.is_dir() else 13
"""Pictures of two runs side by side. What is the same in both is drawn once: on the sample, that
holds for replicas and for load, on the real trace for arrivals alone.
"""


def test_the_report_of_a_trace_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Out of the box on a published trace (else on a sample of its format), against Knative's
    defaults: on a phone and a desk, by day and night, every picture has its lines.
    """
    path = real("AzureLLMInferenceTrace_code.csv") if PLACE.is_dir() else sample("azure_llm.csv")
    page = tmp_path / "report.html"
    code = cli.main(["simulate", path, "--jobs", "1", "--versus", "knative", "--html", str(page)])
    assert (code, "answered" in capsys.readouterr().out) == (0, True)
    with browser(tmp_path / "profile") as tab:
        for width, height, scheme in ((360, 740, "dark"), (1280, 900, "light")):
            tab.open(page, width, height, scheme)
            found = tab.evaluate(MEASURE)
            assert found["wrong"] == []
            assert found["pictures"] == FIGURES
            assert found["scrolls"] <= found["wide"] == width
        asked = [told["request"]["url"] for told in tab.told("Network.requestWillBeSent")]
        assert asked == [page.as_uri()]
        for trouble in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            assert tab.told(trouble) == []
