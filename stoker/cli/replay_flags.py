"""The flags of ``stoker replay``. Apart, so that other commands need not load what it does."""

from __future__ import annotations

import argparse


def add_replay(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The flags of ``stoker replay``."""
    replay = commands.add_parser(
        "replay", help="decisions of a journal made again, also with other settings"
    )
    replay.add_argument(
        "journal",
        metavar="JOURNAL",
        nargs="+",
        help="the file that journal-file names (what was rotated away is found), or several",
    )
    replay.add_argument(
        "--at",
        metavar="TIME",
        help="show what was decided by then: 2026-01-31T12:00:00, seconds from the beginning,"
        " or -SECONDS from the end",
    )
    replay.add_argument("--model", metavar="NAME", help="only this model: NAME or NAMESPACE/NAME")
    replay.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a scaling setting to decide with instead of the recorded one; may be repeated",
    )
    replay.add_argument("--json", action="store_true", help="print all as JSON")
