"""What others do, to compare with: policies by their names.

Each says in its module where its algorithm and its defaults are from. They see the same load
as production's policies, a second after it was, and know nothing of the hold queue's pokes
but that load is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite

from autoscaler.policies import Policy
from simulations.baselines.always_on import AlwaysOn
from simulations.baselines.hpa import Hpa
from simulations.baselines.keda import Keda
from simulations.baselines.kubeai import KubeAi
from stoker.errors import StokerError

BASELINES: Mapping[str, Callable[..., Policy]] = {
    "always-on": AlwaysOn,
    "hpa": Hpa,
    "keda": Keda,
    "kubeai": KubeAi,
}
"""By name; each may be given one number."""

_NUMBERS = {
    "always-on": "replicas, 1 without",
    "hpa": "load per replica, without: each model's own target",
    "keda": "load per replica, 100 without",
    "kubeai": "load per replica, 100 without",
}


class BaselineError(StokerError):
    """A baseline that does not exist, or a number that it cannot have."""


def parse_baseline(spec: str) -> Callable[[], Policy]:
    """What ``spec`` (``keda``, ``always-on:2``) makes, anew at each call.

    Raises BaselineError, which lists what there is.
    """
    name, colon, text = spec.partition(":")
    if name not in BASELINES:
        known = ", ".join(f"{each}[:N] (N: {what})" for each, what in _NUMBERS.items())
        raise BaselineError(f"baseline {spec!r}: there is none of this name; there are: {known}")
    make = BASELINES[name]
    if not colon:
        return make
    number = _number(text)
    if number is None or (name == "always-on" and number != int(number)):
        kind = "a whole number" if name == "always-on" else "a number"
        raise BaselineError(
            f"baseline {spec!r}: {text!r} is not {kind} above 0; N is {_NUMBERS[name]}"
        )
    return lambda: make(number)


def _number(text: str) -> float | None:
    """A number above 0, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) and value > 0 else None
