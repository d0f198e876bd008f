"""Inputs to begin with: such as lead into every corner at once.

Made up by the same rules from numbers, not kept as files: what a byte means changes with
the code, and stale files would be noise.
"""

from __future__ import annotations

import random
from collections.abc import Iterator


def seeds(target: str, count: int) -> Iterator[bytes]:
    """Always the same ones for a target."""
    for number in range(count):
        rng = random.Random(f"{target} {number}")
        yield rng.randbytes(rng.choice((40, 150, 400, 700)))
