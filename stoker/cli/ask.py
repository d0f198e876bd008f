"""``stoker status`` and ``stoker explain``: ask a running Stoker on its admin port."""

from __future__ import annotations

import http.client
import json
from typing import Any, TextIO
from urllib.parse import quote

from rich.console import Console

from stoker.cli.views import ModelView, models_table
from stoker.errors import ControlError

TIMEOUT_SECONDS = 10.0


def ask(admin: str, path: str) -> Any:
    """The JSON document at ``path``. Raises ControlError when nobody answers, or with a no."""
    host, _, port = admin.rpartition(":")
    if not host or not port.isdecimal():
        raise ControlError(f"--admin = {admin}: not HOST:PORT, for example 127.0.0.1:8081")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read()
    except OSError as caught:
        raise ControlError(
            f"no Stoker answers on {admin}: {caught.strerror or caught};"
            " start one with stoker up FILE, or name its admin address with --admin"
        ) from None
    except http.client.HTTPException as caught:
        raise ControlError(f"what answers on {admin} is no Stoker: {caught!r}") from None
    finally:
        connection.close()
    try:
        document = json.loads(text)
    except ValueError:
        raise ControlError(f"what answers on {admin} is no Stoker's admin port") from None
    if answer.status != 200:
        raise ControlError(str(document.get("error", f"status {answer.status}")))
    return document


def run_status(admin: str, out: TextIO, *, as_json: bool) -> int:
    """Print every model's state."""
    document = ask(admin, "/api/models")
    if as_json:
        print(json.dumps(document, indent=2), file=out)
        return 0
    Console(file=out).print(models_table([ModelView.of(m) for m in document["models"]]))
    return 0


def run_explain(admin: str, model: str, out: TextIO, *, as_json: bool) -> int:
    """Print why ``model`` has the replicas it has, and why its last requests waited."""
    document = ask(admin, f"/api/explain/{quote(model)}")
    if as_json:
        print(json.dumps(document, indent=2), file=out)
        return 0
    for line in explanation(document):
        print(line, file=out)
    return 0


def explanation(document: dict[str, Any]) -> list[str]:
    """The explain document as sentences."""
    state = document["state"]
    view = ModelView.of(state)
    lines = [
        f"{view.model}: {view.phase}, {view.ready} of {view.total} replicas ready,"
        f" {view.desired} wanted; {view.queued} queued, {view.active} active",
        f"why: {view.why}",
    ]
    for replica in state["replicas"]:
        reason = f" ({replica['reason']})" if replica["reason"] else ""
        lines.append(
            f"  replica {replica['id']} {replica['phase']}{reason}"
            f" at {replica['address'] or '-'}, created {replica['age']:.1f} s ago"
        )
    requests = document["requests"]
    lines.append(f"answered {requests['answered']}, retried {requests['retries']}")
    if requests["refused"]:
        counts = ", ".join(f"{reason} {count}" for reason, count in requests["refused"].items())
        lines.append(f"refused: {counts}")
    lines += [
        f"  {wait['seconds_ago']:.1f} s ago a request waited {wait['waited']:.3f} s"
        for wait in requests["recent_waits"]
    ]
    lines += [
        f"  {refusal['seconds_ago']:.1f} s ago one was refused:"
        f" {refusal['reason']} {refusal['detail']}".rstrip()
        for refusal in requests["recent_refusals"]
    ]
    lines += [
        f"  {decision['seconds_ago']:.1f} s ago decided {decision['desired']}: {decision['reason']}"
        for decision in document["decisions"]
    ]
    return lines
