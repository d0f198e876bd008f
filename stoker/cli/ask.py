"""``stoker status`` and ``stoker explain``: ask a running Stoker on its admin port."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO
from urllib.parse import quote

from rich.console import Console

from stoker.admin_token import VARIABLE
from stoker.cli.views import ModelView, models_table
from stoker.errors import ControlError

TIMEOUT_SECONDS = 10.0


class Asked(NamedTuple):
    """Whom to ask: the admin address of a running Stoker, and the token it wants, or none."""

    admin: str
    token: str = ""


def read_token(file: str | None) -> str:
    """The token in ``file``, else the one in the environment, else none. Raises ControlError."""
    if file is None:
        return os.environ.get(VARIABLE, "").strip()
    try:
        return Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as caught:
        why = caught.strerror if isinstance(caught, OSError) else "is not text"
        raise ControlError(f"--token-file = {file}: {why}; name the file that holds it") from None


@contextmanager
def asking(
    asked: Asked, path: str, timeout: float = TIMEOUT_SECONDS
) -> Iterator[http.client.HTTPResponse]:
    """The answer (200) at ``path``, to be read. Raises ControlError when nobody answers, or
    with a no; what is raised while it is read is the caller's.
    """
    admin, token = asked
    host, _, port = admin.rpartition(":")
    if not host or not port.isdecimal():
        raise ControlError(f"--admin = {admin}: not HOST:PORT, for example 127.0.0.1:8081")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout)
    with closing(connection):
        with _told(admin):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            text = b"" if answer.status == 200 else answer.read()
        if answer.status == 200:
            yield answer
            return
        document = _read(text, admin)
        if answer.status == 401:
            how = "name its file with --token-file, or set STOKER_ADMIN_TOKEN"
            raise ControlError(f"{document.get('error', 'a token is asked for')}; {how}")
        raise ControlError(str(document.get("error", f"status {answer.status}")))


def ask(asked: Asked, path: str) -> Any:
    """The JSON document at ``path``. Raises ControlError when nobody answers, or with a no."""
    with asking(asked, path) as answer:
        with _told(asked.admin):
            text = answer.read()
        return _read(text, asked.admin)


@contextmanager
def _told(admin: str) -> Iterator[None]:
    """What goes wrong between here and there, for people."""
    try:
        yield
    except OSError as caught:
        raise ControlError(
            f"no Stoker answers on {admin}: {caught.strerror or caught};"
            " start one with stoker up FILE, or name its admin address with --admin"
        ) from None
    except (ValueError, UnicodeError):  # http.client's words repeat the header
        raise ControlError("the admin token holds characters that no header can carry") from None
    except http.client.HTTPException as caught:
        raise ControlError(f"what answers on {admin} is no Stoker: {caught!r}") from None


def _read(text: bytes, admin: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise ControlError(f"what answers on {admin} is no Stoker's admin port") from None


def run_status(asked: Asked, out: TextIO, *, as_json: bool) -> int:
    """Print every model's state."""
    document = ask(asked, "/api/models")
    if as_json:
        print(json.dumps(document, indent=2), file=out)
        return 0
    Console(file=out).print(models_table([ModelView.of(m) for m in document["models"]]))
    return 0


def run_explain(asked: Asked, model: str, out: TextIO, *, as_json: bool) -> int:
    """Print why ``model`` has the replicas it has, and why its last requests waited."""
    document = ask(asked, f"/api/explain/{quote(model)}")
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
    lines += [
        f"  replica {ended['id']} ended {ended['seconds_ago']:.1f} s ago after"
        f" {ended['lived']:.1f} s: {ended['reason'] or 'no reason is known'}"
        for ended in state.get("ended", ())
    ]
    requests = document["requests"]
    lines.append(f"answered {requests['answered']}, retried {requests['retries']}")
    if requests["refused"]:
        counts = ", ".join(f"{reason} {count}" for reason, count in requests["refused"].items())
        lines.append(f"refused: {counts}")
    lines += [
        f"  {wait['seconds_ago']:.1f} s ago a request waited {wait['waited']:.3f} s: {wait['why']}"
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
