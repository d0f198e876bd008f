"""The talk's table: fitted to DistilBERT, then asked for BERT.

Two figures of DistilBERT fix two numbers per platform. Everything else is a prediction: that
nodes add their 210 s, and what BERT takes, which differs in bytes to be moved and in work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from simulations.scenarios.outcome import Figures, Outcome, Simulate, deviation
from simulations.scenarios.platforms import (
    BERT,
    CALM,
    CLOUD_RUN,
    DISTILBERT,
    LAMBDA,
    QPS,
    VERTA,
    Platform,
    fitted,
    measured,
)

NODE = 210.0
"""Seconds until a node is there, by the talk."""


@dataclass(frozen=True, slots=True)
class Published:
    """The talk's figures, seconds, and what is fitted to them within ``seconds`` simulated."""

    platform: Platform
    first: float
    steady: float
    bert: float
    vary: str
    seconds: float


TALK = (
    Published(LAMBDA, 41.0, 79.0, 41.1, "most", 150.0),
    Published(CLOUD_RUN, 8.2, 33.0, 15.8, "most", 80.0),
    Published(VERTA, 0.7, 105.0, 0.8, "behind", 150.0),
)
WITH_NODES = 315.0


def run(simulate: Simulate, *, small: bool = False) -> Outcome:
    """``small``: Cloud Run's alone, which takes the least."""
    fits, predictions, parameters = [], [], []
    results = []
    for published in TALK[1:2] if small else TALK:
        platform = fitted(
            published.platform,
            published.first,
            published.steady,
            published.seconds,
            published.vary,
        )
        found = measured(platform, DISTILBERT, published.seconds)
        results.append(found.result)
        fits.append(_row(platform.name, found.first, published.first))
        fits[-1] += _row("", found.steady, published.steady)[1:]
        parameters.append(_parameters(platform))
        if platform.behind:
            nodes = replace(platform, name=f"{platform.name}, nodes", node=NODE)
            later = measured(nodes, DISTILBERT, published.seconds + 1.5 * NODE)
            results.append(later.result)
            fits.append((nodes.name, f"{later.first:.2f}", "–", "–"))
            fits[-1] += _row("", later.steady, WITH_NODES)[1:]
        predictions.append(_bert(platform, published))
    return Outcome(
        "The talk's table: from zero to 100 requests per second",
        (
            Figures("Platforms", ("platform", "MB/s", "start", "instances"), (*parameters,)),
            Figures(
                "DistilBERT",
                ("platform", "first", "published", "off", "steady", "published", "off"),
                (*fits,),
            ),
            Figures(
                "BERT, predicted",
                ("platform", "first", "published", "off", "no bytes … all bytes", "steady"),
                (*predictions,),
            ),
        ),
        _notes(),
        results,
    )


def _row(name: str, found: float, published: float) -> tuple[str, ...]:
    return name, f"{found:.2f}", f"{published:g}", deviation(found, published)


def _parameters(platform: Platform) -> tuple[str, ...]:
    start = f"{platform.fixed:.2f} s + bytes"
    if platform.behind:
        start += f", all but the first {platform.behind:.1f} s more"
    return platform.name, f"{platform.bandwidth / 1e6:g}", start, str(platform.most)


def _bert(platform: Platform, published: Published) -> tuple[str, ...]:
    """What BERT takes if bytes are moved as assumed, and if nothing or all of the start was
    moving bytes.
    """
    seconds = published.seconds * 3
    found = measured(platform, BERT, seconds)
    moved = DISTILBERT.bytes / platform.bandwidth
    whole = platform.fixed + moved
    rest = found.first - platform.fixed - BERT.bytes / platform.bandwidth
    none, everything = rest + whole, rest + whole * BERT.bytes / DISTILBERT.bytes
    return (
        *_row(platform.name, found.first, published.bert),
        f"{none:.2f} … {everything:.2f}",
        f"{found.steady:.1f}" if found.steady < seconds else f"not within {seconds:g} s",
    )


def _notes() -> tuple[str, ...]:
    return (
        f"steady: from then on nobody waits longer than {CALM:g} s for a worker; {QPS:g} requests"
        " per second, evenly, one per worker; all are held, none refused",
        "fitted: the part of a start that is not moving bytes, to the time to the first answer;"
        " to the time until steady, instances at once, which stand for all limits of the platform"
        " (of accounts, bursts, throttled callers who try again); Verta-like, where 500 do not"
        " bind, how much longer all starts but the first take",
        "bytes: 85 MB/s, one connection to an object store; Verta-like: 2 GB/s, a node's own disk",
        f"nodes: room for one worker, and for the others {NODE:g} s after the first decision"
        " that finds none; nothing of this is fitted",
        "BERT: 110 million parameters instead of 66, 668 s of work instead of 410 (Sanh et al.,"
        " 2019)",
    )
