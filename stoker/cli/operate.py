"""``stoker adopt``, ``release``, ``uninstall``, and ``status`` of a cluster: for whoever may write
to the cluster, with or without a Stoker that runs in it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table

from stoker.clock import SystemClock
from stoker.errors import ApiError, PlatformError, Problem, SettingsError
from stoker.platforms.kubernetes import adoption, models, restoring, services, survey
from stoker.platforms.kubernetes.access import Access
from stoker.platforms.kubernetes.client import Client, Obj
from stoker.platforms.kubernetes.models import Rival
from stoker.platforms.kubernetes.names import LEASE, MANAGED_SELECTOR
from stoker.platforms.kubernetes.traffic import selects
from stoker.quantities import parse_duration

Work = Callable[[Client], Awaitable[int]]
LOOK_SECONDS = 0.5


def run_operate(arguments: argparse.Namespace, out: TextIO) -> int:
    """Do what one of the commands says. Raises SettingsError, PlatformError."""
    works: dict[str, Work] = {
        "adopt": lambda client: _adopt(client, arguments, out),
        "release": lambda client: _release(client, arguments, out),
        "uninstall": lambda client: _uninstall(client, arguments, out),
        "status": lambda client: _status(client, arguments, out),
    }
    return asyncio.run(_with_client(arguments, works[arguments.command]))


async def _with_client(arguments: argparse.Namespace, work: Work) -> int:
    access = Access(arguments.kubeconfig, arguments.context)
    async with await Client.connect(access, arguments.command) as client:
        return await work(client)


# --- adopt and release ---


async def _adopt(client: Client, arguments: argparse.Namespace, out: TextIO) -> int:
    namespace, name = arguments.namespace, _deployment(arguments.target)
    settings = _assignments(arguments.set)
    path, root = f"/apis/apps/v1/namespaces/{namespace}/deployments", f"/namespaces/{namespace}"
    deployment = await _get(client, f"{path}/{name}", f"Deployment {namespace}/{name}")
    all_services, _ = await client.list(f"/api/v1{root}/services")
    deployments, _ = await client.list(path)
    rivals = [r for r in await _rivals(client, root) if r.target.name == name]
    found = adoption.adoption(deployment, all_services, deployments, rivals, settings)
    again = adoption.is_managed(deployment)
    print(f"Deployment {namespace}/{name}{': has the label already' if again else ''}", file=out)
    for line in found.happens:
        print(f"  {line}", file=out)
    for line in found.warnings:
        print(f"  warning: {line}", file=out)
    for line in found.obstacles:
        print(f"  refused: {line}", file=out)
    if found.obstacles:
        return 1
    if not arguments.yes:
        print("nothing was changed; --yes does it", file=out)
        return 0
    await client.patch(f"{path}/{name}", found.patch)
    print(f"done; stoker release deploy/{name} -n {namespace} takes it back", file=out)
    return 0


async def _release(client: Client, arguments: argparse.Namespace, out: TextIO) -> int:
    namespace, name = arguments.namespace, _deployment(arguments.target)
    timeout = _timeout(arguments.timeout)
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
    deployment = await _get(client, path, f"Deployment {namespace}/{name}")
    view = models.view(deployment)
    print(f"Deployment {view.key}", file=out)
    if not adoption.is_managed(deployment):
        print("  has no label stoker.dev/managed: there is nothing to release", file=out)
        return 0
    print("  the label stoker.dev/managed is taken away, annotations stay", file=out)
    if not view.replicas:
        print("  it is asleep: it is scaled to 1, or nobody would answer", file=out)
    print("  whoever leads gives its Services back once a replica is ready", file=out)
    if not arguments.yes:
        print("nothing was changed; --yes does it", file=out)
        return 0
    await client.patch(path, adoption.release(deployment))
    if not view.replicas:
        # After the label, which whoever leads learns of first: it would take the replica away.
        await restoring.wake(client, view.key)
    deadline = time.monotonic() + timeout
    while left := await _led(client, view):
        if time.monotonic() > deadline:
            raise PlatformError(
                f"{view.key}: Services {', '.join(left)} were not given back within"
                f" {arguments.timeout}: is a Stoker running? Without one: stoker uninstall"
                f" -n {namespace}"
            )
        await asyncio.sleep(LOOK_SECONDS)
    print("done; no Service of it is led through the activators", file=out)
    return 0


async def _led(client: Client, model: models.DeploymentView) -> list[str]:
    every, _ = await client.list(f"/api/v1/namespaces/{model.key.namespace}/services")
    views = [view for obj in every if (view := services.view(obj)) is not None]
    return [v.name for v in views if v.taken and selects(v, dict(model.labels))]


def _deployment(target: str) -> str:
    """NAME of ``deploy/NAME``, as kubectl names it too."""
    kind, slash, name = target.partition("/")
    if not slash:
        kind, name = "deployment", target
    kinds = ("deploy", "deployment", "deployments", "deployment.apps", "deployments.apps")
    if kind not in kinds or not name:
        problem = Problem("deploy/NAME", target, "is no Deployment", "deploy/NAME or NAME")
        raise SettingsError("the command line", [problem])
    return name


def _assignments(texts: Sequence[str]) -> Mapping[str, str]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            problem = Problem("--set", text, "has no =", "KEY=VALUE, as in max-scale=3")
            raise SettingsError("the command line", [problem])
        found[key] = value
    return found


def _timeout(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        problem = Problem("--timeout", text, str(error), "a duration such as 90s or 3m")
        raise SettingsError("the command line", [problem]) from None


async def _rivals(client: Client, root: str) -> list[Rival]:
    found = []
    for group, plural, kind in models.RIVALS:
        try:
            every, _ = await client.list(f"{group}{root}/{plural}")
        except ApiError as error:
            if error.status != 404:  # a cluster without KEDA
                raise
            continue
        found += [rival for obj in every if (rival := models.rival(obj, kind)) is not None]
    return found


async def _get(client: Client, path: str, what: str) -> Obj:
    try:
        return await client.get(path)
    except ApiError as error:
        if error.status == 404:
            raise PlatformError(f"{what}: there is none; name its namespace with -n") from None
        raise


# --- uninstall ---


async def _uninstall(client: Client, arguments: argparse.Namespace, out: TextIO) -> int:
    timeout = _timeout(arguments.timeout)
    found = await restoring.look(client, arguments.namespace)
    leases, _ = await client.list("/apis/coordination.k8s.io/v1/leases")
    clock = SystemClock()
    if held := survey.holder(leases, LEASE, clock.wall()):
        print(
            f"refused: a Stoker leads ({held.identity}, Lease {held.namespace}/{LEASE}) and would"
            " put everything back; delete its Deployments first, or use stoker release",
            file=out,
        )
        if arguments.yes:
            return 1
    for view in found.asleep():
        print(f"Deployment {view.key}: asleep, to be scaled to 1", file=out)
    for pod, _ in found.marked():
        metadata = pod["metadata"]
        print(f"Pod {metadata['namespace']}/{metadata['name']}: was to end, may go on", file=out)
    for service in found.to_restore():
        print(f"Service {service.namespace}/{service.name}: to be restored", file=out)
    if not (found.to_restore() or found.marked()):
        print("nothing of Stoker's is left on any Service or pod", file=out)
        return 0
    if not arguments.yes:
        print("nothing was changed; --yes does it", file=out)
        return 0
    print(f"restoring; replicas have {arguments.timeout} to be ready", file=out)
    work = restoring.Restoring(
        client,
        arguments.namespace,
        clock,
        lambda line: print(line, file=out, flush=True),
        timeout=timeout,
    )
    unanswered = await work.run()
    if unanswered:
        print(f"restored, but no pod is ready yet behind {', '.join(unanswered)}", file=out)
        return 1
    print(
        "done; labels and annotations of Deployments stay, and do nothing by themselves", file=out
    )
    return 0


# --- status ---


async def _status(client: Client, arguments: argparse.Namespace, out: TextIO) -> int:
    root = "" if arguments.all_namespaces else f"/namespaces/{arguments.namespace}"
    managed = {"labelSelector": MANAGED_SELECTOR}
    deployments, _ = await client.list(f"/apis/apps/v1{root}/deployments", managed)
    all_services, _ = await client.list(f"/api/v1{root}/services")
    events, _ = await client.list(f"/api/v1{root}/events")
    found = survey.seen(deployments, all_services, events)
    if arguments.json:
        print(json.dumps([each._asdict() for each in found], indent=2), file=out)
        return 0
    table = Table(expand=False, pad_edge=False)
    for heading in ("model", "ready"):
        table.add_column(heading, no_wrap=True, justify="right" if heading == "ready" else "left")
    table.add_column("Services", overflow="fold")
    table.add_column("last warning", overflow="fold")
    for each in found:
        table.add_row(each.model, f"{each.ready}/{each.replicas}", each.traffic, each.note)
    Console(file=out).print(table)
    return 0
