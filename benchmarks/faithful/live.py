"""A running Stoker that is asked, and what it then says of its replicas."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faithful import lives
from benchmarks.faithful.lives import Counts, Life, Line
from benchmarks.local import LocalStoker, local_stoker
from benchmarks.processes import wait_until
from stoker.settings.local import load
from stoker.vocabulary import ModelSpec

TICK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Told:
    """Of one model: its replicas counted, event by event; each one's life; its reported load
    by second.
    """

    counts: list[Counts]
    lives: list[Life]
    loads: dict[int, float]


@dataclass(frozen=True, slots=True)
class Live:
    """A Stoker with its journal and its log. ``wall_ahead``: wall clock less monotonic."""

    stoker: LocalStoker
    directory: Path
    wall_ahead: float

    def journal(self) -> list[Line]:
        return lives.lines((self.directory / "journal").read_text())

    def log(self) -> list[Line]:
        return lives.lines((self.directory / "stoker.log").read_text())

    def specs(self) -> dict[str, ModelSpec]:
        """The models by name, with the settings that it was started with."""
        file = self.directory / "stoker.yaml"
        return {spec.key.name: spec for spec in load(file.read_text(), str(file)).models}

    def next_tick(self) -> float:
        """A tick at least half a second from now (monotonic), if it comes on its grid."""
        grid = lives.grid(lives.ticks(self.journal())[-20:], TICK_SECONDS)
        return grid + TICK_SECONDS * (1 + (time.monotonic() + 0.5 - grid) // TICK_SECONDS)

    def asleep(self, models: Sequence[str]) -> None:
        """Wait until these models have no replica."""
        for model in models:
            self.stoker.wait_for(model, lambda state: state.asleep, "to fall asleep", timeout=120)

    def told(self, models: Sequence[str]) -> dict[str, Told]:
        """What there has been of these models, which must be asleep."""
        now = time.monotonic()
        found: dict[str, Told] = {}

        def complete() -> bool:
            # What happens between two ticks is written with the second.
            journal, log = self.journal(), self.log()
            if lives.ticks(journal)[-1] < now:
                return False
            ends = lives.ends(log, self.wall_ahead)
            for name in models:
                counts = lives.counts_of(name, journal)
                # The log comes a moment after an end.
                if len(lives.begins(counts)) != len(ends[name]):
                    return False
                loads = lives.loads_of(name, journal)
                found[name] = Told(counts, lives.joined(counts, ends[name]), loads)
            return True

        wait_until(complete, "the journal and the log to agree", interval=0.2)
        return found


@contextlib.contextmanager
def live(
    directory: Path, models: Mapping[str, Mapping[str, Any]], defaults: Mapping[str, Any]
) -> Iterator[Live]:
    """Run ``stoker up`` for these models until the block is left."""
    settings = {"journal-file": str(directory / "journal"), "log-format": "json"}
    wall_ahead = time.time() - time.monotonic()
    with local_stoker(directory, models, defaults, settings=settings) as stoker:
        wait_until(lambda: (directory / "journal").exists(), "the journal")
        running = Live(stoker, directory, wall_ahead)
        wait_until(lambda: bool(lives.ticks(running.journal())), "a tick")
        yield running
