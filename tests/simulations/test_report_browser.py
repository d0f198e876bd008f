"""The report in a real browser: every figure is drawn, fits, stays quiet and off the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simulations.report import write_html
from simulations.result import Result
from tests.simulations.browser import Page, browser
from tests.simulations.made import result, several
from tests.simulations.test_report_page import empty, hostile

PAGES: dict[str, Callable[[], list[Result]]] = {
    "one": lambda: [result()],
    "four": lambda: several(4, models=30),
    "ten": lambda: several(10),
    "hostile": hostile,
    "empty": lambda: [empty("first"), empty("second")],
}
FIGURES = {"one": 9, "four": 25, "ten": 49, "hostile": 21, "empty": 0}
"""Pictures that each page has to show."""

MEASURE = (Path(__file__).parent / "measure.js").read_text()

SETTLED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One tab for all tests."""
    with browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pages are, made once."""
    place = tmp_path_factory.mktemp("pages")
    for name, runs in PAGES.items():
        write_html(runs(), place / f"{name}.html", title=f"Report: {name}")
    return place


def is_right(page: Page, file: Path, name: str) -> dict[str, Any]:
    """What was measured on the page; AssertionError if anything is wrong with it."""
    found: dict[str, Any] = page.evaluate(MEASURE)
    assert found["wrong"] == []
    assert found["pictures"] == FIGURES[name]
    assert found["scrolls"] <= found["wide"]
    assert found["tables"]
    assert (found["scripts"], found["images"]) == (1, 0)
    asked = [told["request"]["url"] for told in page.told("Network.requestWillBeSent")]
    assert asked == [file.as_uri()]
    for trouble in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
        assert page.told(trouble) == []
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(360, 740), (1280, 900)])
@pytest.mark.parametrize("name", [name for name in PAGES if name != "ten"])
def test_every_figure_is_drawn(
    name: str, width: int, height: int, scheme: str, page: Page, folder: Path
) -> None:
    """On a phone and a desk, by day and night: all within its place, no text on another."""
    file = folder / f"{name}.html"
    page.open(file, width, height, scheme)
    found = is_right(page, file, name)
    assert found["wide"] == width
    red = int(found["ground"].removeprefix("rgb(").split(",")[0])
    assert red > 230 if scheme == "light" else red < 40


@pytest.mark.parametrize("width", [320, 500, 768, 1024, 1920])
def test_other_sizes_fit_as_well(width: int, page: Page, folder: Path) -> None:
    """Ten runs on anything from a small phone to a wide screen."""
    page.open(folder / "ten.html", width, 900)
    is_right(page, folder / "ten.html", "ten")


@pytest.mark.parametrize("name", ["one", "four"])
def test_it_works_without_the_script(name: str, page: Page, folder: Path) -> None:
    """Everything is drawn before it runs."""
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(folder / f"{name}.html", 360, 740)
        is_right(page, folder / f"{name}.html", name)
        assert page.evaluate("document.querySelectorAll('svg[tabindex]').length") == 0
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)


def test_it_is_printed_black_on_white(page: Page, folder: Path) -> None:
    """Also where the screen is dark; on A4 nothing is wider than the paper."""
    for name in ("ten", "four"):
        page.open(folder / f"{name}.html", 794, 1123, "dark")
        page.media("print", "dark")
        found = is_right(page, folder / f"{name}.html", name)
    assert found["ground"] == "rgb(255, 255, 255)"
    assert page.call("Page.printToPDF")["data"].startswith("JVBERi0")  # %PDF-


def outputs(page: Page, selector: str) -> list[str]:
    """What stands beside the names in the legends of figures."""
    found: list[str] = page.evaluate(
        f"[...document.querySelectorAll({selector!r})].map((e) => e.textContent)"
    )
    return found


def test_values_are_shown_under_the_pointer(page: Page, folder: Path) -> None:
    """At the moment at which one replica starts and three are wanted: in all plots over time."""
    made = result(step=10.0, steps=360)
    made.series.ready[180:], made.series.starting[180:], made.series.desired[180:] = 2, 1, 3
    made.series.wait_max[180:] = 1.5
    write_html([made], folder / "hover.html")
    page.open(folder / "hover.html", 1280, 900)
    x, y = page.evaluate(
        "(() => { const e = document.querySelector('#replicas-1-t').closest('svg');"
        "e.scrollIntoView(); const b = e.getBoundingClientRect();"
        "return [b.left + b.width * 0.75, b.top + 20]; })()"
    )
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    page.evaluate(SETTLED)
    figures = "figure[data-kind=time]:has(#{}-1-t) "
    assert outputs(page, figures.format("replicas") + "output") == ["2", "1", "3"]
    assert outputs(page, figures.format("waits") + "output") == ["1.5 s"]
    assert outputs(page, figures.format("cold") + ".at") == ["22:58:20 UTC"]
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    page.evaluate(SETTLED)
    assert set(outputs(page, "figure output")) == {""}


def test_values_are_shown_by_the_keyboard(page: Page, folder: Path) -> None:
    """Arrows move along the curve of latencies; escape ends it."""
    page.open(folder / "four.html", 1280, 900)
    page.evaluate("document.querySelector('#latency-t').closest('svg').focus()")
    for key in ["PageUp"] * 12:
        page.call("Input.dispatchKeyEvent", type="keyDown", key=key)
        page.evaluate(SETTLED)
    assert outputs(page, "figure:has(#latency-t) output") == ["100 %"] * 4
    for key, shown in (("PageDown", False), ("ArrowLeft", False), ("Escape", True)):
        page.call("Input.dispatchKeyEvent", type="keyDown", key=key)
        page.evaluate(SETTLED)
        assert (outputs(page, "figure:has(#latency-t) .at") == [""]) is shown
