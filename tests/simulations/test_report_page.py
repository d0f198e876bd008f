"""The page as text: what it may load, what is in it, what hostile names come to."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from simulations.report.files import as_html, write_html
from simulations.result import Result, Series, Spread, Totals
from stoker.vocabulary import ModelKey
from tests.simulations.made import HOSTILE, result, several


class Reader(HTMLParser):
    """Tags and attributes of a page; what stands in style, in script and elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.inside: dict[str, str] = {"style": "", "script": "", "": ""}
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._open = tag if tag in self.inside else ""

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        self.inside[self._open] += data

    def all(self, tag: str, name: str) -> list[str]:
        """The values of an attribute."""
        return [v for t, n, v in self.attributes if (t, n) == (tag, name)]


def hostile() -> list[Result]:
    """Runs in which everything that has a name has one that attacks."""
    runs = []
    for place, name in enumerate(HOSTILE):
        run = result(name, trace=name, steps=200, models=2, cold=10.0 + 10 * place)
        run.settings = {name: name}
        run.assumptions = [name]
        run.totals.refused = Counter({name: 3})
        run.models = {ModelKey(name, f"{name}{n}"): Totals(requests=n) for n in range(2)}
        runs.append(run)
    return runs


@pytest.mark.parametrize("count", [1, 3])
def test_hostile_names_stay_text(count: int) -> None:
    """No tag, attribute, script or style comes from outside; the names can still be read."""
    page = Reader(as_html(hostile()[:count], title=HOSTILE[1]))
    plain = Reader(as_html(several(count, models=2, steps=200), title="plain"))
    assert set(page.tags) - {"ul", "h3"} <= set(plain.tags)
    assert (page.tags["script"], page.tags["style"], page.tags["img"]) == (1, 1, 0)
    names = {name for _, name, _ in page.attributes}
    assert [name for name in names if name.startswith("on") or name == "style"] == []
    assert page.inside["script"] == plain.inside["script"]
    assert page.inside["style"] == plain.inside["style"]
    assert HOSTILE[0] in page.inside[""]
    assert HOSTILE[1] in page.inside[""]
    assert not set(map(chr, [0, 0x1B, 0x202E])) & set(page.inside[""])


def test_the_page_allows_itself_and_nothing_else() -> None:
    """Its policy names the hashes of its one script and its one style sheet; it links nowhere."""
    page = Reader(as_html(several(2)))
    (policy,) = [v for v in page.all("meta", "content") if "default-src" in v]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert (rules["default-src"], rules["base-uri"], rules["form-action"]) == ("'none'",) * 3
    for name in ("style", "script"):
        digest = hashlib.sha256(page.inside[name].encode()).digest()
        assert rules[f"{name}-src"] == f"'sha256-{base64.b64encode(digest).decode()}'"
    assert page.all("link", "href") == ["data:,"]
    addresses = [v for _, n, v in page.attributes if n in ("href", "src", "xlink:href", "action")]
    assert addresses == ["data:,"]
    assert not re.search(r"url\(|@import|https?:|fetch\(|XMLHttp|WebSocket", page.inside["style"])
    assert not re.search(r"https?:|fetch\(|XMLHttp|WebSocket|import\(", page.inside["script"])


def test_pictures_have_titles_and_descriptions() -> None:
    """Each that says something has both, named by it; ids are used once; tables have scopes."""
    page = Reader(as_html(several(3, models=3)))
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    labelled = page.all("svg", "aria-labelledby")
    assert len(labelled) == page.all("svg", "role").count("img") > 15
    for label in labelled:
        assert len(label.split()) == 2
        assert set(label.split()) <= set(ids)
    hidden = page.all("svg", "aria-hidden")
    inner = [v for v in page.all("svg", "class") if v == "data"]
    assert page.tags["svg"] == len(labelled) + len(hidden) + len(inner)
    assert len(page.all("th", "scope")) == page.tags["th"]


