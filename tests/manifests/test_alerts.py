"""The alerts for Prometheus: right, tried out, and about metrics that there are."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import yaml

from stoker.telemetry import METRICS, Kind
from tests.manifests.rendering import MANIFESTS, program

RULES = MANIFESTS / "monitoring" / "stoker.rules.yaml"
CASES = Path(__file__).with_name("alerts.yaml")


def promtool(*arguments: str) -> tuple[int, str]:
    command = [program("promtool", "prometheus"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_rules_are_right() -> None:
    """promtool reads them, every template included."""
    status, said = promtool("check", "rules", str(RULES))
    assert status == 0, said


def test_each_alert_fires_when_it_should(tmp_path: Path) -> None:
    """And none where all is well: promtool's own evaluation over made-up series."""
    file = tmp_path / "alerts.yaml"
    file.write_text(CASES.read_text().replace("RULES", str(RULES)))
    status, said = promtool("test", "rules", str(file))
    assert status == 0, said
    tried = set(re.findall(r"Stoker[A-Z]\w+", CASES.read_text()))
    alerts = {rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]}
    assert tried == alerts


def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    """The check can fail: an alert that does not fire is expected."""
    file = tmp_path / "alerts.yaml"
    wrong = CASES.read_text().replace("RULES", str(RULES)).replace("StokerTwoLead", "StokerThree")
    file.write_text(wrong)
    assert promtool("test", "rules", str(file))[0] != 0


def test_every_metric_of_the_rules_exists() -> None:
    """By the names that /metrics and docs/metrics.md have, labels too."""
    suffixes = {Kind.COUNTER: ("_total",), Kind.GAUGE: ("",)}
    shown = {
        spec.name + suffix: {*spec.labels, "le"} if suffix == "_bucket" else set(spec.labels)
        for spec in METRICS
        for suffix in suffixes.get(spec.kind, ("_bucket", "_sum", "_count"))
    }
    text = (MANIFESTS.parent / "docs" / "metrics.md").read_text()
    for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]:
        used = re.findall(r"(stoker_\w+)(?:\{([^}]*)\})?", rule["expr"])
        assert used
        for name, labels in used:
            assert set(re.findall(r"(\w+)[=!]", labels)) <= shown[name], rule["alert"]
            assert f"`{name.removesuffix('_bucket')}`" in text
