"""Tunables of the Stoker process as a whole."""

from __future__ import annotations

import enum
from collections.abc import Iterator

from stoker.settings import compound, kinds
from stoker.settings.kinds import Kind
from stoker.settings.tunable import DURATION_MAX, SIZE_MAX, Section, Tunable

RESTART = frozenset(
    {
        *("listen", "listeners", "admin", "spool-directory", "journal-file", "journal-bytes"),
        *("tick-interval", "report-interval", "silent-reporter-timeout", "log-level"),
    }
)
"""What is read once, at the start; everything else is in force as soon as it is reloaded."""


class LogLevel(enum.StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


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
        *("body-memory", kinds.SIZE, "64Ki"),
        "How much of each held body stays in memory; the rest goes to a spool file.",
        *("0", "1Gi"),
    )
    yield row(
        *("spool-bytes", kinds.SIZE, "1Gi"),
        "Disk for held bodies; beyond it senders are paused instead, and cannot be retried.",
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
        *("head-timeout", kinds.DURATION, "60s"),
        "How long a client may take to send a request's head before it gets 408.",
        *("100ms", "1h"),
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
        *("trust-forwarded-headers", kinds.BOOLEAN, "false"),
        "true behind a proxy of your own that sets X-Forwarded-*: they are then passed on.",
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
        "warning where a line per refusal or change is too much; debug also shows libraries' own.",
    )
