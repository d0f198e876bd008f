"""Stoker's activator and autoscaler over many models: ``fleet_server MODELS HOT UPSTREAM``.

Everything is the real thing but the platform: replicas are all the same backend, at once
there when asked for, because thousands of model servers do not fit on a small machine. The
first HOT models have one replica each from the start, the others sleep. Prints the port
once it serves.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys

import uvloop

from activator.server import Activator
from autoscaler.reconciler import Autoscaler
from stoker.clock import Clock, SystemClock
from stoker.link import MemoryLink
from stoker.settings import ProcessConfig
from stoker.testing import FakePlatform
from stoker.vocabulary import Address, ModelKey, ModelSpec, Replica, ScalingConfig, ServingConfig


class Fleet(FakePlatform):
    """Every replica is the same backend."""

    backend: Address
    ready = 0
    hot = 0

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock, start_up=())
        self._all = asyncio.Event()

    def make_ready(self, replica_id: str, address: Address | None = None) -> Replica:
        self.ready += 1
        if self.ready == self.hot:
            self._all.set()
        return super().make_ready(replica_id, self.backend)

    async def all_ready(self) -> None:
        """Wait until as many replicas are ready as models are hot."""
        await self._all.wait()


async def main() -> None:
    """Serve until terminated."""
    models, hot, upstream = (int(word) for word in sys.argv[1:4])
    clock, link = SystemClock(), MemoryLink()
    platform = Fleet(clock)
    platform.hot = hot
    platform.backend = Address("127.0.0.1", upstream)
    process = ProcessConfig(listen=Address("127.0.0.1", 0))
    autoscaler = Autoscaler(platform, clock, tick_interval=process.tick_interval)
    activator = Activator(process, platform, link, clock, eta=autoscaler.eta)
    for number in range(models):
        scaling = ScalingConfig(min_scale=number < hot, initial_scale=int(number < hot))
        serving = ServingConfig(container_concurrency=8)
        key = ModelKey("default", f"m{number}")
        platform.add_model(ModelSpec(key, scaling=scaling, serving=serving))
    await activator.start()
    link.attach(autoscaler)
    await autoscaler.start()
    async with asyncio.timeout(60):
        await platform.all_ready()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(next(iter(activator.addresses.values())).port, flush=True)
    await stop.wait()
    await autoscaler.close()
    await activator.close()


if __name__ == "__main__":
    uvloop.run(main())
