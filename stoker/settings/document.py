"""YAML text to plain data in which every scalar is its text; duplicates are refused.

YAML's own typing is left aside on purpose (see ``stoker.settings.kinds``). Of the language's
further features anchors and aliases work; tags are ignored, merge keys are unknown keys.
"""

from __future__ import annotations

from typing import Any

import yaml

from stoker.errors import Problem
from stoker.settings.kinds import Raw

_LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # the C one where there is one
_MAX_DEPTH = 50
_NULLS = ("", "~", "null")


def _compose(text: str) -> yaml.Node | None:
    """The text's node tree. Raises YAMLError, also for nesting that no settings have.

    The loader composes recursively, in C without any guard: depth is counted first.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise yaml.YAMLError(f"nested more than {_MAX_DEPTH} deep")
    return yaml.compose(text, Loader=_LOADER)


class Document:
    """A parsed file: ``root`` (None when it cannot be parsed), what was wrong, and lines."""

    def __init__(self, text: str) -> None:
        self.problems: list[Problem] = []
        self._lines: dict[tuple[str, ...], int] = {}
        self._shared: dict[int, Raw] = {}  # by node: an alias is walked once, however often used
        self._open: set[int] = set()
        self.root: Raw = None
        try:
            node = _compose(text)
        except yaml.MarkedYAMLError as error:
            self.problems.append(_malformed(error))
        except yaml.YAMLError as error:
            what = str(error).splitlines()[0]
            self.problems.append(Problem("file", "", f"is not YAML: {what}"))
        else:
            self.root = self._plain(node, ()) if node is not None else None

    @property
    def malformed(self) -> bool:
        """Whether nothing can be said beyond ``problems``."""
        return self.root is None and bool(self.problems)

    def line(self, path: tuple[str, ...]) -> int:
        """The line (from 1) of the key at ``path``, or of its nearest known parent; else 0."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._lines:
                return self._lines[path[:length]]
        return 0

    def _plain(self, node: yaml.Node, path: tuple[str, ...]) -> Raw:
        if isinstance(node, yaml.ScalarNode):
            is_null = not node.style and node.value in _NULLS
            return None if is_null else str(node.value)
        identity = id(node)
        if identity in self._shared:
            return self._shared[identity]
        if identity in self._open:
            self.problems.append(Problem(dotted(path), "", "is an alias that contains itself"))
            return None
        self._open.add(identity)
        if isinstance(node, yaml.MappingNode):
            plain = self._mapping(node, path)
        else:
            plain = [self._plain(item, (*path, str(i))) for i, item in enumerate(node.value)]
        self._open.discard(identity)
        self._shared[identity] = plain
        return plain

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> Raw:
        plain: dict[str, Raw] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(
                    Problem(dotted(path), "", "has a key that is not a text", line=line)
                )
                continue
            key = str(key_node.value)
            inner = (*path, key)
            if key in plain:
                first = self._lines[inner]
                self.problems.append(
                    Problem(
                        dotted(inner),
                        "",
                        f"is written twice, in lines {first} and {line}",
                        hint="keep one of the two",
                        line=line,
                    )
                )
                continue
            self._lines[inner] = line
            plain[key] = self._plain(value_node, inner)
        return plain


def dotted(path: tuple[str, ...]) -> str:
    """A path of keys as people write it."""
    return ".".join(path) or "file"


def _malformed(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "file"
    what = " ".join(part for part in (error.problem, error.context) if part)
    return Problem(
        where, "", f"is not YAML: {what}", hint="check indentation, quotes and colons there"
    )
