"""From validated values to the frozen configurations that the rest of Stoker reads."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from stoker.errors import Problem
from stoker.quantities import format_duration
from stoker.settings.process_rows import (
    AccessLogFormat,
    HalfClose,
    LogFormat,
    LogLevel,
    QueryInLog,
    TlsVersion,
    Tracing,
)
from stoker.settings.table import MODEL_TUNABLES, PROCESS_TUNABLES
from stoker.settings.tunable import Tunable
from stoker.vocabulary import (
    Address,
    LaunchConfig,
    Metric,
    PolicyName,
    ScalingConfig,
    ServingConfig,
    Tenancy,
)

TARGET_MIN = 0.01  # Knative's smallest target: 0.7 for a concurrency of 1 at 70 %
_RPS_UTILIZATION = 0.7  # Knative offers no process-wide setting for it


_LISTEN = Address("127.0.0.1", 8080)
_ADMIN = Address("127.0.0.1", 8081)


@dataclass(frozen=True, slots=True)
class ProcessConfig:
    """What concerns the process as a whole. Seconds, bytes, counts; see the table.

    ``workers`` 0: as many as there are cores.
    """

    listen: Address = _LISTEN
    listeners: tuple[tuple[str, Address], ...] = ()
    admin: Address = _ADMIN
    workers: int = 1
    max_queued_requests: int = 10_000
    max_queued_bytes: int = 1024**3
    tenancy: Tenancy = Tenancy.OFF
    tenant_header: str = "stoker-tenant"
    tenant_weights: tuple[tuple[str, float], ...] = ()
    body_memory: int = 64 * 1024
    spool_bytes: int = 1024**3
    replay_bytes: int = 64 * 1024**2
    spool_directory: str = ""
    max_head_bytes: int = 32 * 1024
    max_headers: int = 100
    max_body_bytes: int = 0
    max_chunk_extension_bytes: int = 16 * 1024
    max_connections: int = 50_000
    max_pipelined: int = 256
    head_timeout: float = 60.0
    body_timeout: float = 60.0
    half_close: HalfClose = HalfClose.LEAVE
    client_idle_timeout: float = 75.0
    json_peek_bytes: int = 64 * 1024
    tick_interval: float = 2.0
    report_interval: float = 1.0
    silent_reporter_timeout: float = 10.0
    drain_timeout: float = 30.0
    journal_file: str = ""
    journal_bytes: int = 64 * 1024**2
    trusted_peers: tuple[str, ...] = ("127.0.0.0/8", "::1/128", "unix")
    trust_forwarded_headers: bool = False
    tls_certificate: str = ""
    tls_key: str = ""
    tls_min_version: TlsVersion = TlsVersion.V1_2
    tls_handshake_timeout: float = 10.0
    plain_listeners: tuple[str, ...] = ()
    probe_agents: tuple[str, ...] = ("kube-probe", "Prometheus", "GoogleHC", "ELB-HealthChecker")
    pool_idle_timeout: float = 60.0
    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat = LogFormat.TEXT
    log_sample: float = 0.0
    log_lines_per_second: int = 5
    access_log: str = ""
    access_log_format: AccessLogFormat = AccessLogFormat.COMBINED
    access_log_query: QueryInLog = QueryInLog.DROP
    tracing: Tracing = Tracing.OFF
    admin_token_file: str = ""
    admin_open_paths: tuple[str, ...] = ("/healthz", "/readyz")
    drain_delay: float = 0.0
    tunnel_drain_idle: float = 5.0
    peer_listen: Address | None = None
    peer_name: str = ""
    peers: tuple[tuple[str, Address], ...] = ()
    peer_token_file: str = ""
    peer_heartbeat: float = 1.0
    slot_expiry: float = 30.0
    peer_share_slots: int = 16


def _defaults(tunables: Mapping[str, Tunable]) -> dict[str, Any]:
    return {t.field: t.read(t.default) for t in tunables.values() if t.default is not None}


MODEL_DEFAULTS: Mapping[str, Any] = _defaults(MODEL_TUNABLES)
PROCESS_DEFAULTS: Mapping[str, Any] = _defaults(PROCESS_TUNABLES)


def process_config(*layers: Mapping[str, Any]) -> ProcessConfig:
    """The built-in defaults under ``layers``, the last of which wins."""
    values = dict(PROCESS_DEFAULTS)
    for layer in layers:
        values.update(layer)
    return ProcessConfig(**values)


def model_values(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """The built-in defaults of a model under ``layers``, the last of which wins."""
    values = dict(MODEL_DEFAULTS)
    for layer in layers:
        values.update(layer)
    return values


def scaling_config(values: Mapping[str, Any]) -> ScalingConfig:
    """What Knative's autoscaler would be told for the same settings.

    The rules are those of ``ResolveMetricTarget`` and ``MakeMetric`` in
    knative/serving ``pkg/reconciler/autoscaling/resources``.
    """
    target, capacity = _target(values)
    return ScalingConfig(
        **_picked(ScalingConfig, values)
        | {
            "target": target,
            "capacity": capacity,
            "panic_window": _panic_window(values),
            "panic_threshold": values["panic_threshold_percentage"] / 100,
        }
    )


def serving_config(values: Mapping[str, Any], base_directory: str = "") -> ServingConfig:
    """``replica_tls_ca`` and ``placeholder`` are taken relative to ``base_directory``."""
    picked = _picked(ServingConfig, values)
    picked["replica_tls_ca"] = joined(base_directory, values["replica_tls_ca"])
    picked["placeholder"] = joined(base_directory, values["placeholder"])
    return ServingConfig(**picked)


def launch_config(values: Mapping[str, Any], base_directory: str) -> LaunchConfig:
    """``values`` must hold a command; ``directory`` is taken relative to ``base_directory``."""
    picked = _picked(LaunchConfig, values)
    picked["directory"] = joined(base_directory, values.get("directory", "")) or base_directory
    return LaunchConfig(**picked, readiness_path=values["readiness"])


def joined(base: str, path: str) -> str:
    """``path`` as seen from ``base``; an empty path stays empty."""
    return posixpath.normpath(posixpath.join(base, path)) if path else ""


def _picked(config: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of ``config``'s own fields. ``target`` is a field and a tunable: see _target."""
    return {f.name: values[f.name] for f in fields(config) if f.name in values}


