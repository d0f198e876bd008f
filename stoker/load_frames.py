"""Load reports as bytes, for a link between machines. Pure.

A frame is a header, the names that are new, and the five columns, all little-endian::

    magic "SL1\\n" · epoch, sequence u64 · time, interval f64 · known, new, rows u32
    new × (length u16, "namespace/name" in UTF-8)
    rows × ids u32 · queued f64 · active f64 · arrivals u32 · completions u32

Who is on the other end may be anybody with a token: nothing is believed that cannot be so.
"""

from __future__ import annotations

import struct
import sys
from array import array
from math import isfinite
from typing import Any, Final

from stoker.columns import StatColumns
from stoker.vocabulary import ModelKey

MAGIC: Final = b"SL1\n"
_HEADER: Final = struct.Struct("<4sQQddIII")
_LENGTH: Final = struct.Struct("<H")
# Names of Kubernetes are 253 characters at most, namespaces 63.
LONGEST_NAME: Final = 1024
_MOST: Final = 2**32 - 1


class FrameError(ValueError):
    """These bytes are no report of load; says why."""


def pack(columns: StatColumns) -> bytes:
    """The frame of a report; its reporter is not in it: the other end knows who speaks."""
    names = [str(model).encode() for model in columns.new_models]
    return b"".join(
        (
            _HEADER.pack(
                MAGIC,
                columns.epoch,
                columns.sequence,
                columns.time,
                columns.interval,
                columns.known,
                len(names),
                len(columns.ids),
            ),
            *(_LENGTH.pack(len(name)) + name for name in names),
            _bytes(array("I", columns.ids)),
            _bytes(array("d", columns.queued)),
            _bytes(array("d", columns.active)),
            # A count of one second; what would not fit is not believed anyway.
            _bytes(array("I", [min(n, _MOST) for n in columns.arrivals])),
            _bytes(array("I", [min(n, _MOST) for n in columns.completions])),
        )
    )


def unpack(data: bytes, reporter: str) -> StatColumns:
    """What ``pack`` made. Raises FrameError for anything else: lengths that do not fit, numbers
    of models nobody has named, loads that are none.
    """
    if len(data) < _HEADER.size or data[:4] != MAGIC:
        raise FrameError("it does not begin as a report does")
    _, epoch, sequence, time, interval, known, new, rows = _HEADER.unpack_from(data)
    if not (isfinite(time) and 0 < interval < 3600.0):
        raise FrameError(f"time {time}, interval {interval}: no time of a report")
    models, at = _names(data, new)
    if len(data) - at != rows * 28:
        raise FrameError(f"{len(data) - at} bytes of columns for {rows} rows")
    ids = _column("I", data, at, rows)
    queued = _column("d", data, at + 4 * rows, rows)
    active = _column("d", data, at + 12 * rows, rows)
    arrivals = _column("I", data, at + 20 * rows, rows)
    completions = _column("I", data, at + 24 * rows, rows)
    if rows and (max(ids) >= known + new or len(set(ids)) != rows):
        raise FrameError("a row of a model that it has not named, or two of one")
    if not all(0 <= value < 1e9 for column in (queued, active) for value in column):
        raise FrameError("a load below 0, or above all that could be")
    return StatColumns(
        *(reporter, epoch, sequence, time, interval, known, models),
        array("q", ids),
        queued,
        active,
        array("q", arrivals),
        array("q", completions),
    )


def _names(data: bytes, count: int) -> tuple[tuple[ModelKey, ...], int]:
    """The names, and where they end."""
    at = _HEADER.size
    models = []
    for _ in range(count):
        if at + _LENGTH.size > len(data):
            raise FrameError("it ends within a name")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        name = data[at : at + length]
        at += length
        if not 0 < len(name) == length <= LONGEST_NAME:
            raise FrameError("it ends within a name, or has one that is none")
        try:
            models.append(ModelKey.parse(name.decode()))
        except UnicodeDecodeError:
            raise FrameError("a name that is no UTF-8") from None
    return tuple(models), at


def _bytes(column: array[int] | array[float]) -> bytes:
    if sys.byteorder == "big":  # pragma: no cover
        column.byteswap()
    return column.tobytes()


def _column(kind: str, data: bytes, at: int, rows: int) -> array[Any]:
    column: array[Any] = array(kind)
    column.frombytes(data[at : at + rows * column.itemsize])
    if sys.byteorder == "big":  # pragma: no cover
        column.byteswap()
    return column
