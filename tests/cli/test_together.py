"""Several processes told as one: metrics that add up, documents of one shape."""

from __future__ import annotations

from stoker.cli.merging import KEPT_EVENTS, merged
from stoker.cli.shares import SHARED, share, without_names, worker_name
from stoker.cli.totals import Totals
from stoker.exposition import Exposition
from stoker.settings import ProcessConfig
from stoker.telemetry import (
    CONNECTIONS,
    FORWARDED_REQUESTS,
    PEER_UP,
    QUEUED,
    REQUEST_SECONDS,
    REQUESTS,
    Histogram,
    Reading,
)
from stoker.vocabulary import ModelKey

ONE, TWO = ("default/one",), ("default/two",)


def seconds(*values: float, bounds: tuple[float, ...] = (1.0, 2.0)) -> Histogram:
    histogram = Histogram(bounds)
    for value in values:
        histogram.add(value)
    return histogram


def values(totals: Totals) -> dict[tuple[str, tuple[str, ...]], object]:
    return {
        (spec.name, labels): (tuple(value.counts), value.total)
        if isinstance(value, Histogram)
        else value
        for spec, labels, value in totals.readings()
    }


def test_series_of_all_processes_add_up() -> None:
    """Counters, gauges and histograms; what a process says replaces what it said before."""
    totals = Totals()
    assert values(totals) == {}
    totals.update(1, [Reading(CONNECTIONS, (), 9), Reading(QUEUED, ONE, 1)])
    first = [
        Reading(CONNECTIONS, (), 3),
        Reading(REQUESTS, (*ONE, "2xx"), 10),
        Reading(REQUEST_SECONDS, ONE, seconds(0.5, 1.5)),
    ]
    second = [
        Reading(CONNECTIONS, (), 4),
        Reading(REQUESTS, (*ONE, "2xx"), 5),
        Reading(REQUESTS, (*TWO, "5xx"), 1),
        Reading(REQUEST_SECONDS, ONE, seconds(9.0)),
    ]
    totals.update(1, first)
    totals.update(2, iter(second))
    for _ in range(2):  # reading changes nothing
        assert values(totals) == {
            ("stoker_client_connections", ()): 7,
            ("stoker_requests", (*ONE, "2xx")): 15,
            ("stoker_requests", (*TWO, "5xx")): 1,
            ("stoker_request_seconds", ONE): ((1, 1, 1), 11.0),
        }
    text = Exposition([totals.readings]).render().decode()
    (line,) = [
        n for n in text.splitlines() if n.startswith("stoker_requests_total{") and "one" in n
    ]
    assert line.endswith("} 15.0")


def test_no_counter_goes_backwards_when_a_process_ends() -> None:
    """What it counted stays, what it held does not; a removed model goes with its series."""
    totals = Totals()
    readings = [
        Reading(CONNECTIONS, (), 3),
        Reading(REQUESTS, (*ONE, "2xx"), 10),
        Reading(REQUESTS, (*TWO, "2xx"), 7),
        Reading(REQUEST_SECONDS, ONE, seconds(0.5)),
    ]
    for process in (1, 2):
        totals.update(process, readings)
        totals.ended(process)
        totals.ended(process)
    totals.update(3, [Reading(REQUESTS, (*ONE, "2xx"), 1)])
    assert values(totals) == {
        ("stoker_requests", (*ONE, "2xx")): 21,
        ("stoker_requests", (*TWO, "2xx")): 14,
        ("stoker_request_seconds", ONE): ((2, 0, 0), 1.0),
    }
    totals.forget(ModelKey.parse("one"))
    assert values(totals) == {
        ("stoker_requests", (*ONE, "2xx")): 1,
        ("stoker_requests", (*TWO, "2xx")): 14,
    }


