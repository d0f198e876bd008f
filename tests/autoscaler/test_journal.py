"""What the journal keeps is enough to decide again, and its file never breaks anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler import journal_file
from autoscaler.journal import Counts, Entry, Journal, Note, Verdict, shown
from autoscaler.journal_file import JournalFile, Line
from autoscaler.planner import Planner
from autoscaler.replay import again, replay
from stoker.vocabulary import ModelKey, Plan, ScalingConfig
from tests.autoscaler.driving import A, B, Life, Moment, configs, drive, lives, say
from tests.properties import costly

SECONDS = 16
few = costly(8)


@few
@given(configs, lives(SECONDS))
def test_decisions_are_made_again(config: ScalingConfig, life: Life) -> None:
    """Every journalled decision follows again from its evidence alone, bit for bit."""
    journal = Journal(per_model=1000)
    drive(Planner(journal=journal), {A: (config, life)})
    verdicts = journal.verdicts(A)
    assert verdicts
    for verdict in verdicts:
        assert again(verdict) == verdict.decision


def test_with_other_settings() -> None:
    """The same evidence under other settings says what would have been."""
    journal = Journal()
    drive(Planner(journal=journal), {A: (ScalingConfig(max_scale=2), [STEADY])})
    (verdict,) = journal.verdicts(A)
    assert verdict.decision.desired == 2
    assert again(verdict, ScalingConfig(max_scale=5)).desired == 5


STEADY = Moment(900.0, 5, 0)


def by_model(plan: Plan) -> object:
    """Without the order, which is that of the rows; a snapshot does not keep those."""
    return plan.time, sorted(map(repr, plan.decisions)), sorted(map(repr, plan.commands))


def _lines(recorded: list[Line]) -> list[Line]:
    """As they come back from a file."""
    return [json.loads(json.dumps(line)) for line in recorded]


@few
@given(
    st.tuples(configs, lives(SECONDS)),
    st.tuples(configs, lives(SECONDS)),
    st.tuples(configs, lives(SECONDS)),
)
def test_a_run_is_repeated_from_its_lines(
    first: tuple[ScalingConfig, Life],
    second: tuple[ScalingConfig, Life],
    third: tuple[ScalingConfig, Life],
) -> None:
    """From the beginning or from a snapshot within, all plans come out the same."""
    recorded: list[Line] = []
    planner = Planner(journal=Journal(writer=recorded.append))
    plans = []
    decide = planner.decide

    def observed(*args: object) -> object:
        plans.append(decide(*args))  # type: ignore[arg-type]
        return plans[-1]

    planner.decide = observed  # type: ignore[method-assign, assignment]
    drive(planner, {A: first, B: second})
    planner.remove_model(A, float(SECONDS))
    planner.open_second(SECONDS)
    planner.decide(SECONDS + 0.5, [B])
    planner.forget_asked(B, SECONDS + 0.6)
    begun = len(recorded)
    before = len(plans)
    snapshot: Line = {"kind": "snapshot", **planner.snapshot(float(SECONDS))}
    drive(planner, {ModelKey("default", "c"): third, B: second}, start=SECONDS + 1)
    assert list(replay(_lines(recorded))) == plans
    later = replay(_lines([snapshot, *recorded[begun:]]))
    assert list(map(by_model, later)) == list(map(by_model, plans[before:]))


def test_a_restored_leader_is_repeated_too() -> None:
    """What a leader took over is part of its recording."""
    config = ScalingConfig(initial_scale=0)
    old = Planner()
    drive(old, {A: (config, [STEADY, STEADY])})
    recorded: list[Line] = []
    new = Planner(journal=Journal(writer=recorded.append))
    new.restore(old.snapshot(2.0), shift=10)
    new.set_model(A, config, 12.0)
    new.set_counts(A, 5, 0, 12.0)
    say(new, 12, {A: 3000.0})
    plan = new.decide(12.5)
    assert [(d.desired, d.stable) for d in plan.decisions] == [(23, 1600.0)]
    assert list(replay(_lines(recorded))) == [plan]


def test_memory_is_bounded() -> None:
    """So many entries per model, so many models; those that changed last stay."""
    journal = Journal(per_model=2, models=2)
    for time, model in enumerate((A, B, A, A, ModelKey("default", "c"))):
        journal.note(time, model, "note", str(time))
    assert [entry.time for entry in journal.entries(A)] == [2, 3]
    assert journal.entries(B) == ()
    journal.removed(5.0, 0, A)
    assert journal.entries(A) == ()


def test_entries_as_people_see_them() -> None:
    """Every kind of entry has a JSON form that names it."""
    journal = Journal()
    planner = Planner(journal=journal)
    drive(planner, {A: (ScalingConfig(), [STEADY])})
    planner.forget_asked(A, 1.0)
    kinds = [shown(entry)["kind"] for entry in journal.entries(A)]
    assert kinds == ["config", "counts", "decision", "gave-up"]
    assert json.dumps([shown(entry) for entry in journal.entries(A)])
    assert [type(entry.what) for entry in journal.entries(A)] == [
        ScalingConfig,
        Counts,
        Verdict,
        Note,
    ]
    assert shown(Entry(1.0, Counts(2, 3))) == {
        "time": 1.0,
        "kind": "counts",
        "ready": 2,
        "starting": 3,
    }


def recorded_in(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_file_can_be_replayed(tmp_path: Path) -> None:
    """Each file begins with a snapshot and repeats the decisions that follow."""
    path = tmp_path / "new" / "journal.jsonl"
    journal = Journal(path=path, max_bytes=4000)
    planner = Planner(journal=journal)
    assert journal.file is not None
    plans = []
    for second in range(60):
        journal.file.rotate_if_full(lambda: planner.snapshot(0.0))
        if second == 0:
            planner.set_model(A, ScalingConfig(), 0.0)
        planner.open_second(second)
        plans.append(planner.decide(second))
        journal.file.flush()
    journal.close()
    older = path.with_name("journal.jsonl.1")
    for file in (path, older):
        assert recorded_in(file)[0]["kind"] == "snapshot"
        assert file.stat().st_size < 4000
    later = list(replay(recorded_in(path)))
    assert later == plans[-len(later) :]
    assert (
        list(replay([*recorded_in(older), *recorded_in(path)]))
        == plans[-len(list(replay(recorded_in(older)))) - len(later) :]
    )
    assert (journal.file.failures, journal.file.dropped) == (0, 0)


def test_without_a_file() -> None:
    """Closing a journal that has none does nothing."""
    Journal().close()


def test_a_disk_that_refuses_is_only_counted(tmp_path: Path) -> None:
    """A directory that cannot be made: failures and lost lines are counted, nothing raised."""
    (tmp_path / "file").write_text("in the way")
    file = JournalFile(tmp_path / "file" / "journal.jsonl", 1000)
    file.rotate_if_full(dict)
    file.write({"kind": "note"})
    file.flush()
    file.close()
    assert (file.failures, file.dropped) == (1, 2)


def test_a_full_disk_is_only_counted() -> None:
    """Writes that fail late, at the flush and at the close, are counted too."""
    file = JournalFile(Path("/dev/full"), 1_000_000)
    file._file = Path("/dev/full").open("wb")  # noqa: SIM115 (as if it had been begun)
    file.write({"kind": "note", "detail": "x" * 100_000})
    file.flush()
    assert file.failures >= 1
    file.write({"kind": "note"})
    file.flush()
    before = file.failures
    file._file.write(b"left in the buffer")
    file._close()
    assert file.failures > before


def test_a_slow_disk_loses_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Beyond the backlog lines are dropped and counted; memory stays bounded."""
    monkeypatch.setattr(journal_file, "MAX_BACKLOG", 3)
    file = JournalFile(tmp_path / "journal.jsonl", 1_000_000)
    file.rotate_if_full(dict)
    for _ in range(5):
        file.write({"kind": "note"})
    file.close()
    assert file.dropped == 4
    assert [line["kind"] for line in recorded_in(file.path)] == ["snapshot", "note"]
