"""Requests held for models at zero: memory of each, and how soon they are answered.

``python -m benchmarks.holds``. Thousands of clients ask for a model that is asleep and
wait; what Stoker's resident memory and the kernel's memory for its sockets grew by is
divided by their number. Then the replica gets ready: all must be answered, through no more
slots than it has. Apart from that, models are woken one by one: the time from the moment
the replica listens to the first byte any client gets.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.common import Report, Spread, arguments, run
from benchmarks.holders import Holder, allow_descriptors, hold, request_bytes
from benchmarks.local import LocalStoker, get_json, get_text, local_stoker

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 64
SMALL, LARGE = 2 << 10, 1 << 20
SPOOL = 1 << 30
HELD_PER_WAKE = 20
LIMIT_SMALL_KB, LIMIT_LARGE_KB, LIMIT_WAKE_MS = 8.0, 100.0, 10.0
SETTLE_SECONDS, SETTLE_INTERVAL, POLL_INTERVAL = 30.0, 0.5, 0.02
ANSWER_SECONDS = 240.0

COLUMNS = (
    *("holds", "body bytes", "RSS KB each", "sockets KB each", "both", "spool MB"),
    *("answered", "lost", "most at once", "slots", "all answered s"),
)
WAKE_COLUMNS = ("wakes", "held each", "p50 ms", "p99 ms", "low–high")


@dataclass(frozen=True, slots=True)
class Held:
    """What holding cost, and what became of the held."""

    count: int
    size: int
    rss_kb: float
    sockets_kb: float
    spool: int
    answered: int
    most: int
    seconds: float


def rss_kb(pid: int) -> float:
    """Resident memory of one process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return float(line.split()[1])
    raise RuntimeError(f"process {pid} has no resident memory")


def socket_memory_kb(port: int) -> float:
    """What the kernel keeps for the server's ends of connections to ``port``.

    Sums what ss (Debian package iproute2) says of each: bytes received and not read, and
    written and not taken, with all that the kernel keeps beside them.
    """
    command = ["ss", "-tmnH", "state", "connected", f"( sport = :{port} )"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # r: received and not read, t: being sent, w: to be sent.
    kept = re.findall(r"skmem:\(r(\d+),rb\d+,t(\d+),tb\d+,f\d+,w(\d+)", said)
    return sum(int(r) + max(int(t), int(w)) for r, t, w in kept) / 1024


def spool_bytes(admin: int) -> int:
    """Bytes in spool files, as /metrics tells."""
    for line in get_text(admin, "/metrics").splitlines():
        if line.startswith("stoker_spool_bytes "):
            return int(float(line.split()[1]))
    raise RuntimeError("/metrics does not tell stoker_spool_bytes")


def queued(admin: int, model: str) -> int:
    """How many requests are held for it."""
    models = get_json(admin, "/api/models")["models"]
    return int(next(m["queued"] for m in models if m["model"].endswith(f"/{model}")))


def open_gate(gate: Path) -> None:
    """Let the server behind it begin to listen; waits until it stands at the gate."""
    with open(gate, "wb"):
        pass


async def hold_and_release(
    stoker: LocalStoker, model: str, gate: Path, count: int, size: int
) -> Held:
    """``count`` holds of ``size`` bytes, measured, then answered."""
    rss, sockets = rss_kb(stoker.pid), socket_memory_kb(stoker.port)
    holders = await hold(stoker.port, request_bytes(model, size), count)
    await _settled(stoker, model, count)
    rss, sockets = rss_kb(stoker.pid) - rss, socket_memory_kb(stoker.port) - sockets
    spool = spool_bytes(stoker.admin)
    await asyncio.to_thread(open_gate, gate)
    began = time.monotonic()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS):
            await asyncio.gather(*(holder.done for holder in holders))
    seconds = time.monotonic() - began
    answered = [h for h in holders if h.status == 200 and h.told["bytes"] == size]
    most = max((int(h.told["most"]) for h in answered), default=0)
    for holder in holders:
        holder.transport.abort()
    return Held(count, size, rss / count, sockets / count, spool, len(answered), most, seconds)


async def _settled(stoker: LocalStoker, model: str, count: int) -> None:
    """Wait until all are held and their memory has stopped growing."""
    await _all_held(stoker, model, count)
    before = -1.0
    for _ in range(int(SETTLE_SECONDS / SETTLE_INTERVAL)):
        now = rss_kb(stoker.pid) + socket_memory_kb(stoker.port) + spool_bytes(stoker.admin) / 1024
        if now == before:
            return
        before = now
        await asyncio.sleep(SETTLE_INTERVAL)


async def _all_held(stoker: LocalStoker, model: str, count: int) -> None:
    held = 0
    for _ in range(int(SETTLE_SECONDS / POLL_INTERVAL)):
        held = queued(stoker.admin, model)
        if held == count:
            return
        await asyncio.sleep(POLL_INTERVAL)
    raise RuntimeError(f"only {held} of {count} requests are held")


