"""Tunables of several activators that serve the same replicas together."""

from __future__ import annotations

from collections.abc import Iterator

from stoker.settings import compound, kinds
from stoker.settings.kinds import Kind, Raw
from stoker.settings.tunable import Section, Tunable
from stoker.vocabulary import Address

RESTART = frozenset({"peer-listen", "peer-name", "peer-token-file"})


def _read_listen(raw: Raw) -> Address | None:
    address: Address | None = None if raw == "" else kinds.ADDRESS.read(raw)
    return address


PEER_LISTEN = Kind(
    "address",
    "host:port such as 10.0.0.5:8090, or empty",
    _read_listen,
    lambda address: "none" if address is None else str(address),
)


def _read_name(raw: Raw) -> str:
    return "" if raw == "" else str(kinds.NAMESPACE.read(raw))


PEER_NAME = Kind("name", kinds.LABEL_RULE, _read_name, lambda name: name or "none")


def peer_rows() -> Iterator[Tunable]:
    def row(
        name: str, kind: Kind, default: str, reason: str, low: str = "", high: str = ""
    ) -> Tunable:
        return Tunable(
            name,
            Section.PROCESS,
            kind,
            default,
            reason,
            low=low,
            high=high,
            live=name not in RESTART,
        )

    yield row(
        *("peer-listen", PEER_LISTEN, ""),
        "Where other activators reach this one, so that container-concurrency holds across all"
        " of them; empty: it serves alone. Keep it off networks you do not trust.",
    )
    yield row(
        *("peer-name", PEER_NAME, ""),
        "What the others call this activator, as in their peers; empty: the machine's name.",
    )
    yield row(
        *("peers", compound.ADDRESSES, ""),
        "All activators that serve the same replicas, by name, with their peer-listen; an entry"
        " of its own is ignored, so that all can have the same list.",
    )
    yield row(
        *("peer-token-file", kinds.PATH, ""),
        "A file with a token of 16 bytes or more that all activators share, relative to the"
        " settings file; empty: only peers on loopback are let in.",
    )
    yield row(
        *("peer-heartbeat", kinds.DURATION, "1s"),
        "How often peers show that they are there; one that misses three is taken to be lost.",
        *("20ms", "1m"),
    )
    yield row(
        *("slot-expiry", kinds.DURATION, "30s"),
        "How long what a lost peer had in replicas counts against container-concurrency; longer"
        " than the longest request, or the limit may be passed after a peer was killed.",
        *("100ms", "24h"),
    )
    yield row(
        *("peer-share-slots", kinds.COUNT, "16"),
        "A model with so many slots for each activator, and two replicas for each, is divided"
        " among them; smaller ones belong to one, and the others pass requests on to it.",
        *("1", "1000000"),
    )
