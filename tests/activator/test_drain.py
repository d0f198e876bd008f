"""Stopping without losing a request: order of things, tunnels by activity, quiet connections."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct

import pytest

from activator import drain as draining
from stoker.sockets import refuse_new, take_backlog
from tests.activator.world import Asked, Gate, World, get, soon, until

UPGRADE = get("/ws", "digits.localhost", "Connection: Upgrade", "Upgrade: test")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moments are short here."""
    monkeypatch.setattr(draining, "SETTLE_SECONDS", 0.01)
    monkeypatch.setattr(draining, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(draining, "CHECK_SECONDS", 0.005)


async def test_ready_says_no_while_connections_are_taken(world: World) -> None:
    """During drain-delay new clients are served as ever; then nobody can connect any more."""
    await world.start(drain_delay=3600.0)
    await world.replica()
    drained = asyncio.ensure_future(world.activator.drain(5.0))
    await until(lambda: world.activator.leaving)
    client = await world.client()
    answer = await client.ask(get())
    assert (answer.status, answer.get("Connection")) == (200, None)
    assert (await client.ask(get("/v2/health/ready", "any"))).status == 503
    drained.cancel()
    await asyncio.gather(drained, return_exceptions=True)


async def test_a_kept_connection_is_told_with_its_next_answer(world: World) -> None:
    """One in use gets Connection: close and its answer; none is cut off."""
    await world.start()
    gate = Gate()
    await world.replica(gate)
    client = await world.client()
    await client.send(get())
    await until(lambda: gate.inside == 1)
    drained = asyncio.ensure_future(world.activator.drain(20.0))
    await until(lambda: world.activator.draining)
    gate.let()
    answer = await client.answer()
    assert (answer.status, answer.get("Connection")) == (200, "close")
    assert await client.at_end()
    assert await soon(drained) == 0
    with pytest.raises(ConnectionRefusedError):
        await world.client()


async def test_a_quiet_connection_is_half_closed_and_late_requests_are_counted(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """It sees our end, not a reset; a request that crossed it is counted and told."""
    caplog.set_level(logging.INFO)
    await world.start()
    await world.replica()
    client = await world.client()
    assert (await client.ask(get())).status == 200
    drained = asyncio.ensure_future(world.activator.drain(20.0))
    assert await client.at_end()
    await client.send(get())
    await until(lambda: world.activator.late_requests == 1)
    assert "request on a connection that is being closed" in caplog.text
    client.close()
    assert await soon(drained) == 0


async def test_tunnels_end_by_their_activity(world: World) -> None:
    """A silent one is closed first; one in use goes on until the end of the time."""
    await world.start(tunnel_drain_idle=5.0)

    async def switch(asked: Asked) -> None:
        await asked.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n"
        )
        while data := await asked.reader.read(100):
            await asked.send(data)

    await world.replica(switch)
    silent, busy = await world.client(), await world.client()
    for client in (silent, busy):
        await client.send(UPGRADE)
        assert (await client.head()).status == 101
    drained = asyncio.ensure_future(world.activator.drain(30.0))
    await until(lambda: world.activator.draining)
    world.clock.jump(4.0)
    await busy.send(b"x")
    assert await soon(busy.reader.readexactly(1)) == b"x"
    world.clock.jump(2.0)
    assert await silent.at_end()
    await busy.send(b"y")
    assert await soon(busy.reader.readexactly(1)) == b"y"
    assert len(world.activator.tunnels) == 1
    world.clock.jump(30.0)
    assert await soon(drained) == 1


async def test_what_does_not_finish_in_time_is_told(world: World) -> None:
    """drain returns how many were left; close ends them."""
    await world.start()
    gate = Gate()
    await world.replica(gate)
    client = await world.client()
    await client.send(get())
    await until(lambda: gate.inside == 1)
    assert await soon(world.activator.drain(0.0)) == 1
    gate.let()
    assert (await client.answer()).status == 200


async def test_without_filters_in_the_kernel_the_backlog_is_taken_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever had connected is served."""
    monkeypatch.setattr(draining, "refuse_new", lambda sock: False)
    await world.start()
    await world.replica()
    host, port = world.address()
    with socket.create_connection((host, port)) as sock:
        sock.sendall(get())
        sock.setblocking(False)
        # The loop has had no turn since: the connection is in the kernel's queue.
        drained = asyncio.ensure_future(world.activator.drain(20.0))
        loop = asyncio.get_running_loop()
        assert (await soon(loop.sock_recv(sock, 1000))).startswith(b"HTTP/1.1 200 OK")
    assert await soon(drained) == 0


def test_new_connections_are_ignored_and_complete_ones_taken() -> None:
    """After refuse_new nobody new gets through; those before are in the backlog, whole."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        address = listening.getsockname()
        with socket.create_connection(address) as before, socket.socket() as after:
            before.sendall(b"hello")
            assert refuse_new(listening)
            after.setblocking(False)
            assert after.connect_ex(address) != 0
            ((taken, peer),) = take_backlog(listening)
            with taken:
                assert peer == "127.0.0.1"
                taken.setblocking(True)
                assert taken.recv(5) == b"hello"
            state = after.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
            assert struct.unpack("B", state[:1])[0] == 2  # TCP_SYN_SENT: nobody answered


def test_a_kernel_without_filters_is_no_error() -> None:
    """Where nothing can be attached nothing is changed."""
    a, b = socket.socketpair()
    with a, b:
        a.close()
        assert not refuse_new(a)
