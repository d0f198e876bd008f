"""What is wrong in a file is told with file, line and content; nothing else ever comes out."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.trace import gathered
from simulations.traces import FORMATS, opening, read_source, table
from simulations.traces.faults import Faults
from stoker.errors import TraceError
from tests.simulations.traces.real import SAMPLES, sample

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 09:00:00.1,1,2\n"
A2019 = "HashOwner,HashApp,HashFunction,Trigger,1,2,3\no,a,f,http,1,0,2\n"
A2021 = "app,func,end_timestamp,duration\na,f,2,1\n"
BURST = "Timestamp,Model,Request tokens,Response tokens\n1.5,GPT-4,1,2\n"
MOON = "timestamp_ms,input_length,output_length\n1,2,3\n"
MOON_JSON = '{"timestamp": 1, "input_length": 2, "output_length": 3}\n'
GEN = "0,0.5,1,Gamma,1,2\n600,0.5,1,Gamma,1,2\n"
LOG = '::1 - - [02/Jan/2026:03:04:05 +0000] "GET / HTTP/1.1" 200 5\n'
LOG_JSON = '{"time":"2026-01-02T03:04:05Z","host":"h","path":"/"}\n'
PLAIN = "t,model,service_s,prompt_tokens\n1,a,0.5,7\n"

# A file that is right but for its last line, what that is told as.
WRONG = [
    (AZURE, "2023-11-16 25:00:00,1,2", "TIMESTAMP = 2023-11-16 25:00:00: must be a time"),
    (AZURE, "NaT,1,2", "TIMESTAMP = NaT: must be a time"),
    (AZURE, "now,1,2", "TIMESTAMP = now: must be a time"),
    (AZURE, "2023-11-16 09:00:01+05:00,1,2", "must be a time like 2023-11-16 18:17:03.97996"),
    (AZURE, "9999-11-16 09:00:01,1,2", "TIMESTAMP = 9999-11-16 09:00:01: must be a time"),
    (AZURE, "2023-11-16 09:00:01,1,-2", "GeneratedTokens = -2: must be a whole number"),
    (AZURE, "2023-11-16 09:00:01,1.5,2", "ContextTokens = 1.5: must be a whole number"),
    (AZURE, "2023-11-16 09:00:01,1", "2 columns instead of 3"),
    (AZURE, "2023-11-16 09:00:01,99999999999,1", "ContextTokens = 99999999999: must be"),
    (A2019, "o,a,f,http,1,2", "2 minutes instead of 3"),
    (A2019, "o,a,f,http,1,x,2", "a count is not a whole number"),
    (A2019, "o,a,f,http,1,-1,2", "a count is not in 0 to"),
    (A2019, "o,a,f,http,1,9999999999,2", "a count is not in 0 to"),
    (A2019, "o,,f,http,1,1,2", "no app or no function"),
    (A2021, "a,f,nan,1", "end_timestamp = nan: must be a finite number"),
    (A2021, "a,f,5,-1", "duration = -1: must be a finite number"),
    (A2021, "a,,5,1", "func = : must be a name"),
    (BURST, "inf,GPT-4,1,2", "Timestamp = inf: must be a finite number"),
    (BURST, "5,GPT-4,x,2", "Request tokens = x: must be a whole number"),
    (BURST, "1_0,GPT-4,1,2", "Timestamp = 1_0: must be a finite number"),
    (MOON, "-1,2,3", "timestamp_ms = -1: must be a number of milliseconds"),
    (MOON_JSON, '{"timestamp": 2, "input_length": 2}', "no output_length"),
    (
        MOON_JSON,
        '{"timestamp": 2, "input_length": 0.5, "output_length": 1}',
        "input_length = '0.5'",
    ),
    (MOON_JSON, '{"timestamp": true, "input_length": 1, "output_length": 1}', "timestamp = 'True'"),
    (MOON_JSON, '{"timestamp": NaN, "input_length": 1, "output_length": 1}', "timestamp = 'nan'"),
    (MOON_JSON, "[1]", "not a JSON object"),
    (GEN, "1200,0.5,1,Pareto,1,2", "family = Pareto: must be Gamma, Weibull or nothing"),
    (GEN, "1200,-0.5,1,Gamma,1,2", "rate = -0.5: must be requests per second"),
    (LOG, "hello", "not a line of an access log"),
    (LOG, LOG.replace("Jan", "Foo").strip(), "time = 02/Foo/2026:03:04:05 +0000: must be like"),
    (LOG, LOG.replace("02/", "32/").strip(), "time = 32/Jan/2026:03:04:05 +0000: day is out"),
    (LOG_JSON, '{"host":"h"}', "no time; it is looked for as"),
    (LOG_JSON, '{"time":"yesterday","host":"h"}', "time = yesterday: must be like"),
    (LOG_JSON, '{"time":-5,"host":"h"}', "time = -5: must be seconds"),
    (LOG_JSON, '{"time":5,"host":"h","request_time":-1}', "request_time = -1.0: must be finite"),
    (PLAIN, "-1,a,0.5,7", "t = -1: must be a finite number of seconds"),
    (PLAIN, "2,a,inf,7", "service_s = inf: must be a finite number of seconds"),
    (PLAIN, "2,a,0.5,7.5", "prompt_tokens = 7.5: must be a whole number"),
    (PLAIN, '2,"a', "unexpected end of data|4 columns|2 columns"),
    (PLAIN, "1e12,a,0.5,7", "t = 1e12: must be a finite number"),
    (PLAIN, "2,a,0.5,7,8", "5 columns instead of 4"),
]


def write(folder: Path, text: str | bytes, name: str = "trace.txt") -> str:
    """A file with this content; its path."""
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(file)


@pytest.mark.parametrize(("good", "bad", "why"), WRONG, ids=lambda text: repr(text)[:40])
def test_a_malformed_line_is_told(good: str, bad: str, why: str, tmp_path: Path) -> None:
    """With file, number, what is wrong and its content; one is left out, and told too."""
    path = write(tmp_path, good + bad + "\n")
    number = good.count("\n") + 1
    with pytest.raises(TraceError, match=f"{path}, line {number}: (.*)") as caught:
        read_source(path, tolerate=0)
    assert any(one in str(caught.value) for one in why.split("|"))
    assert bad[:20] in str(caught.value).replace("\\'", "'")
    loaded = read_source(path)
    notice = next(n for n in loaded.notices if "malformed" in n)
    assert f"line {number}: " in notice
    kept = gathered(loaded)
    alone = gathered(read_source(write(tmp_path, good, "good.txt"), model_by="fixed:x"))
    np.testing.assert_array_equal(kept.times, alone.times)
    assert set(kept.which.tolist()) == set(range(len(kept.models)))


@pytest.mark.parametrize("format", [None, *FORMATS])
@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf\r\n"])
def test_an_empty_file(format: str | None, content: bytes, tmp_path: Path) -> None:
    """Is told as such, whatever it should have been."""
    with pytest.raises(TraceError, match=r"is empty|holds no arrivals|not JSON|only of durations"):
        read_source(write(tmp_path, content), format)


@pytest.mark.parametrize("text", [AZURE, A2021, BURST, MOON, PLAIN])
def test_a_header_alone(text: str, tmp_path: Path) -> None:
    """Holds no arrivals."""
    path = write(tmp_path, text.partition("\n")[0] + "\n")
    with pytest.raises(TraceError, match=f"{path}: holds no arrivals"):
        read_source(path)


def test_an_unknown_format(tmp_path: Path) -> None:
    """Names all that are known, and how it begins."""
    path = write(tmp_path, "speed,distance\n1,2\n")
    with pytest.raises(TraceError, match="it begins with 'speed,distance'") as caught:
        read_source(path)
    assert all(name in str(caught.value) for name in FORMATS)
    with pytest.raises(TraceError, match="format = excel: unknown; known: azure-llm"):
        read_source(path, "excel")
    with pytest.raises(TraceError, match="no column t; there are: speed, distance"):
        read_source(path, "csv")


def test_the_wrong_format_by_name(tmp_path: Path) -> None:
    """Named wrongly, a good file is refused, not misread."""
    for format in FORMATS:
        if format == "access-log-json":
            continue
        with pytest.raises(TraceError):
            read_source(sample("nginx.jsonl"), format)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"tolerate": -1}, "tolerate = -1: a share of lines; allowed: 0"),
        ({"tolerate": float("nan")}, "tolerate = nan"),
        ({"limit": 0}, "limit = 0: must be 1 or more"),
        ({"busiest": 0}, "busiest = 0: must be 1 or more"),
        ({"seed": -1}, "seed = -1: must be 0 or more"),
        ({"models": ["x*"]}, "no model is called x\\*; there are: default/a"),
        ({"model_by": "host"}, "model-by = host: not for csv; allowed: fixed:…"),
        ({"model_by": "fixed:"}, "a name is missing"),
        ({"between": (5.0, 9.0)}, "from 5 to 9 s: must be within its 1 s"),
        ({"between": (0.25, 0.5)}, "no arrivals from 0.25 to 0.5 s"),
    ],
)
def test_arguments_out_of_range(how: dict[str, object], why: str, tmp_path: Path) -> None:
    """Each is told with its value and what is allowed."""
    with pytest.raises(TraceError, match=why):
        read_source(write(tmp_path, PLAIN), **how)  # type: ignore[arg-type]


def test_model_by_of_logs(tmp_path: Path) -> None:
    """A regular expression that is none; a kind without its value."""
    with pytest.raises(TraceError, match=r"model-by = path:\(: .*must be a regular expression"):
        read_source(write(tmp_path, LOG), model_by="path:(")
    with pytest.raises(TraceError, match="model-by = path:: not for access-log"):
        read_source(write(tmp_path, LOG), model_by="path:")
    with pytest.raises(TraceError, match="no such label; labels: __name__, code, model"):
        read_source(sample("prometheus_counter.json"), model_by="label:pod")


def test_times_out_of_order(tmp_path: Path) -> None:
    """Are sorted, each with what belongs to it, and counted."""
    loaded = read_source(write(tmp_path, "t,model,service_s\n3,a,0.3\n1,b,0.1\n2,a,0.2\n1,b,0.4\n"))
    read = gathered(loaded)
    assert read.times.tolist() == [1, 1, 2, 3]
    assert read.service is not None
    assert read.service.tolist() == [0.1, 0.4, 0.2, 0.3]
    assert loaded.notices == ("2 of 4 arrivals came before the one above them: sorted",)


def test_many_malformed_lines(tmp_path: Path) -> None:
    """Five are shown, the others counted; with more tolerance all are left out."""
    lines = [f"{k},m" if k % 10 else "?,m" for k in range(1, 1001)]
    path = write(tmp_path, "t,model\n" + "\n".join(lines) + "\n")
    with pytest.raises(TraceError, match="100 of 1,000 lines") as caught:
        read_source(path)
    text = str(caught.value)
    assert [f"line {n}: " in text for n in (11, 21, 31, 41, 51, 61)] == [True] * 5 + [False]
    assert "and 95 more" in text
    loaded = read_source(path, tolerate=0.1)
    assert len(gathered(loaded)) == 900
    assert loaded.notices[0].startswith("100 of 1,000 lines were malformed and left out; the first")


def test_a_file_that_is_wrong_all_over_is_given_up_early() -> None:
    """Not only at its end."""
    faults = Faults()
    for line in range(1001):
        faults.add("f", line + 1, "x", "no")
    with pytest.raises(TraceError, match="1,001 of 2,000 lines"):
        faults.seen(2000)


def test_packed_files(tmp_path: Path) -> None:
    """gz, xz, bz2 and tars of them are read; damaged and foreign ones are told."""
    plain = PLAIN.encode()
    good = read_source(write(tmp_path, plain))
    for name, packed in (
        ("gz", gzip.compress(plain)),
        ("xz", lzma.compress(plain)),
        ("bz2", bz2.compress(plain)),
    ):
        assert gathered(read_source(write(tmp_path, packed))).times.tolist() == [1]
        with pytest.raises(TraceError, match=r"is damaged or ends early|no known format"):
            read_source(write(tmp_path, packed[:-9]), "csv")
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w:gz") as archive:
            entry = tarfile.TarInfo("inner/" + name)
            entry.size = len(packed)
            archive.addfile(entry, io.BytesIO(packed))
        assert len(gathered(read_source(write(tmp_path, tar.getvalue())))) == 1
        with pytest.raises(TraceError, match="is damaged or ends early"):
            read_source(write(tmp_path, tar.getvalue()[:-12]), "csv")
    for begin, kind in (
        (b"PK\x03\x04..", "zip"),
        (b"Rar!\x1a\x07", "RAR"),
        (b"PAR1....", "Parquet"),
    ):
        with pytest.raises(TraceError, match=f"is a {kind} file; unpack it"):
            read_source(write(tmp_path, begin))
    assert good.format == "csv"


def test_what_is_no_file(tmp_path: Path) -> None:
    """Nothing there, an empty folder, a pipe, bytes that are no text."""
    with pytest.raises(TraceError, match="No such file or directory; name a file"):
        read_source(str(tmp_path / "none"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(TraceError, match="is empty, or not text"):
        read_source(str(tmp_path / "folder"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TraceError, match="not a file or a folder"):
        read_source(str(tmp_path / "pipe"))
    with pytest.raises(TraceError, match="is empty, or not text"):
        read_source(write(tmp_path, bytes(range(256)) * 20))


def test_absurd_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line without an end, more arrivals than fit, more in a window, too many steps."""
    monkeypatch.setattr(opening, "LONGEST_LINE", 1000)
    monkeypatch.setattr(opening, "CHUNK", 500)
    monkeypatch.setattr(opening, "HEAD", 100)
    with pytest.raises(TraceError, match="line 2: longer than 0 MB"):
        read_source(write(tmp_path, "t\n" + "1" * 5000), "csv")
    monkeypatch.setattr(table, "MOST_ARRIVALS", 100)
    path = write(tmp_path, "t\n" + "1\n" * 1000)
    with pytest.raises(TraceError, match="more than 100 arrivals; read a part"):
        read_source(path)
    assert len(gathered(read_source(path, limit=50))) == 50
    path = write(tmp_path, "0,900000,1,Gamma,1,1\n600,1,1,Gamma,1,1\n")
    with pytest.raises(TraceError, match="540,000,000 arrivals in one window of 600 s"):
        read_source(path)
    path = write(tmp_path, "0,1,1,Gamma,1,1\n1,1,1,Gamma,1,1\n9000000,1,1,Gamma,1,1\n")
    with pytest.raises(TraceError, match="must be of one length"):
        read_source(path)
    far = [[1, "1"], [2, "2"], [99999999, "3"]]
    document = {"resultType": "matrix", "result": [{"metric": {}, "values": far}]}
    with pytest.raises(TraceError, match="99,999,998 steps of 1 s"):
        read_source(write(tmp_path, json.dumps(document)))


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ('{"resultType": "matrix", ', "not JSON"),
        ('{"status": "error", "error": "too long", "resultType": 1}', "but: too long"),
        ('{"data": {"resultType": "vector", "result": []}}', "resultType = vector: must be matrix"),
        ('{"data": {"resultType": "matrix", "result": [5]}}', "result 0: must have metric and val"),
        ('{"data": {"resultType": "matrix", "result": []}}', "holds no arrivals"),
        (
            '{"data": {"resultType": "matrix", "result": [{"metric": {}, "values":'
            ' [[1, "NaN"], [2, "-1"], [3, "+Inf"], ["x", "1"], 7, [5, "1"]]}]}}',
            r"5 of 6 lines.*result 0: must be \[seconds, value\].*NaN",
        ),
    ],
)
def test_prometheus_documents(document: str, why: str, tmp_path: Path) -> None:
    """Other answers of the same server, and samples that are none."""
    with pytest.raises(TraceError, match=f"(?s){why}"):
        read_source(write(tmp_path, document))