def test_one_run_and_several_show_what_suits_them() -> None:
    """One: figures at the top, no comparison. Several: side by side, arrivals only once."""
    one, three = Reader(as_html(several(1))).inside[""], Reader(as_html(several(3))).inside[""]
    assert "Side by side" not in one
    assert "All figures" in one
    assert "Side by side" in three
    assert one.count("Requests that came.") == three.count("Requests that came.") - 1 == 1
    assert "The same in all runs" in three
    assert "Cost against waiting" in three
    assert "min-scale" in three
    assert "cold start: constant(18s)" in three


def test_runs_of_different_traces_have_arrivals_each() -> None:
    """Then they are not drawn once for all."""
    runs = [result(load=4.0), result(load=8.0)]
    assert "The same in all runs" not in as_html(runs)
    runs[1].series = Series.empty(7.0, 3)
    assert "The same in all runs" not in as_html(runs)


def test_many_models_are_the_twenty_dearest_and_the_rest() -> None:
    """What is left out is one line, so that the table still adds up."""
    text = Reader(as_html([result(models=50)])).inside[""]
    assert len(set(re.findall(r"model-\d{3}", text))) == 20
    assert "30 more, together" in text
    assert "more, together" not in as_html([result(models=20)])
    assert "more, together" in as_html([result(models=50), result()])


def empty(label: str) -> Result:
    """A run to which nothing came."""
    made = result(label, steps=1, trace="", began=None)
    made.totals, made.models = Totals(), {}
    made.waits, made.latencies, made.cold_waits = Spread(), Spread(), Spread()
    made.series = Series.empty(1.0, 0)
    made.duration, made.money.dollars, made.money.gpu_hours = 0.0, 0.0, 0.0
    made.settings, made.assumptions = {}, []
    return made


@pytest.mark.parametrize("count", [1, 2])
def test_runs_without_anything_are_a_page_too(count: int) -> None:
    """No request, no time, no step: dashes instead of divisions by zero."""
    text = Reader(as_html([empty("first"), empty("second")][:count])).inside[""]
    assert "–" in text
    assert "nan" not in text.lower()
    assert "Nothing to draw: arrivals, replicas" in text or count == 1


def test_a_run_beside_an_empty_one_is_drawn() -> None:
    """It has no curve, no bar and no point, the other one has all."""
    page = as_html([result(), empty("nothing")])
    assert "Cost against waiting" not in page
    assert "nan" not in Reader(page).inside[""].lower()


def test_waits_shorter_than_a_millisecond_are_drawn() -> None:
    """The axis begins at 1 ms and has something to its right."""
    made = result()
    made.waits = Spread()
    made.waits.add(np.array([0.0, 1e-4, 2e-4]))
    assert "≤ 1 ms" in Reader(as_html([made])).inside[""]


def test_ten_long_runs_stay_below_a_megabyte_and_a_half(tmp_path: Path) -> None:
    """Two thousand steps each, none of them quiet."""
    runs = several(10, models=50, steps=2000)
    rng = np.random.default_rng(1)
    for run in runs:
        for name in ("active", "queued", "ready", "starting", "desired", "wait_max"):
            getattr(run.series, name)[:] = rng.random(2000) * 1000
    write_html(runs, tmp_path / "page.html", title="Ten")
    assert (tmp_path / "page.html").stat().st_size < 1_500_000


def test_peaks_of_long_series_are_drawn() -> None:
    """One step in 100,000 reaches the top of its plot."""
    made = result(steps=2)
    made.series = Series.empty(1.0, 100_000)
    made.duration = 100_000.0
    made.series.active[:] = 1
    made.series.active[54_321] = 400
    (path,) = re.findall(r'd="([^"]*)" class="active fill" data-key', as_html([made]))
    assert "V0H" in path
    assert len(path) < 20_000


def test_no_results_are_refused() -> None:
    """A page about nothing is a mistake of the caller."""
    with pytest.raises(ValueError, match="no results"):
        as_html([])
