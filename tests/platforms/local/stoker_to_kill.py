"""A small Stoker for tests that kill it: starts replicas, tells their ids, and waits.

python stoker_to_kill.py REPLICAS OPTION...   (options of echo.py; {n} is the number)
"""

from __future__ import annotations

import asyncio
import json
import sys

from stoker.platform import ReplicaChanged, ReplicaEvent
from stoker.platforms.local import LocalPlatform
from stoker.vocabulary import LaunchConfig, ModelKey, ModelSpec, Phase
from tests.servers import echo_command


async def main(count: int, options: list[str]) -> None:
    async with LocalPlatform() as platform:
        everyone_ready = asyncio.Event()
        ready: set[str] = set()

        def hear(event: ReplicaEvent) -> None:
            if isinstance(event, ReplicaChanged) and event.replica.phase is Phase.READY:
                ready.add(event.replica.id)
                if len(ready) == count:
                    everyone_ready.set()

        platform.watch_replicas(hear)
        keys = [ModelKey.parse(f"echo-{number}") for number in range(count)]
        commands = [
            echo_command(*(option.replace("{n}", str(number)) for option in options))
            for number in range(count)
        ]
        platform.apply(
            [
                ModelSpec(key, launch=LaunchConfig(command, readiness_path="/"))
                for key, command in zip(keys, commands, strict=True)
            ]
        )
        for key in keys:
            await platform.scale(key, 1)
        await everyone_ready.wait()
        told = {"reaper": platform.reaper_pid, "replicas": list(platform.process_ids().values())}
        print(json.dumps(told), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