def test_histograms_of_other_bounds_are_not_mixed() -> None:
    """A successor with other bounds (a newer program) counts from nothing."""
    totals = Totals()
    totals.update(1, [Reading(REQUEST_SECONDS, ONE, seconds(0.5))])
    totals.ended(1)
    totals.update(2, [Reading(REQUEST_SECONDS, ONE, seconds(5.0, bounds=(1.0,)))])
    assert values(totals) == {("stoker_request_seconds", ONE): ((0, 1), 5.0)}


def test_documents_of_one_shape_become_one() -> None:
    """Numbers add up, lists go by time or by replica, what is shared is not summed."""
    one = {
        "queued": 1,
        "ready_replicas": 2,
        "outage": None,
        "draining": False,
        "refused": {"queue-full": 2},
        "slots": [{"replica": "r1", "address": "a:1", "in_flight": 1, "limit": 4}],
        "recent_waits": [{"seconds_ago": 3.0, "waited": 0.1}, {"seconds_ago": 1.0, "waited": 0.2}],
        "names": ["x"],
        "note": "",
    }
    other = {
        "queued": 2,
        "ready_replicas": 3,
        "outage": "broken",
        "draining": True,
        "refused": {"queue-full": 1, "outage": 5},
        "slots": [
            {"replica": "r1", "address": "a:1", "in_flight": 2, "limit": 4},
            {"replica": "r2", "address": "a:2", "in_flight": 0, "limit": 4},
        ],
        "recent_waits": [{"seconds_ago": 2.0, "waited": 0.3}],
        "names": ["y"],
        "note": "said",
        "only": 1.5,
    }
    assert merged([one, None, other]) == {
        "queued": 3,
        "ready_replicas": 3,
        "outage": "broken",
        "draining": True,
        "refused": {"queue-full": 3, "outage": 5},
        "slots": [
            {"replica": "r1", "address": "a:1", "in_flight": 3, "limit": 4},
            {"replica": "r2", "address": "a:2", "in_flight": 0, "limit": 4},
        ],
        "recent_waits": [
            {"seconds_ago": 3.0, "waited": 0.1},
            {"seconds_ago": 2.0, "waited": 0.3},
            {"seconds_ago": 1.0, "waited": 0.2},
        ],
        "names": ["x", "y"],
        "note": "said",
        "only": 1.5,
    }
    assert merged([]) is None
    assert merged([None, None]) is None


def test_of_what_happened_the_latest_is_kept() -> None:
    """As many entries as each process keeps."""
    events = [
        [{"seconds_ago": float(n), "what": n} for n in range(start, 40, 2)] for start in (0, 1)
    ]
    kept = merged(events)
    assert [event["what"] for event in kept] == list(reversed(range(KEPT_EVENTS)))


def test_bounds_for_all_are_divided() -> None:
    """Rounded up, so that no worker is left without; 0 stays "no limit"."""
    process = ProcessConfig(max_queued_requests=10, max_connections=0)
    part = share(process, 3)
    assert (part.max_queued_requests, part.max_connections) == (4, 0)
    for name in SHARED:
        assert getattr(part, name) * 3 >= getattr(process, name)
    assert share(process, 1) == process


def test_workers_as_peers_are_one_series() -> None:
    """Their names change with every start: counted together, and no gauge for each."""
    readings = [
        Reading(CONNECTIONS, (), 1),
        Reading(FORWARDED_REQUESTS, ("worker-0001",), 3),
        Reading(FORWARDED_REQUESTS, ("worker-0002",), 4),
        Reading(PEER_UP, ("worker-0001",), 1.0),
    ]
    totals = Totals()
    totals.update(1, without_names(readings))
    assert values(totals) == {
        ("stoker_client_connections", ()): 1,
        ("stoker_forwarded_requests", ("workers",)): 7,
    }


def test_a_younger_worker_has_the_greater_name() -> None:
    """So that the older one makes the connection between them."""
    names = [worker_name(number) for number in (1, 2, 9, 10, 11, 99, 100, 9999)]
    assert names == sorted(names)
