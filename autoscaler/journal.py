"""The decision journal: what came in, what was decided from it, and why.

Two kinds of memory. Per model a short ring of what happened to it (settings, counts, changed
decisions with their evidence, notes), from which ``autoscaler.replay.again`` makes a decision
anew; a model to which nothing happens costs nothing. And, where wanted, a file: every input
of the planner as a line of JSON, from which ``autoscaler.replay.replay`` repeats the whole
run bit for bit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from autoscaler.evidence import Evidence, Noted
from autoscaler.journal_file import JournalFile, Line
from autoscaler.table import Floats, Ints
from stoker.vocabulary import Decision, ModelKey, ScalingConfig

Writer = Callable[[Line], None]


class Counts(NamedTuple):
    """Replicas there are, as an input."""

    ready: int
    starting: int


class Verdict(NamedTuple):
    """A decision that differs from the one before, with what it was made from."""

    decision: Decision
    evidence: Evidence


class Note(NamedTuple):
    """Something done, or not done, about a decision."""

    what: str
    detail: str


class Entry(NamedTuple):
    time: float
    what: ScalingConfig | Counts | Verdict | Note


class Journal:
    """Keeps the last ``per_model`` entries of the ``models`` models that changed last.

    ``path`` (empty: none): a ``JournalFile`` of ``max_bytes`` is kept there too. Or give a
    ``writer`` of your own that takes each line as it comes.
    """

    def __init__(
        self,
        per_model: int = 32,
        models: int = 5000,
        *,
        path: str | Path = "",
        max_bytes: int = 64 * 1024 * 1024,
        writer: Writer | None = None,
    ) -> None:
        self.file = JournalFile(Path(path), max_bytes) if path else None
        self.writer = writer if self.file is None else self.file.write
        self._per_model = per_model
        self._models = models
        # In the order of the last change. Not a dict: each search for its first key passes
        # those that went before, 10 µs of it with 5000 models.
        self._entries: OrderedDict[ModelKey, list[Entry | Noted]] = OrderedDict()

    def entries(self, model: ModelKey) -> tuple[Entry, ...]:
        """What happened to ``model``, oldest first."""
        return tuple(
            Entry(each.decision.time, Verdict(each.decision, each.evidence))
            if isinstance(each, Noted)
            else each
            for each in self._entries.get(model, ())
        )

    def verdicts(self, model: ModelKey) -> tuple[Verdict, ...]:
        """Its changed decisions, oldest first."""
        return tuple(entry.what for entry in self.entries(model) if isinstance(entry.what, Verdict))

    def close(self) -> None:
        """Write what is left to the file, if there is one. Idempotent."""
        if self.file is not None:
            self.file.close()

    # --- told by the planner ------------------------------------------------------

    def config(self, now: float, row: int, model: ModelKey, config: ScalingConfig) -> None:
        self._keep(model, Entry(now, config))
        self._write("config", t=now, row=row, model=model, config=asdict(config))

    def removed(self, now: float, row: int, model: ModelKey) -> None:
        self._entries.pop(model, None)
        self._write("removed", t=now, row=row, model=model)

    def counts(self, now: float, model: ModelKey, ready: int, starting: int) -> None:
        self._keep(model, Entry(now, Counts(ready, starting)))
        self._write("counts", t=now, model=model, ready=ready, starting=starting)

    def start_seconds(self, now: float, model: ModelKey, seconds: float) -> None:
        self._keep(model, Entry(now, Note("start-seconds", f"a start takes {seconds:.3g} s")))
        self._write("start-seconds", t=now, model=model, seconds=seconds)

    def opened(self, second: int) -> None:
        self._write("open", s=second)

    def load(self, second: int, rows: Ints, values: Floats) -> None:
        if self.writer:
            self._write("load", s=second, rows=rows.tolist(), values=values.tolist())

    def service(self, rows: Ints, busy: Floats, completions: Floats) -> None:
        if self.writer:
            columns = (column.tolist() for column in (rows, busy, completions))
            self._write(
                "service", **dict(zip(("rows", "busy", "completions"), columns, strict=True))
            )

    def gave_up(self, now: float, model: ModelKey) -> None:
        self._keep(model, Entry(now, Note("gave-up", "will be asked for anew")))
        self._write("gave-up", t=now, model=model)

    def restored(self, snapshot: Mapping[str, object], shift: int) -> None:
        self._write("restored", snapshot=snapshot, shift=shift)

    def ticked(self, now: float, rows: Ints | None) -> None:
        if self.writer:
            self._write("tick", t=now, rows=None if rows is None else rows.tolist())

    def decided(self, noted: Iterable[Noted]) -> None:
        for each in noted:
            self._keep(each.decision.model, each)
            if self.writer:
                self._write("decision", **each.decision._asdict())

    # --- told by the reconciler ---------------------------------------------------

    def note(self, now: float, model: ModelKey, what: str, detail: str) -> None:
        """Something was done, or not done, about a decision."""
        self._keep(model, Entry(now, Note(what, detail)))
        self._write("note", t=now, model=model, what=what, detail=detail)

    def _keep(self, model: ModelKey, what: Entry | Noted) -> None:
        kept = self._entries.get(model)
        if kept is None:
            self._entries[model] = [what]
            if len(self._entries) > self._models:
                self._entries.popitem(last=False)
            return
        self._entries.move_to_end(model)
        kept.append(what)
        if len(kept) > self._per_model:
            del kept[0]

    def _write(self, kind: str, **fields: object) -> None:
        if self.writer:
            self.writer({"kind": kind, **fields})


def shown(entry: Entry) -> Mapping[str, object]:
    """An entry as JSON-ready values, for people (the evidence is left out)."""
    match entry.what:
        case Verdict(decision):
            return {"time": entry.time, "kind": "decision", **decision._asdict()}
        case Counts(ready, starting):
            return {"time": entry.time, "kind": "counts", "ready": ready, "starting": starting}
        case Note(what, detail):
            return {"time": entry.time, "kind": what, "detail": detail}
        case config:
            return {"time": entry.time, "kind": "config", "config": asdict(config)}