async def wake(stoker: LocalStoker, model: str, gate: Path) -> float:
    """Milliseconds from the replica's listening to the first byte that a held client gets."""
    holders: Sequence[Holder] = await hold(stoker.port, request_bytes(model, SMALL), HELD_PER_WAKE)
    await _all_held(stoker, model, HELD_PER_WAKE)
    await asyncio.to_thread(open_gate, gate)
    async with asyncio.timeout(60):
        await asyncio.gather(*(holder.done for holder in holders))
    lost = [holder for holder in holders if holder.status != 200]
    if lost:
        raise RuntimeError(f"{model}: {len(lost)} of {HELD_PER_WAKE} held requests were lost")
    first = min(holder.first_byte_ns for holder in holders)
    return float(first - holders[0].told["listening_ns"]) / 1e6


@contextlib.contextmanager
def gated(
    directory: Path, models: Sequence[str], settings: dict[str, object]
) -> Iterator[tuple[LocalStoker, dict[str, Path]]]:
    """A Stoker whose models get ready when their gates are opened."""
    gates = {model: directory / f"{model}.gate" for model in models}
    blocks = {}
    for model, gate in gates.items():
        os.mkfifo(gate)
        server = str(ROOT / "benchmarks" / "gate_server.py")
        blocks[model] = {
            "command": [sys.executable, "-S", server, "{port}", str(LIMIT), str(gate)],
            "container-concurrency": LIMIT,
            "initial-scale": 0,
            "max-scale": 1,
            "queue-requests": 20000,
            "queue-bytes": "16Gi",
        }
    with local_stoker(directory, blocks, settings=settings) as stoker:
        yield stoker, gates


def measure_holds(count: int, size: int) -> Held:
    """In a Stoker of its own: memory once used is not given back."""
    settings: dict[str, object] = {
        "max-queued-requests": 20000,
        "max-queued-bytes": "16Gi",
        "spool-bytes": SPOOL,
    }
    with (
        tempfile.TemporaryDirectory(prefix="stoker-bench-") as directory,
        gated(Path(directory), ["held"], settings) as (stoker, gates),
    ):
        # Whatever the first request costs once is not the holds'.
        get_text(stoker.admin, "/metrics")
        return uvloop.run(hold_and_release(stoker, "held", gates["held"], count, size))


def measure_wakes(wakes: int) -> list[float]:
    """Each wakes a model of its own, one after the other."""
    models = [f"wake-{number}" for number in range(wakes)]
    with (
        tempfile.TemporaryDirectory(prefix="stoker-bench-") as directory,
        gated(Path(directory), models, {}) as (stoker, gates),
    ):

        async def all_of_them() -> list[float]:
            return [await wake(stoker, model, gates[model]) for model in models]

        return uvloop.run(all_of_them())


def tabulate(report: Report, held: Held) -> None:
    """One row, and whether nothing was lost and no limit passed."""
    both = held.rss_kb + held.sockets_kb
    report.row(
        *(held.count, held.size, held.rss_kb, held.sockets_kb, both, held.spool / (1 << 20)),
        *(held.answered, held.count - held.answered, held.most, LIMIT, held.seconds),
    )
    label = f"{held.count:,} holds of {held.size >> 10} KB"
    if held.size == SMALL:
        report.figure(f"{label}: RSS each", held.rss_kb, "KB", LIMIT_SMALL_KB)
    else:
        report.figure(f"{label}: RSS and sockets each", both, "KB", LIMIT_LARGE_KB)
        report.figure(f"{label}: spool used", held.spool / SPOOL, "× its budget", 1.0)
    report.figure(f"{label}: lost", float(held.count - held.answered), "", 0.0)
    report.figure(f"{label}: most at once in the replica", float(held.most), "", float(LIMIT))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    args = arguments(str(__doc__).splitlines()[0], argv=argv)
    small, large, wakes = (10_000, 500, 10) if args.quick else (10_000, 10_000, 50)
    report = Report("Holds at zero", COLUMNS)
    allow_descriptors(max(small, large) + 1000)
    tabulate(report, measure_holds(small, SMALL))
    tabulate(report, measure_holds(large, LARGE))
    times = sorted(measure_wakes(wakes))
    p99 = times[min(len(times) - 1, int(0.99 * len(times)))]
    spread = Spread.of(times)
    report.table("From the replica's listening to the first byte of an answer", WAKE_COLUMNS)
    report.row(wakes, HELD_PER_WAKE, spread.median, p99, spread.range)
    report.figure(f"first byte after ready, p99 of {wakes} wakes", p99, "ms", LIMIT_WAKE_MS)
    report.note(
        "Sockets: the kernel's memory for Stoker's ends of the connections. Segments are Ethernet's"
        " 1,448 bytes. Each row has a Stoker of its own."
    )
    return report.finish(args)


if __name__ == "__main__":
    sys.exit(run(main))
