"""A worker that goes lets those in who are agreeing on TLS with it."""

from __future__ import annotations

import socket
import ssl
from asyncio import get_running_loop, open_connection, wait_for
from pathlib import Path

import pytest

from stoker.cli.worker import Arguments, Worker
from tests.activator.world import Client, echo, make_world, post, soon, until
from tests.pki import make_pair


async def test_a_handshake_outlives_its_queue(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its queue is another worker's now: who came through it before is served all the same."""
    pair = make_pair(tmp_path, "one")
    async with make_world(monkeypatch) as world:
        await world.start(tls_certificate=str(pair.certificate), tls_key=str(pair.key))
        await world.replica(echo)
        queue = socket.create_server(("127.0.0.1", 0))
        address = queue.getsockname()[:2]
        worker = Worker(Arguments(1, 1, -1, [("", 0, queue.detach())]))
        worker.activator = world.activator
        worker._listen((0,))
        await until(lambda: worker._servers, "listening")
        plain = socket.socket()
        plain.setblocking(False)
        await soon(get_running_loop().sock_connect(plain, address))
        await until(lambda: world.activator.welcoming, "accepted")
        worker._listen(())
        assert not worker._servers
        context = ssl.create_default_context(cafile=str(pair.certificate))
        context.check_hostname = False
        opening = open_connection(sock=plain, ssl=context, server_hostname="one")
        client = Client(*await wait_for(opening, 10.0))
        world.clients.append(client)
        assert (await client.ask(post(b"x"))).body == b"x"
        for sock in worker._queues.values():
            sock.close()
