"""The ``stoker`` command: composition roots, the only place that wires things together."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stoker import __version__
from stoker.cli.advise import add_advise
from stoker.cli.cluster_flags import add_activator, add_autoscaler, add_cluster
from stoker.cli.operate_flags import add_operate, add_surveying
from stoker.cli.record_flags import add_record
from stoker.cli.replay_flags import add_replay
from stoker.cli.simulate import add_simulate
from stoker.cli.traces import add_trace
from stoker.cli.tune import add_tune
from stoker.errors import StokerError

if TYPE_CHECKING:
    from stoker.cli.ask import Asked

DEFAULT_ADMIN = "127.0.0.1:8081"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point. 0: done; 1: refused (bad settings, address taken, cannot ask); 2: usage;
    130: interrupted by Ctrl-C.
    """
    arguments = _parser().parse_args(argv)
    try:
        return _run(arguments)
    except StokerError as caught:
        print(f"stoker: {caught}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        print("stoker: interrupted", file=sys.stderr)
        return 130  # as shells say: 128 + SIGINT


def _run(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "up":
            from stoker.cli.up import run_up

            overrides = {
                name: value
                for name in ("listen", "admin", "workers")
                if (value := getattr(arguments, name)) is not None
            }
            return run_up(arguments.file, overrides, plain=arguments.plain)
        case "cluster":
            from stoker.cli.cluster import run_cluster

            return run_cluster(arguments)
        case "activator":
            from stoker.cli.activator import run_activator

            return run_activator(arguments)
        case "autoscaler":
            from stoker.cli.autoscaler import run_autoscaler

            return run_autoscaler(arguments)
        case "check":
            from stoker.check import run_check
            from stoker.cli.starting import start_problems

            return run_check(arguments.file, sys.stdout, starting=start_problems)
        case "adopt" | "release" | "uninstall":
            from stoker.cli.operate import run_operate

            return run_operate(arguments, sys.stdout)
        case "status" if arguments.all_namespaces or arguments.namespace:
            from stoker.cli.operate import run_operate

            return run_operate(arguments, sys.stdout)
        case "status":
            from stoker.cli.ask import run_status

            return run_status(_asking(arguments), sys.stdout, as_json=arguments.json)
        case "record":
            from stoker.cli.record import run_record

            return run_record(
                _asking(arguments),
                arguments.output,
                sys.stdout,
                duration=arguments.duration,
                models=arguments.models,
            )
        case "replay":
            from stoker.cli.replay import run_replay

            return run_replay(
                arguments.journal,
                sys.stdout,
                at=arguments.at,
                model=arguments.model,
                assignments=arguments.set,
                as_json=arguments.json,
            )
        case "simulate":
            from stoker.cli.simulate import run_simulate

            return run_simulate(arguments, sys.stdout)
        case "advise":
            from stoker.cli.advise import run_advise

            return run_advise(arguments, sys.stdout)
        case "tune":
            from stoker.cli.tune import run_tune

            return run_tune(arguments, sys.stdout)
        case "trace":
            from stoker.cli.traces import run_trace

            return run_trace(arguments, sys.stdout)
        case _:
            from stoker.cli.ask import run_explain

            return run_explain(
                _asking(arguments), arguments.model, sys.stdout, as_json=arguments.json
            )


def _asking(arguments: argparse.Namespace) -> Asked:
    from stoker.cli.ask import Asked, read_token

    return Asked(arguments.admin, read_token(arguments.token_file))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stoker", description="Scale-to-zero in front of any inference server."
    )
    parser.add_argument("--version", action="version", version=f"stoker {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="run everything in one process until Ctrl-C")
    up.add_argument("file", metavar="FILE", help="settings: stoker:, defaults:, models:")
    up.add_argument("--listen", metavar="HOST:PORT", help="where requests come in")
    up.add_argument("--admin", metavar="HOST:PORT", help="where metrics and status are served")
    up.add_argument("--workers", metavar="N", help="processes that take requests, or auto")
    up.add_argument(
        "--plain", action="store_true", help="log lines instead of the table, also on a terminal"
    )

    add_cluster(commands)
    add_activator(commands)
    add_autoscaler(commands)
    check = commands.add_parser("check", help="say whether a settings file is right")
    check.add_argument("file", metavar="FILE")

    add_operate(commands)
    status = commands.add_parser("status", help="the models of a running Stoker, or of a cluster")
    add_surveying(status)
    explain = commands.add_parser("explain", help="why a model has the replicas it has")
    explain.add_argument("model", metavar="MODEL", help="NAME or NAMESPACE/NAME")
    record = add_record(commands)
    add_replay(commands)
    for asking in (status, explain, record):
        asking.add_argument(
            "--admin",
            metavar="HOST:PORT",
            default=DEFAULT_ADMIN,
            help=f"the running Stoker's admin address (default {DEFAULT_ADMIN})",
        )
        asking.add_argument(
            "--token-file",
            metavar="FILE",
            help="the file with the admin token; else STOKER_ADMIN_TOKEN is sent, if it is set",
        )
    for asking in (status, explain):
        asking.add_argument("--json", action="store_true", help="print the raw answer")
    add_trace(commands)
    add_simulate(commands)
    add_tune(commands)
    add_advise(commands)
    return parser
