"""Headless Chromium, spoken to by its DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

FLAGS = (
    *("--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions"),
    *(
        "--disable-dev-shm-usage",
        "--force-color-profile=srgb",
        "--hide-scrollbars",
        "--remote-debugging-port=0",
    ),
)
PATIENCE = 60.0
"""Seconds that anything may take: only a browser that hangs is slower."""


class Page:
    """One tab. ``events``: everything it has told, in order."""

    def __init__(self, socket: ClientConnection, session: str) -> None:
        self._socket = socket
        self._session = session
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a command; AssertionError if it is refused."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        self._socket.send(json.dumps({**message, "sessionId": self._session}))
        while True:
            told = json.loads(self._socket.recv(timeout=PATIENCE))
            if told.get("id") == self._number:
                assert "error" not in told, (method, told["error"])
                answer: dict[str, Any] = told["result"]
                return answer
            self.events.append(told)

    def wait_for(self, method: str) -> None:
        """Until the page tells this (again, if it had already)."""
        while True:
            self.events.append(json.loads(self._socket.recv(timeout=PATIENCE)))
            if self.events[-1].get("method") == method:
                return

    def told(self, method: str) -> list[dict[str, Any]]:
        """What came with each event of this name."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def open(self, file: Path, width: int, height: int, scheme: str = "light") -> None:
        """Load a file in a window of that size."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.media("screen", scheme)
        self.events.clear()
        self.call("Page.navigate", url=file.as_uri())
        self.wait_for("Page.loadEventFired")

    def media(self, media: str, scheme: str) -> None:
        """``screen`` or ``print``; ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def evaluate(self, script: str) -> Any:
        """The value of an expression, awaited; AssertionError if it throws."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, to: Path) -> None:
        """The whole page, however long, as PNG."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        to.write_bytes(base64.b64decode(answer["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A browser with a profile of its own in ``folder``; ends with the block.

    The test fails, with what to do, where it is missing.
    """
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("chromium is not installed: make browser installs it")
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [program, *FLAGS, *root, f"--user-data-dir={folder}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            with connect(_address(process), max_size=None) as socket:
                yield _page(socket)
        finally:
            process.kill()


def _address(process: subprocess.Popen[bytes]) -> str:
    """Where it listens, which is the only thing it says before it is asked."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line.decode(errors="replace"))
        if "DevTools listening on " in said[-1]:
            return said[-1].partition("listening on ")[2].strip()
    pytest.fail("chromium ended at once:\n" + "".join(said))


def _page(socket: ClientConnection) -> Page:
    top = Page(socket, "")
    number = 0

    def call(method: str, **params: Any) -> dict[str, Any]:
        nonlocal number
        number -= 1
        socket.send(json.dumps({"id": -number, "method": method, "params": params}))
        while (told := json.loads(socket.recv(timeout=PATIENCE))).get("id") != -number:
            pass
        result: dict[str, Any] = told["result"]
        return result

    target = call("Target.createTarget", url="about:blank")["targetId"]
    session = call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    top = Page(socket, session)
    for domain in ("Page", "Runtime", "Log", "Network"):
        top.call(f"{domain}.enable")
    return top
