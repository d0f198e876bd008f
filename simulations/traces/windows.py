"""A source that knows how many arrivals each window has, and draws them window by window. Pure.

What counts per minute, rates per step and ServeGen's windows have in common. A hundred
million arrivals of 1,000 models over 14 days in windows of 600 s are two million rows, some
40 MB; a block holds a million arrivals or one window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulations.trace import Floats, Trace, Whole
from simulations.traces.mixture import Mixture
from simulations.traces.sampling import in_order, placed, whole_counts
from stoker.errors import TraceError
from stoker.vocabulary import ModelKey

BLOCK: Final = 1_000_000
MOST_IN_WINDOW: Final = 50_000_000
MOST_MODELS: Final = 1 << 20


@dataclass(frozen=True, eq=False)
class Windows:
    """Rows of equal length, ascending by ``index``; a model may have several in one window.

    ``index``: the window, which begins at ``index * step`` seconds; ``which``: the place in
    ``models``; ``counts``: arrivals; ``shapes`` and ``weibull``: how their gaps are
    distributed, Gamma where not Weibull; shape 1 of either: independent of each other.
    ``windows``: how many there are, the last ones perhaps without rows. Draws by ``seed``,
    each window by itself and by its number (``numbers``; None: counted from 0): neither where
    blocks are cut nor which windows are taken changes what is in them. ``service``: what times in
    a replica are drawn from.
    """

    models: tuple[ModelKey, ...]
    step: float
    windows: int
    index: Whole
    which: Whole
    counts: NDArray[np.int64]
    shapes: NDArray[np.float32]
    weibull: NDArray[np.bool_]
    seed: int
    began: float | None = None
    numbers: NDArray[np.int64] | None = None
    block: int = BLOCK
    service: Mixture | None = None

    def __post_init__(self) -> None:
        """Raises TraceError on what is too large to be drawn."""
        if len(self.models) > MOST_MODELS:
            raise TraceError(
                f"{len(self.models):,} models: at most {MOST_MODELS:,}; choose some with --models"
            )
        fullest = int(self._totals.max(initial=0))
        if fullest > MOST_IN_WINDOW:
            raise TraceError(
                f"{fullest:,} arrivals in one window of {self.step:g} s: at most"
                f" {MOST_IN_WINDOW:,}; choose some models, or scale it down"
            )

    @property
    def duration(self) -> float:
        """Seconds covered."""
        return self.windows * self.step

    @cached_property
    def _totals(self) -> NDArray[np.int64]:
        totals = np.zeros(self.windows, dtype=np.int64)
        np.add.at(totals, self.index, self.counts)
        return totals

    @property
    def _numbers(self) -> NDArray[np.int64]:
        return np.arange(self.windows) if self.numbers is None else self.numbers

    @property
    def arrivals(self) -> int:
        """How many the blocks hold together."""
        return int(self._totals.sum())

    def blocks(self) -> Iterator[Trace]:
        """See ``Source``. A block ends with a window, once it holds ``block`` arrivals."""
        edges = np.searchsorted(self.index, np.arange(self.windows + 1))
        drawn: list[Trace] = []
        held = 0
        for window in range(self.windows):
            if self._totals[window]:
                drawn.append(self._window(window, slice(*edges[window : window + 2].tolist())))
                held += len(drawn[-1])
            if held and (held >= self.block or window == self.windows - 1):
                yield self._joined(drawn, (window + 1) * self.step)
                drawn, held = [], 0

    def _window(self, window: int, rows: slice) -> Trace:
        rng = np.random.Generator(np.random.SFC64([self.seed, int(self._numbers[window])]))
        row, shares = placed(
            self.counts[rows].astype(np.int32), self.shapes[rows], self.weibull[rows], rng
        )
        which, shares = in_order(self.which[rows][row], shares)
        begin, end = window * self.step, (window + 1) * self.step
        # Rounding must not carry an arrival into the next window.
        times = np.minimum(begin + shares * self.step, np.nextafter(end, begin))
        service = None if self.service is None else self.service(which, rng)
        return Trace(self.models, times, which, end, service, began=self.began)

    def _joined(self, drawn: Sequence[Trace], end: float) -> Trace:
        if len(drawn) == 1:
            return replace(drawn[0], duration=end)
        service = None
        if self.service is not None:
            service = np.concatenate([part.service for part in drawn if part.service is not None])
        return Trace(
            self.models,
            np.concatenate([part.times for part in drawn]),
            np.concatenate([part.which for part in drawn]),
            end,
            service,
            began=self.began,
        )

    def only(self, models: Sequence[ModelKey]) -> Windows:
        """The arrivals for these models alone. Raises KeyError for one that is not there."""
        places = {key: place for place, key in enumerate(self.models)}
        renamed = np.full(len(self.models), -1, dtype=np.int32)
        for place, key in enumerate(models):
            renamed[places[key]] = place
        which = renamed[self.which]
        taken = which >= 0
        chosen = np.array([places[key] for key in models], dtype=np.int32)
        return replace(
            self,
            models=tuple(models),
            index=self.index[taken],
            which=which[taken],
            counts=self.counts[taken],
            shapes=self.shapes[taken],
            weibull=self.weibull[taken],
            service=None if self.service is None else self.service.only(chosen),
        )

    def as_one(self, key: ModelKey) -> Windows:
        """The same number of arrivals in every window, all for one model."""
        which = np.zeros_like(self.which)
        service = None if self.service is None else self.service.as_one()
        return replace(self, models=(key,), which=which, service=service)

    def between(self, begin: float, end: float) -> Windows:
        """The windows that touch [begin, end) s, counted from the first of them.

        Raises ValueError on none.
        """
        if not 0 <= begin < end:
            raise ValueError(f"from {begin} to {end} s: must begin at 0 or later, and end after it")
        low = min(self.windows, int(begin / self.step))
        high = max(low, min(self.windows, ceil(end / self.step)))
        rows = slice(*np.searchsorted(self.index, (low, high)).tolist())
        return replace(
            self,
            windows=high - low,
            numbers=self._numbers[low:high],
            index=self.index[rows] - low,
            which=self.which[rows],
            counts=self.counts[rows],
            shapes=self.shapes[rows],
            weibull=self.weibull[rows],
            began=None if self.began is None else self.began + low * self.step,
        )

    def until(self, arrivals: int) -> Windows:
        """The windows from the beginning until so many arrivals are reached."""
        reached = int(np.searchsorted(np.cumsum(self._totals), arrivals))
        return self.between(0.0, (reached + 1) * self.step)

    def some(self, share: float) -> Windows:
        """Windows that are drawn to have about this share of all, one behind the other."""
        rng = np.random.default_rng([self.seed, 3])
        count = min(self.windows, max(1, round(share * self.windows)))
        taken = np.zeros(self.windows, dtype=np.bool_)
        taken[rng.permutation(self.windows)[:count]] = True
        rows = taken[self.index]
        return replace(
            self,
            windows=count,
            numbers=self._numbers[taken],
            index=(np.cumsum(taken) - 1)[self.index[rows]].astype(np.int32),
            which=self.which[rows],
            counts=self.counts[rows],
            shapes=self.shapes[rows],
            weibull=self.weibull[rows],
            began=None,
        )

    def idle(self) -> NDArray[np.int64]:
        """For each model the first of its longest run of windows without arrivals, and the
        run's length: shape (models, 2).
        """
        order = np.lexsort((self.index, self.which))
        busy = np.bincount(self.which, minlength=len(self.models))
        found = np.zeros((len(self.models), 2), dtype=np.int64)
        for place, rows in enumerate(np.split(self.index[order], np.cumsum(busy)[:-1])):
            begins = np.concatenate([[-1], rows.astype(np.int64)]) + 1
            lengths = np.append(begins[1:] - 1, self.windows) - begins
            longest = int(lengths.argmax())
            found[place] = begins[longest], lengths[longest]
        return found

    def per_model(self) -> NDArray[np.int64]:
        """Arrivals of each model."""
        totals = np.zeros(len(self.models), dtype=np.int64)
        np.add.at(totals, self.which, self.counts)
        return totals

    def per_window(self) -> NDArray[np.int64]:
        """Arrivals in each window."""
        return self._totals

    def widened(self, models: int, arrivals: int, rng: np.random.Generator) -> Windows:
        """So many models and about so many arrivals in the same shapes, for tests of scale.

        Each is one of these models, in turn, shifted around the clock by a number of windows
        that is drawn; counts are scaled and rounded so that each model's total is kept.
        """
        copies = -(-models // len(self.models))
        places = np.arange(copies * len(self.models))[:models]
        order = np.argsort(self.which, kind="stable")
        sizes = np.bincount(self.which, minlength=len(self.models))
        begins = np.cumsum(sizes) - sizes
        originals = places % len(self.models)
        rows = np.concatenate(
            [order[begins[o] : begins[o] + sizes[o]] for o in originals] or [order[:0]]
        )
        which = np.repeat(places, sizes[originals]).astype(np.int32)
        shift = rng.integers(self.windows, size=models)
        index = ((self.index[rows] + shift[which]) % self.windows).astype(np.int32)
        by_time = np.argsort(index, kind="stable")
        index, which, rows = index[by_time], which[by_time], rows[by_time]
        factor = arrivals / max(1, int(self.counts[rows].sum()))
        return replace(
            self,
            models=tuple(ModelKey("default", f"model-{place:04d}") for place in range(models)),
            index=index,
            which=which,
            counts=whole_counts(self.counts[rows] * factor, which, rng),
            shapes=self.shapes[rows],
            weibull=self.weibull[rows],
            service=None,
        )


def even(
    models: tuple[ModelKey, ...],
    step: float,
    windows: int,
    cells: tuple[Whole, Whole, Floats],
    seed: int,
    began: float | None = None,
) -> Windows:
    """Windows whose arrivals are independent of each other.

    ``cells``: window, model and expected count of each pair that has any, in any order.
    """
    index, which, expected = cells
    order = np.lexsort((which, index))
    index, which, expected = index[order], which[order], expected[order]
    counts = whole_counts(expected, which, np.random.default_rng([seed, 1]))
    some = counts > 0
    rows = int(some.sum())
    return Windows(
        models=models,
        step=step,
        windows=windows,
        index=index[some],
        which=which[some],
        counts=counts[some],
        shapes=np.ones(rows, dtype=np.float32),
        weibull=np.zeros(rows, dtype=np.bool_),
        seed=seed,
        began=began,
    )
