"""Load reports as bytes, for a link between machines. Pure.

A frame is a header, the names that are new, and the five columns, all little-endian::

    magic "SL1\\n" · epoch, sequence u64 · time, interval f64 · known, new, rows u32
    new × (length u16, "namespace/name" in UTF-8)
    rows × ids u32 · queued f64 · active f64 · arrivals u32 · completions u32

Who is on the other end may be anybody with a token: nothing is believed that cannot be so.
"""

from __future__ import annotations

import struct
from math import isfinite
from typing import Any, Final

import numpy as np

from stoker.columns import StatColumns
from stoker.vocabulary import ModelKey

MAGIC: Final = b"SL1\n"
_HEADER: Final = struct.Struct("<4sQQddIII")
_LENGTH: Final = struct.Struct("<H")
# Names of Kubernetes are 253 characters at most, namespaces 63.
LONGEST_NAME: Final = 1024
_MOST: Final = 2**32 - 1
_COUNT: Final = np.dtype("<u4")
_LOAD: Final = np.dtype("<f8")
LARGEST_LOAD: Final = 1e9


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
            np.asarray(columns.ids, _COUNT).tobytes(),
            np.asarray(columns.queued, _LOAD).tobytes(),
            np.asarray(columns.active, _LOAD).tobytes(),
            # Counts of one interval; what would not fit is not believed anyway.
            np.minimum(columns.arrivals, _MOST).astype(_COUNT).tobytes(),
            np.minimum(columns.completions, _MOST).astype(_COUNT).tobytes(),
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
    ids = np.frombuffer(data, _COUNT, rows, at).astype(np.int64)
    queued = np.frombuffer(data, _LOAD, rows, at + 4 * rows)
    active = np.frombuffer(data, _LOAD, rows, at + 12 * rows)
    arrivals = np.frombuffer(data, _COUNT, rows, at + 20 * rows).astype(np.int64)
    completions = np.frombuffer(data, _COUNT, rows, at + 24 * rows).astype(np.int64)
    if rows and (ids.max() >= known + new or len(np.unique(ids)) != rows):
        raise FrameError("a row of a model that it has not named, or two of one")
    for column in (queued, active):
        if not ((column >= 0) & (column < LARGEST_LOAD)).all():
            raise FrameError(f"a load below 0, or of {LARGEST_LOAD:g} and more")
    # What has the same buffer may stand for a sequence of numbers there.
    made: list[Any] = [ids, queued, active, arrivals, completions]
    return StatColumns(
        *(reporter, epoch, sequence, time, interval, known, models),
        *made,
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