def _target(values: Mapping[str, Any]) -> tuple[float, float]:
    """Wanted load and capacity per replica."""
    limit = values["container_concurrency"]
    if values["metric"] is Metric.RPS:
        capacity = values["requests_per_second_target_default"]
        utilization = _RPS_UTILIZATION
    else:
        capacity = limit or values["container_concurrency_target_default"]
        utilization = values["container_concurrency_target_percentage"]
        # Knative reads values up to 1 as fractions, for the sake of its first versions.
        utilization = utilization / 100 if utilization > 1 else utilization
    if "target" in values:
        capacity = values["target"]
        if values["metric"] is Metric.CONCURRENCY and limit:
            capacity = min(capacity, limit)
    if "target_utilization_percentage" in values:
        utilization = values["target_utilization_percentage"] / 100
    return max(TARGET_MIN, capacity * utilization), float(capacity)


def _panic_window(values: Mapping[str, Any]) -> float:
    """Whole seconds, halves rounded up as Go does; at least the second a bucket lasts."""
    exact = values["stable_window"] * values["panic_window_percentage"] / 100
    return float(max(1, math.floor(exact + 0.5)))


def contradictions(values: Mapping[str, Any]) -> list[Problem]:
    """What is wrong between settings of one model that are each in range.

    ``where`` is the key alone: the caller knows whose it is.
    """
    problems = []
    low, high = values["min_scale"], values["max_scale"]
    if high and low > high:
        problems.append(
            Problem("min-scale", str(low), "is above max-scale", f"[0, {high}]", "raise max-scale")
        )
    if high and values["activation_scale"] > high:
        problems.append(
            Problem(
                "activation-scale",
                str(values["activation_scale"]),
                "is above max-scale",
                f"[1, {high}]",
                "raise max-scale",
            )
        )
    if values["policy"] is PolicyName.ERLANG_C and values["metric"] is not Metric.CONCURRENCY:
        problems.append(
            Problem(
                "policy",
                "erlang-c",
                "counts requests in service, but metric is rps",
                "metric: concurrency with erlang-c",
                "set metric: concurrency, or another policy",
            )
        )
    for smaller, larger in (
        ("hold-timeout", "hold-timeout-cap"),
        ("restart-backoff", "restart-backoff-cap"),
    ):
        bound = values[larger.replace("-", "_")]
        value = values[smaller.replace("-", "_")]
        if value > bound:
            problems.append(
                Problem(
                    smaller,
                    format_duration(value),
                    f"is above {larger}",
                    f"up to {format_duration(bound)}",
                    f"raise {larger}",
                )
            )
    return problems
