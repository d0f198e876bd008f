"""What ``stoker replay`` found, for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from autoscaler.journal_reader import Place
from autoscaler.reasons import number
from autoscaler.scale_to_zero import NEVER
from simulations.journal_times import Times
from simulations.replay import MOST_SPANS, Compared, Mismatch, Moment, Replay
from stoker.vocabulary import ModelKey

# Differences that people are shown one by one; --json tells up to MOST_SPANS of each model.
SHOWN_SPANS: Final = 20
# Remembered times; people want to know how long before.
_TIMES: Final = ("awake", "active", "idle", "panicked")
AS_RECORDED: Final = (
    "Loads and replica counts stay as recorded: this is what would have been decided from them,"
    " not what would have come of it."
)


class Report(NamedTuple):
    """``model`` None: all. ``at``: the time asked for, as ``Times`` tells it; None: none."""

    files: Sequence[Path]
    torn: Sequence[Place]
    times: Times
    replay: Replay
    model: ModelKey | None
    at: float | None
    settings: Sequence[str]

    def time(self, moment: float) -> str:
        """A time for people: of day where that is known, and from the beginning."""
        since = f"+{max(0.0, moment - self.times.first):.3f} s"
        if not self.times.dated:
            return since
        local = datetime.fromtimestamp(moment).astimezone()
        return f"{local.isoformat(' ', 'milliseconds')} ({since})"

    def compared(self) -> list[tuple[ModelKey, Compared]]:
        """The models that the other settings were for, those that differ most first."""
        found = [
            (model, compared)
            for model, compared in self.replay.compared.items()
            if self.model in (None, model) and compared.decisions
        ]
        return sorted(found, key=lambda item: (-item[1].differ, item[0]))


# --- for people ---


def show(report: Report, console: Console) -> None:
    times, replay = report.times, report.replay
    say = console.print
    starts = "" if replay.starts == 1 else f", {replay.starts} starts of Stoker"
    say(Text(", ".join(map(str, report.files))), soft_wrap=True)
    say(
        f"{report.time(times.first)} to {report.time(times.last)}:"
        f" {times.ticks:,} ticks, {len(times.models):,} models{starts}",
        soft_wrap=True,
    )
    for place in report.torn:
        say(f"note: {place} was not written in full, and is left out", soft_wrap=True)
    _show_equality(replay, report, console)
    if report.at is not None:
        say()
        _show_moments(report, report.at, console)
    if report.settings:
        say()
        _show_compared(report, console)


def _show_equality(replay: Replay, report: Report, console: Console) -> None:
    differ = len(replay.mismatches) + replay.more_mismatches
    console.print(f"equal {replay.equal:,} of {replay.recorded:,} decisions", style="bold")
    if not differ:
        return
    console.print(f"{differ:,} differences; the first {len(replay.mismatches)}:", style="bold red")
    for mismatch in replay.mismatches:
        console.print(Text(f"  {_mismatch_text(mismatch, report)}"), soft_wrap=True)


def _mismatch_text(mismatch: Mismatch, report: Report) -> str:
    where = f"{report.time(mismatch.time)} {mismatch.model}"
    recorded, made = mismatch.recorded, mismatch.made
    if recorded is None:
        assert made is not None
        return f"{where}: not recorded, made again: {made['desired']}, {made['reason']}"
    if made is None:
        text = f"{recorded['desired']}, {recorded['reason']}"
        return f"{where}: recorded, not made again: {text}"
    fields = [name for name in {**recorded, **made} if recorded.get(name) != made.get(name)]
    each = (f"{name} {recorded.get(name)} recorded, {made.get(name)} made" for name in fields)
    return f"{where}: {'; '.join(each)}"


def _show_moments(report: Report, at: float, console: Console) -> None:
    moments = sorted(report.replay.moments.items())
    if not moments:
        who = "anybody" if report.model is None else str(report.model)
        console.print(f"Nothing had been decided for {who} by {report.time(at)}")
    elif len(moments) == 1:
        _show_one(*moments[0], report, at, console)
    else:
        console.print(f"Decided by {report.time(at)}:")
        console.print(_moments_table(moments, bool(report.settings)))


def _show_one(model: ModelKey, moment: Moment, report: Report, at: float, console: Console) -> None:
    decision, evidence = moment.decided

    def say(text: str) -> None:
        console.print(Text(text), soft_wrap=True)

    say(f"{model} by {report.time(at)}, decided at {report.time(moment.time)}:")
    say(f"  {_replicas(decision.desired)}: {decision.reason}")
    averages = "no load data"
    if evidence.valid:
        averages = f"load {number(evidence.stable)} stable, {number(evidence.panic)} panic"
    asked = "nothing yet" if evidence.asked < 0 else f"{evidence.asked:g}"
    say(
        f"  made from: {averages}; {evidence.ready} ready, {evidence.starting} starting;"
        f" asked for last: {asked}"
    )
    say(
        f"  of which: policy wanted {decision.wanted}, excess burst capacity"
        f" {decision.excess_burst_capacity}, {'panic' if decision.panicking else 'no panic'}"
    )
    now = decision.time
    say(f"  remembered by the policy: {_pairs(evidence.policy, now)}")
    say(f"  remembered on the way to zero: {_pairs(evidence.to_zero, now)}")
    say(f"  settings: {_pairs(asdict(evidence.config), now)}")
    if moment.other is not None:
        say(f"  with {', '.join(report.settings)}, all else equal:")
        say(f"  {_replicas(moment.other.desired)}: {moment.other.reason}")


def _replicas(count: int) -> str:
    return f"{count} replica{'' if count == 1 else 's'}"


def _pairs(values: Mapping[str, object], now: float) -> str:
    return ", ".join(_pair(name, value, now) for name, value in values.items() if value != NEVER)


def _pair(name: str, value: object, now: float) -> str:
    text = str(value)
    if isinstance(value, float):
        text = f"{number(now - value)} s before" if name in _TIMES else number(value)
    return f"{name.replace('_', '-')} {text}"


def _moments_table(moments: Sequence[tuple[ModelKey, Moment]], others: bool) -> Table:
    table = Table(box=None)
    table.add_column("model")
    for name in ("desired", "stable", "panic", "ready", "starting"):
        table.add_column(name, justify="right")
    if others:
        table.add_column("otherwise", justify="right")
    table.add_column("why")
    for model, moment in moments:
        decision, other = moment.decided.decision, moment.other
        table.add_row(
            *(str(model), str(decision.desired), number(decision.stable)),
            *(number(decision.panic), str(decision.ready), str(decision.starting)),
            *(() if other is None else (str(other.desired),)),
            Text(decision.reason if other is None else other.reason),
        )
    return table


def _show_compared(report: Report, console: Console) -> None:
    console.print(f"All of it with {', '.join(report.settings)}:", soft_wrap=True)
    table = Table(box=None)
    table.add_column("model")
    for name in ("decisions", "differ", "replica-seconds then", "now", "change"):
        table.add_column(name, justify="right")
    compared = report.compared()
    for model, each in compared:
        change = "-"
        if each.seconds_then:
            change = f"{(each.seconds_now / each.seconds_then - 1) * 100:+.1f} %"
        table.add_row(
            *(str(model), f"{each.decisions:,}", f"{each.differ:,}"),
            *(f"{each.seconds_then:,.1f}", f"{each.seconds_now:,.1f}", change),
        )
    console.print(table)
    spans = sorted(
        ((span, model) for model, each in compared for span in each.spans),
        key=lambda item: item[0].begin,
    )
    if spans:
        table = Table(box=None)
        for name in ("from", "seconds", "model", "wanted then", "now"):
            table.add_column(name, justify="left" if name in ("from", "model") else "right")
        for span, model in spans[:SHOWN_SPANS]:
            table.add_row(
                *(report.time(span.begin), f"{span.end - span.begin:.1f}", str(model)),
                *(f"{span.then:g}", f"{span.now:g}"),
            )
        console.print(table)
        left = len(spans) - SHOWN_SPANS + sum(each.more for _, each in compared)
        if left > 0:
            console.print(f"and {left:,} more differences (--json tells up to {MOST_SPANS} each)")
    console.print(AS_RECORDED)


# --- as JSON ---


def document(report: Report) -> dict[str, Any]:
    """All of it. Times are seconds since 1970 where ``dated``, else by the machine's clock."""
    times, replay = report.times, report.replay
    result: dict[str, Any] = {
        "files": [str(file) for file in report.files],
        "torn": [str(place) for place in report.torn],
        "dated": times.dated,
        "first": times.first,
        "last": times.last,
        "ticks": times.ticks,
        "starts": replay.starts,
        "decisions": replay.recorded,
        "equal": replay.equal,
        "differences": len(replay.mismatches) + replay.more_mismatches,
        "first_differences": [
            {**mismatch._asdict(), "model": str(mismatch.model)} for mismatch in replay.mismatches
        ],
    }
    if report.at is not None:
        result["at"] = report.at
        result["moments"] = [
            _moment_document(model, moment) for model, moment in sorted(replay.moments.items())
        ]
    if report.settings:
        result["set"] = list(report.settings)
        result["compared"] = [
            {
                "model": str(model),
                **asdict(each),
                "spans": [span._asdict() for span in each.spans],
            }
            for model, each in report.compared()
        ]
    return result


def _moment_document(model: ModelKey, moment: Moment) -> dict[str, Any]:
    decision, evidence = moment.decided
    return {
        "model": str(model),
        "time": moment.time,
        "decision": {**decision._asdict(), "model": str(model)},
        "evidence": {**evidence._asdict(), "config": asdict(evidence.config)},
        "other": None if moment.other is None else {**moment.other._asdict(), "model": str(model)},
    }
