"""The flags of commands for clusters; apart, so that other commands need not import the rest."""

from __future__ import annotations

import argparse
from typing import Any

_LISTEN = "where requests come in"
_ADMIN = "where metrics, health and status are served"
_ADVERTISE = "where pods reach this process (default: POD_IPS, POD_IP)"
_SERVICE = "the Service that selects the activators, in POD_NAMESPACE (default stoker-activator)"


def add_cluster(commands: Any) -> argparse.ArgumentParser:
    """Add the command; ``commands`` is what ``add_subparsers`` gave."""
    cluster: argparse.ArgumentParser = commands.add_parser(
        "cluster", help="run everything in one process, for models in a Kubernetes cluster"
    )
    _add_common(cluster)
    cluster.add_argument("--listen", metavar="HOST:PORT", help=_LISTEN)
    cluster.add_argument(
        "--advertise",
        metavar="ADDRESS",
        help=f"{_ADVERTISE}: models' Services are led here; without any they are left alone",
    )
    return cluster


def add_activator(commands: Any) -> argparse.ArgumentParser:
    """Add the command, likewise."""
    activator: argparse.ArgumentParser = commands.add_parser(
        "activator", help="take requests for models in a Kubernetes cluster; one of several"
    )
    _add_common(activator)
    activator.add_argument("--listen", metavar="HOST:PORT", help=_LISTEN)
    activator.add_argument("--advertise", metavar="ADDRESS", help=_ADVERTISE)
    activator.add_argument(
        "--autoscaler",
        metavar="HOST:PORT",
        action="append",
        default=[],
        help="where autoscalers are, each address of the name is one; may be repeated"
        " (default stoker-autoscaler:9091)",
    )
    activator.add_argument(
        "--token-file",
        metavar="FILE",
        default="/var/run/secrets/tokens/stoker",
        help="the token of its service account for the audience stoker-autoscaler"
        " (default /var/run/secrets/tokens/stoker)",
    )
    activator.add_argument("--service", metavar="NAME", default="stoker-activator", help=_SERVICE)
    return activator


def add_autoscaler(commands: Any) -> argparse.ArgumentParser:
    """Add the command, likewise."""
    autoscaler: argparse.ArgumentParser = commands.add_parser(
        "autoscaler", help="decide about models in a Kubernetes cluster; of several one leads"
    )
    _add_common(autoscaler)
    autoscaler.add_argument(
        "--stats",
        metavar="HOST:PORT",
        default="0.0.0.0:9091",
        help="where activators tell their load (default 0.0.0.0:9091)",
    )
    autoscaler.add_argument("--service", metavar="NAME", default="stoker-activator", help=_SERVICE)
    autoscaler.add_argument(
        "--account",
        metavar="NAME",
        default="stoker-activator",
        help="the service account of activators, in POD_NAMESPACE (default stoker-activator)",
    )
    return autoscaler


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--kubeconfig", metavar="FILE", default="", help="which cluster; in a pod: its own"
    )
    command.add_argument(
        "--context", metavar="NAME", default="", help="of the kubeconfig, not its current one"
    )
    command.add_argument(
        "--namespace",
        metavar="NAME",
        action="append",
        default=[],
        help="touch only this one; may be repeated (default: all)",
    )
    command.add_argument(
        "--config-map",
        metavar="NAME",
        help="with settings for all models (default: STOKER_CONFIG_MAP, else stoker-config)",
    )
    command.add_argument("--admin", metavar="HOST:PORT", help=_ADMIN)
