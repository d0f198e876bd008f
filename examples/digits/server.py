"""The digits classifier as a KServe V2 (Open Inference Protocol) server.

``python -m examples.digits.server --port PORT --model FILE``. One process: HTTP on an
event loop, the classifier on a small thread pool. The port opens once the model is
loaded, so an accepted connection is as good a sign of readiness as ``/v2/health/ready``.
SIGTERM: not ready, no new connections, what is at work is finished, exit status 0.

Beside the protocol, ``GET /startup`` tells when each step of the start was reached, as
seconds since the Unix epoch: process, imports, model, listening.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import pickle
import signal
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import sklearn
from aiohttp import web
from sklearn.svm import SVC

from examples.digits import protocol

NAME = "digits"
VERSION = "1"
MAX_BODY_BYTES = 8 * 1024 * 1024
THREADS = 2
FINISH_SECONDS = 20.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """The protocol's endpoints over one loaded classifier."""

    def __init__(self, classifier: SVC, startup: dict[str, float]) -> None:
        self._classifier = classifier
        self._startup = startup
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="infer")
        self.ready = True
        self._at_work = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def application(self) -> web.Application:
        """Every route; models are found with and without ``/versions/1``."""
        app = web.Application(
            middlewares=[self._count, _errors_as_json], client_max_size=MAX_BODY_BYTES
        )
        app.router.add_get("/v2", self.server_metadata)
        app.router.add_get("/v2/health/live", self.live)
        app.router.add_get("/v2/health/ready", self.server_ready)
        for prefix in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            app.router.add_get(prefix, self.model_metadata)
            app.router.add_get(f"{prefix}/ready", self.model_ready)
            app.router.add_post(f"{prefix}/infer", self.infer)
        app.router.add_get("/startup", self.startup)
        return app

    async def server_metadata(self, request: web.Request) -> web.Response:
        """Who this is and which protocol extensions it has: none."""
        return web.json_response({"name": NAME, "version": sklearn.__version__, "extensions": []})

    async def live(self, request: web.Request) -> web.Response:
        """200 as long as the process answers."""
        return web.json_response({"live": True})

    async def server_ready(self, request: web.Request) -> web.Response:
        """200 while requests are welcome, 503 from SIGTERM on."""
        return web.json_response({"ready": self.ready}, status=200 if self.ready else 503)

    async def model_ready(self, request: web.Request) -> web.Response:
        """As ``/v2/health/ready``: there is one model only."""
        _find(request)
        status = 200 if self.ready else 503
        return web.json_response({"name": NAME, "ready": self.ready}, status=status)

    async def model_metadata(self, request: web.Request) -> web.Response:
        """Names, types and shapes of the tensors; -1 is any number of images."""
        _find(request)
        return web.json_response(
            {
                "name": NAME,
                "versions": [VERSION],
                "platform": "sklearn_svc",
                "inputs": protocol.INPUTS,
                "outputs": protocol.OUTPUTS,
            }
        )

    async def infer(self, request: web.Request) -> web.Response:
        """Images in, labels and scores out."""
        _find(request)
        if "Inference-Header-Content-Length" in request.headers:
            raise protocol.RequestError("binary tensors are not supported: send the data as JSON")
        wanted = protocol.parse(await request.read())
        loop = asyncio.get_running_loop()
        score = self._classifier.decision_function
        scores = await loop.run_in_executor(self._threads, score, wanted.images)
        return web.json_response(protocol.answer(wanted, scores, VERSION))

    async def startup(self, request: web.Request) -> web.Response:
        """When each step of the start was reached."""
        return web.json_response(self._startup)

    async def finish(self) -> None:
        """Return when no request is at work, or after FINISH_SECONDS."""
        self.ready = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FINISH_SECONDS):
                await self._idle.wait()

    @web.middleware
    async def _count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._at_work += 1
        self._idle.clear()
        try:
            return await handler(request)
        finally:
            self._at_work -= 1
            if not self._at_work:
                self._idle.set()

    def close(self) -> None:
        """End the threads, after what they are doing."""
        self._threads.shutdown()


def _find(request: web.Request) -> None:
    """Raises HTTPNotFound unless the path names this model and version."""
    name, version = request.match_info["model"], request.match_info.get("version", VERSION)
    if name != NAME:
        raise web.HTTPNotFound(text=f"no model {name!r} here; there is {NAME}")
    if version != VERSION:
        raise web.HTTPNotFound(text=f"no version {version!r} of {NAME}; there is {VERSION}")


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure as the protocol wants it: ``{"error": text}`` with a fitting status."""
    try:
        return await handler(request)
    except protocol.RequestError as error:
        return web.json_response({"error": str(error)}, status=400)
    except web.HTTPException as error:
        headers = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
        return web.json_response(
            {"error": error.text or error.reason}, status=error.status, headers=headers
        )
    except Exception:
        logging.exception("%s %s failed", request.method, request.path)
        return web.json_response({"error": "internal error, see the log"}, status=500)


async def serve(server: Server, host: str, port: int, startup: dict[str, float]) -> None:
    """Listen, and return after SIGTERM or SIGINT when all work is finished."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        startup["listening"] = time.time()
        print(f"{NAME}: listening on {host}:{port}", flush=True)
        await stop.wait()
        await site.stop()
        # Not left to cleanup(): from there on aiohttp reads no more of a body that is coming.
        await server.finish()
    finally:
        await runner.cleanup()
        server.close()


def _process_started() -> float:
    """When this process began, to 10 ms: after it come the interpreter and the imports."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def main() -> None:
    """Exits with status 2 when the arguments, and 1 when the model or the port, are no good."""
    startup = {"process": _process_started(), "imports": time.time()}
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", type=Path, required=True, help="a file that train.py wrote")
    args = parser.parse_args()
    try:
        server = Server(pickle.loads(args.model.read_bytes()), startup)
    except FileNotFoundError:
        parser.exit(1, f"{args.model}: no such file; python -m examples.digits.train makes it\n")
    startup["model"] = time.time()
    try:
        asyncio.run(serve(server, args.host, args.port, startup))
    except OSError as error:
        parser.exit(1, f"cannot listen on {args.host}:{args.port}: {error.strerror}\n")


if __name__ == "__main__":
    main()
