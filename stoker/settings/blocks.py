"""One block of settings (``stoker:``, ``defaults:``, one model, the environment) validated.

The pydantic models are made from the table, one field per tunable; what pydantic reports is
turned into Problems that name the key, the value, what is allowed and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from stoker.errors import Problem
from stoker.settings import table
from stoker.settings.document import Document, dotted
from stoker.settings.kinds import BadValueError, Raw
from stoker.settings.tunable import Tunable

_SHOWN_LENGTH = 80


def make_block(name: str, tunables: Iterable[Tunable]) -> type[BaseModel]:
    """A pydantic model with one optional field per tunable, refusing every other key."""
    fields: dict[str, Any] = {
        tunable.field: (
            Annotated[Any, BeforeValidator(tunable.read)],
            Field(default=None, alias=tunable.name),
        )
        for tunable in tunables
    }
    block: type[BaseModel] = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    return block


PROCESS_BLOCK = make_block("ProcessBlock", table.PROCESS_TUNABLES.values())
MODEL_BLOCK = make_block("ModelBlock", table.MODEL_TUNABLES.values())
DEFAULTS_BLOCK = make_block("DefaultsBlock", (t for t in table.MODEL_TUNABLES.values() if t.shared))


def read_block(
    block: type[BaseModel],
    raw: Raw,
    path: tuple[str, ...],
    document: Document | None = None,
) -> tuple[dict[str, Any], list[Problem]]:
    """The values that ``raw`` sets, by field name, and what is wrong with the others."""
    if raw is None:
        raw = {}  # "defaults:" with nothing under it
    if not isinstance(raw, Mapping):
        line = document.line(path) if document else 0
        return {}, [Problem(dotted(path), shown(raw), "is not a mapping of settings", line=line)]
    good = dict(raw)
    problems: list[Problem] = []
    while True:
        try:
            checked = block.model_validate(good)
            return {name: getattr(checked, name) for name in checked.model_fields_set}, problems
        except ValidationError as error:
            for details in error.errors():
                key = str(details["loc"][0])
                problems.append(_problem(block, path, key, good.pop(key), details, document))


def _problem(
    block: type[BaseModel],
    path: tuple[str, ...],
    key: str,
    value: Raw,
    details: Any,
    document: Document | None,
) -> Problem:
    where = (*path, key)
    if details["type"] == "extra_forbidden":
        line = document.line(where) if document else 0
        hint = _suggestion(block, key)
        return Problem(dotted(where), "", "is not a setting here", hint=hint, line=line)
    bad = details["ctx"]["error"]
    assert isinstance(bad, BadValueError)
    where += bad.inner
    return Problem(
        dotted(where),
        shown(value) if bad.shown is None else bad.shown,
        bad.message,
        bad.allowed,
        bad.hint,
        document.line(where) if document else 0,
    )


def _suggestion(block: type[BaseModel], key: str) -> str:
    names = [str(field.alias) for field in block.model_fields.values()]
    meant = near(key, names)
    if meant:
        return f"did you mean {meant}?"
    dashed = key.replace("_", "-")
    if dashed in table.PROCESS_TUNABLES:
        return f"{dashed} belongs under stoker:"
    if dashed in table.MODEL_TUNABLES:
        return f"{dashed} belongs under models.NAME:"
    if key == "<<":
        return "merge keys are not read; what models share goes under defaults:"
    return "docs/settings.md lists them all"


def near(key: str, names: Iterable[str]) -> str:
    """The name that ``key`` probably stands for, or ""."""
    names = list(names)
    kebab = "".join(f"-{c.lower()}" if c.isupper() else c for c in key.replace("_", "-"))
    known = table.KNOWN_ELSEWHERE.get(kebab.lstrip("-"), "")
    if known in names:
        return known
    return next(iter(difflib.get_close_matches(kebab, names, n=1, cutoff=0.7)), "")


def shown(raw: Raw) -> str:
    """``raw`` on one short line."""
    text = raw if isinstance(raw, str) else "" if raw is None else repr(raw)
    text = text.replace("\n", "\\n")
    return text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 1] + "…"
