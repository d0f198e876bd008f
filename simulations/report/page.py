"""The whole report as one page that needs nothing but itself. Pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from xml.etree.ElementTree import Element

from simulations.report import numbers
from simulations.report.bars import bars, trade, usage
from simulations.report.dom import markup, tag, verbatim
from simulations.report.figures import FIGURES, over_runs
from simulations.report.naming import Named, named
from simulations.report.rows import cold_share, per_thousand, percentile, utilisation
from simulations.report.spreads import spread_plot
from simulations.report.tables import assumptions, comparison, models_table, settings_table
from simulations.result import Result
from stoker import __version__


def page(results: Sequence[Result], title: str, style: str, script: str) -> str:
    """The HTML of ``results`` (one or more), with the style sheet and the script in it.

    Its Content-Security-Policy allows just these two, by their hashes, and no request.
    Raises ValueError without results.
    """
    if not results:
        raise ValueError("nothing to report: there are no results")
    runs = named(results)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        verbatim("style", style),
    )
    body = tag(
        "body",
        tag("header", tag("h1", title), *_about(runs)),
        tag("main", *_sections(runs)),
        tag("footer", tag("p", f"Simulated by Stoker {__version__}.")),
        verbatim("script", script),
    )
    return "<!DOCTYPE html>\n" + markup(tag("html", head, body, lang="en")) + "\n"


def _policy(style: str, script: str) -> str:
    def hashed(text: str) -> str:
        return b64encode(sha256(text.encode()).digest()).decode()

    return (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src 'sha256-{hashed(style)}'; script-src 'sha256-{hashed(script)}'"
    )


def _about(runs: Sequence[Named]) -> Iterable[Element]:
    """What was simulated, and the figures that everybody asks for first."""
    first = runs[0].result
    facts = []
    traces = dict.fromkeys(run.result.trace for run in runs if run.result.trace)
    if traces:
        facts.append(", ".join(traces))
    facts.append(_same_or_not([numbers.seconds(run.result.duration) for run in runs]))
    if first.began is not None:
        moment = datetime.fromtimestamp(first.began, UTC)
        facts.append(f"from {moment.day} {moment:%b %Y %H:%M} UTC")
    facts.append(
        _same_or_not([numbers.count(run.result.totals.requests) for run in runs]) + " requests"
    )
    models = _same_or_not([numbers.count(len(run.result.models)) for run in runs])
    facts.append("1 model" if models == "1" else f"{models} models")
    facts.append("seed " + _same_or_not([str(run.result.seed) for run in runs]))
    yield tag("p", " · ".join(facts), class_="facts")
    if len(runs) == 1:
        yield tag("dl", *_headline(first), class_="headline")


def _same_or_not(texts: Sequence[str]) -> str:
    different = list(dict.fromkeys(texts))
    return ", ".join(different) if len(different) < 5 else f"{', '.join(different[:3])} …"


def _headline(result: Result) -> Iterable[Element]:
    t = result.totals
    share = t.answered / t.requests if t.requests else float("nan")
    for name, value, note in (
        ("answered", numbers.percent(share), f"{numbers.count(t.answered)} requests"),
        ("wait p99", numbers.seconds(percentile(lambda r: r.waits, 99, result)), "for a slot"),
        (
            "latency p99",
            numbers.seconds(percentile(lambda r: r.latencies, 99, result)),
            "waiting included",
        ),
        ("cold starts", numbers.percent(cold_share(result)), f"{numbers.count(t.cold)} requests"),
        (
            "cost",
            numbers.dollars(result.money.dollars),
            f"{numbers.dollars(per_thousand(result))} per 1,000 answered",
        ),
        ("utilisation", numbers.percent(utilisation(result)), "of ready replicas' time"),
    ):
        yield tag("div", tag("dt", name), tag("dd", tag("b", value), tag("span", note)))


def _sections(runs: Sequence[Named]) -> Iterable[Element]:
    if len(runs) > 1:
        yield _section("Side by side", [comparison(runs)], _marks())
    yield _section("Cost", _cost(runs), look="few" if len(runs) > 1 else "stacked")
    spreads = [
        spread_plot("latency", "Latency, waiting included", runs, lambda r: r.latencies),
        spread_plot("wait", "Wait for a slot", runs, lambda r: r.waits),
        spread_plot("cold-wait", "Wait of cold starts", runs, lambda r: r.cold_waits),
    ]
    about = "How many requests were done within a time. Farther left and higher is better."
    yield _section(
        "Latency", [figure for figure in spreads if figure is not None], about, "plots tall"
    )
    yield from _over_time(runs)
    if len(runs) == 1:
        yield _section("All figures", [comparison(runs)])
    if any(len(run.result.models) > 1 for run in runs):
        yield _section("Models", list(_models(runs)), "Those that cost most.")
    table = settings_table(runs)
    if table is not None:
        yield _section("Settings", [table], "What was not default.")
    texts = list(assumptions(runs))
    if texts:
        yield _section("Assumptions", texts)


def _marks() -> str:
    return (
        "The best of each row is marked, where rows have one; percentiles within 0.5 % of each "
        "other count as equal."
    )


def _cost(runs: Sequence[Named]) -> list[Element]:
    """A bar for a single run would be as long as any other."""
    figures = [usage(runs)]
    if len(runs) > 1:
        figures = [
            trade(runs),
            bars("dollars", "Dollars", runs, lambda r: r.money.dollars, numbers.dollars),
            bars("per-thousand", "$ per 1,000 answered", runs, per_thousand, numbers.dollars),
            usage(runs),
            bars("refusals", "Refused", runs, lambda r: r.totals.refusals, numbers.count)
            or bars(
                "cold-share", "Cold share", runs, lambda r: r.totals.cold_share, numbers.percent
            ),
        ]
    return [figure for figure in figures if figure is not None]


def _over_time(runs: Sequence[Named]) -> Iterable[Element]:
    shown = [(figure, over_runs(figure, runs)) for figure in FIGURES]
    quiet = [figure.title.lower() for figure, plots in shown if not plots]
    silence = f"Nothing to draw: {', '.join(quiet)}." if quiet else ""
    if len(runs) == 1:
        plots = [plot for _, some in shown for plot in some]
        if plots:
            yield _section("Over time", plots, silence, "stacked")
        return
    look = {2: "plots two", 4: "plots four"}.get(len(runs), "plots")
    for figure, plots in shown:
        if plots:
            yield _section(
                figure.title, plots, figure.about, "stacked" if len(plots) == 1 else look
            )
    if silence:
        yield tag("p", silence, class_="note")


def _models(runs: Sequence[Named]) -> Iterable[Element]:
    for run in runs:
        if len(run.result.models) > 1:
            table = models_table(run)
            if not run.several:
                yield table
            else:
                opened = "open" if run.number == 1 else None
                yield tag("details", tag("summary", run.title), table, open=opened)


def _section(heading: str, content: Sequence[Element], about: str = "", look: str = "") -> Element:
    name = heading.lower().replace(" ", "-")
    return tag(
        "section",
        tag("h2", heading, id=name),
        tag("p", about, class_="note") if about else None,
        tag("div", *content, class_=look or None),
        aria_labelledby=name,
    )
