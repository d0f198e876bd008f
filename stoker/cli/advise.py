"""``stoker advise``: should this model be serverless?"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any, TextIO

from stoker.cli.simulate import add_world
from stoker.cli.traces import add_reading
from stoker.cli.tune import add_search, progress_bars, task_of, write
from stoker.errors import TuningError
from stoker.quantities import parse_size

if TYPE_CHECKING:
    from simulations.advising.functions import Needs
    from simulations.tuning.task import Task


def add_advise(commands: Any) -> None:
    """The subcommand ``advise``."""
    parser = commands.add_parser(
        "advise", help="should this model be serverless? always-on, to zero, by the invocation"
    )
    add_reading(parser)
    add_world(parser)
    add_search(parser)
    parser.set_defaults(slo="p99<2s", budget=128)
    parser.add_argument(
        "--memory", metavar="SIZE", default="4Gi", help="that a replica needs (4Gi)"
    )
    parser.add_argument("--package", metavar="SIZE", default="2G", help="of its image (2G)")
    parser.add_argument(
        "--cpu-slowdown",
        metavar="FACTOR",
        type=float,
        help="by which requests take longer without accelerators; without: it needs them",
    )
    parser.add_argument("--pricing", metavar="FILE", help="prices and limits of offers, YAML")
    parser.add_argument(
        "--assume",
        metavar="NAME.KEY=VALUE",
        action="append",
        default=[],
        help="one of them, such as lambda.cold-start=5s; may be given several times",
    )
    parser.add_argument("--json", metavar="FILE", help="write all figures")


def run_advise(arguments: argparse.Namespace, out: TextIO) -> int:
    """Compare, print, write. Raises TraceError, SettingsError, TuningError ..."""
    from simulations.advising.advisor import advise
    from simulations.advising.pricing import read_offers
    from simulations.advising.texts import document, print_advice
    from simulations.tuning.slo import parse_slo

    slo = parse_slo(arguments.slo)
    offers = read_offers(arguments.pricing, arguments.assume)
    task, _ = task_of(arguments)
    needs = _needs(arguments, task)
    with progress_bars() as told:
        advice = advise(
            task,
            slo,
            offers,
            needs,
            budget=arguments.budget,
            jobs=arguments.jobs,
            progress=told,
        )
    print_advice(advice, out)
    write(arguments.json, json.dumps(document(advice), indent=2) + "\n")
    return 0


def _needs(arguments: argparse.Namespace, task: Task) -> Needs:
    from simulations.advising.functions import Needs

    sizes = {}
    for flag in ("memory", "package"):
        text = getattr(arguments, flag)
        try:
            sizes[flag] = float(parse_size(text))
        except ValueError as caught:
            raise TuningError(
                f"--{flag} = {text}: {caught}; allowed: bytes such as 512Mi, 4Gi, 2G"
            ) from None
    slowdown = arguments.cpu_slowdown
    if slowdown is not None and not 0 < slowdown <= 10_000:
        raise TuningError(f"--cpu-slowdown = {slowdown:g}: is out of range; allowed: (0, 10000]")
    return Needs(
        sizes["memory"],
        sizes["package"],
        accelerators=task.world.prices.accelerators if slowdown is None else 0.0,
        slowdown=slowdown or 1.0,
        slots=int(task.base.resolved(())["container_concurrency"]),
    )
