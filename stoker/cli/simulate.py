"""``stoker simulate``: what a trace would have cost, and who would have waited."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from stoker.cli.traces import add_reading, load
from stoker.errors import Problem, SettingsError
from stoker.quantities import parse_duration

if TYPE_CHECKING:
    from simulations.engine import Progress, Run
    from simulations.result import Result
    from simulations.traces import Loaded
    from simulations.world import World

START = "schedule=2s, image=20s, start=8s"
"""What is assumed of a start when nothing is said: 30 s, most of it the image."""
KNATIVE = "knative"
KNATIVE_SETTINGS = (
    *("policy=kpa", "metric=concurrency", "count-starting-as-capacity=false"),
    *("container-concurrency-target-default=100", "container-concurrency-target-percentage=70"),
    *("target-burst-capacity=211", "window-aggregation=linear", "enable-scale-to-zero=true"),
    *("stable-window=60s", "panic-window-percentage=10", "panic-threshold-percentage=200"),
    *("max-scale-up-rate=1000", "max-scale-down-rate=2", "scale-down-delay=0s"),
    *("min-scale=0", "initial-scale=1", "activation-scale=1"),
    *("scale-to-zero-grace-period=30s", "scale-to-zero-pod-retention-period=0s"),
)
"""Knative's config-autoscaler as it comes. What a replica can take and how many there may be
stays as the user said: container-concurrency, target, max-scale.
"""


def add_simulate(commands: Any) -> None:
    """The subcommand ``simulate``."""
    parser = commands.add_parser(
        "simulate", help="replay a trace through the same decisions: cost, waits, cold starts"
    )
    add_reading(parser)
    add_world(parser)
    parser.add_argument(
        "--versus",
        metavar="WHAT",
        action="append",
        default=[],
        help="simulate this too, side by side: knative, always-on:N, hpa, keda, kubeai, or"
        " key=value,key=value as a change to the settings; may be given several times",
    )
    parser.add_argument("--jobs", metavar="N", type=int, default=2, help="processes (2)")
    parser.add_argument("--html", metavar="FILE", help="write a report for people: one page")
    parser.add_argument("--json", metavar="FILE", help="write all figures and curves")
    parser.add_argument("--csv", metavar="FILE", help="write the totals, a line per run and model")
    parser.add_argument("--series-csv", metavar="FILE", help="write the curves, a line per step")


def add_world(parser: argparse.ArgumentParser) -> None:
    """What is assumed of the world: for each command that simulates."""
    parser.add_argument("--settings", metavar="FILE", help="a settings file, or a ConfigMap")
    parser.add_argument(
        "--set",
        dest="assignments",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a setting for every model, over the file; may be given several times",
    )
    parser.add_argument(
        "--service",
        metavar="TIME",
        help="in a replica: trace, tokens(...), 0.5s, lognormal(mean=2s, cv=0.5), ... (what the"
        " trace says, else 0.5s on average)",
    )
    parser.add_argument(
        "--start",
        metavar="STEPS",
        default=START,
        help=f"how long a start takes: 30s, by steps ({START}), or learned:HOST:PORT, as the"
        " Stoker with that admin address has seen it",
    )
    parser.add_argument(
        "--price", metavar="DOLLARS", type=float, default=1.0, help="of a replica and hour (1.0)"
    )
    parser.add_argument(
        "--accelerators", metavar="N", type=float, default=1.0, help="in each replica (1)"
    )
    parser.add_argument(
        "--node-price", metavar="DOLLARS", type=float, help="of a node and hour, instead"
    )
    parser.add_argument(
        "--replicas-per-node", metavar="N", type=int, default=1, help="on each node (1)"
    )
    parser.add_argument(
        "--room", metavar="N", type=int, default=0, help="for replicas at most (no bound)"
    )
    parser.add_argument(
        "--timeout", metavar="TIME", help="after which clients give up (they do not)"
    )
    parser.add_argument(
        "--retries", metavar="N", type=int, default=0, help="of clients refused or timed out (0)"
    )
    parser.add_argument(
        "--crash-after", metavar="TIME", help="readiness until a replica dies (it does not)"
    )
    parser.add_argument(
        "--failed-starts", metavar="SHARE", type=float, default=0.0, help="of all starts (0)"
    )
    parser.add_argument(
        "--slow-starts", metavar="SHARE", type=float, default=0.0, help="take 5 times as long (0)"
    )
    parser.add_argument(
        "--warm-up", metavar="TIME", default="0", help="simulated, not counted, at the start (0)"
    )


def world_of(arguments: argparse.Namespace, source: Loaded) -> World:
    """What ``add_world``'s arguments assume. Raises SettingsError, naming the flag."""
    from simulations.draws import parse_draw
    from simulations.services import fitting, parse_service
    from simulations.world import Capacity, Clients, Failures, Prices, World, parse_start

    for flag, value, low, high in (
        ("--price", arguments.price, 0.0, 1e6),
        ("--node-price", arguments.node_price, 0.0, 1e6),
        ("--accelerators", arguments.accelerators, 0.0, 1e4),
        ("--replicas-per-node", arguments.replicas_per_node, 1, 10_000),
        ("--room", arguments.room, 0, 1_000_000),
        ("--retries", arguments.retries, 0, 100),
        ("--failed-starts", arguments.failed_starts, 0.0, 1.0),
        ("--slow-starts", arguments.slow_starts, 0.0, 1.0),
    ):
        if value is not None and not low <= value <= high:
            _wrong(flag, f"{value:g}", "is out of range", f"[{low:g}, {high:g}]")
    if arguments.service is None:
        first = next(source.blocks(), None)
        service = parse_service("trace") if first is None else fitting(first)
    else:
        service = _read("--service", arguments.service, parse_service)
    timeout = _read("--timeout", arguments.timeout or "0", parse_duration)
    learned = {}
    kind, colon, admin = arguments.start.partition(":")
    if kind.strip() == "learned" and colon:
        from stoker.cli.learned import learned_start

        start, learned["start"] = learned_start(admin.strip(), source.models)
    else:
        start = _read("--start", arguments.start, parse_start)
    return World(
        service,
        start,
        Failures(
            None
            if arguments.crash_after is None
            else _read("--crash-after", arguments.crash_after, parse_draw),
            arguments.failed_starts,
            arguments.slow_starts,
        ),
        Clients(timeout, arguments.retries),
        Prices(
            arguments.price,
            arguments.accelerators,
            arguments.node_price or 0.0,
            arguments.replicas_per_node,
        ),
        Capacity(arguments.room),
        learned=learned,
    )


