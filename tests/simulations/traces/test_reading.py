"""Limits, chunks, blank lines, several files: what is the same for many formats."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

from simulations.trace import gathered
from simulations.traces import access_log, json_lines, opening, prometheus, read_source
from simulations.traces.access_log_json import instant
from simulations.traces.info import run_trace_info
from stoker.errors import TraceError
from tests.simulations.traces.real import SAMPLES, sample
from tests.simulations.traces.test_bad_input import AZURE, LOG, LOG_JSON, MOON_JSON, PLAIN, write

SINGLE = sorted(
    path.name for path in SAMPLES.iterdir() if path.is_file() and "prometheus" not in path.name
)


@pytest.mark.parametrize("name", SINGLE)
def test_the_first_arrivals_alone(name: str) -> None:
    """--limit reads so many lines and says so; more than there are is all of them."""
    whole = gathered(read_source(sample(name)))
    loaded = read_source(sample(name), limit=1)
    assert len(gathered(loaded)) == 1
    assert loaded.notices[-1] == "the first 1 arrivals only, as asked for"
    more = read_source(sample(name), limit=1000)
    np.testing.assert_array_equal(gathered(more).times, whole.times)
    assert not any("as asked for" in notice for notice in more.notices)


def test_windows_until_a_limit() -> None:
    """Windows are not cut: the first that reaches the limit is the last."""
    loaded = read_source(sample("prometheus_counter.json"), limit=36)
    assert (len(gathered(loaded)), loaded.duration) == (47, 180)
    assert loaded.notices[-1] == "the first 47 arrivals only, as asked for"


@pytest.mark.parametrize("name", SINGLE)
def test_small_chunks_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that lies across two reads is one line, also the last without an end."""
    whole = read_source(sample(name), tolerate=0)
    expected = gathered(whole)
    monkeypatch.setattr(opening, "CHUNK", 300)
    monkeypatch.setattr(opening, "HEAD", 600)
    found = gathered(read_source(sample(name), tolerate=0))
    np.testing.assert_array_equal(found.times, expected.times)
    np.testing.assert_array_equal(found.which, expected.which)


def test_line_ends_blank_lines_and_marks(tmp_path: Path) -> None:
    """Windows' line ends, a byte order mark, blank lines, no end at the end: all the same."""
    for text in (AZURE, LOG, LOG_JSON, MOON_JSON, PLAIN):
        plain = gathered(read_source(write(tmp_path, text)))
        odd = "\ufeff" + text.replace("\n", "\r\n") + "\r\n  \r\n\r\n" + text.splitlines()[-1]
        loaded = read_source(write(tmp_path, odd), tolerate=0)
        twice = gathered(loaded)
        assert len(twice) == 2 * len(plain)
        assert twice.models == plain.models


def test_quotes_and_columns_in_any_order(tmp_path: Path) -> None:
    """As CSV has them; a quoted name may hold a comma. Columns nobody knows do not matter."""
    path = write(tmp_path, 'SERVICE_S,x, T \n0.5,"a, b",1\n"0.25",c,2\n')
    read = gathered(read_source(path))
    assert read.times.tolist() == [1, 2]
    assert read.service is not None
    assert read.service.tolist() == [0.5, 0.25]
    path = write(tmp_path, 't,model\n1,"a, b"\n2,"a ""c"""\n')
    assert [key.name for key in read_source(path).models] == ["a, b", 'a "c"']


def test_files_with_other_columns(tmp_path: Path) -> None:
    """Of one folder all files must have the same ones."""
    write(tmp_path, "t,model\n1,a\n", "1.csv")
    write(tmp_path, "t,service_s\n1,5\n", "2.csv")
    with pytest.raises(TraceError, match=r"2\.csv: other columns than in the files before it"):
        read_source(str(tmp_path))


def test_comments_of_plain_csv(tmp_path: Path) -> None:
    """Only what is meant and can be read counts."""
    head = "# made by hand\n# duration: long\n# began: -5\n# note: 7\n#\n"
    loaded = read_source(write(tmp_path, head + PLAIN))
    assert (loaded.duration, loaded.began) == (1, None)
    loaded = read_source(write(tmp_path, "# duration: 0.5\n" + PLAIN))
    assert loaded.duration == 1