def test_clients_and_days_that_are_there_twice(tmp_path: Path) -> None:
    """Are told, not added up."""
    for folder in ("a/x", "b/x"):
        (tmp_path / folder).mkdir(parents=True)
        write(tmp_path / folder, GEN, "chunk-1-trace.csv")
    with pytest.raises(TraceError, match="there is a client x/chunk-1 already"):
        read_source(str(tmp_path))
    days = tmp_path / "days"
    for folder in ("a", "b"):
        (days / folder).mkdir(parents=True)
        write(days / folder, A2019, "calls.d01.csv")
    with pytest.raises(TraceError, match="day 1 is there already"):
        read_source(str(days))
    (days / "b" / "calls.d01.csv").unlink()
    write(days / "b", AZURE, "llm.csv")
    assert len(gathered(read_source(str(days)))) == 3


STARTS = [(SAMPLES / name).read_bytes()[:3000] for name in os.listdir(SAMPLES) if "." in name]
DRAWN = ("azure-functions-2019", "prometheus", "servegen")
MARKS = [b",", b"\n", b'"', b"{", b"}", b"-", b"e9", b"nan", b"\xff", b"\0", b"[", b" ", b"1"]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(STARTS),
    st.lists(st.tuples(st.integers(0, 3000), st.sampled_from(MARKS)), max_size=12),
    st.integers(0, 3000),
    st.sampled_from([None, *FORMATS]),
)
def test_anything_is_either_a_trace_or_told(
    start: bytes, changes: list[tuple[int, bytes]], end: int, format: str | None
) -> None:
    """Samples with bytes put in and cut off, read as any format: a trace, or a TraceError."""
    content = bytearray(start)
    for at, mark in changes:
        content[at:at] = mark
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), bytes(content[:end]))
        with contextlib.suppress(TraceError):
            loaded = read_source(path, format, tolerate=0.5)
            block = next(loaded.blocks())
            assert np.isfinite(block.times).all()
            assert len(block) <= len(content) or loaded.format in DRAWN
