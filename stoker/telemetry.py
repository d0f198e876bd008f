"""Every metric's name, help text and labels.

Shells count in plain integers on the hot path. At a scrape each offers its ``readings()``
and ``stoker.exposition`` turns them into text, so that nothing is paid per request for a
label look-up. Taking the readings belongs on the event loop, whose callbacks change what they
are taken from; rendering them may be done anywhere.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple


class Kind(enum.Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class MetricSpec(NamedTuple):
    """One metric. Names of counters are given without ``_total``."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


class Histogram:
    """Cumulative-on-read histogram with fixed bounds (seconds). Adding costs one bisect."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        return sum(self.counts)

    def copy(self) -> Histogram:
        """The same, unmoved by what is added to this one from now on."""
        copy = Histogram.__new__(Histogram)
        copy.bounds, copy.counts, copy.total = self.bounds, self.counts.copy(), self.total
        return copy


class Reading(NamedTuple):
    """One series' value at the moment of a scrape."""

    spec: MetricSpec
    labels: tuple[str, ...]
    value: float | Histogram


LATENCY_BOUNDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)

# Starts take from tens of milliseconds to tens of minutes; there is one series per phase.
COLD_START_BOUNDS = (
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
    *(10.0, 30.0, 60.0, 120.0, 300.0, 900.0),
)

_M = ("model",)

