"""At which rates one way of running becomes cheaper than another. Pure."""

from __future__ import annotations

import math

LITTLE = 0.1
"""Below this share saved, sleeping is not worth the cold starts."""


def asleep(rate: float, service: float, kept: float, start: float) -> float:
    """The share of time at zero of a model whose requests come at random.

    Each request keeps it up for its service and ``kept`` seconds; with room for all that is
    the busy period of M/G/∞, (e^(λ(S+τ)) - 1)/λ on average (Takács 1962), and a start comes
    before each: asleep = 1 / (e^(λ(S+τ)) + λD). 1 request in 100 s, S + τ = 61 s, D = 30 s:
    1 / (1.84 + 0.3) = 0.467.
    """
    exponent = rate * (service + kept)
    return 1 / (math.exp(exponent) + rate * start) if exponent < 700 else 0.0


def rate_worth_sleeping(service: float, kept: float, start: float, saved: float = LITTLE) -> float:
    """Requests per second up to which at least ``saved`` of the time is slept through."""
    low, high = 0.0, 1.0
    while asleep(high, service, kept, start) > saved:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        if asleep(middle, service, kept, start) > saved:
            low = middle
        else:
            high = middle
    return low


def rate_of_a_replica(dollars_per_hour: float, per_request: float) -> float:
    """Requests per second from which a replica that is always there is cheaper than paying
    for each request; infinity where requests cost nothing."""
    return dollars_per_hour / 3600 / per_request if per_request else math.inf
