"""``stoker trace info FILE``: what a trace is like, for people or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from math import isnan
from typing import Any, Final, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from simulations.traces.reading import FORMATS, Loaded
from simulations.traces.summary import KEPT_ALIVE, Flow, Spread, Summary, info

_BARS: Final = "▁▂▃▄▅▆▇█"
PIPE_WIDTH: Final = 100


def run_trace_info(loaded: Loaded, out: TextIO, *, as_json: bool = False) -> int:
    """Print what ``loaded`` is like. The result is the exit code."""
    summary = info(loaded)
    if as_json:
        print(json.dumps(document(loaded, summary), indent=2), file=out)
        return 0
    console = Console(file=out, width=None if out.isatty() else PIPE_WIDTH, highlight=False)
    console.print(Text(loaded.path, "bold"), soft_wrap=True)
    for heading, fact in _facts(loaded, summary):
        console.print(Text.assemble((f"{heading:<12}", "dim"), fact), soft_wrap=True)
    if summary.models > 1:
        console.print(_models(summary))
    for notice in summary.notices:
        console.print(Text(f"note: {notice}", "yellow"), soft_wrap=True)
    return 0


def document(loaded: Loaded, summary: Summary) -> dict[str, Any]:
    """The summary as JSON would have it: names as text, null where a figure is not known."""
    plain = asdict(summary)
    plain["busiest"] = [{"model": str(key), **asdict(flow)} for key, flow in summary.busiest]
    found = _no_nan({"path": loaded.path, "format": loaded.format, **plain})
    assert isinstance(found, dict)
    return found


def _no_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _no_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_no_nan(inner) for inner in value]
    return None if isinstance(value, float) and isnan(value) else value


def _facts(loaded: Loaded, s: Summary) -> Iterator[tuple[str, str]]:
    """What there is to say, each with its heading."""
    flow = s.flow
    began = "" if s.began is None else f" from {_moment(s.began)}"
    yield "format", f"{loaded.format}: {FORMATS[loaded.format].title}"
    yield "arrivals", f"{s.arrivals:,} for {_counted(s.models, 'model')}"
    yield "duration", f"{_clock(s.duration)}{began}"
    yield (
        "rate",
        f"{_rate(flow.rate)} on average, at most {_rate(flow.peak_minute)} in a minute,"
        f" {_rate(flow.peak_second)} in a second",
    )
    yield "", sparkline(s.bars)
    yield (
        "burstiness",
        f"CV of gaps {_figure(flow.cv)}; variance by mean of counts"
        f" {_figure(flow.dispersion_second)} per second,"
        f" {_figure(flow.dispersion_minute)} per minute (Poisson: 1)",
    )
    yield "silence", f"{_clock(flow.silence)} at the longest, from {_clock(flow.silent_from)} on"
    yield "asleep", _asleep(flow.idle, "" if s.models == 1 else ", all models as one")
    if s.models > 1:
        yield "", _asleep(s.asleep, ", each model for itself")
    yield "service", _spread(s.service, " s")
    yield "prompt", _spread(s.prompt_tokens, " tokens")
    yield "output", _spread(s.output_tokens, " tokens")


def _models(s: Summary) -> Table:
    table = Table(expand=False, pad_edge=False)
    of = f"{len(s.busiest)} busiest of {s.models:,} models"
    table.add_column(of if s.models > len(s.busiest) else "model", overflow="fold", style="bold")
    for heading in ("arrivals", "rate/s", "peak/s", "CV", "silence", "asleep 60s", "300s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for key, flow in s.busiest:
        table.add_row(str(key).removeprefix("default/"), *_cells(flow))
    return table


def _cells(flow: Flow) -> Iterable[str]:
    yield f"{flow.arrivals:,}"
    yield _figure(flow.rate)
    yield _figure(flow.peak_minute)
    yield _figure(flow.cv)
    yield _clock(flow.silence)
    for share in flow.idle:
        yield f"{share:.1%}"


def sparkline(rates: Iterable[float]) -> str:
    """A bar per rate, relative to the highest; nothing at all is a dot."""
    found = list(rates)
    highest = max(found, default=0.0)
    return "".join(
        _BARS[min(len(_BARS) - 1, int(rate / highest * len(_BARS)))] if rate > 0 else "·"
        for rate in found
    )


def _asleep(shares: Iterable[float], of: str) -> str:
    told = (
        f"{share:.1%} of the time if kept for {kept:.0f} s"
        for share, kept in zip(shares, KEPT_ALIVE, strict=True)
    )
    return f"{', '.join(told)}{of}"


def _spread(spread: Spread | None, unit: str) -> str:
    if spread is None:
        return "not known"
    known = "" if spread.known == 1 else f" (known for {spread.known:.1%})"
    return (
        f"{_figure(spread.mean)}{unit} on average, p50 {_figure(spread.p50)},"
        f" p95 {_figure(spread.p95)}, p99 {_figure(spread.p99)}{known}"
    )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _figure(value: float) -> str:
    """Three digits that matter; a dash where it is not known."""
    if isnan(value):
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _rate(value: float) -> str:
    return f"{_figure(value)}/s" if not 0 < value < 0.1 else f"{_figure(value * 3600)}/h"


def _clock(seconds: float) -> str:
    """``3d 4h``, ``57m 16s``, ``4.31s``: the two largest units."""
    if seconds < 60:
        return f"{seconds:.3g}s"
    whole = round(seconds)
    for size, unit, below, inner in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m")):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // below}{inner}"
    return f"{whole // 60}m {whole % 60}s"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