def test_a_large_file_that_is_damaged(tmp_path: Path) -> None:
    """It shows only when most of it is read."""
    noise = np.random.default_rng(1).random(400_000).tolist()
    packed = gzip.compress(("t\n" + "\n".join(map(str, noise))).encode(), 1)
    assert len(packed) > opening.CHUNK
    with pytest.raises(TraceError, match="is damaged or ends early"):
        read_source(write(tmp_path, packed[:-100]))


def test_a_document_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is not read into memory."""
    monkeypatch.setattr(prometheus, "MOST_BYTES", 100)
    with pytest.raises(TraceError, match="in one document; ask for a shorter range"):
        read_source(sample("prometheus_rate.json"))


def test_the_busiest_models() -> None:
    """By arrivals, whether they are known beforehand or counted."""
    for name, key in (
        ("azure_functions_2019", "default/b7"),
        ("servegen", "m-tiny/chunk-2"),
        ("azure_functions_2021.txt", "default/a1f0"),
    ):
        loaded = read_source(sample(name), busiest=1)
        assert [str(model) for model in loaded.models] == [key]


def test_too_many_requests_in_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Are refused, unless fewer are asked for."""
    monkeypatch.setattr(access_log, "MOST_ARRIVALS", 2)
    monkeypatch.setattr(json_lines, "MOST_ARRIVALS", 2)
    for text in (LOG, LOG_JSON, MOON_JSON):
        path = write(tmp_path, text * 4)
        with pytest.raises(TraceError, match=f"{path}: more than 2 (requests|arrivals); read"):
            read_source(path)
        assert len(gathered(read_source(path, limit=1))) == 1


def test_parts_of_azure_functions_2019(tmp_path: Path) -> None:
    """Durations alone are no trace; a day has at most 1,440 minutes; an empty file of times."""
    durations = (
        SAMPLES / "azure_functions_2019/function_durations_percentiles.anon.d03.csv"
    ).open()
    with durations:
        head = durations.readline()
    path = write(tmp_path, head)
    with pytest.raises(TraceError, match="no file of invocations per minute, only of durations"):
        read_source(path)
    minutes = ",".join(map(str, range(1441)))
    path = write(tmp_path, f"HashOwner,HashApp,HashFunction,Trigger,{minutes}\n")
    with pytest.raises(TraceError, match="1441 minutes in a day; there must be 1 to 1,440"):
        read_source(path)
    counts = "HashOwner,HashApp,HashFunction,Trigger,1,2\n\no,a,f,http,1,2\n"
    write(tmp_path, counts)
    write(tmp_path, head, "durations.csv")
    assert gathered(read_source(str(tmp_path))).service is None


def test_times_of_json_logs() -> None:
    """Seconds, milliseconds, texts with and without an offset, the common log's."""
    for at in (1767323045, "1767323045.0", 1767323045000, "2026-01-02T03:04:05Z"):
        assert instant(at) == 1767323045
    for text in ("2026-01-02 03:04:05", "2026-01-02T04:04:05+01:00", "02/Jan/2026:03:04:05 +0000"):
        assert instant(text) == 1767323045


def test_json_that_is_no_access_log(tmp_path: Path) -> None:
    """A list, a time alone, no time: no format."""
    for text in ("[1]\n", '{"time": 5}\n', '{"host": "a"}\n', '"text"\n'):
        with pytest.raises(TraceError, match="no known format"):
            read_source(write(tmp_path, text))


def test_hours_are_told_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Durations by their two largest units."""

    for seconds, text in ((59.5, "59.5s"), (3599, "59m 59s"), (7260, "2h 1m"), (90_000, "1d 1h")):
        path = write(tmp_path, f"# duration: {seconds}\nt\n1\n")
        run_trace_info(read_source(path), sys.stdout)
        assert f"duration    {text}" in capsys.readouterr().out