# activator
REQUESTS = MetricSpec(
    "stoker_requests",
    Kind.COUNTER,
    "Requests answered, by model and class of the status code",
    ("model", "code"),
)
REFUSALS = MetricSpec(
    "stoker_refusals",
    Kind.COUNTER,
    "Requests that Stoker itself refused or gave up, by reason",
    ("model", "reason"),
)
QUEUED = MetricSpec("stoker_queued_requests", Kind.GAUGE, "Requests held right now", _M)
ACTIVE = MetricSpec("stoker_active_requests", Kind.GAUGE, "Requests in replicas right now", _M)
HELD_BYTES = MetricSpec(
    "stoker_held_bytes", Kind.GAUGE, "Bytes of request bodies held right now, memory and spool", _M
)
HOLD_SECONDS = MetricSpec(
    "stoker_hold_seconds", Kind.HISTOGRAM, "How long requests that had to wait were held", _M
)
ACTIVATION_SECONDS = MetricSpec(
    "stoker_activation_seconds",
    Kind.HISTOGRAM,
    "How long the first request at zero waited, in all (total) and by what for: until a replica"
    " was asked for (deciding), each phase of its start, until it had a slot (its-turn)",
    ("model", "phase"),
)
REQUEST_BYTES = MetricSpec(
    "stoker_request_bytes",
    Kind.COUNTER,
    "Bytes sent to replicas, heads included, of requests that are over",
    _M,
)
RESPONSE_BYTES = MetricSpec(
    "stoker_response_bytes",
    Kind.COUNTER,
    "Bytes of answers sent to clients, heads included, of requests that are over",
    _M,
)
PROBES = MetricSpec(
    "stoker_probes", Kind.COUNTER, "Probes and scrapes that Stoker answered for a model", _M
)
REQUEST_SECONDS = MetricSpec(
    "stoker_request_seconds",
    Kind.HISTOGRAM,
    "From the request's head to the answer's last byte, holds included",
    _M,
)
HOLD_COMMENTS = MetricSpec(
    "stoker_hold_comments", Kind.COUNTER, "Comments sent to held callers (hold-comments)", _M
)
ERROR_EVENTS = MetricSpec(
    "stoker_error_events",
    Kind.COUNTER,
    "Errors sent as events because comments had been sent before",
    _M,
)
FALLBACKS = MetricSpec(
    "stoker_fallbacks", Kind.COUNTER, "Requests handed to the model's fallback", _M
)
PLACEHOLDERS = MetricSpec(
    "stoker_placeholders", Kind.COUNTER, "Requests answered with the model's placeholder", _M
)
RETRIES = MetricSpec(
    "stoker_retries", Kind.COUNTER, "Requests sent again after a replica failed them", _M
)
EJECTIONS = MetricSpec(
    "stoker_ejections", Kind.COUNTER, "Replicas set aside for a while after failing requests", _M
)
TUNNELS_OPEN = MetricSpec(
    "stoker_tunnels_open", Kind.GAUGE, "WebSockets and other tunnels open right now", _M
)
TUNNELS = MetricSpec(
    "stoker_tunnels",
    Kind.COUNTER,
    "Tunnels that ended, by how (done, idle, closed by Stoker, a side lost)",
    ("model", "ending"),
)
TUNNEL_BYTES = MetricSpec(
    "stoker_tunnel_bytes",
    Kind.COUNTER,
    "Bytes carried by tunnels that ended, by direction",
    ("model", "direction"),
)
CONNECTIONS = MetricSpec("stoker_client_connections", Kind.GAUGE, "Client connections open now")
PEER_UP = MetricSpec(
    "stoker_peer_up", Kind.GAUGE, "1 while there is a link to this peer, else 0", ("peer",)
)
FORWARDED_REQUESTS = MetricSpec(
    "stoker_forwarded_requests",
    Kind.COUNTER,
    "Requests passed on to the peer that has the model's slots, tries included",
    ("peer",),
)
MOVED_REQUESTS = MetricSpec(
    "stoker_moved_requests",
    Kind.COUNTER,
    "Requests that a peer sent back because it has the model no more; they are tried again",
)
OWNED_REPLICAS = MetricSpec(
    "stoker_owned_replicas",
    Kind.GAUGE,
    "Replicas with a limit that this activator and no peer of it sends requests to",
)
RESERVED_SLOTS = MetricSpec(
    "stoker_reserved_slots",
    Kind.GAUGE,
    "Slots of those replicas that count as taken because a peer has or had them",
)
MALFORMED = MetricSpec(
    "stoker_malformed_requests",
    Kind.COUNTER,
    "Requests refused before a model was known, by status code",
    ("code",),
)
REFUSED_CONNECTIONS = MetricSpec(
    "stoker_refused_connections",
    Kind.COUNTER,
    "Client connections closed before a request: max-connections, or no TLS agreed, by reason",
    ("reason",),
)
CUT_PIPELINES = MetricSpec(
    "stoker_cut_pipelines",
    Kind.COUNTER,
    "Connections closed after their answers because more than max-pipelined requests waited",
)
IGNORED_CONTROLS = MetricSpec(
    "stoker_ignored_control_headers",
    Kind.COUNTER,
    "stoker-* header fields dropped because their sender is not in trusted-peers",
)
SERVICE_PORTS = MetricSpec(
    "stoker_service_ports",
    Kind.GAUGE,
    "Ports of Services that are led through here: accepting, failing (taken by another, tried"
    " again), ending",
    ("state",),
)
SERVICE_PORT_FAILURES = MetricSpec(
    "stoker_service_port_failures",
    Kind.COUNTER,
    "Times a port for a Service could not be bound; each is tried again",
)
CERTIFICATE_LOADS = MetricSpec(
    "stoker_certificate_loads",
    Kind.COUNTER,
    "Times tls-certificate and tls-key were read, by outcome",
    ("outcome",),
)
SPOOL_BYTES = MetricSpec(
    "stoker_spool_bytes", Kind.GAUGE, "Bytes of the body spool in use, in blocks of 32 KiB"
)
LATE_REQUESTS = MetricSpec(
    "stoker_late_requests",
    Kind.COUNTER,
    "Requests that came on a connection just being closed for being quiet, while stopping",
)
ACCESS_LOG_DROPPED = MetricSpec(
    "stoker_access_log_dropped",
    Kind.COUNTER,
    "Lines of the access log that were dropped because writing was too slow or failed",
)
LOST_REPORTS = MetricSpec(
    "stoker_lost_reports",
    Kind.COUNTER,
    "Load reports and pokes that no autoscaler was there to take",
    ("kind",),
)
STATS_LINKS = MetricSpec(
    "stoker_stats_links", Kind.GAUGE, "Autoscalers that this activator tells its load now"
)
STATS_RECONNECTS = MetricSpec(
    "stoker_stats_reconnects",
    Kind.COUNTER,
    "Times a link to an autoscaler ended or could not be made; each is tried again",
)

