"""Where the bodies of held requests are, and what that costs the kernel."""

from __future__ import annotations

import asyncio
import socket

from activator import receive_buffer
from activator.http1 import ClientConnection
from activator.request import FORWARDING
from activator.tickets import Reason
from stoker.sockets import FIRST_BUFFER, SO_BUF_LOCK
from tests.activator.world import (
    Gate,
    World,
    chunks,
    echo,
    post,
    request,
    until,
)

MEGABYTE = bytes(range(256)) * 4096


def option(connection: ClientConnection, name: int) -> int:
    sock = connection.transport.get_extra_info("socket")
    found: int = sock.getsockopt(socket.SOL_SOCKET, name)
    return found


async def test_a_body_without_room_stays_in_its_client(world: World) -> None:
    """Only one read of it is taken, the kernel's part is as small as it began; later all of it
    goes through, with the kernel's buffer free to grow again.
    """
    await world.start(spool_bytes=0)
    client = await world.client()
    sending = asyncio.create_task(client.send(post(MEGABYTE)))
    (connection,) = await world.connections()
    assert option(connection, socket.SO_RCVBUF) == 2 * FIRST_BUFFER
    await until(lambda: connection._paused)
    assert connection.exchange is not None
    assert connection.exchange.body.size <= 65_536
    assert option(connection, socket.SO_RCVBUF) <= 4 * FIRST_BUFFER
    assert option(connection, SO_BUF_LOCK) & 2 == 0
    await world.replica(echo)
    assert (await client.answer()).body == MEGABYTE
    await sending
    assert option(connection, socket.SO_RCVBUF) > 4 * FIRST_BUFFER
    assert option(connection, SO_BUF_LOCK) & 2 == 0


async def test_a_connection_that_has_carried_much_is_narrowed(world: World) -> None:
    """The kernel has let its buffer grow: as long as a body is held it may not keep so much."""
    await world.start(spool_bytes=0)
    replica = await world.replica(echo)
    client = await world.client()
    assert (await client.ask(post(MEGABYTE))).body == MEGABYTE
    (connection,) = await world.connections()
    assert option(connection, socket.SO_RCVBUF) > 4 * FIRST_BUFFER
    world.platform.vanish(replica.id)
    sending = asyncio.create_task(client.send(post(MEGABYTE)))
    await until(lambda: connection._paused)
    assert option(connection, socket.SO_RCVBUF) == 2 * receive_buffer.NARROW
    await world.replica(echo)
    assert (await client.answer()).body == MEGABYTE
    await sending
    assert option(connection, SO_BUF_LOCK) & 2 == 0


async def test_a_chunked_body_does_not_fill_the_kernel(world: World) -> None:
    """Its length is not known, so neither is whether there is room for it: the kernel's buffer
    stays as it was in the beginning.
    """
    await world.start(spool_bytes=300_000)
    head = request("POST", "/", "digits.localhost", "Transfer-Encoding: chunked")
    data = head + chunks(*[MEGABYTE[at : at + 10_000] for at in range(0, len(MEGABYTE), 10_000)])
    client = await world.client()
    sending = asyncio.create_task(client.send(data))
    (connection,) = await world.connections()
    await until(
        lambda: connection._paused and connection.exchange and connection.exchange.body.full
    )
    assert option(connection, socket.SO_RCVBUF) == 2 * receive_buffer.USUAL
    await world.replica(echo)
    assert (await client.answer()).body == MEGABYTE
    await sending


async def test_a_body_with_room_is_taken_in_full(world: World) -> None:
    """All of it, so that it can be sent again; the budget shows it."""
    await world.start(spool_bytes=20 * len(MEGABYTE))
    (client,) = await world.held(post(MEGABYTE)[:1000])
    assert world.activator.spool.promised >= len(MEGABYTE) - 32_768
    await client.send(post(MEGABYTE)[1000:])
    (connection,) = await world.connections()
    await until(lambda: connection.exchange and connection.exchange.body_complete)
    assert connection.exchange is not None
    assert connection.exchange.body.chunks == []
    assert (world.activator.spool.used, world.activator.spool.promised) == (2**20, 0)
    await world.replica(echo)
    assert (await client.answer()).body == MEGABYTE
    assert world.activator.spool.used == 0


async def test_a_client_that_leaves_takes_its_promise_with_it(world: World) -> None:
    """What was set aside for the rest of its body is free again."""
    await world.start(spool_bytes=20 * len(MEGABYTE))
    (client,) = await world.held(post(MEGABYTE)[:100_000])
    assert world.activator.spool.promised > 0
    client.close()
    await until(lambda: world.activator.admission.held == 0)
    assert (world.activator.spool.used, world.activator.spool.promised) == (0, 0)
    assert world.refused == {Reason.CLIENT_GONE: 1}


async def test_a_paused_client_that_leaves_is_noticed(world: World) -> None:
    """Its socket is not read, its body is only half there: its place is free all the same."""
    await world.start(spool_bytes=0)
    (client,) = await world.held(post(MEGABYTE)[:60_000])
    (connection,) = await world.connections()
    await until(lambda: connection._paused)
    client.reset()
    await until(lambda: world.activator.admission.held == 0)
    assert world.refused == {Reason.CLIENT_GONE: 1}


async def test_clients_that_vanish_silently_are_looked_for(world: World) -> None:
    """The kernel asks after them: every accepted connection has keep-alive on."""
    await world.start()
    await world.client()
    (connection,) = await world.connections()
    assert option(connection, socket.SO_KEEPALIVE) == 1


async def test_a_body_that_was_not_held_keeps_its_buffer(world: World) -> None:
    """Nothing is narrowed on the way to a replica that is there."""
    await world.start()
    gate = Gate()
    await world.replica(gate)
    client = await world.client()
    await client.send(post(MEGABYTE)[:1000])
    (connection,) = await world.connections()
    await until(lambda: connection.exchange and connection.exchange.stage is FORWARDING)
    assert option(connection, SO_BUF_LOCK) & 2 == 0
    gate.let()
    await client.send(post(MEGABYTE)[1000:])
    assert (await client.answer()).body == MEGABYTE
