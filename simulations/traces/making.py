"""``stoker trace generate KIND -o FILE``: a made-up trace into a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

import numpy as np

from simulations.traces.generators import Service, Shape, generated
from simulations.traces.writing import write_csv
from stoker.errors import TraceError


@dataclass(frozen=True, slots=True)
class Made:
    """What is to be made up. ``shape``: fields of ``Shape`` that are told; seconds, requests/s."""

    kind: str
    duration: float
    shape: Mapping[str, float]
    models: int = 1
    zipf: float = 1.0
    service: float | None = None
    service_cv: float = 0.0
    seed: int = 0


def run_trace_generate(made: Made, path: str, out: TextIO) -> int:
    """Draw it, write it, say so. The result is the exit code. Raises TraceError."""
    if made.seed < 0:
        raise TraceError(f"seed = {made.seed}: must be 0 or more")
    shape = dict(made.shape)
    if made.kind == "diurnal":
        # A sine around its mean cannot go above twice that; the other kinds begin at 10 times.
        shape.setdefault("peak", 1.8)
    trace = generated(
        made.kind,
        Shape(**shape),
        made.duration,
        np.random.default_rng(made.seed),
        models=made.models,
        zipf=made.zipf,
        service=None if made.service is None else Service(made.service, made.service_cv),
    )
    count = write_csv(trace, path)
    models = "1 model" if made.models == 1 else f"{made.models:,} models"
    print(f"{path}: {count:,} arrivals in {made.duration:g} s for {models}", file=out)
    return 0
