"""The table of offers as a user changes it: ``--pricing FILE``, ``--assume NAME.KEY=VALUE``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from simulations.advising.offers import OFFERS, Offer
from stoker.errors import Problem, SettingsError
from stoker.quantities import format_duration, parse_duration, parse_size
from stoker.settings.blocks import near
from stoker.settings.document import Document
from stoker.settings.kinds import Raw

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
