"""What one model's settings ask for beside plain holding."""

from __future__ import annotations

from activator.placeholder import Placeholder
from stoker.settings.instead import fallback_of
from stoker.vocabulary import AnswerHeaders, ModelKey, ModelSpec, PlaceholderFor


class Extras:
    """``after``: seconds until the fallback; ``of`` gives None where nothing is asked for."""

    __slots__ = ("after", "all_headers", "fallback", "html_only", "placeholder")

    def __init__(self, spec: ModelSpec) -> None:
        serving = spec.serving
        self.all_headers = serving.answer_headers is AnswerHeaders.ALL
        self.fallback: ModelKey | None = fallback_of(spec)
        self.after = serving.fallback_after
        self.placeholder: Placeholder | None = None
        if serving.placeholder:
            self.placeholder = Placeholder(serving.placeholder, serving.placeholder_status)
        self.html_only = serving.placeholder_for is PlaceholderFor.HTML

    @classmethod
    def of(cls, spec: ModelSpec, before: Extras | None = None) -> Extras | None:
        extras = cls(spec)
        if not (extras.all_headers or extras.fallback or extras.placeholder):
            return None
        old = before.placeholder if before is not None else None
        new = extras.placeholder
        if old is not None and new is not None and old.same_as(new):
            extras.placeholder = old  # what it has read stays read
        return extras
