"""ServeGen's client windows: rate and shape of gaps per client and window of 600 s.

Published in alibaba/ServeGen (Xiang et al., NSDI'26): a folder per model with
chunk-N-trace.csv per client, lines without a header::

    window's start in s, requests/s, CV of gaps, Gamma or Weibull or nothing, shape, scale

The rate is what was counted, so rate x 600 s is whole; shape and scale are fitted to the
gaps. As in its own generator the rate decides how many arrivals a window has, and the
family with its shape how they are strewn: the scale cancels out. Idle windows are all 0.
Each client becomes a model; clients are called after their file, in the folder's namespace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulations.traces.building import Reading
from simulations.traces.opening import Part
from simulations.traces.sampling import whole_counts
from simulations.traces.table import Column, Table, model_name, numbers
from simulations.traces.windows import Windows
from stoker.errors import TraceError
from stoker.vocabulary import DEFAULT_NAMESPACE, ModelKey

SHAPES: Final = (1e-3, 1e4)
"""Fits of a handful of gaps run away; beyond this single precision cannot follow."""
MOST_WINDOWS: Final = 1_000_000
_FAMILIES: Final = {"": 0, "Gamma": 1, "Weibull": 2}
_LINE: Final = re.compile(r"[0-9.e+]+,[0-9.e+-]+,[0-9.e+-]*,(Gamma|Weibull|),[0-9.e+-]*,[0-9.e+-]*")


def recognise(lines: list[str]) -> bool:
    """By its six columns without a header, in most of its first lines."""
    first = lines[:20]
    return sum(_LINE.fullmatch(line.strip()) is not None for line in first) * 2 >= len(first)


def read(parts: Iterable[Part], reading: Reading) -> Windows:
    """One model per client; arrivals are drawn when they are asked for."""
    models: list[ModelKey] = []
    found: list[dict[str, NDArray[Any]]] = []
    for part in parts:
        if part.name.endswith(".json"):
            continue  # chunk-N-dataset.json: lengths, nothing of arrivals
        table = Table(_columns(), reading.faults, header=False)
        table.read(part)
        columns = table.columns()
        if columns:
            models.append(_client(part.name, models))
            found.append(columns)
    starts, rates, families, shapes = (
        np.concatenate([np.zeros(0), *(columns[name] for columns in found)])
        for name in ("start", "rate", "family", "shape")
    )
    which = np.repeat(np.arange(len(found), dtype=np.int32), [len(c["rate"]) for c in found])
    step = _step(starts, which)
    index = np.rint(starts / step).astype(np.int64)
    if len(index) and (index.max() >= MOST_WINDOWS or not np.allclose(index * step, starts)):
        raise TraceError(
            f"windows do not begin at multiples of {step:g} s, or later than {MOST_WINDOWS:,}"
            " of them; every client's windows must be of one length"
        )
    busy = np.flatnonzero((rates > 0) & (families > 0))
    odd = int(((rates > 0) & (families == 0)).sum())
    reading.faults.leave_out("windows with a rate but no family, left out", odd)
    order = busy[np.lexsort((which[busy], index[busy]))]
    rng = np.random.default_rng([reading.options.seed, 1])
    # 1e-6: what 600 times a rate that was printed and read again is off by at most.
    expected = rates[order] * step
    near = np.rint(expected)
    expected = np.where(abs(expected - near) < 1e-6 * (1 + near), near, expected)
    return Windows(
        models=tuple(models),
        step=step,
        windows=int(index.max()) + 1 if len(index) else 0,
        index=index[order].astype(np.int32),
        which=which[order],
        counts=whole_counts(expected, which[order], rng),
        shapes=np.clip(shapes[order], *SHAPES).astype(np.float32),
        weibull=families[order] == _FAMILIES["Weibull"],
        seed=reading.options.seed,
    )


def _columns() -> list[Column]:
    number = numbers("must be a number, 0 or more")
    return [
        Column(("start",), number),
        Column(("rate",), numbers("must be requests per second, 0 to 1e6", high=1e6)),
        Column(("cv",), _or_nothing),
        Column(("family",), _families),
        Column(("shape",), _or_nothing),
        Column(("scale",), _or_nothing),
    ]


def _or_nothing(texts: Sequence[str]) -> NDArray[Any]:
    return numbers("must be a number, 0 or more")([text or "0" for text in texts])


def _families(texts: Sequence[str]) -> NDArray[Any]:
    try:
        return np.array([_FAMILIES[text.strip()] for text in texts], dtype=np.int32)
    except KeyError:
        raise ValueError("must be Gamma, Weibull or nothing") from None


def _client(name: str, taken: Sequence[ModelKey]) -> ModelKey:
    """``…/m-small/chunk-0-trace.csv`` is m-small/chunk-0. Raises TraceError where it is taken."""
    path = PurePosixPath(name.rpartition(":")[2])
    folder = model_name(path.parent.name) if path.parent.name else DEFAULT_NAMESPACE
    stem = path.name.partition(".")[0].removesuffix("-trace")
    key = ModelKey(folder, model_name(stem))
    if key in taken:
        raise TraceError(f"{name}: there is a client {key} already; name each file differently")
    return key


def _step(starts: NDArray[Any], which: NDArray[Any]) -> float:
    """The windows' length: the smallest distance of two starts of one client; 600 if alone."""
    ahead = np.diff(starts)[np.diff(which) == 0]
    ahead = ahead[ahead > 0]
    return float(ahead.min()) if len(ahead) else 600.0
