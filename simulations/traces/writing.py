"""Traces as Stoker's own plain CSV (simulations/traces/plain.py says how it looks)."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from simulations.trace import Source, Trace
from stoker.errors import TraceError

_PACKED: Final[dict[str, Callable[..., Any]]] = {
    ".gz": gzip.open,
    ".xz": lzma.open,
    ".bz2": bz2.open,
}
AT_ONCE: Final = 50_000


def write_csv(trace: Source, path: str) -> int:
    """Write ``trace``, packed as ``path``'s ending says (.gz, .xz, .bz2). Arrivals written.

    Columns that nothing is known for are left out; what ``read_source`` reads back is the
    same trace. Raises TraceError where the file cannot be written.
    """
    opening = _PACKED.get(Path(path).suffix, open)
    count = 0
    try:
        with opening(path, "wt", encoding="utf-8", newline="\n") as out:
            blocks = iter(trace.blocks())
            first = next(blocks, None)
            out.write(f"# duration: {trace.duration!r}\n")
            if first is not None and first.began is not None:
                out.write(f"# began: {first.began!r}\n")
            shown = _columns(first)
            out.write(",".join(("t", "model", *shown)) + "\n")
            names = np.array([_quoted(str(key)) for key in trace.models], dtype=object)
            while first is not None:
                if first.service is not None and "service_s" not in shown:
                    raise TraceError(f"{path}: blocks of a trace must have the same columns")
                for lines in _lines(first, names, shown):
                    out.writelines(lines)
                count += len(first)
                first = next(blocks, None)
    except (OSError, UnicodeEncodeError) as caught:
        why = caught.strerror if isinstance(caught, OSError) else str(caught)
        raise TraceError(f"{path}: {why}; name a file that can be written") from None
    return count


def _columns(block: Trace | None) -> tuple[str, ...]:
    if block is None:
        return ()
    known = {
        "service_s": block.service,
        "prompt_tokens": block.prompt_tokens,
        "output_tokens": block.output_tokens,
    }
    return tuple(name for name, column in known.items() if column is not None)


def _lines(block: Trace, names: Any, shown: tuple[str, ...]) -> Iterator[list[str]]:
    """``AT_ONCE`` lines at a time. Times in the fewest digits that read back as the same."""
    for begin in range(0, len(block), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        columns = [map(repr, block.times[part].tolist()), names[block.which[part]].tolist()]
        if "service_s" in shown and block.service is not None:
            columns.append("" if s != s else repr(s) for s in block.service[part].tolist())
        for name in ("prompt_tokens", "output_tokens"):
            values = getattr(block, name)
            if name in shown and values is not None:
                columns.append("" if v < 0 else str(v) for v in values[part].tolist())
        yield [",".join(row) + "\n" for row in zip(*columns, strict=True)]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text
