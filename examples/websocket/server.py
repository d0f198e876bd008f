"""A WebSocket server with aiohttp: it says back what it is told.

    python -m examples.websocket.server --port 8000

    GET /ws       a WebSocket; texts and binary messages come back as they are, and so do
                  code and reason of a close; upon the text "close CODE REASON" the server
                  closes with these by itself
    GET /health   200 once it may be asked

The subprotocol "echo" is spoken if asked for. Messages up to 16 MiB are taken.
"""

from __future__ import annotations

import argparse

from aiohttp import WSMsgType, web

LONGEST = 16 * 1024 * 1024


async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(protocols=("echo",), max_msg_size=LONGEST, autoclose=False)
    await socket.prepare(request)
    while not socket.closed:
        message = await socket.receive()
        if message.type is WSMsgType.CLOSE:
            # aiohttp by itself would answer any close with 1000 and no reason.
            await socket.close(code=message.data, message=(message.extra or "").encode())
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        elif message.type is WSMsgType.TEXT and message.data.startswith("close "):
            _, code, reason = message.data.split(" ", 2)
            await socket.close(code=int(code), message=reason.encode())
        elif message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket


async def health(_: web.Request) -> web.Response:
    return web.json_response({"ready": True})


def application() -> web.Application:
    made = web.Application()
    made.router.add_get("/ws", echo)
    made.router.add_get("/health", health)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Echo over WebSockets.")
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    web.run_app(application(), host="127.0.0.1", port=port, print=None)


if __name__ == "__main__":
    main()
