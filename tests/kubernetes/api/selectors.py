"""Label and field selectors, as they stand in queries and in objects."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from tests.kubernetes.api.errors import bad_request
from tests.kubernetes.api.kinds import Kind, Obj

Test = Callable[[Obj], bool]
_Labels = Mapping[str, str]

_SET = re.compile(r"(\S+)\s+(in|notin)\s*\(([^)]*)\)")
_EQUAL = re.compile(r"([^\s=!]+)\s*(==|=|!=)\s*([^\s=!]*)")

_FIELDS: dict[str, tuple[str, ...]] = {}
_FIELDS["Pod"] = ("spec.nodeName", "status.phase", "spec.restartPolicy", "status.podIP")
_FIELDS["Event"] = (
    *("involvedObject.kind", "involvedObject.namespace", "involvedObject.name"),
    *("involvedObject.uid", "reason", "type"),
)
_FIELDS["Namespace"] = ("status.phase",)


def labels_match(text: str) -> Callable[[_Labels], bool]:
    """``a=b,c!=d,e in (f, g),h,!i`` as a test of labels. Raises StatusError (400)."""
    tests = [_requirement(part.strip()) for part in re.split(r",(?![^(]*\))", text) if part.strip()]
    return lambda labels: all(test(labels) for test in tests)


def _requirement(text: str) -> Callable[[_Labels], bool]:
    if match := _SET.fullmatch(text):
        key, operator, listed = match.groups()
        values = {value.strip() for value in listed.split(",")}
        if operator == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if match := _EQUAL.fullmatch(text):
        key, operator, value = match.groups()
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if re.fullmatch(r"![\w./-]+", text):
        return lambda labels: text[1:] not in labels
    if re.fullmatch(r"[\w./-]+", text):
        return lambda labels: text in labels
    raise bad_request(f"unable to parse requirement: {text}")


def object_matches(kind: Kind, label_selector: str, field_selector: str) -> Test:
    """Both selectors as one test of objects. Raises StatusError (400)."""
    by_label = labels_match(label_selector)
    by_field = [_field(kind, part) for part in field_selector.split(",") if part]

    def matches(obj: Obj) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return by_label(labels) and all(test(obj) for test in by_field)

    return matches


def _field(kind: Kind, text: str) -> Test:
    match = _EQUAL.fullmatch(text)
    if match is None:
        raise bad_request(f"invalid field selector: {text!r}")
    path, operator, wanted = match.groups()
    allowed = ("metadata.name", "metadata.namespace", *_FIELDS.get(kind.kind, ()))
    if path not in allowed:
        raise bad_request(f"field label not supported: {path}")

    def test(obj: Obj) -> bool:
        value: object = obj
        for key in path.split("."):
            value = value.get(key, "") if isinstance(value, dict) else ""
        return (str(value) == wanted) == (operator != "!=")

    return test


def selector_text(selector: Obj) -> str:
    """A LabelSelector object (matchLabels, matchExpressions) in the form of queries."""
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        key, operator = expression["key"], expression["operator"]
        values = ",".join(expression.get("values") or ())
        parts.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }[operator]
        )
    return ",".join(parts)


def selects(selector: Obj, labels: _Labels) -> bool:
    """Whether a LabelSelector object selects ``labels``; an empty one selects all."""
    return labels_match(selector_text(selector))(labels)
