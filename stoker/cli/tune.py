"""``stoker tune``: settings for a trace and an SLO."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from stoker.cli.simulate import add_world, world_of
from stoker.cli.traces import add_reading, load
from stoker.errors import OutputError, TuningError

if TYPE_CHECKING:
    from simulations.trace import Trace
    from simulations.tuning.settings_file import SettingsFile
    from simulations.tuning.task import Task

NO_WORSE = "p99<current,cold<current"
MOST_REQUESTS = 5_000_000
"""More of a trace are not looked at unless --limit says so."""


def add_tune(commands: Any) -> None:
    """The subcommand ``tune``."""
    parser = commands.add_parser(
        "tune", help="find the cheapest settings that keep an SLO on a trace"
    )
    add_reading(parser)
    add_world(parser)
    add_search(parser)
    parser.add_argument(
        "--output", "-o", metavar="FILE", help="write the settings file with them in force"
    )
    parser.add_argument("--configmap", metavar="FILE", help="write them as a ConfigMap")
    parser.add_argument("--json", metavar="FILE", help="write all figures")


def add_search(parser: argparse.ArgumentParser) -> None:
    """How it is searched: for each command that tunes."""
    parser.add_argument(
        "--slo",
        metavar="TERMS",
        default=NO_WORSE,
        help="p99<2s, latency p95<10s, cold<1%% ...; without: no worse than now",
    )
    parser.add_argument(
        "--model", metavar="NAME", help="whose settings in the file are meant, where it has many"
    )
    parser.add_argument(
        "--budget", metavar="N", type=int, default=256, help="configurations to try (256)"
    )
    parser.add_argument(
        "--segments", metavar="N", type=int, help="to cut the trace into (3 to 12, by its length)"
    )
    parser.add_argument("--jobs", metavar="N", type=int, default=2, help="processes (2)")


def run_tune(arguments: argparse.Namespace, out: TextIO) -> int:
    """Tune, print, write the files. Raises TraceError, SettingsError, TuningError ..."""
    from simulations.tuning.slo import parse_slo
    from simulations.tuning.texts import document, files, print_tuned
    from simulations.tuning.tuner import tune

    slo = parse_slo(arguments.slo)
    task, settings = task_of(arguments)
    with progress_bars() as told:
        tuned = tune(task, slo, arguments.budget, arguments.jobs, told)
    print_tuned(tuned, settings, out)
    changed, configmap = files(tuned, settings)
    write(arguments.output, changed)
    write(arguments.configmap, configmap)
    write(arguments.json, json.dumps(document(tuned), indent=2) + "\n")
    return 0


def task_of(arguments: argparse.Namespace) -> tuple[Task, SettingsFile | None]:
    """What is to be tuned, and the file that it is for."""
    from simulations.specs import settings_for
    from simulations.tuning.segments import segments
    from simulations.tuning.settings_file import read_base, read_settings
    from simulations.tuning.task import Task

    for flag, value, low, high in (
        ("--budget", arguments.budget, 8, 100_000),
        ("--segments", arguments.segments, 3, 1000),
        ("--jobs", arguments.jobs, 1, 256),
    ):
        if value is not None and not low <= value <= high:
            raise TuningError(f"{flag} = {value}: is out of range; allowed: [{low}, {high}]")
    if arguments.warm_up != "0":
        raise TuningError(
            f"--warm-up = {arguments.warm_up}: every segment has a stretch that leads to it;"
            " leave it out"
        )
    settings = read_settings(arguments.settings, arguments.model) if arguments.settings else None
    base = read_base(settings, arguments.assignments)
    trace, world = traffic(arguments, settings)
    count = arguments.segments or max(3, min(12, int(trace.duration // 60)))
    process = settings_for(trace.models, arguments.settings, arguments.assignments).process
    return Task(
        trace,
        world,
        base,
        segments(trace, count, arguments.seed, world.start.mean),
        arguments.seed,
        process.tick_interval,
        process.max_queued_requests,
    ), settings


def traffic(arguments: argparse.Namespace, settings: SettingsFile | None) -> tuple[Trace, Any]:
    """The trace, of one model alone where the settings are that model's, and the world."""
    from simulations.trace import gathered

    if arguments.limit is None:
        arguments.limit = MOST_REQUESTS
    source = load(arguments)
    for notice in source.notices:
        print(f"note: {notice}", file=sys.stderr)
    world = world_of(arguments, source)
    trace = gathered(source)
    if settings is not None:
        own = [key for key in trace.models if key.name == settings.model]
        if own:
            trace = trace.only(own)
    if not len(trace):
        raise TuningError(f"{arguments.trace}: holds no requests for {settings and settings.model}")
    return trace, world


def write(path: str | None, text: str) -> None:
    """Write a file that was asked for. Raises OutputError."""
    if path is None:
        return
    try:
        Path(path).write_text(text, "utf-8")
    except OSError as caught:
        raise OutputError(f"{path}: cannot be written: {caught.strerror}") from None
    print(f"written: {path}", file=sys.stderr)


@contextmanager
def progress_bars() -> Iterator[Callable[[str, float], None]]:
    """A bar per thing that is done on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _what, _share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def told(what: str, share: float) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=1.0)
            bars.update(tasks[what], completed=share)

        yield told
