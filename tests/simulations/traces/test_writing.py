"""What is written is read back as the same trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from simulations.trace import Trace, gathered
from simulations.traces import read_source, write_csv
from simulations.traces.generators import Service, Shape, generated
from simulations.traces.windows import Windows
from stoker.errors import TraceError
from stoker.vocabulary import ModelKey
from tests.simulations.traces.real import sample


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.csv.xz", "t.csv.bz2"])
def test_a_trace_comes_back(name: str, tmp_path: Path) -> None:
    """Bit for bit, whatever it is packed with."""
    shape = Shape(rate=2, on=10, off=30, peak=3)
    made = generated(
        "mmpp", shape, 600, np.random.default_rng(1), models=3, service=Service(0.5, 1)
    )
    path = tmp_path / name
    assert write_csv(made, str(path)) == len(made)
    read = gathered(read_source(str(path)))
    names = [made.models[place] for place in made.which]
    assert [read.models[place] for place in read.which] == names
    np.testing.assert_array_equal(read.times, made.times)
    np.testing.assert_array_equal(read.service, made.service)
    assert (read.duration, read.prompt_tokens) == (600, None)
    magic = {"csv": b"# du", "gz": b"\x1f\x8b", "xz": b"\xfd7zXZ", "bz2": b"BZh"}
    assert path.read_bytes().startswith(magic[name.rpartition(".")[2]])


def test_what_is_not_known_stays_so(tmp_path: Path) -> None:
    """Empty fields, no columns, the moment it began; names with commas and quotes."""
    trace = Trace(
        (ModelKey("default", 'a,"b'), ModelKey("n", "c")),
        np.array([0.1, 1 / 3, 2.0]),
        np.array([0, 1, 0], np.int32),
        5.0,
        np.array([np.nan, 0.5, np.nan]),
        output_tokens=np.array([7, -1, -1], np.int32),
        began=1_700_000_000.25,
    )
    path = str(tmp_path / "t.csv")
    write_csv(trace, path)
    loaded = read_source(path)
    read = gathered(loaded)
    assert read.models == trace.models
    np.testing.assert_array_equal(read.times, trace.times)
    np.testing.assert_array_equal(read.service, trace.service)
    assert read.output_tokens is not None
    assert read.output_tokens.tolist() == [7, -1, -1]
    assert (read.prompt_tokens, loaded.began, loaded.duration) == (None, 1_700_000_000.25, 5)


def test_windows_are_written_block_by_block(tmp_path: Path) -> None:
    """A source that is drawn becomes a file of what was drawn."""
    loaded = read_source(sample("servegen"))
    assert isinstance(loaded.source, Windows)
    path = str(tmp_path / "t.csv")
    assert write_csv(loaded, path) == loaded.source.arrivals
    read, drawn = gathered(read_source(path)), gathered(loaded)
    np.testing.assert_array_equal(read.times, drawn.times)
    assert read.duration == drawn.duration


class Uneven:
    """A source whose second block has a column that the first one has not."""

    models = (ModelKey("default", "a"),)
    duration = 2.0

    def blocks(self) -> Iterator[Trace]:
        """Two blocks."""
        one = (self.models, np.ones(1), np.zeros(1, np.int32), 2.0)
        yield Trace(*one)
        yield Trace(*one, service=np.ones(1))


class Empty(Uneven):
    """A source without any block."""

    def blocks(self) -> Iterator[Trace]:
        """None."""
        return iter(())


def test_what_cannot_be_written(tmp_path: Path) -> None:
    """A folder that is not there; blocks that do not fit together; nothing is a header alone."""
    with pytest.raises(TraceError, match="No such file or directory; name a file that can be"):
        write_csv(Empty(), str(tmp_path / "none" / "t.csv"))
    with pytest.raises(TraceError, match="blocks of a trace must have the same columns"):
        write_csv(Uneven(), str(tmp_path / "t.csv"))
    lone = Trace((ModelKey("default", "\ud800"),), np.zeros(1), np.zeros(1, np.int32), 1.0)
    with pytest.raises(TraceError, match="surrogates not allowed"):
        write_csv(lone, str(tmp_path / "t.csv"))
    odd = Trace((ModelKey("default", "é"),), np.zeros(1), np.zeros(1, np.int32), 1.0)
    assert write_csv(odd, str(tmp_path / "t.csv")) == 1
    assert read_source(str(tmp_path / "t.csv")).models == odd.models
    assert write_csv(Empty(), str(tmp_path / "t.csv")) == 0
    assert (tmp_path / "t.csv").read_text() == "# duration: 2.0\nt,model\n"
