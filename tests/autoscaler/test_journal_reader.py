"""A journal's files read back: order, torn ends, and the place of what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoscaler.journal_reader import JournalReader
from stoker.errors import JournalError

SNAPSHOT = '{"kind":"snapshot","time":1.0,"wall":%s,"models":[]}\n'


def file(path: Path, wall: float | str, *lines: str) -> Path:
    path.write_text(SNAPSHOT % wall + "".join(lines))
    return path


def kinds(reader: JournalReader) -> list[str]:
    return [line["kind"] for _, line in reader.lines()]


def test_what_was_rotated_away_comes_first(tmp_path: Path) -> None:
    """It is found beside the file; several that are named come in the order of their time."""
    new = file(tmp_path / "j", 20.0, '{"kind":"b"}\n')
    assert kinds(JournalReader([new])) == ["snapshot", "b"]
    old = file(tmp_path / "j.1", 10.0, '{"kind":"a"}\n')
    for files in ([new], [new, old], [old, new]):
        assert kinds(JournalReader(files)) == ["snapshot", "a", "snapshot", "b"]
    assert kinds(JournalReader([old])) == ["snapshot", "a"]
    file(tmp_path / "j.1", "null", '{"kind":"a"}\n')  # of an earlier version: as they were named
    assert kinds(JournalReader([new, old])) == ["snapshot", "b", "snapshot", "a"]


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    """Of each file, as its run may have been killed; and it is told, once."""
    new = file(tmp_path / "j", 20.0, '{"kind":"b"}\n', '{"kind":"ti')
    old = file(tmp_path / "j.1", 10.0, "{")
    reader = JournalReader([new])
    for _ in range(2):
        assert kinds(reader) == ["snapshot", "snapshot", "b"]
        assert [str(place) for place in reader.torn] == [f"{old}:2", f"{new}:3"]
    whole = file(tmp_path / "whole", 1.0, '{"kind":"b"}')
    assert kinds(JournalReader([whole])) == ["snapshot", "b"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("not JSON\n", "3: is not JSON"),
        ("[1]\n", "3: is no line of a decision journal: it has no kind"),
        ('{"time":1}\n', "3: is no line of a decision journal: it has no kind"),
    ],
)
def test_what_is_no_line_is_named(tmp_path: Path, line: str, why: str) -> None:
    """With file and line."""
    path = file(tmp_path / "j", 1.0, '{"kind":"a"}\n', line, '{"kind":"b"}\n')
    with pytest.raises(JournalError, match=f"{path}:{why}"):
        kinds(JournalReader([path]))


def test_what_is_no_journal(tmp_path: Path) -> None:
    """Missing, empty, or beginning with something else."""
    with pytest.raises(JournalError, match="none: No such file or directory"):
        JournalReader([tmp_path / "none"])
    other = tmp_path / "other"
    for text in ("", '{"kind":"note"}\n'):
        other.write_text(text)
        with pytest.raises(JournalError, match=f"{other}:1: .* begins with a snapshot"):
            JournalReader([other])
