"""The main job end to end: a model asleep, woken, scaled out, and put back to sleep.

``python -m examples.digits.demo`` exits with 0 when everything came true and nothing is
left running, with 1 and the reason when not.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from examples.digits import load, train
from examples.digits.story import Story
from examples.digits.watching import (
    DemoError,
    ModelView,
    RunningStoker,
    marked,
    running_stoker,
)

CLIENTS = 64
WARM_REQUESTS = 200
MAX_SCALE = 4
WANTED_READY = 3
ROOT = Path(__file__).resolve().parents[2]


def model_settings() -> dict[str, Any]:
    """The model's block in the YAML file."""
    server = [sys.executable, "-m", "examples.digits.server"]
    return {
        "command": [*server, "--port", "{port}", "--model", str(train.MODEL_FILE)],
        "directory": str(ROOT),
        "readiness": "/v2/health/ready",
        "initial-scale": 0,
        "max-scale": MAX_SCALE,
        "container-concurrency": 4,
        "stable-window": "6s",
        "scale-to-zero-grace-period": "1s",
    }


@dataclass(slots=True)
class Demo:
    """What has been seen so far, for the tables in the end."""

    story: Story
    stoker: RunningStoker
    cold: list[tuple[str, float]] = field(default_factory=list)
    through: load.Tally = field(default_factory=load.Tally)
    first: load.Tally = field(default_factory=load.Tally)
    direct: load.Tally = field(default_factory=load.Tally)
    burst: load.Tally = field(default_factory=load.Tally)
    timeline: list[tuple[float, ModelView]] = field(default_factory=list)

    async def watch(
        self, done: Callable[[ModelView], bool], timeout: float, interval: float = 0.05
    ) -> ModelView:
        """Tell every change of the model until ``done``; raises DemoError after ``timeout``."""
        last = self.timeline[-1][1] if self.timeline else None
        deadline = time.monotonic() + timeout
        while True:
            view = await self.stoker.view()
            if last is None or _outline(view) != _outline(last):
                self.timeline.append((self.story.elapsed, view))
                self.story.say(_line(view))
                last = view
            if done(view):
                return view
            if time.monotonic() > deadline:
                raise DemoError(f"not within {timeout:g} s; last seen: {view}")
            await asyncio.sleep(interval)


def _outline(view: ModelView) -> tuple[object, ...]:
    """What makes a line worth telling: not every request that comes and goes."""
    phases = sorted((replica.id, replica.phase) for replica in view.replicas)
    return view.phase, view.desired, view.panicking, view.queued > 0, phases


def _line(view: ModelView) -> str:
    phases = [replica.phase for replica in view.replicas]
    counts = ", ".join(f"{phases.count(phase)} {phase}" for phase in dict.fromkeys(phases))
    panic = " · PANIC" if view.panicking else ""
    return (
        f"{view.phase}{panic} · desired {view.desired} · replicas: {counts or 'none'}"
        f" · held {view.queued}, active {view.active} · {view.why}"
    )


def expect(holds: bool, otherwise: str) -> None:
    """Raises DemoError unless it holds."""
    if not holds:
        raise DemoError(otherwise)


async def first_request(demo: Demo, pixels: list[float], label: int) -> None:
    """From zero: the request is held, a replica starts, the right digit comes back."""
    stoker, story = demo.stoker, demo.story
    story.chapter("Asleep")
    view = await demo.watch(lambda view: True, 5)
    running = stoker.server_processes()
    expect(view.asleep and not running, f"not asleep at the start: {view}, processes {running}")
    story.say("no replica, no model server process on this machine")

    story.chapter("The first request")
    began = time.time()
    sample = load.Sample.of(pixels, label)
    asking = asyncio.create_task(load.ask(stoker.session, stoker.url, sample, demo.first))
    story.say(f"sent: POST {load.INFER}")
    view = await demo.watch(lambda view: asking.done(), 60, 0.01)
    digit, answered = await asking, began + sum(demo.first.seconds)
    expect(digit is not None, f"the first request was lost: {demo.first.failures}")
    expect(digit == label, f"the image shows {label}, the answer was {digit}")
    expect(
        any(held.queued and held.phase != "ready" for _, held in demo.timeline),
        "the first request was never seen held",
    )
    story.say(f"answered after {demo.first.seconds[0]:.2f} s")
    story.draw(pixels, [f"shown:     {label}", f"predicted: {digit}"])
    replica = view.replicas[0]
    async with stoker.session.get(f"http://{replica.address}/startup") as response:
        startup = await response.json()
    # Not the process's own idea of its beginning: its parent keeps one forked ahead.
    startup["process"] = replica.created + time.time() - time.monotonic()
    demo.cold = cold_start(began, answered, startup)


def cold_start(asked: float, answered: float, startup: dict[str, float]) -> list[tuple[str, float]]:
    """Seconds by phase, from wall-clock times on the same machine; they add up to the whole."""
    steps = [
        ("Stoker: request held, replica decided on and launched", startup["process"]),
        ("replica: Python and its imports", startup["imports"]),
        ("replica: model loaded", startup["model"]),
        ("replica: listening", startup["listening"]),
        ("Stoker: probe passed, request forwarded and answered", answered),
    ]
    phases, before = [], asked
    for name, reached in steps:
        phases.append((name, reached - before))
        before = reached
    return [*phases, ("first answer", answered - asked)]