# autoscaler
STATS_ACTIVATORS = MetricSpec(
    "stoker_stats_activators", Kind.GAUGE, "Activators that tell this autoscaler their load now"
)
STATS_TAKEN = MetricSpec(
    "stoker_stats_reports", Kind.COUNTER, "Load reports that came over links from activators"
)
STATS_REFUSED = MetricSpec(
    "stoker_stats_refusals",
    Kind.COUNTER,
    "Links of activators that were refused or ended, by reason (no-token, wrong-token, no-name,"
    " too-many, bad-message)",
    ("reason",),
)
DESIRED = MetricSpec("stoker_desired_replicas", Kind.GAUGE, "Replicas decided on", _M)
REPLICAS = MetricSpec(
    "stoker_replicas", Kind.GAUGE, "Replicas there are, by phase", ("model", "phase")
)
PANIC = MetricSpec("stoker_panic_mode", Kind.GAUGE, "1 while the model is in panic mode", _M)
STABLE_CONCURRENCY = MetricSpec(
    "stoker_stable_concurrency", Kind.GAUGE, "Average load over the stable window", _M
)
PANIC_CONCURRENCY = MetricSpec(
    "stoker_panic_concurrency", Kind.GAUGE, "Average load over the panic window", _M
)
TICK_SECONDS = MetricSpec("stoker_tick_seconds", Kind.HISTOGRAM, "Time one decision tick took")
SCALE_COMMANDS = MetricSpec(
    "stoker_scale_commands", Kind.COUNTER, "Scale commands, by outcome", ("model", "outcome")
)
STALE_REPORTS = MetricSpec(
    "stoker_stale_reports",
    Kind.COUNTER,
    "Load reports dropped, by reason (old epoch, old sequence ...)",
    ("reason",),
)

# platform
COLD_START_SECONDS = MetricSpec(
    "stoker_cold_start_seconds",
    Kind.HISTOGRAM,
    "How long replicas took to get ready, by phase",
    ("model", "phase"),
)
REPLICA_EXITS = MetricSpec(
    "stoker_replica_exits", Kind.COUNTER, "Replicas that ended, by cause", ("model", "cause")
)

# kubernetes
API_REQUESTS = MetricSpec(
    "stoker_kubernetes_requests",
    Kind.COUNTER,
    "Requests to the Kubernetes API server, by verb and status; 0: no answer",
    ("verb", "code"),
)
WATCHED_OBJECTS = MetricSpec(
    "stoker_kubernetes_objects", Kind.GAUGE, "Objects known of a resource", ("resource",)
)
WATCH_EVENTS = MetricSpec(
    "stoker_kubernetes_watch_events",
    Kind.COUNTER,
    "Events taken in from watches of a resource",
    ("resource",),
)
WATCH_SILENCE = MetricSpec(
    "stoker_kubernetes_watch_silence_seconds",
    Kind.GAUGE,
    "How long ago a resource was last heard of (a list, an event, a bookmark): what is known of"
    " it may be that old",
    ("resource",),
)
WATCH_FAILURES = MetricSpec(
    "stoker_kubernetes_watch_failures",
    Kind.COUNTER,
    "Lists and watches that failed or ended early, by cause",
    ("resource", "cause"),
)
RELISTS = MetricSpec(
    "stoker_kubernetes_lists", Kind.COUNTER, "Times a resource was listed anew", ("resource",)
)
LEADING = MetricSpec("stoker_leading", Kind.GAUGE, "1 while this process holds the lease")
LEASE_LOSSES = MetricSpec(
    "stoker_lease_losses",
    Kind.COUNTER,
    "Times this process stopped acting because its lease was not renewed in time, or was taken",
)
BAD_MODEL_SETTINGS = MetricSpec(
    "stoker_kubernetes_refused_models",
    Kind.GAUGE,
    "1 while a model's annotations, or another autoscaler on its target, are refused",
    _M,
)

# workers
WORKERS = MetricSpec(
    "stoker_workers", Kind.GAUGE, "Worker processes that take requests; none with workers: 1"
)
WORKER_EXITS = MetricSpec(
    "stoker_worker_exits",
    Kind.COUNTER,
    "Worker processes that ended: replaced, stopped with Stoker, or died",
    ("cause",),
)
WORKER_CONNECTIONS = MetricSpec(
    "stoker_worker_connections",
    Kind.GAUGE,
    "Client connections open now, by the worker's slot",
    ("slot",),
)

# settings
CONFIG_RELOADS = MetricSpec(
    "stoker_config_reloads",
    Kind.COUNTER,
    "Times the settings file, or the ConfigMap, was read anew",
    ("outcome",),
)
CONFIG_REFUSED = MetricSpec(
    "stoker_config_refused",
    Kind.GAUGE,
    "1 while the settings file, or the ConfigMap, is refused as it is: the last good one stays",
)

METRICS: tuple[MetricSpec, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, MetricSpec)
)
