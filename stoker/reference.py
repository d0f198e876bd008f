"""Prints docs/settings.md and docs/metrics.md from the tables they describe.

``python -m stoker.reference DIRECTORY`` writes both; a test keeps them up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from stoker.settings import TUNABLES, Section, Tunable, environment_name
from stoker.settings.table import IGNORED_KNATIVE_KEYS
from stoker.telemetry import METRICS, Kind

_SETTINGS_INTRO = """\
# Settings

One YAML file has three parts. `stoker:` is about the process, `defaults:` about all models,
`models:` about each by its name:

```yaml
stoker:
  listen: 127.0.0.1:8080
defaults:
  stable-window: 30s
models:
  digits:
    command: python server.py --port {port}
    readiness: /v2/health/ready
    container-concurrency: 4
    max-scale: 8
```

`stoker check FILE` says whether a file is right. What wins, from weak to strong:

- for a model: the built-in default, `defaults:`, the model's own block;
- for the process: the built-in default, `stoker:`, an environment variable, the command line.

The file is read again when it changes, once it has been the same for a second. A change that
is wrong is refused as a whole, with the key, its value and what is allowed, and the last good
settings stay in force; so they do when the file is deleted. A model's replicas are replaced when
how they are launched changes. Process settings marked *restart* take effect at the next start.

In a cluster the ConfigMap `stoker-config` holds what stands under `defaults:` here, annotations
what a model's own block does; see [kubernetes.md](kubernetes.md). Process settings that are not
marked *restart* may stand in the ConfigMap too, under variables and command line, but for
`drain-timeout`, which means the models' there, and `peers`.

Durations are written as in Go, from large to small units: `250ms`, `90s`, `1m30s`, `1h`. Sizes
as in Kubernetes: `512`, `64Ki`, `100M`, `1Gi`. Every value may be quoted, so the data of a
Knative `config-autoscaler` ConfigMap can be pasted under `defaults:`. `yes`, `on` and the like
are not booleans, and no number is ever taken for a duration. In ranges `[` includes the bound
and `(` excludes it.
"""

_SECTION_INTROS = {
    Section.IDENTITY: "In a model's own block only. The model's name is its key under `models:`.",
    Section.SCALING: "Under `defaults:` or in a model's block. Names and meanings are Knative's.",
    Section.SERVING: "Under `defaults:` or in a model's block.",
    Section.LAUNCH: "Under `defaults:` or in a model's block; those marked *own* in the latter"
    " only.",
    Section.PROCESS: "Under `stoker:`, or as an environment variable.",
}

_METRICS_INTRO = """\
# Metrics

Served as Prometheus text at `/metrics` of the admin address. Counters carry the suffix `_total`,
histograms are in seconds and have `_bucket`, `_sum` and `_count`. A model is labelled as
`namespace/name`.
"""


def settings_page() -> str:
    """docs/settings.md: a table per section, a row per tunable."""
    parts = [_SETTINGS_INTRO]
    for section in Section:
        parts.append(f"\n## {section}\n\n{_SECTION_INTROS[section]}\n\n")
        parts.append("| key | default | allowed | scope | meaning |\n|---|---|---|---|---|\n")
        parts += [_setting(t) for t in TUNABLES if t.section is section]
    parts.append("\n## Knative's settings without effect here\n\n")
    parts.append("They may stand under `defaults:`; `stoker check` notes them.\n\n")
    parts += [f"- `{key}`: {reason}\n" for key, reason in IGNORED_KNATIVE_KEYS.items()]
    return "".join(parts)


def _setting(tunable: Tunable) -> str:
    default = tunable.default
    shown_default = "—" if default is None else f"`{default}`" if default else "none"
    allowed = tunable.range or tunable.kind.expects
    scope = [str(tunable.scope)]
    if tunable.section is Section.PROCESS:
        if not tunable.live:
            scope.append("*restart*")
        scope.append(f"`{environment_name(tunable.name)}`")
    elif tunable.section is Section.LAUNCH and not tunable.shared:
        scope.append("*own*")
    cells = (
        f"`{tunable.name}`",
        shown_default,
        f"{tunable.kind.name} {allowed}" if tunable.range else allowed,
        ", ".join(scope),
        tunable.reason,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def metrics_page() -> str:
    """docs/metrics.md: one table, a row per metric."""
    rows = [
        f"| `{spec.name}{'_total' if spec.kind is Kind.COUNTER else ''}` | {spec.kind.value} |"
        f" {', '.join(f'`{label}`' for label in spec.labels) or '—'} | {spec.help} |\n"
        for spec in METRICS
    ]
    head = "\n| name | type | labels | what it counts |\n|---|---|---|---|\n"
    return _METRICS_INTRO + head + "".join(rows)


PAGES = {"settings.md": settings_page, "metrics.md": metrics_page}


def main(arguments: Sequence[str]) -> int:
    """Write both pages into the directory given (default: docs)."""
    directory = Path(arguments[0] if arguments else "docs")
    for name, page in PAGES.items():
        (directory / name).write_text(page(), encoding="utf-8")
        print(f"wrote {directory / name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
