"""What answers instead of a model: the rules for its fallback and its placeholder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from stoker.quantities import format_size
from stoker.vocabulary import ModelKey, ModelSpec

LARGEST_PLACEHOLDER: Final = 1024 * 1024


class Mistake(NamedTuple):
    """What is wrong with one key of a model, and what to do about it."""

    key: str
    value: str
    message: str
    hint: str


def fallback_of(spec: ModelSpec) -> ModelKey | None:
    """The model that a spec names as its fallback: of its own namespace unless it says so."""
    namespace, slash, name = spec.serving.fallback.rpartition("/")
    return ModelKey(namespace if slash else spec.key.namespace, name) if name else None


def problems(spec: ModelSpec, models: Iterable[ModelSpec]) -> Iterator[Mistake]:
    """What is wrong with the model's fallback and placeholder."""
    serving = spec.serving
    named = fallback_of(spec)
    if named is not None:
        others = {other.key: other for other in models}
        found = others.get(named)
        if named == spec.key:
            yield Mistake(
                *("fallback", serving.fallback, "is the model itself"),
                "name another model, or remove the key",
            )
        elif found is None:
            known = sorted(str(key) for key in others if key != spec.key)
            hint = f"there are {', '.join(known[:20])}" if known else "there is no other model"
            yield Mistake("fallback", serving.fallback, "is no model of this file", hint)
        elif found.serving.fallback:
            yield Mistake(
                *("fallback", serving.fallback),
                f"has a fallback of its own ({found.serving.fallback}); there are no chains",
                "name that one, or remove its fallback",
            )
    if serving.placeholder:
        wrong = _placeholder(serving.placeholder)
        if wrong:
            largest = format_size(LARGEST_PLACEHOLDER)
            yield Mistake(
                *("placeholder", serving.placeholder, wrong),
                f"give a file of at most {largest} that Stoker may read",
            )


def _placeholder(path: str) -> str:
    try:
        if not os.path.isfile(path):
            return "is no file" if os.path.exists(path) else "does not exist"
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
    except OSError as caught:
        return f"cannot be read: {caught.strerror or caught}"
    return f"is too long: {size} bytes" if size > LARGEST_PLACEHOLDER else ""
