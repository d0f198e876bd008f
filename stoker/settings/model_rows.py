"""Tunables of one model besides scaling: serving, launching, names."""

from __future__ import annotations

from collections.abc import Iterator

from stoker.settings import compound, kinds
from stoker.settings.kinds import Kind
from stoker.settings.tunable import DURATION_MAX, SIZE_MAX, Section, Tunable
from stoker.vocabulary import Balancing, ReplicaTls


def serving_rows() -> Iterator[Tunable]:
    def row(name: str, kind: Kind, default: str, low: str, high: str, reason: str) -> Tunable:
        return Tunable(name, Section.SERVING, kind, default, reason, low=low, high=high)

    yield row(
        *("container-concurrency", kinds.COUNT, "0", "0", "100000"),
        "The hard limit of requests in one replica at once; 0: no limit. Set it to what the server"
        " can really work on in parallel.",
    )
    yield row(
        *("queue-requests", kinds.COUNT, "1000", "0", "1000000"),
        "How many requests may be held for this model; the next one gets 429.",
    )
    yield row(
        *("queue-bytes", kinds.SIZE, "256Mi", "0", SIZE_MAX),
        "How many bytes of bodies may be held for this model; what exceeds it gets 429.",
    )
    yield row(
        *("hold-timeout", kinds.DURATION, "5m", "1ms", DURATION_MAX),
        "How long a request may be held without visible progress of its model before it gets 504;"
        " a start no slower than earlier ones counts as progress.",
    )
    yield row(
        *("hold-timeout-cap", kinds.DURATION, "15m", "1ms", DURATION_MAX),
        "How long a request may be held at all, progress or not.",
    )
    yield row(
        *("connect-timeout", kinds.DURATION, "2s", "1ms", "1h"),
        "How long connecting to a replica may take before the request is tried elsewhere.",
    )
    yield row(
        *("first-byte-timeout", kinds.DURATION, "5m", "1ms", DURATION_MAX),
        "How long a replica may think before the first byte of its answer.",
    )
    yield row(
        *("idle-timeout", kinds.DURATION, "5m", "1ms", DURATION_MAX),
        "How long an exchange may be silent between two pieces of it.",
    )
    yield row(
        *("total-timeout", kinds.DURATION, "0s", "0s", DURATION_MAX),
        "How long a request may take in all, hold included; 0s: no bound. Once a replica has"
        " switched protocols (WebSocket) tunnel-idle-timeout counts instead.",
    )
    yield row(
        *("tunnel-idle-timeout", kinds.DURATION, "10m", "0s", DURATION_MAX),
        "How long a WebSocket or other tunnel may be silent in both directions before it is"
        " closed and its slot is free (pings count as life); 0s: no bound.",
    )
    yield row(
        *("retry-attempts", kinds.COUNT, "2", "0", "10"),
        "How often a request is sent again when its replica died before answering; 0: never.",
    )
    yield Tunable(
        *("retry-post", Section.SERVING, kinds.BOOLEAN, "true"),
        "false where asking twice is not the same as asking once; inference usually is.",
    )
    yield Tunable(
        *("replica-tls", Section.SERVING, kinds.choice(ReplicaTls), "off"),
        "on where the model's server speaks TLS: its certificate is checked; insecure: it is not,"
        " so anybody could pose as the replica. Readiness by path is asked without TLS: such a"
        " server wants readiness: tcp.",
    )
    yield Tunable(
        *("replica-tls-ca", Section.SERVING, kinds.PATH, ""),
        "A PEM file with the authorities (or the very certificate) that replicas are trusted by;"
        " unset: the system's. Read again when it changes.",
    )
    yield Tunable(
        *("replica-tls-server-name", Section.SERVING, kinds.SERVER_NAME, ""),
        "The name that the replicas' certificate must be for, and that they are told (SNI);"
        " unset: the replica's address.",
    )
    yield Tunable(
        *("probe-paths", Section.SERVING, compound.PATHS, ""),
        "Paths that only health checks and scrapes ask for, such as /healthz, /metrics: Stoker"
        " answers them itself, so that they neither wake the model nor keep it awake.",
    )
    yield row(
        *("priority", kinds.COUNT, "0", "-1000", "1000"),
        "The class its requests wait in unless they bring a stoker-priority of their own; the"
        " highest class is served first.",
    )
    yield row(
        *("lower-priority-share", kinds.PERCENTAGE, "0", "0", "50"),
        "How much of the slots lower classes get while higher ones wait, so that they do not"
        " starve; 0: nothing, priorities are strict.",
    )
    yield row(
        *("tenant-queue-share", kinds.PERCENTAGE, "100", "1", "100"),
        "How much of queue-requests and queue-bytes one tenant may take; what exceeds it gets"
        " 429. Without tenancy all requests are of one tenant.",
    )
    yield Tunable(
        *("balancing", Section.SERVING, kinds.choice(Balancing), "auto"),
        "auto fits most; prefix sends prompts that begin alike to the replica that has them in"
        " its cache.",
    )
    yield row(
        *("prefix-chars", kinds.COUNT, "100", "1", "10000"),
        "How much of a prompt's beginning decides with balancing: prefix; more where many prompts"
        " share a long preamble.",
    )
    yield row(
        *("prefix-load-factor", kinds.NUMBER, "1.25", "1", "10"),
        "How far above the average a replica's load may be with balancing: prefix before its"
        " prompts go to the next one; higher for more cache hits, lower for evener load.",
    )


