"""Every tunable: name, kind, default, range, and why one would change it.

The frozen dataclasses that the rest of Stoker reads (``stoker.vocabulary`` and
``ProcessConfig``) are filled from this table; docs/settings.md is printed from it.
Names and meanings are Knative's where Knative has them.
"""

from __future__ import annotations

from stoker.settings.holding_rows import holding_rows
from stoker.settings.model_rows import identity_rows, launch_rows, serving_rows
from stoker.settings.peer_rows import peer_rows
from stoker.settings.process_rows import process_rows
from stoker.settings.scaling_rows import scaling_rows
from stoker.settings.tunable import Scope, Tunable

TUNABLES: tuple[Tunable, ...] = (
    *identity_rows(),
    *scaling_rows(),
    *serving_rows(),
    *holding_rows(),
    *launch_rows(),
    *process_rows(),
    *peer_rows(),
)
MODEL_TUNABLES = {t.name: t for t in TUNABLES if t.scope is Scope.MODEL}
PROCESS_TUNABLES = {t.name: t for t in TUNABLES if t.scope is Scope.PROCESS}

IGNORED_KNATIVE_KEYS = {
    "_example": "it is Knative's comment",
    "pod-autoscaler-class": "there is one autoscaler here",
    "activator-capacity": "the activator's limits are queue-requests and max-queued-requests",
    "allow-zero-initial-scale": "initial-scale 0 is always allowed",
    "max-scale-limit": "set max-scale, here or per model",
}
"""Keys of Knative's config-autoscaler that may stand under ``defaults:`` without effect."""

KNOWN_ELSEWHERE = {
    "window": "stable-window",
    "metric-aggregation-algorithm": "window-aggregation",
    "concurrency": "container-concurrency",
    "port": "listen",
    "host": "hosts",
    "alias": "aliases",
    "cwd": "directory",
    "working-directory": "directory",
    "environment": "env",
    "replicas": "initial-scale",
    "timeout": "hold-timeout",
}
"""What a key is called here that other tools call otherwise."""