def run_simulate(arguments: argparse.Namespace, out: TextIO) -> int:
    """Simulate, print the table, write the files. Raises TraceError, SettingsError and more."""
    from simulations.report import print_results, write_csv, write_html, write_json
    from simulations.shards import simulate_in
    from simulations.trace import Trace
    from simulations.traces.summary import huge_gaps

    if not 1 <= arguments.jobs <= 256:
        _wrong("--jobs", str(arguments.jobs), "is out of range", "[1, 256]")
    source = load(arguments)
    notices = dict.fromkeys(source.notices)
    if isinstance(source.source, Trace):
        notices |= dict.fromkeys(huge_gaps(source.source))
    wanted = list(runs(arguments, source, notices))
    for notice in notices:
        print(f"note: {notice}", file=sys.stderr)
    results: list[Result] = []
    with _progress(source.duration, [run.label for run in wanted]) as told:
        for run in wanted:
            began = time.perf_counter()
            result = simulate_in(arguments.jobs, run, told(run.label))
            result.wall_seconds = time.perf_counter() - began
            if source.began is not None:
                result.began = source.began + run.warm_up
            results.append(result)
    print_results(results, out)
    title = f"Simulation of {wanted[0].trace}"
    writers: dict[str, Callable[[Path], None]] = {
        "html": lambda path: write_html(results, path, title=title),
        "json": lambda path: write_json(results, path),
        "csv": lambda path: write_csv(results, path),
        "series_csv": lambda path: write_csv(results, path, series=True),
    }
    for name, write in writers.items():
        if (path := getattr(arguments, name)) is not None:
            write(Path(path))
            print(f"written: {path}", file=sys.stderr)
    return 0


