"""The access log's file: written off the request path, followed when it is moved, bounded."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from activator import access_log
from activator.access_log import AccessLog

PATIENCE = 30.0


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that another thread brings about."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.002)


def test_lines_are_written_in_order(tmp_path: Path) -> None:
    """What was taken is in the file at the latest when it is closed."""
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    lines = [b"line %d\n" % n for n in range(20_000)]
    for line in lines:
        log.add(line)
    log.close()
    log.close()
    assert path.read_bytes() == b"".join(lines)
    assert (log.lines, log.dropped) == (20_000, 0)
    assert path.stat().st_mode & 0o777 == 0o640 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_it_is_appended_to(tmp_path: Path) -> None:
    """What was there stays: a restart loses no lines."""
    path = tmp_path / "access.log"
    path.write_bytes(b"before\n")
    log = AccessLog(str(path))
    log.add(b"after\n")
    log.close()
    assert path.read_bytes() == b"before\nafter\n"


def test_a_rotated_file_is_followed_by_its_name(tmp_path: Path) -> None:
    """After it was moved away, or deleted, the next line makes a new one."""
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    log = AccessLog(str(path))
    log.add(b"one\n")
    log.flush()
    until(lambda: path.read_bytes() == b"one\n")
    path.rename(old)
    log.add(b"two\n")
    log.flush()
    until(path.exists)
    until(lambda: path.read_bytes() == b"two\n")
    path.unlink()
    log.add(b"three\n")
    log.close()
    assert (old.read_bytes(), path.read_bytes()) == (b"one\n", b"three\n")


def test_reopened_on_demand(tmp_path: Path) -> None:
    """SIGHUP: the file is opened anew even where its inode looks the same."""
    path = tmp_path / "access.log"
    opened: list[str] = []
    log = AccessLog(str(path))
    real = access_log._open

    def open_(path: str) -> int:
        opened.append(path)
        return real(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(access_log, "_open", open_)
        log.add(b"one\n")
        log.flush()
        until(lambda: path.read_bytes() == b"one\n")
        assert opened == []
        log.reopen()
        log.add(b"two\n")
        log.close()
    assert opened == [str(path)]
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_slow_reader_costs_lines_not_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound lines are dropped and counted; those taken before come out whole."""
    monkeypatch.setattr(access_log, "WAITING_BYTES", 400_000)
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(str(path))
    line = b"x" * 99 + b"\n"
    for _ in range(20_000):
        log.add(line)
    log.flush()
    assert log.dropped > 10_000
    assert log.newly_dropped() == log.dropped
    assert log.newly_dropped() == 0
    assert log.lines + log.dropped == 20_000
    os.set_blocking(reader, True)
    got = 0
    while got < log.lines * 100:
        piece = os.read(reader, 65536)
        assert set(piece) <= set(line)
        got += len(piece)
    log.close()
    os.close(reader)


def test_a_full_disk_is_told_once_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Lines that cannot be written are counted; once it works again so does the log."""
    full = True
    real = os.write

    def write(fd: int, data: bytes | memoryview) -> int:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    monkeypatch.setattr(os, "write", write)
    for number in (1, 2):
        log.add(b"one\ntwo\n")
        log.flush()
        until(lambda number=number: log.dropped == 2 * number)  # type: ignore[misc]
    full = False
    log.add(b"three\n")
    log.close()
    assert path.read_bytes() == b"three\n"
    assert [r.getMessage() for r in caplog.records] == [
        f"access-log = {path}: No space left on device"
    ]


def test_what_cannot_be_opened_says_so(tmp_path: Path) -> None:
    """A directory that is not there, a FIFO that nobody reads."""
    with pytest.raises(FileNotFoundError):
        AccessLog(str(tmp_path / "none" / "access.log"))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="No such device"):
        AccessLog(str(tmp_path / "fifo"))


def test_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    """- is stdout, which stays open."""
    log = AccessLog("-")
    log.add(b"a line\n")
    log.close()
    log = AccessLog("-")
    log.add(b"another\n")
    log.close()
    assert capfd.readouterr().out == "a line\nanother\n"
