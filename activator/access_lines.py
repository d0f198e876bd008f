"""How the access log writes one request. Pure.

What comes from clients may hold anything: control characters, quotes and backslashes are
written as \\xHH (in JSON as \\u00HH), so no request can forge a line or a field.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quoted
from typing import Final, NamedTuple

_UNSAFE: Final = re.compile(r'["\\]|[^ -~]')
# The longest of what a client says that a line repeats.
LONGEST: Final = 2048


class Entry(NamedTuple):
    """One request that is over. ``seconds`` in all, ``queued`` of them held; -1 bytes: none."""

    peer: str
    tenant: str
    wall: float
    method: str
    target: str
    version: str
    status: int
    sent: int
    referer: str
    agent: str
    seconds: float
    queued: float
    model: str
    replica: str
    retries: int
    trace: str
    reason: str


def keep_query(target: str) -> str:
    """The target as it came."""
    return target


def drop_query(target: str) -> str:
    """The target without its query, fragment included."""
    return target.partition("?")[0].partition("#")[0]


def query_names(target: str) -> str:
    """The target with the names of its parameters but not their values.

    What has no ``=`` may be a credential itself, so it is not taken for a name.
    """
    path, mark, query = target.partition("?")
    if not mark:
        return path.partition("#")[0]
    pairs = (pair.partition("=") for pair in re.split("[&;]", query.partition("#")[0]))
    return f"{path}?" + "&".join(f"{name}=*" if is_ else "*" for name, is_, _ in pairs)


def escaped(text: str) -> str:
    """``text`` for the inside of a quoted field."""
    if len(text) > LONGEST:
        text = text[:LONGEST] + "..."
    return _UNSAFE.sub(_hex, text) if _UNSAFE.search(text) else text


def _hex(match: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02X}" for byte in match[0].encode("latin-1", "replace"))


# What may stand in quotes as it is.
_SAFE: Final = bytes({*range(0x20, 0x7F)} - {0x22, 0x5C})


def _is_plain(said: str) -> bool:
    """Whether that can stand in quotes as it is, as nearly always: one look instead of seven.

    Nothing is left of it without what is safe. A regular expression takes three times as long.
    """
    if len(said) > LONGEST:
        return False
    return not said.encode("ascii", "backslashreplace").translate(None, _SAFE)


def combined(entry: Entry, time: str) -> str:
    """The combined format of web servers with fields of ours at the end. ``time`` as there:
    ``02/Jan/2026:03:04:05 +0000``.
    """
    e = entry
    if _is_plain(f"{e.method}{e.target}{e.referer}{e.agent}{e.tenant}") and " " not in e.tenant:
        return (
            f'{e.peer} - {e.tenant or "-"} [{time}] "{e.method} {e.target} {e.version}"'
            f' {e.status} {e.sent} "{e.referer or "-"}" "{e.agent or "-"}" {e.seconds:.6f}'
            f" {e.queued * 1000:.0f} {e.model or '-'} {e.replica or '-'} {e.retries}"
            f" {e.trace or '-'} {e.reason or '-'}\n"
        )
    return (
        f'{e.peer} - {_word(e.tenant)} [{time}] "{escaped(e.method)} {escaped(e.target)}'
        f' {e.version}" {e.status} {e.sent} "{escaped(e.referer) or "-"}"'
        f' "{escaped(e.agent) or "-"}" {e.seconds:.6f} {e.queued * 1000:.0f}'
        f" {_word(e.model)} {_word(e.replica)} {e.retries} {_word(e.trace)} {_word(e.reason)}\n"
    )


def as_json(entry: Entry, time: str) -> str:
    """One object; ``time`` is RFC 3339. Keys are never left out, so columns stay columns."""
    (peer, tenant, _, method, target, version, status, sent, referer, agent) = entry[:10]
    (seconds, queued, model, replica, retries, trace, reason) = entry[10:]
    said = f"{peer}{tenant}{method}{target}{version}{referer}{agent}{model}{replica}{trace}{reason}"
    if _is_plain(said):
        return (
            f'{{"time":"{time}","peer":"{peer}","tenant":"{tenant}","method":"{method}"'
            f',"target":"{target}","version":"{version}","status":{status},"bytes":{sent}'
            f',"referer":"{referer}","user_agent":"{agent}","seconds":{seconds:.6f}'
            f',"queued_ms":{queued * 1000:.3f},"model":"{model}","replica":"{replica}"'
            f',"retries":{retries},"trace_id":"{trace}","reason":"{reason}"}}\n'
        )
    return (
        f'{{"time":"{time}","peer":{quoted(peer)},"tenant":{_cut(tenant)}'
        f',"method":{_cut(method)},"target":{_cut(target)},"version":{quoted(version)}'
        f',"status":{status},"bytes":{sent},"referer":{_cut(referer)}'
        f',"user_agent":{_cut(agent)},"seconds":{seconds:.6f}'
        f',"queued_ms":{queued * 1000:.3f},"model":{quoted(model)}'
        f',"replica":{quoted(replica)},"retries":{retries},"trace_id":{quoted(trace)}'
        f',"reason":{quoted(reason)}}}\n'
    )


def _cut(text: str) -> str:
    return quoted(text[:LONGEST] + "..." if len(text) > LONGEST else text)


def _word(text: str) -> str:
    """A field that is not quoted: spaces would shift those behind it."""
    return escaped(text).replace(" ", "\\x20") if text else "-"


Line = Callable[[Entry, str], str]
