"""What running functions by the invocation costs, and where it ends: one table, changeable.

As published for us-east-1 and Tier 1 regions around 2022, the time of the talk "Serverless
for ML serving: genius or folly?", free tiers left out; cold starts are those that the talk
measured for DistilBERT in a container. ``--pricing FILE`` or ``--assume NAME.KEY=VALUE``
change any of it, and may add offers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from stoker.errors import Problem, SettingsError
from stoker.quantities import format_duration, parse_duration, parse_size
from stoker.settings.blocks import near
from stoker.settings.document import Document
from stoker.settings.kinds import Raw

GIB = 1 << 30


def _key(meaning: str, default: float = 0.0, high: float = math.inf) -> Any:
    return field(default=default, metadata={"meaning": meaning, "high": high})


@dataclass(frozen=True, slots=True)
class Offer:
    """One way to pay by the invocation. Keys of a pricing file are these fields in kebab-case;
    seconds are written as durations, bytes as sizes. 0 for a limit: there is none.
    """

    name: str
    title: str = ""
    gib_second: float = _key("dollars per GiB and second", high=1.0)
    vcpu_second: float = _key("dollars per vCPU and second", high=1.0)
    request: float = _key("dollars per request", high=1.0)
    granularity: float = _key("seconds that time is rounded up to", 0.001, 3600.0)
    vcpus: float = _key("vCPUs of an instance", 1.0, 1024.0)
    concurrency: float = _key("requests at once in an instance; 0: as in a replica", 1.0, 1000.0)
    start_paid: float = _key("1: a cold start is paid for, 0: it is not", 0.0, 1.0)
    cold_start: float = _key("seconds of a cold start", 10.0, 3600.0)
    kept_warm: float = _key("seconds an idle instance is kept", 600.0, 86400.0)
    most_memory: float = _key("bytes of an instance at most")
    most_package: float = _key("bytes of the image at most")
    most_time: float = _key("seconds of a request at most")
    accelerators: float = _key("accelerators in an instance", 0.0, 16.0)


OFFERS = (
    Offer(
        "lambda",
        "AWS Lambda",
        gib_second=0.0000166667,
        request=0.20e-6,
        granularity=0.001,
        vcpus=0.0,  # they come with the memory and its price
        concurrency=1.0,
        cold_start=41.0,
        kept_warm=600.0,
        most_memory=10 * GIB,
        most_package=10e9,
        most_time=900.0,
    ),
    Offer(
        "cloud-run",
        "Google Cloud Run",
        gib_second=0.0000025,
        vcpu_second=0.000024,
        request=0.40e-6,
        granularity=0.1,
        vcpus=4.0,
        concurrency=0.0,
        start_paid=1.0,
        cold_start=8.2,
        kept_warm=900.0,
        most_memory=32 * GIB,
        most_time=3600.0,
    ),
)
_DURATIONS = ("granularity", "cold_start", "kept_warm", "most_time")
_SIZES = ("most_memory", "most_package")
_KEYS = tuple(f.name.replace("_", "-") for f in fields(Offer) if f.name != "name")


def read_offers(path: str | None, assignments: Sequence[str]) -> tuple[Offer, ...]:
    """The built-in table < the file at ``path`` < ``NAME.KEY=VALUE`` texts. Raises SettingsError
    with every problem."""
    offers = {offer.name: offer for offer in OFFERS}
    if path is not None:
        _apply(offers, *_blocks(path), path)
    blocks: dict[str, dict[str, str]] = {}
    problems = []
    for text in assignments:
        where, equals, value = text.partition("=")
        name, dot, key = where.strip().partition(".")
        if not equals or not dot or not name:
            hint = "as in lambda.cold-start=5s"
            problems.append(Problem(text, "", "is not NAME.KEY=VALUE", hint=hint))
        else:
            blocks.setdefault(name, {})[key] = value.strip()
    if problems:
        raise SettingsError("--assume", problems)
    _apply(offers, blocks, None, "--assume")
    return tuple(offers.values())


def _blocks(path: str) -> tuple[Mapping[str, Any], Document]:
    try:
        document = Document(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as caught:
        why = caught.strerror if isinstance(caught, OSError) else "is not UTF-8 text"
        raise SettingsError(path, [Problem("file", "", f"cannot be read: {why}")]) from None
    if document.problems:
        raise SettingsError(path, document.problems)
    if not isinstance(document.root, Mapping):
        hint = "it is a mapping of offers, as in lambda: {cold-start: 5s}"
        raise SettingsError(path, [Problem("file", "", "holds no offers", hint=hint)])
    return document.root, document


def _apply(
    offers: dict[str, Offer], blocks: Mapping[str, Any], document: Document | None, source: str
) -> None:
    problems = []
    for name, block in blocks.items():
        if not isinstance(block, Mapping):
            line = document.line((name,)) if document else 0
            problems.append(Problem(name, "", "is not a mapping of keys to values", line=line))
            continue
        offer = offers.get(name, Offer(name, name))
        for key, raw in block.items():
            line = document.line((name, key)) if document else 0
            try:
                changed: dict[str, Any] = {key.replace("-", "_"): _value(key, raw)}
                offer = replace(offer, **changed)
            except ValueError as caught:
                message, _, allowed = str(caught).partition("; ")
                shown = raw if isinstance(raw, str) else ""
                problems.append(Problem(f"{name}.{key}", shown, message, allowed, line=line))
        offers[name] = offer
    if problems:
        raise SettingsError(source, problems)


def _value(key: str, raw: Raw) -> float | str:
    if key not in _KEYS:
        meant = near(key, _KEYS)
        raise ValueError(
            f"is no part of an offer; {f'{meant} | ' if meant else ''}one of these:"
            f" {', '.join(_KEYS)}"
        )
    if not isinstance(raw, str):
        raise ValueError("is not one value")
    if key == "title":
        return raw
    name = key.replace("-", "_")
    if name in _DURATIONS:
        value = parse_duration(raw)
    elif name in _SIZES:
        value = float(parse_size(raw))
    else:
        try:
            value = float(raw)
        except ValueError:
            raise ValueError("is not a number") from None
    (high,) = (f.metadata["high"] for f in fields(Offer) if f.name == name)
    if not 0 <= value <= high:
        upper = format_duration(high) if name in _DURATIONS else f"{high:g}"
        raise ValueError(f"is out of range; [0, {upper}]")
    return value
