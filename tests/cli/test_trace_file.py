"""What ``stoker record`` makes of what it hears: rows in the order of time, in bounded memory."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.cli.pairing import Pairing
from stoker.cli.sorted_rows import HEADER, Row, SortedRows
from stoker.errors import OutputError

rows = st.lists(
    st.builds(
        Row,
        st.integers(0, 10**9).map(lambda micros: micros / 1e6),
        st.sampled_from(["a", "other/b"]),
        st.none() | st.integers(0, 10**9).map(lambda micros: micros / 1e6),
    )
)


@given(rows, st.integers(1, 5), st.sampled_from([".csv", ".csv.gz"]))
def test_rows_are_written_in_order(
    tmp_path_factory: pytest.TempPathFactory, given_rows: list[Row], most: int, ending: str
) -> None:
    """However few fit into memory: all of them, sorted, and nothing else is left behind."""
    folder = tmp_path_factory.mktemp("rows")
    path = folder / f"trace{ending}"
    with SortedRows(str(path), most) as out:
        for row in given_rows:
            out.add(row)
        out.finish()
        assert out.written == len(given_rows)
    data = path.read_bytes()
    text = (gzip.decompress(data) if ending == ".csv.gz" else data).decode()
    header, *lines = text.splitlines()
    assert header == HEADER
    read = [
        Row(float(t), model, float(service) if service else None)
        for t, model, service in (line.split(",") for line in lines)
    ]
    assert [row.time for row in read] == sorted(row.time for row in given_rows)
    assert sorted(map(repr, read)) == sorted(map(repr, given_rows))
    assert list(folder.iterdir()) == [path]


def test_the_same_rows_make_the_same_file(tmp_path: Path) -> None:
    """Compressed too: neither the time nor the name is in it."""
    data = []
    for name in ("a.csv.gz", "b.csv.gz"):
        with SortedRows(str(tmp_path / name)) as out:
            out.add(Row(1.0, "m", None))
            out.finish()
        data.append((tmp_path / name).read_bytes())
    assert data[0] == data[1]


def test_what_cannot_be_written_is_said_before(tmp_path: Path) -> None:
    """A name that is none of a trace, no such folder, a folder: which, and what to do."""
    for name, why in (
        ("trace.json", r"ends with \.csv or \.csv\.gz"),
        ("nowhere/trace.csv", "No such file or directory; name a file"),
        ("folder.csv", "Is a directory; name a file"),
    ):
        (tmp_path / "folder.csv").mkdir(exist_ok=True)
        with pytest.raises(OutputError, match=why):
            SortedRows(str(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    """At the end, and for what is set aside meanwhile; the trace is not there by half."""
    path = tmp_path / "trace.csv"
    with SortedRows(str(path)) as out:
        out._out.close()
        out._out = Path("/dev/full").open("wb")  # noqa: SIM115 (closed by SortedRows)
        out.add(Row(1.0, "m", 1.0))
        with pytest.raises(OutputError, match="No space left on device"):
            out.finish()
    assert list(tmp_path.iterdir()) == []
    with SortedRows(str(path), most=1) as out:
        out._path = tmp_path / "gone" / "trace.csv"
        with pytest.raises(OutputError, match="No such file"):
            out.add(Row(1.0, "m", 1.0))


class Rows(list[tuple[float, str, float | None]]):
    """Rows as they come out of a pairing."""

    def add(self, *row: float | str | None) -> None:
        self.append(row)  # type: ignore[arg-type]


def test_arrivals_and_ends_are_joined() -> None:
    """In whichever order they come; what never ends has no seconds."""
    rows = Rows()
    pairing = Pairing(100.0, rows.add)
    pairing.arrived([(1, "default/a", 101.0), (2, "other/b", 102.0), (4, "default/a", 99.0)])
    pairing.ended([(2, 0.5), (3, None), (4, 1.0)])
    pairing.arrived([(3, "default/a", 103.0), (5, "default/a", 104.0)])
    assert rows == [(2.0, "other/b", 0.5), (3.0, "a", None)]
    assert pairing.finish() == 2
    assert rows[2:] == [(1.0, "a", None), (4.0, "a", None)]
    assert (pairing.arrivals, pairing.unknown) == (4, 3)
    assert pairing.models == {"a": 3, "other/b": 1}


def test_what_came_after_the_end_is_left_out() -> None:
    """Up to it and including it counts."""
    rows = Rows()
    pairing = Pairing(0.0, rows.add)
    pairing.until = 2.0
    pairing.arrived([(1, "default/a", 2.0), (2, "default/a", 2.1)])
    pairing.ended([(1, 1.0), (2, 1.0)])
    assert pairing.finish() == 0
    assert rows == [(2.0, "a", 1.0)]


def test_memory_is_bounded() -> None:
    """Too many that never end: the oldest go without seconds; too many ends: the oldest go."""
    rows = Rows()
    pairing = Pairing(0.0, rows.add, most_open=2, most_early=2)
    pairing.arrived([(n, "default/a", float(n)) for n in range(4)])
    assert rows == [(0.0, "a", None), (1.0, "a", None)]
    pairing.ended([(n, 1.0) for n in (10, 11, 12, 3)])
    pairing.arrived([(10, "default/a", 10.0), (12, "default/a", 12.0)])
    assert rows[2:] == [(3.0, "a", 1.0), (12.0, "a", 1.0)]
    assert pairing.finish() == 2
