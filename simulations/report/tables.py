"""The tables of the page: runs side by side, models, settings. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import nan
from xml.etree.ElementTree import Element

from simulations.report import numbers
from simulations.report.chart import swatch
from simulations.report.dom import tag
from simulations.report.models import most_expensive
from simulations.report.naming import Named
from simulations.report.rows import Better, groups
from stoker.vocabulary import DEFAULT_NAMESPACE

MODELS = 20


def comparison(runs: Sequence[Named]) -> Element:
    """A column for each run, a row for each figure, the best of each row marked."""
    results = [run.result for run in runs]
    bodies = []
    for group in groups(results):
        rows = [_heading(group.name, len(runs))]
        for row in group.rows:
            values = [row.value(result) for result in results]
            best = row.best(results)
            cells = (_cell(row.text(v), best=n in best) for n, v in enumerate(values))
            aim = "" if row.better is Better.NEITHER or len(runs) < 2 else row.better.value
            inner = row.name.startswith(" ")
            name = tag("th", row.name.strip(), scope="row", class_="inner" if inner else None)
            if aim:
                arrow = "↓" if row.better is Better.LOWER else "↑"
                name.append(tag("i", arrow, title=f"{aim} is better", class_="aim"))
            rows.append(tag("tr", name, *cells))
        bodies.append(tag("tbody", *rows))
    head = tag("tr", tag("th", "figure", scope="col"), *(_run_heading(run) for run in runs))
    return boxed(tag("table", tag("thead", head), *bodies, class_="wide"), "Runs side by side")


def _heading(text: str, runs: int) -> Element:
    return tag("tr", tag("th", text, colspan=runs + 1, scope="rowgroup"), class_="group")


def _run_heading(run: Named) -> Element:
    key = swatch(run.look) if run.several else None
    return tag("th", key, tag("span", run.title, class_="name"), scope="col")


def _cell(text: str, *, best: bool = False) -> Element:
    if not best:
        return tag("td", text)
    return tag("td", tag("span", "best: ", class_="unseen"), text, class_="best")


def boxed(table: Element, name: str) -> Element:
    """A table that scrolls sideways in its own box; the keyboard reaches it."""
    return tag("div", table, class_="box", tabindex="0", role="region", aria_label=name)


COLUMNS = (
    *("dollars", "requests", "answered", "refused", "abandoned", "cold starts", "cold share"),
    *("activations", "replica-hours", "utilisation", "peak replicas"),
)


def models_table(run: Named) -> Element:
    """The models that cost most, and the rest as one line."""
    shares = most_expensive(run.result)
    rows = []
    for share in shares[:MODELS]:
        t = share.totals
        rows.append(
            _row(
                str(share.key).removeprefix(f"{DEFAULT_NAMESPACE}/"),
                numbers.dollars(share.dollars),
                numbers.count(t.requests),
                numbers.count(t.answered),
                numbers.count(t.refusals),
                numbers.count(t.abandoned),
                numbers.count(t.cold),
                numbers.percent(t.cold_share if t.answered else nan),
                numbers.count(t.activations),
                numbers.hours(t.replica_seconds),
                numbers.percent(t.utilisation if t.ready_seconds else nan),
                numbers.count(t.peak_replicas),
            )
        )
    rest = shares[MODELS:]
    if rest:
        requests = sum(share.totals.requests for share in rest)
        spent = sum(share.dollars for share in rest)
        name = f"{numbers.count(len(rest))} more, together"
        empty = [""] * (len(COLUMNS) - 2)
        rows.append(_row(name, numbers.dollars(spent), numbers.count(requests), *empty))
    head = tag("tr", *(tag("th", text, scope="col") for text in ("model", *COLUMNS)))
    table = tag("table", tag("thead", head), tag("tbody", *rows), class_="wide")
    return boxed(table, f"Models of {run.title}")


def _row(name: str, *cells: str) -> Element:
    return tag("tr", tag("th", name, scope="row"), *(tag("td", cell) for cell in cells))


def settings_table(runs: Sequence[Named]) -> Element | None:
    """What was not default in any run; rows in which runs differ are marked."""
    keys = sorted({key for run in runs for key in run.result.settings})
    if not keys:
        return None
    rows = []
    for key in keys:
        values = [run.result.settings.get(key, "default") for run in runs]
        differs = len(set(values)) > 1
        row = _row(key, *values)
        if differs:
            row.set("class", "differs")
        rows.append(row)
    head = tag("tr", tag("th", "setting", scope="col"), *(_run_heading(run) for run in runs))
    table = tag("table", tag("thead", head), tag("tbody", *rows), class_="texts")
    return boxed(table, "Settings that are not default")


def assumptions(runs: Sequence[Named]) -> Iterable[Element]:
    """Those of all runs once, then what only some assume."""
    common = [
        text
        for text in dict.fromkeys(text for run in runs for text in run.result.assumptions)
        if all(text in run.result.assumptions for run in runs)
    ]
    if common:
        yield tag("ul", *(tag("li", text) for text in common), class_="assumptions")
    for run in runs:
        own = [text for text in run.result.assumptions if text not in common]
        if own:
            yield tag("h3", run.title)
            yield tag("ul", *(tag("li", text) for text in own), class_="assumptions")