async def warm(demo: Demo, samples: list[load.Sample]) -> None:
    """Through Stoker and directly, in turns, one request at a time."""
    demo.story.chapter("Warm")
    view = await demo.stoker.view()
    address = f"http://{view.replicas[0].address}"
    for turn in range(WARM_REQUESTS):
        sample = samples[turn % len(samples)]
        await load.ask(demo.stoker.session, demo.stoker.url, sample, demo.through)
        await load.ask(demo.stoker.session, address, sample, demo.direct)
    demo.story.say(f"{WARM_REQUESTS} requests through Stoker, {WARM_REQUESTS} directly, in turns")


async def burst(demo: Demo, samples: list[load.Sample]) -> None:
    """A crowd at once: panic, and several replicas."""
    demo.story.chapter(f"{CLIENTS} clients at once")
    enough = asyncio.Event()
    seen_panic = False

    def several(view: ModelView) -> bool:
        nonlocal seen_panic
        seen_panic = seen_panic or view.panicking
        return seen_panic and view.ready >= WANTED_READY

    crowd = asyncio.create_task(load.crowd(demo.stoker.url, samples, CLIENTS, enough, demo.burst))
    try:
        await demo.watch(several, 30)
        enough.set()
        await crowd
    finally:
        crowd.cancel()
    demo.story.say(f"the crowd leaves: {demo.burst.answered} answered, {demo.burst.lost} lost")


async def silence(demo: Demo) -> None:
    """Nobody asks: back to zero, and no process is left."""
    demo.story.chapter("Silence")
    await demo.watch(lambda view: view.asleep, 45)
    running = demo.stoker.server_processes()
    expect(not running, f"asleep, but these processes are left: {running}")
    demo.story.say("asleep again: no replica, no model server process")


def tables(demo: Demo) -> None:
    """What it all came to."""
    story = demo.story
    story.chapter("What it came to")
    story.table(
        "Cold start by phase", ("phase", "ms"), ((n, f"{s * 1000:.0f}") for n, s in demo.cold)
    )
    rows = [
        (name, *(f"{tally.percentile(percent) * 1000:.2f}" for percent in (50, 99)))
        for name, tally in (("through Stoker", demo.through), ("direct", demo.direct))
    ]
    story.table("Warm, one request at a time", ("", "p50 ms", "p99 ms"), rows)
    seen: list[tuple[str, ...]] = []
    for at, view in demo.timeline:
        row = (str(view.desired), str(len(view.replicas)), str(view.ready), view.phase)
        if not seen or seen[-1][1:] != row:
            seen.append((f"{at:.1f} s", *row))
    story.table("Replicas over time", ("at", "desired", "there", "ready", "model"), seen)
    parts = {"first": demo.first, "warm": demo.through, f"{CLIENTS} clients": demo.burst}
    counts = [(t.sent, t.answered, t.lost, t.right) for t in parts.values()]
    total = tuple(sum(column) for column in zip(*counts, strict=True))
    named = zip((*parts, "all"), (*counts, total), strict=True)
    story.table(
        "Requests through Stoker",
        ("", "sent", "answered", "lost", "right digit"),
        ((name, *map(str, row)) for name, row in named),
    )


async def play(story: Story, directory: Path) -> None:
    """Everything in order. Raises DemoError."""
    story.chapter("A classifier for handwritten digits")
    facts, trained_now = await asyncio.to_thread(train.ensure_trained)
    story.say(
        f"{'trained' if trained_now else 'already trained'} on {facts.trained_on} images: "
        f"right on {facts.accuracy:.1%} of {facts.held_out} it has never seen"
    )
    split = train.load_split()
    images = [
        (image.tolist(), int(label))
        for image, label in zip(split.held_out_images, split.held_out_labels, strict=True)
    ]
    samples = [load.Sample.of(pixels, label) for pixels, label in images]
    async with running_stoker(directory, model_settings()) as stoker:
        story.say(f"stoker up: requests on {stoker.url}, admin on {stoker.admin}")
        demo = Demo(story, stoker)
        await first_request(demo, *images[0])
        await warm(demo, samples)
        await burst(demo, samples)
        await silence(demo)
        status = await stoker.stop()
        tables(demo)
        expect(status == 0, f"stoker up ended with status {status}")
    tallies = (demo.first, demo.through, demo.direct, demo.burst)
    failures = [failure for tally in tallies for failure in tally.failures]
    expect(not failures, f"{len(failures)} requests were lost, the first: {failures[:1]}")
    answered, right = (sum(getattr(t, name) for t in tallies) for name in ("answered", "right"))
    expect(right >= 0.95 * answered, f"only {right} of {answered} answers were right")
    left = marked(stoker.mark)
    expect(not left, f"processes left running: {left}")
    story.console.print()
    story.say("everything came true; nothing is left running")


async def run(story: Story, directory: Path) -> None:
    """SIGTERM and SIGHUP end it as Ctrl-C does: cleanly. Raises DemoError, CancelledError."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await play(story, directory)


def main() -> int:
    """Exit status 0, 1 (an expectation failed) or 130 (interrupted)."""
    story = Story()
    with tempfile.TemporaryDirectory(prefix="stoker-demo-") as name:
        try:
            asyncio.run(run(story, Path(name)))
        except (KeyboardInterrupt, asyncio.CancelledError):
            story.say("interrupted; nothing is left running")
            return 130
        except (DemoError, aiohttp.ClientError) as error:
            log = Path(name, "stoker.log")
            if log.exists():
                story.quote(log.read_text(errors="replace")[-4000:])
            story.quote(f"The demo failed: {error or type(error).__name__}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