def runs(arguments: argparse.Namespace, source: Loaded, notices: dict[str, None]) -> Iterator[Run]:
    """What is to be simulated: the settings as they are, and each ``--versus``. Adds what
    there is to remark on the settings to ``notices``. Raises SettingsError.
    """
    from simulations.engine import Run
    from simulations.specs import settings_for

    world = world_of(arguments, source)
    warm_up = _read("--warm-up", arguments.warm_up, parse_duration)
    if warm_up and warm_up >= source.duration:
        allowed = f"below the trace's {source.duration:g}s"
        _wrong("--warm-up", arguments.warm_up, "is out of range", allowed)
    for kind in (Versus("settings as given"), *map(versus, arguments.versus)):
        settings = settings_for(
            source.models,
            arguments.settings,
            _together(arguments.assignments, kind.assignments),
            "--versus" if kind.assignments else "--set",
        )
        notices.update(dict.fromkeys(settings.notices))
        process = settings.process
        run = Run(
            source,
            settings.specs,
            world,
            label=kind.label,
            trace=Path(arguments.trace).name,
            seed=arguments.seed,
            tick_interval=process.tick_interval,
            report_interval=process.report_interval,
            max_queued_requests=max(1, process.max_queued_requests),
            max_queued_bytes=max(1, process.max_queued_bytes),
            warm_up=warm_up,
            settings=settings.shown,
        )
        yield run if kind.policy is None else replace(run, policy=kind.policy)


@dataclass(frozen=True, slots=True)
class Versus:
    """Another run beside the first: with other settings, or with a baseline's decisions."""

    label: str
    assignments: tuple[str, ...] = ()
    policy: Callable[[], Any] | None = None


def versus(text: str) -> Versus:
    """What ``--versus`` says. Raises SettingsError, which lists what it may say."""
    from simulations.baselines import BASELINES, BaselineError, parse_baseline

    name = text.partition(":")[0].strip()
    if "=" in text and name not in BASELINES:
        return Versus(text, tuple(part.strip() for part in text.split(",")))
    if text == KNATIVE:
        return Versus("Knative's defaults", KNATIVE_SETTINGS)
    allowed = ", ".join((KNATIVE, *(f"{each}[:N]" for each in BASELINES), "key=value,..."))
    if name not in BASELINES:
        _wrong("--versus", text, "is not known", allowed)
    try:
        return Versus(text, policy=parse_baseline(text))
    except BaselineError as error:
        _wrong("--versus", text, str(error).partition(": ")[2], allowed)


def _together(first: Sequence[str], then: Sequence[str]) -> list[str]:
    """Assignments, the later ones instead of earlier ones for the same key."""
    keyed: dict[str, str] = {}
    for given in (first, then):
        own = {text.partition("=")[0].strip(): text for text in given}
        if len(own) < len(given):
            return list(given)  # set twice: said where they are read
        keyed |= own
    return list(keyed.values())


def _read(flag: str, text: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        message, _, allowed = str(error).partition("; allowed: ")
        _wrong(flag, text, message, allowed)


def _wrong(flag: str, value: str, message: str, allowed: str = "") -> NoReturn:
    raise SettingsError("stoker simulate", [Problem(flag, value, message, allowed)])


@contextmanager
def _progress(duration: float, labels: Sequence[str]) -> Iterator[Callable[[str], Progress | None]]:
    """A bar per run on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda label: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks = {label: bars.add_task(label, total=duration) for label in labels}

        def told(label: str) -> Callable[[float], None]:
            return lambda second: bars.update(tasks[label], completed=second)

        yield told
