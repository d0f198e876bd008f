"""``stoker replay``: a decision journal's decisions made again, explained, and made otherwise."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO

from rich.console import Console

from autoscaler.journal_reader import JournalReader, Place
from autoscaler.replay import Change
from simulations.journal_times import Times, ticks_by
from simulations.replay import Replay
from stoker.cli.replay_views import Report, document, show
from stoker.errors import JournalError
from stoker.settings.replaced import read_settings, replaced
from stoker.vocabulary import ModelKey, ScalingConfig

PIPE_WIDTH: Final = 200


def run_replay(
    files: Sequence[str],
    out: TextIO,
    *,
    at: str | None = None,
    model: str | None = None,
    assignments: Sequence[str] = (),
    as_json: bool = False,
) -> int:
    """0: every decision was made again bit for bit. 1: not. Raises JournalError, SettingsError."""
    own = read_settings(assignments, "--set") if assignments else {}
    reader = JournalReader([Path(file) for file in files])
    times = Times()
    with _placed() as placed:
        for placed.at, line in reader.lines():
            times.take(line)
    if not times.ticks:
        names = ", ".join(map(str, reader.files))
        raise JournalError(f"{names}: holds no decision yet; a tick is made every tick-interval")
    key = _model(model, times)
    moment = None if at is None else _moment(at, times)
    wanted = {}
    if moment is not None:
        wanted = ticks_by((line for _, line in reader.lines()), moment, key)
    replay = Replay(_change(own, key) if own else None, wanted)
    with _placed() as placed:
        for placed.at, line in reader.lines():
            replay.take(line)
    torn = [place for place in reader.torn if place.file == reader.files[-1]]
    replay.finish(torn=bool(torn))
    report = Report(reader.files, reader.torn, times, replay, key, moment, tuple(assignments))
    if as_json:
        print(json.dumps(document(report), indent=2), file=out)
    else:
        # Nobody says how wide a pipe is; 80 columns would break every reason.
        width = None if out.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
        show(report, Console(file=out, highlight=False, width=width))
    return 1 if replay.mismatches else 0


class _Placed:
    """Which line is being played."""

    at: Place


@contextmanager
def _placed() -> Iterator[_Placed]:
    placed = _Placed()
    try:
        yield placed
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as caught:
        raise JournalError(
            f"{placed.at}: is no line of a decision journal: {type(caught).__name__} {caught}"
        ) from None


def _change(own: dict[str, Any], only: ModelKey | None) -> Change:
    known: dict[tuple[ModelKey, ScalingConfig], ScalingConfig] = {}

    def change(model: ModelKey, config: ScalingConfig) -> ScalingConfig:
        if only not in (None, model):
            return config
        if (model, config) not in known:
            known[model, config] = replaced(model, config, own, "--set")
        return known[model, config]

    return change


def _model(name: str | None, times: Times) -> ModelKey | None:
    if name is None:
        return next(iter(times.models)) if len(times.models) == 1 else None
    key = ModelKey.parse(name)
    if key not in times.models:
        known = ", ".join(sorted(map(str, times.models))[:20])
        raise JournalError(f"--model = {name}: is not in the journal; known: {known or 'none'}")
    return key


def _moment(text: str, times: Times) -> float:
    try:
        seconds = float(text)
    except ValueError:
        moment = _time_of_day(text, times)
    else:
        moment = (times.last if text.lstrip().startswith("-") else times.first) + seconds
    # A millisecond of grace: that is what times are shown to.
    if not times.first - 0.001 <= moment <= times.last + 0.001:
        length = times.last - times.first
        allowed = f"0 to {length:.3f} s, or -{length:.3f} to -0"
        if times.dated:
            allowed += f", or {shown_time(times.first)} to {shown_time(times.last)}"
        raise JournalError(f"--at = {text}: is not in the journal; allowed: {allowed}")
    return max(moment, times.first)


def _time_of_day(text: str, times: Times) -> float:
    try:
        moment = datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise JournalError(
            f"--at = {text}: is neither seconds nor a time such as 2026-01-31T12:00:00Z"
        ) from None
    if not times.dated:
        raise JournalError(
            f"--at = {text}: this journal does not tell the time of day; name seconds from its"
            " beginning, or from its end with a -"
        )
    return moment


def shown_time(moment: float) -> str:
    """In this machine's time zone, to the millisecond."""
    return datetime.fromtimestamp(moment).astimezone().isoformat(timespec="milliseconds")
