"""How long requests are in a replica: from the trace, from a distribution, from tokens. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simulations.draws import GRAMMAR, Exponential, Known, Lognormal, parse_draw
from simulations.trace import Trace

Floats = NDArray[np.float64]

SERVICE_GRAMMAR = f"trace, tokens(prefill=8000/s, decode=50/s, batch=2%), or one of: {GRAMMAR}"


@dataclass(frozen=True, slots=True)
class Drawn:
    """Seconds from a distribution, whatever the trace says."""

    draw: Known

    def seconds(self, block: Trace, rng: np.random.Generator) -> Floats:
        return self.draw.sample(rng, len(block))

    def slowdown(self, in_flight: int) -> float:
        return 1.0

    def __str__(self) -> str:
        return str(self.draw)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the trace says; where it says nothing, ``otherwise``."""

    otherwise: Known = field(default_factory=lambda: Exponential(0.5))

    def seconds(self, block: Trace, rng: np.random.Generator) -> Floats:
        drawn = self.otherwise.sample(rng, len(block))
        if block.service is None:
            return drawn
        return np.where(np.isnan(block.service), drawn, block.service)

    def slowdown(self, in_flight: int) -> float:
        return 1.0

    def __str__(self) -> str:
        return f"as in the trace, where it says nothing {self.otherwise}"


@dataclass(frozen=True, slots=True)
class Tokens:
    """A language model: the prompt at ``prefill`` tokens/s, then ``decode`` tokens/s each.

    Requests in one replica are batched: each one more slows every token of all of them by
    ``batch`` (0.02: 51 together take twice as long as one alone, and do 25 times the work).
    Where a count is not known it is drawn: a prompt of 1,000, an answer of 200 tokens on
    average, lognormal with cv 1.
    """

    prefill: float = 8000.0
    decode: float = 50.0
    batch: float = 0.02

    def seconds(self, block: Trace, rng: np.random.Generator) -> Floats:
        prompt = _counts(block.prompt_tokens, Lognormal(1000.0, 1.0).sample(rng, len(block)))
        output = _counts(block.output_tokens, Lognormal(200.0, 1.0).sample(rng, len(block)))
        seconds: Floats = prompt / self.prefill + output / self.decode
        return seconds

    def slowdown(self, in_flight: int) -> float:
        return 1.0 + self.batch * (in_flight - 1)

    def __str__(self) -> str:
        return (
            f"tokens(prefill={self.prefill:g}/s, decode={self.decode:g}/s,"
            f" batch={100 * self.batch:g}%)"
        )


def _counts(known: NDArray[np.int32] | None, drawn: Floats) -> Floats:
    if known is None:
        return drawn
    return np.where(known < 0, drawn, known)


AnyService = Drawn | Recorded | Tokens


def parse_service(text: str) -> AnyService:
    """A service as a user writes it. Raises ValueError; the caller names the option."""
    text = text.strip()
    if text == "trace":
        return Recorded()
    call = re.fullmatch(r"tokens(?:\((.*)\))?", text, re.DOTALL)
    if call is None:
        try:
            return Drawn(parse_draw(text))
        except ValueError as error:
            raise ValueError(str(error).replace(GRAMMAR, SERVICE_GRAMMAR)) from None
    values = {"prefill": 8000.0, "decode": 50.0, "batch": 2.0}
    for part in filter(None, (p.strip() for p in (call[1] or "").split(","))):
        key, _, value = (piece.strip() for piece in part.partition("="))
        unit = "%" if key == "batch" else "/s"
        number = value.removesuffix(unit)
        if key not in values or not re.fullmatch(r"[0-9]+(\.[0-9]+)?", number):
            raise ValueError(f"{part!r} is not understood; allowed: {SERVICE_GRAMMAR}")
        values[key] = float(number)
    if not values["prefill"] or not values["decode"]:
        raise ValueError("prefill and decode must be above 0 tokens per second")
    return Tokens(values["prefill"], values["decode"], values["batch"] / 100)


def fitting(trace: Trace) -> AnyService:
    """What goes by all that a trace says: its times, else its tokens, else half a second."""
    if trace.service is not None:
        known = trace.service[~np.isnan(trace.service)]
        mean = float(known.mean()) if len(known) else 0.5
        return Recorded(Exponential(mean))
    if trace.prompt_tokens is not None or trace.output_tokens is not None:
        return Tokens()
    return Drawn(Exponential(0.5))
