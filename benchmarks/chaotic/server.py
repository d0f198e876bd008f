"""A model server for every kind of traffic: ``server PORT``.

POST .../short answers in 1 to 20 ms, .../large gives as many bytes back as it got,
GET .../stream sends 40 server-sent events 20 ms apart, .../socket echoes over a WebSocket.
"""

from __future__ import annotations

import asyncio
import random
import sys

from aiohttp import WSMsgType, web

EVENTS, EVENT_SECONDS = 40, 0.02


async def short(request: web.Request) -> web.Response:
    body = await request.read()
    await asyncio.sleep(random.uniform(0.001, 0.02))
    return web.Response(body=body)


async def large(request: web.Request) -> web.Response:
    size = 0
    async for block in request.content.iter_any():
        size += len(block)
    return web.Response(body=b"y" * size)


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for number in range(EVENTS):
        await response.write(b"data: %d\n\n" % number)
        await asyncio.sleep(EVENT_SECONDS)
    return response


async def socket(request: web.Request) -> web.WebSocketResponse:
    response = web.WebSocketResponse()
    await response.prepare(request)
    async for message in response:
        if message.type is WSMsgType.TEXT:
            await response.send_str(message.data)
    return response


async def ready(request: web.Request) -> web.Response:
    return web.Response()


def main() -> None:
    """Serve until terminated."""
    app = web.Application(client_max_size=1 << 30)
    path = "/v2/models/{model}/"
    app.router.add_get("/ready", ready)
    app.router.add_post(path + "short", short)
    app.router.add_post(path + "large", large)
    app.router.add_get(path + "stream", stream)
    app.router.add_get(path + "socket", socket)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, shutdown_timeout=1.0)


if __name__ == "__main__":
    main()
