"""The flags of ``stoker record``. Apart, so that other commands need not load what it does."""

from __future__ import annotations

import argparse

from stoker.quantities import parse_duration


def add_record(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    """The flags of ``stoker record``."""
    record = commands.add_parser("record", help="write a running Stoker's arrivals to a trace")
    record.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        required=True,
        help="the trace: plain CSV, .csv or .csv.gz",
    )
    record.add_argument(
        "--duration",
        metavar="TIME",
        type=_duration,
        help="for how long, for example 10m; otherwise until Ctrl-C",
    )
    record.add_argument(
        "--models",
        metavar="NAME,...",
        type=lambda text: [name for name in text.split(",") if name],
        default=[],
        help="only these; otherwise all, with those that are added meanwhile",
    )
    return record


def _duration(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as caught:
        raise argparse.ArgumentTypeError(f"{text!r} {caught}; for example 90s or 10m") from None
    if not seconds:
        raise argparse.ArgumentTypeError(f"{text!r} is too short; allowed: above 0s")
    return seconds
