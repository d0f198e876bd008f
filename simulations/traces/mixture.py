"""Service times drawn from percentiles of the parts that a model consists of. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simulations.trace import Floats, Whole


@dataclass(frozen=True, eq=False)
class Mixture:
    """For each model its parts, each with a share of the model's calls and its quantiles.

    ``running``: the weights of m parts added up, m + 1 values; ``begins`` and ``ends``: for
    each of n models the weights between which its own are. ``quantiles``: m rows of seconds
    at ``levels``, which ascend from 0 to 1; in between they are straight lines.
    """

    running: Floats
    begins: Floats
    ends: Floats
    quantiles: Floats
    levels: Floats

    @classmethod
    def of(cls, models: Whole, weights: Floats, quantiles: Floats, levels: Floats) -> Mixture:
        """``models``: the place of each part's model; all from 0 on have a part."""
        order = np.argsort(models, kind="stable")
        running = np.concatenate([np.zeros(1), np.cumsum(weights[order])])
        firsts = np.searchsorted(models[order], np.arange(int(models.max(initial=-1)) + 2))
        edges = running[firsts]
        return cls(running, edges[:-1], edges[1:], quantiles[order], levels)

    def only(self, places: Whole) -> Mixture:
        """For the models at these places, in this order."""
        return replace(self, begins=self.begins[places], ends=self.ends[places])

    def as_one(self) -> Mixture:
        """For one model that has all parts."""
        return replace(self, begins=self.running[:1], ends=self.running[-1:])

    def __call__(self, which: Whole, rng: np.random.Generator) -> Floats:
        """Seconds for arrivals of the models at ``which``; NaN where nothing is known."""
        begin, end = self.begins[which], self.ends[which]
        at = begin + rng.random(len(which)) * (end - begin)
        part = np.searchsorted(self.running, at, side="right") - 1
        part = np.clip(part, 0, len(self.quantiles) - 1)
        level = rng.random(len(which))
        upper = np.clip(np.searchsorted(self.levels, level, side="right"), 1, len(self.levels) - 1)
        low, high = self.levels[upper - 1], self.levels[upper]
        share = (level - low) / (high - low)
        below, above = self.quantiles[part, upper - 1], self.quantiles[part, upper]
        return np.asarray(below + share * (above - below))
