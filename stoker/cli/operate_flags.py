"""The flags of ``stoker adopt``, ``release`` and ``uninstall``."""

from __future__ import annotations

import argparse
from typing import Any


def add_operate(commands: Any) -> None:
    """Add the commands; ``commands`` is what ``add_subparsers`` gave."""
    adopt = commands.add_parser("adopt", help="put a Deployment behind Stoker")
    adopt.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a setting to write as an annotation; may be repeated",
    )
    release = commands.add_parser("release", help="take a Deployment out of Stoker's hands")
    for command in (adopt, release):
        command.add_argument("target", metavar="deploy/NAME", help="the Deployment")
        command.add_argument("--namespace", "-n", metavar="NAME", default="default")
    uninstall = commands.add_parser(
        "uninstall", help="restore every Service, whoever has led it, and leave replicas running"
    )
    uninstall.add_argument(
        "--namespace",
        "-n",
        metavar="NAME",
        action="append",
        default=[],
        help="only this one; may be repeated (default: all)",
    )
    for command in (release, uninstall):
        command.add_argument(
            "--timeout",
            metavar="TIME",
            default="3m",
            help="how long replicas may take to be ready (default 3m)",
        )
    for command in (adopt, release, uninstall):
        add_access(command)
        command.add_argument(
            "--yes", action="store_true", help="do it; without it, only what would happen is said"
        )


def add_access(command: argparse.ArgumentParser) -> None:
    """How the cluster is reached."""
    command.add_argument(
        "--kubeconfig", metavar="FILE", default="", help="which cluster; in a pod: its own"
    )
    command.add_argument(
        "--context", metavar="NAME", default="", help="of the kubeconfig, not its current one"
    )


def add_surveying(status: argparse.ArgumentParser) -> None:
    """What makes ``stoker status`` look at a cluster instead of asking a process."""
    status.add_argument(
        "--all-namespaces",
        "-A",
        action="store_true",
        help="the models in a Kubernetes cluster, from its own objects",
    )
    status.add_argument(
        "--namespace", "-n", metavar="NAME", help="the same of one namespace of a cluster"
    )
    add_access(status)