def launch_rows() -> Iterator[Tunable]:
    def row(name: str, kind: Kind, default: str, low: str, high: str, reason: str) -> Tunable:
        return Tunable(name, Section.LAUNCH, kind, default, reason, low=low, high=high)

    def own(name: str, kind: Kind, default: str | None, reason: str) -> Tunable:
        return Tunable(name, Section.LAUNCH, kind, default, reason, shared=False)

    yield own(
        "command",
        compound.COMMAND,
        None,
        "How to start a replica; {port} stands for the port it must listen on. Required.",
    )
    yield own(
        "env",
        compound.ENVIRONMENT,
        None,
        "Variables added to Stoker's own environment for the replicas; {port} is replaced.",
    )
    yield own(
        "directory",
        kinds.PATH,
        None,
        "Where replicas run, relative to the settings file; unset: where that file is.",
    )
    yield Tunable(
        *("readiness", Section.LAUNCH, kinds.READINESS, "tcp"),
        "The path that answers 2xx once the model is loaded; tcp: an open port is enough.",
    )
    yield row(
        *("start-timeout", kinds.DURATION, "10m", "1ms", DURATION_MAX),
        "How long a replica may take to get ready before it counts as failed.",
    )
    yield row(
        *("drain-timeout", kinds.DURATION, "45s", "0s", DURATION_MAX),
        "How long a replica that is to go may finish its requests.",
    )
    yield row(
        *("grace-period", kinds.DURATION, "30s", "0s", DURATION_MAX),
        "How long a replica may take to end after SIGTERM before SIGKILL.",
    )
    yield row(
        *("restart-backoff", kinds.DURATION, "1s", "1ms", "1h"),
        "The pause after a replica's first failure; it doubles with each further one.",
    )
    yield row(
        *("restart-backoff-cap", kinds.DURATION, "1m", "1ms", "24h"),
        "The longest pause between two attempts to start.",
    )
    yield row(
        *("failures-before-giving-up", kinds.COUNT, "3", "1", "1000"),
        "After so many failures in a row callers get 503 at once instead of being held.",
    )
    yield row(
        *("output-bytes", kinds.SIZE, "64Ki", "1Ki", "64Mi"),
        "How much of each replica's latest output is kept to explain failures.",
    )
    yield own(
        "resources",
        compound.RESOURCES,
        None,
        "What one replica occupies (cpu, memory, accelerators); unset: not stated. Shown with"
        " the replica; nothing is decided by it yet.",
    )


def identity_rows() -> Iterator[Tunable]:
    def row(name: str, kind: Kind, default: str | None, reason: str) -> Tunable:
        return Tunable(name, Section.IDENTITY, kind, default, reason, shared=False)

    yield row(
        "hosts",
        compound.HOSTS,
        None,
        "Host names that mean this model, besides NAME.localhost.",
    )
    yield row(
        "aliases",
        compound.ALIASES,
        None,
        "Further names under which paths, bodies and the stoker-model header may ask for it.",
    )
    yield row(
        "listeners",
        compound.LISTENER_NAMES,
        None,
        "Listeners (declared under stoker.listeners) whose traffic is all for this model.",
    )
    yield row(
        "namespace",
        kinds.NAMESPACE,
        "default",
        "The namespace the model is counted and shown under.",
    )
