"""``stoker trace info`` and ``stoker trace generate``: their arguments."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, TextIO

from stoker.errors import TraceError
from stoker.quantities import parse_duration

if TYPE_CHECKING:
    from simulations.traces import Loaded

KINDS = ("poisson", "mmpp", "diurnal", "on-off", "spikes")
VALUES = ("counter", "increase", "rate")


def add_trace(commands: Any) -> None:
    """The subcommand ``trace``."""
    trace = commands.add_parser("trace", help="look at a trace of requests, or make one up")
    inner = trace.add_subparsers(dest="action", required=True, metavar="ACTION")

    info = inner.add_parser("info", help="what a trace is like: rates, bursts, silences, models")
    add_reading(info)
    info.add_argument("--json", action="store_true", help="print the figures as JSON")

    made = inner.add_parser("generate", help="write a made-up trace as CSV")
    made.add_argument("kind", metavar="KIND", help=", ".join(KINDS))
    made.add_argument(
        "--output", "-o", metavar="FILE", required=True, help=".gz, .xz, .bz2: packed"
    )
    made.add_argument("--rate", metavar="N", type=float, default=1.0, help="mean requests/s (1)")
    made.add_argument("--duration", metavar="TIME", default="1h", help="how long (1h)")
    made.add_argument("--peak", metavar="N", type=float, help="highest rate by mean rate (10)")
    made.add_argument("--on", metavar="TIME", help="mmpp, on-off: how long the rate is high (1m)")
    made.add_argument("--off", metavar="TIME", help="mmpp, on-off: how long it is low (9m)")
    made.add_argument("--every", metavar="TIME", help="spikes: how often, on average (1h)")
    made.add_argument("--length", metavar="TIME", help="spikes: how long each is (30s)")
    made.add_argument("--period", metavar="TIME", help="diurnal: of the swing (24h)")
    made.add_argument("--models", metavar="N", type=int, default=1, help="how many models (1)")
    made.add_argument("--zipf", metavar="S", type=float, default=1.0, help="the k-th has 1/k^S (1)")
    made.add_argument("--service", metavar="TIME", help="mean time in a replica (not written)")
    made.add_argument("--service-cv", metavar="CV", type=float, default=0.0, help="its CV (0)")
    made.add_argument("--seed", metavar="N", type=int, default=0, help="of all randomness (0)")


def add_reading(parser: argparse.ArgumentParser) -> None:
    """The file, and how it is to be read: for each command that reads a trace."""
    parser.add_argument("trace", metavar="FILE", help="plain, .gz, .xz, .bz2, a tar, or a folder")
    parser.add_argument("--format", metavar="NAME", help="instead of recognising it")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of all randomness (0)")
    parser.add_argument(
        "--tolerate",
        metavar="SHARE",
        type=float,
        default=0.001,
        help="of lines that may be malformed (0.001)",
    )
    parser.add_argument("--limit", metavar="N", type=int, help="so many arrivals from the start")
    parser.add_argument("--from", dest="begin", metavar="TIME", help="leave out what is before it")
    parser.add_argument("--until", metavar="TIME", help="leave out what is from it on")
    parser.add_argument(
        "--models", metavar="PATTERN,…", default="", help="only those, such as chunk-1,chunk-2*"
    )
    parser.add_argument("--busiest", metavar="N", type=int, help="only the N busiest models")
    parser.add_argument(
        "--model-by", metavar="WHAT", help="what tells the model: fixed:NAME, host, path:REGEX, …"
    )
    parser.add_argument(
        "--values", choices=VALUES, help="what the values of a Prometheus range are"
    )


def load(arguments: argparse.Namespace) -> Loaded:
    """The trace that ``add_reading``'s arguments name. Raises TraceError."""
    from simulations.traces import read_source

    between = None
    if arguments.begin is not None or arguments.until is not None:
        begin = 0.0 if arguments.begin is None else _seconds("--from", arguments.begin)
        until = float("inf") if arguments.until is None else _seconds("--until", arguments.until)
        between = (begin, until)
    return read_source(
        arguments.trace,
        arguments.format,
        seed=arguments.seed,
        tolerate=arguments.tolerate,
        limit=arguments.limit,
        models=[text for text in arguments.models.split(",") if text],
        busiest=arguments.busiest,
        model_by=arguments.model_by,
        values=arguments.values,
        between=between,
    )


def run_trace(arguments: argparse.Namespace, out: TextIO) -> int:
    """``info`` or ``generate``. Raises TraceError."""
    if arguments.action == "info":
        from simulations.traces.info import run_trace_info

        return run_trace_info(load(arguments), out, as_json=arguments.json)
    from simulations.traces.making import Made, run_trace_generate

    names = ("on", "off", "every", "length", "period")
    given = {name: getattr(arguments, name) for name in names}
    shape = {name: _seconds(f"--{name}", text) for name, text in given.items() if text is not None}
    if arguments.peak is not None:
        shape["peak"] = arguments.peak
    service = arguments.service
    made = Made(
        kind=arguments.kind,
        duration=_seconds("--duration", arguments.duration),
        shape={"rate": arguments.rate, **shape},
        models=arguments.models,
        zipf=arguments.zipf,
        service=None if service is None else _seconds("--service", service),
        service_cv=arguments.service_cv,
        seed=arguments.seed,
    )
    return run_trace_generate(made, arguments.output, out)


def _seconds(flag: str, text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as caught:
        raise TraceError(
            f"{flag} = {text}: {caught}; write a duration such as 90s or 1h30m"
        ) from None
