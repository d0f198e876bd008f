"""One activator of several, in a process of its own, for tests. Told what to do on stdin.

Lines of JSON: {"name", "peers", "slot_expiry", "heartbeat", "fresh"} first, then {"model",
"limit"}, {"replica": port}, {"start": true}, {"peers": {name: port}}, {"drain": number}.
Answers with {"peer": port} at once and with {"listen": port} when it has started. SIGTERM:
it drains and ends. What was said before ``start`` is the state that it finds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
from typing import Any

import uvloop

from activator.cluster import Cluster
from activator.server import Activator
from stoker.clock import SystemClock
from stoker.link import MemoryLink
from stoker.settings import ProcessConfig
from stoker.testing import FakePlatform
from stoker.vocabulary import Address, ModelKey, ModelSpec, Phase, ServingConfig

HERE = Address("127.0.0.1", 0)


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def addresses(ports: dict[str, int]) -> dict[str, Address]:
    return {name: Address("127.0.0.1", port) for name, port in ports.items()}


class MemberProcess:
    """See the module."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.clock = SystemClock()
        self.platform = FakePlatform(clock=self.clock, replaces_lost=False)
        self.cluster = Cluster(
            options["name"],
            HERE,
            token=b"the token of these tests",
            slot_expiry=options["slot_expiry"],
            heartbeat=options["heartbeat"],
            share_slots=options.get("share_slots", 16),
            fresh=options["fresh"],
        )
        process = ProcessConfig(
            listen=HERE,
            slot_expiry=options["slot_expiry"],
            peer_heartbeat=options["heartbeat"],
            peer_share_slots=options.get("share_slots", 16),
        )
        link = MemoryLink()
        self.activator = Activator(
            process, self.platform, link, self.clock, name=options["name"], cluster=self.cluster
        )
        say(peer=self.cluster.bind().port)

    async def obey(self, order: dict[str, Any]) -> None:
        if "model" in order:
            serving = ServingConfig(container_concurrency=order["limit"])
            self.platform.add_model(ModelSpec(ModelKey.parse(order["model"]), serving=serving))
        elif "replica" in order:
            address = Address("127.0.0.1", order["replica"])
            self.platform.add_replica(ModelKey("default", "digits"), address=address)
        elif "drain" in order:
            self.platform.set_phase(f"digits-{order['drain']}", Phase.DRAINING)
        elif "peers" in order:
            self.cluster.set_peers(addresses(order["peers"]))
        elif "start" in order:
            await self.activator.start()
            say(listen=self.activator.addresses[""].port)


async def main() -> None:
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s"
    )
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    member = MemberProcess(json.loads(await reader.readline()))
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)

    async def orders() -> None:
        while line := await reader.readline():
            await member.obey(json.loads(line))
        stop.set()  # who gives the orders is gone

    obeying = asyncio.create_task(orders())
    await stop.wait()
    obeying.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await obeying
    await member.activator.drain(20.0)
    await member.activator.close()


if __name__ == "__main__":
    uvloop.run(main())
