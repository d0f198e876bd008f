"""The flags of ``stoker cluster``; apart, so that other commands need not import the rest."""

from __future__ import annotations

import argparse
from typing import Any


def add_cluster(commands: Any) -> argparse.ArgumentParser:
    """Add the command; ``commands`` is what ``add_subparsers`` gave."""
    cluster: argparse.ArgumentParser = commands.add_parser(
        "cluster", help="run everything in one process, for models in a Kubernetes cluster"
    )
    cluster.add_argument(
        "--kubeconfig", metavar="FILE", default="", help="which cluster; in a pod: its own"
    )
    cluster.add_argument(
        "--context", metavar="NAME", default="", help="of the kubeconfig, not its current one"
    )
    cluster.add_argument(
        "--namespace",
        metavar="NAME",
        action="append",
        default=[],
        help="touch only this one; may be repeated (default: all)",
    )
    cluster.add_argument(
        "--config-map",
        metavar="NAME",
        help="with settings for all models (default: STOKER_CONFIG_MAP, else stoker-config)",
    )
    cluster.add_argument("--listen", metavar="HOST:PORT", help="where requests come in")
    cluster.add_argument(
        "--advertise",
        metavar="ADDRESS",
        help="where pods reach this process (default: POD_IPS, POD_IP): models' Services are led"
        " here; without any they are left alone",
    )
    cluster.add_argument("--admin", metavar="HOST:PORT", help="where metrics and status are served")
    return cluster
