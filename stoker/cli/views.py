"""What people see of the models: one view, drawn as a live table or as log lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

COLOURS = {
    "ready": "green",
    "starting": "yellow",
    "draining": "blue",
    "failed": "red",
    "zero": "dim",
}


class ModelView(NamedTuple):
    """One model's state, as shown."""

    model: str
    phase: str
    ready: int
    total: int
    desired: int
    queued: int
    active: int
    panicking: bool
    why: str

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> ModelView:
        """From one entry of ``/api/models``."""
        replicas = document["replicas"]
        return cls(
            model=document["model"].removeprefix("default/"),
            phase=document["phase"],
            ready=sum(replica["phase"] == "ready" for replica in replicas),
            total=len(replicas),
            desired=document["desired"],
            queued=document["queued"],
            active=document["active"],
            panicking=document["panicking"],
            why=document["why"],
        )

    def line(self) -> str:
        """One log line."""
        panic = ", panic" if self.panicking else ""
        return (
            f"{self.model}: {self.phase}, {self.ready}/{self.total} replicas ready,"
            f" desired {self.desired}{panic}, queued {self.queued}, active {self.active}"
            f" — {self.why}"
        )

    @property
    def milestone(self) -> tuple[object, ...]:
        """What makes a new log line worth printing when it changes."""
        return (self.phase, self.ready, self.total, self.desired, self.panicking)


def models_table(views: Sequence[ModelView]) -> Table:
    """The table of all models."""
    table = Table(expand=False, pad_edge=False)
    table.add_column("model", style="bold", no_wrap=True)
    table.add_column("phase", no_wrap=True)
    for heading in ("replicas", "desired", "queued", "active"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for view in views:
        phase = Text(view.phase, COLOURS.get(view.phase, ""))
        if view.panicking:
            phase.append(" panic", "bold red")
        table.add_row(
            view.model,
            phase,
            f"{view.ready}/{view.total}",
            str(view.desired),
            str(view.queued),
            str(view.active),
            view.why,
        )
    return table
