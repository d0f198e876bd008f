"""Tunables of the Stoker process as a whole."""

from __future__ import annotations

import enum
from collections.abc import Iterator

from stoker.settings import compound, kinds
from stoker.settings.kinds import Kind
from stoker.settings.tunable import DURATION_MAX, SIZE_MAX, Section, Tunable
from stoker.vocabulary import Tenancy

RESTART = frozenset(
    {
        *("listen", "listeners", "admin", "spool-directory", "journal-file", "journal-bytes"),
        *("tick-interval", "report-interval", "silent-reporter-timeout", "log-level"),
        "workers",
        *("log-format", "tracing", "admin-token-file", "admin-open-paths"),
        *("tls-certificate", "tls-key", "tls-min-version", "plain-listeners"),
    }
)
"""What is read once, at the start; everything else is in force as soon as it is reloaded."""


class LogLevel(enum.StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class HalfClose(enum.StrEnum):
    """What to make of a client that ends its sending side."""

    LEAVE = "leave"
    SERVE = "serve"


class TlsVersion(enum.StrEnum):
    """The oldest TLS that is spoken."""

    V1_2 = "1.2"
    V1_3 = "1.3"


class LogFormat(enum.StrEnum):
    """How Stoker's own log lines are written."""

    TEXT = "text"
    JSON = "json"


class AccessLogFormat(enum.StrEnum):
    """How the lines of the access log are written."""

    COMBINED = "combined"
    JSON = "json"


class QueryInLog(enum.StrEnum):
    """What the access log keeps of a query string, which may hold credentials."""

    DROP = "drop"
    NAMES = "names"
    KEEP = "keep"


class Tracing(enum.StrEnum):
    """What is done with W3C trace context."""

    OFF = "off"
    PROPAGATE = "propagate"
    SPANS = "spans"


def process_rows() -> Iterator[Tunable]:
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
        *("listen", kinds.ADDRESS, "127.0.0.1:8080"),
        "Where requests come in; 0.0.0.0:8080 to be reachable from other machines.",
    )
    yield row(
        *("listeners", compound.ADDRESSES, ""),
        "Further addresses by name, for models that are to have one of their own.",
    )
    yield row(
        *("admin", kinds.ADDRESS, "127.0.0.1:8081"),
        "Where metrics, health and status are served; keep it off networks you do not trust.",
    )
    yield Tunable(
        *("workers", Section.PROCESS, kinds.WORKERS, "1"),
        "How many processes take requests; one uses one core. auto: as many as there are cores;"
        " 1: everything in one process.",
        low="1",
        high="256",
        also="auto",
        live=False,
    )
    yield row(
        *("max-queued-requests", kinds.COUNT, "10000"),
        "How many requests may be held for all models together; the next one gets 503.",
        *("0", "10000000"),
    )
    yield row(
        *("max-queued-bytes", kinds.SIZE, "1Gi"),
        "How many bytes of bodies may be held for all models together.",
        *("0", SIZE_MAX),
    )
    yield row(
        *("tenancy", kinds.choice(Tenancy), "off"),
        "header or api-key where several users share models: those that wait are then served in"
        " fair turns instead of in the order in which they came.",
    )
    yield row(
        *("tenant-header", kinds.HEADER, "stoker-tenant"),
        "With tenancy: header, the header in which a trusted peer (trusted-peers) names the"
        " tenant.",
    )
    yield row(
        *("tenant-weights", compound.WEIGHTS, ""),
        "With tenancy: header, how many turns a tenant gets for one of the others'.",
    )
    yield row(
        *("body-memory", kinds.SIZE, "64Ki"),
        "The longest held body that stays in memory; longer ones go to the spool, all of them.",
        *("0", "1Gi"),
    )
    yield row(
        *("spool-bytes", kinds.SIZE, "1Gi"),
        "Disk for held bodies; beyond it senders are paused instead, and cannot be retried.",
        *("0", SIZE_MAX),
    )
    yield row(
        *("replay-bytes", kinds.SIZE, "64Mi"),
        "Memory for large bodies while they are passed on, so that they can be sent again when"
        " their replica dies; no body gets more than a quarter.",
        *("0", SIZE_MAX),
    )
    yield row(
        *("spool-directory", kinds.PATH, ""),
        "Where spool files go, relative to the settings file; empty: where the system keeps"
        " temporary files.",
    )
    yield row(
        *("max-head-bytes", kinds.SIZE, "32Ki"),
        "The longest request line and headers together; what is longer gets 431.",
        *("1Ki", "1Mi"),
    )
    yield row(
        *("max-headers", kinds.COUNT, "100"),
        "The most headers in one request; more get 431.",
        *("1", "10000"),
    )
    yield row(
        *("max-body-bytes", kinds.SIZE, "0"),
        "The longest request body; what is longer gets 413. 0: no limit.",
        *("0", SIZE_MAX),
    )
    yield row(
        *("max-chunk-extension-bytes", kinds.SIZE, "16Ki"),
        "How much a chunked body may carry besides chunks; nobody needs chunk extensions, so more"
        " is taken for an attack and gets 400.",
        *("0", "1Mi"),
    )
    yield row(
        *("max-connections", kinds.COUNT, "50000"),
        "The most client connections at once; the next one gets 503 and is closed. 0: no limit.",
        *("0", "10000000"),
    )
    yield row(
        *("max-pipelined", kinds.COUNT, "256"),
        "How many requests one connection may have waiting behind the one being answered; it is"
        " closed once those are answered if it sent more.",
        *("1", "10000"),
    )
    yield row(
        *("head-timeout", kinds.DURATION, "60s"),
        "How long a client may take to send a request's head before it gets 408.",
        *("100ms", "1h"),
    )
    yield row(
        *("body-timeout", kinds.DURATION, "60s"),
        "How long a client may send nothing in the middle of a request's body before it gets 408.",
        *("100ms", "24h"),
    )
    yield row(
        *("half-close", kinds.choice(HalfClose), "leave"),
        "What to make of a client that ends its sending side: leave takes it for gone, as most"
        " clients that do so are, and frees its place; serve answers it all the same.",
    )
    yield row(
        *("client-idle-timeout", kinds.DURATION, "75s"),
        "How long a client's connection is kept open between two requests.",
        *("100ms", "24h"),
    )
    yield row(
        *("json-peek-bytes", kinds.SIZE, "64Ki"),
        "How far into a JSON body to look for the field that names the model.",
        *("0", "16Mi"),
    )
    yield row(
        *("tick-interval", kinds.DURATION, "2s"),
        "How often replica counts are decided; Knative's is 2s, which the windows assume.",
        *("100ms", "1m"),
    )
    yield row(
        *("report-interval", kinds.DURATION, "1s"),
        "How often load is reported to the autoscaler; the windows count in seconds.",
        *("100ms", "10s"),
    )
    yield row(
        *("silent-reporter-timeout", kinds.DURATION, "10s"),
        "How long the last numbers of a reporter that fell silent stay in force.",
        *("1s", "1h"),
    )
    yield row(
        *("drain-timeout", kinds.DURATION, "30s"),
        "How long requests may finish when Stoker is asked to stop.",
        *("0s", DURATION_MAX),
    )
    yield row(
        *("journal-file", kinds.PATH, ""),
        "Where decisions and their inputs are written for later replay, relative to the settings"
        " file; empty: memory only.",
    )
    yield row(
        *("journal-bytes", kinds.SIZE, "64Mi"),
        "How much journal is kept.",
        *("64Ki", SIZE_MAX),
    )
    yield row(
        *("trusted-peers", compound.PEERS, "127.0.0.0/8, ::1/128, unix"),
        "Whose stoker-* headers are obeyed, and X-Forwarded-* believed where that is set: the"
        " networks of your own proxies and callers. Those of others are dropped.",
    )
    yield row(
        *("trust-forwarded-headers", kinds.BOOLEAN, "false"),
        "true behind a proxy of your own that sets X-Forwarded-*: what trusted-peers say there is"
        " passed on, with their own address added.",
    )
    yield row(
        *("tls-certificate", kinds.PATH, ""),
        "A PEM file with the certificate and its chain, relative to the settings file: clients"
        " then have to speak TLS. Read again when it changes. Empty: no TLS.",
    )
    yield row(
        *("tls-key", kinds.PATH, ""),
        "The PEM file with the certificate's private key, not encrypted, relative to the settings"
        " file. Read again when it changes.",
    )
    yield row(
        *("tls-min-version", kinds.choice(TlsVersion), "1.2"),
        "The oldest TLS that is spoken; 1.3 where no client is older than about 2018.",
    )
    yield row(
        *("tls-handshake-timeout", kinds.DURATION, "10s"),
        "How long a client may take from connecting to the end of the TLS handshake.",
        *("100ms", "10m"),
    )
    yield row(
        *("plain-listeners", compound.LISTENER_NAMES, ""),
        "Listeners (declared under stoker.listeners) that stay without TLS, for callers inside.",
    )
    yield row(
        *("probe-agents", compound.AGENTS, "kube-probe, Prometheus, GoogleHC, ELB-HealthChecker"),
        "Callers whose User-Agent begins so are answered without waking a model.",
    )
    yield row(
        *("pool-idle-timeout", kinds.DURATION, "60s"),
        "How long an unused connection to a replica is kept; below the server's own keep-alive.",
        *("0s", "1h"),
    )
    yield row(
        *("log-level", kinds.choice(LogLevel), "info"),
        "warning where a line per refusal or change is too much; debug tells what is decided for"
        " each request, and shows libraries' own lines.",
    )
    yield row(
        *("log-format", kinds.choice(LogFormat), "text"),
        "json where a collector reads the log: one object per line, with stable keys.",
    )
    yield row(
        *("log-sample", kinds.NUMBER, "0"),
        "Which share of the requests that went well gets a log line; 0: none, 0.01: every 100th.",
        *("0", "1"),
    )
    yield row(
        *("log-lines-per-second", kinds.COUNT, "5"),
        "How many refusals of one model for one reason get a line of their own in a second; the"
        " others are summed up in one. All together get at most 20 times as many.",
        *("1", "100000"),
    )
    yield row(
        *("access-log", kinds.LOG_FILE, ""),
        "Where each request gets a line: - is stdout, else a file, relative to the settings file;"
        " empty: nowhere. A file is opened anew after it was moved away, and at SIGHUP.",
    )
    yield row(
        *("access-log-format", kinds.choice(AccessLogFormat), "combined"),
        "combined: the lines that tools for web servers read, with further fields at their end.",
    )
    yield row(
        *("access-log-query", kinds.choice(QueryInLog), "drop"),
        "What the access log keeps of query strings, which often hold credentials; names: the"
        " parameters without their values.",
    )
    yield row(
        *("tracing", kinds.choice(Tracing), "off"),
        "propagate: a malformed traceparent is not passed on, and log lines name the trace; spans:"
        " also spans of each request, its hold and its forwarding (needs opentelemetry-api).",
    )
    yield row(
        *("admin-token-file", kinds.PATH, ""),
        "A file with the token that the admin port asks for, relative to the settings file, read"
        " again when it changes; empty: STOKER_ADMIN_TOKEN, or none is asked for.",
    )
    yield row(
        *("admin-open-paths", compound.PATHS, "/healthz, /readyz"),
        "What the admin port tells without the token; add /metrics for a scraper without one.",
    )
    yield row(
        *("drain-delay", kinds.DURATION, "0s"),
        "How long connections are still accepted after SIGTERM while /readyz says 503; behind a"
        " load balancer as long as it takes to notice, 5s with Kubernetes.",
        *("0s", DURATION_MAX),
    )
    yield row(
        *("tunnel-drain-idle", kinds.DURATION, "5s"),
        "When Stoker stops, WebSockets and other tunnels that were silent for so long are closed"
        " first; the others at the end of drain-timeout.",
        *("0s", DURATION_MAX),
    )
