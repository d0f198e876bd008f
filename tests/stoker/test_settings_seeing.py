"""Settings of what operators see: paths, choices, what is refused and how it is said."""

from __future__ import annotations

import sys

import pytest

from stoker.settings import load
from stoker.settings.process_rows import AccessLogFormat, LogFormat, QueryInLog, Tracing
from tests.stoker.settings_text import MODEL, model, model_problem, the_problem


def process(line: str) -> str:
    """A file with one line under stoker:."""
    return f"stoker:\n  {line}\n{MODEL}"


def test_what_can_be_said() -> None:
    """Every setting reaches the configuration, files relative to the settings file."""
    lines = """
  log-format: json
  log-sample: 0.01
  log-lines-per-second: 10
  access-log: logs/access.log
  access-log-format: json
  access-log-query: names
  tracing: propagate
  admin-token-file: secrets/token
  admin-open-paths: [/healthz, /metrics]
  drain-delay: 5s
  tunnel-drain-idle: 0s
"""
    config = load(f"stoker:{lines}{MODEL}", "stoker.yaml", base_directory="/etc/stoker").process
    assert config.log_format is LogFormat.JSON
    assert config.log_sample == 0.01
    assert config.log_lines_per_second == 10
    assert config.access_log == "/etc/stoker/logs/access.log"
    assert config.access_log_format is AccessLogFormat.JSON
    assert config.access_log_query is QueryInLog.NAMES
    assert config.tracing is Tracing.PROPAGATE
    assert config.admin_token_file == "/etc/stoker/secrets/token"
    assert config.admin_open_paths == ("/healthz", "/metrics")
    assert (config.drain_delay, config.tunnel_drain_idle) == (5.0, 0.0)


def test_stdout_is_no_file_beside_the_settings() -> None:
    """- stays -."""
    text = process("access-log: '-'")
    assert load(text, "stoker.yaml", base_directory="/etc").process.access_log == "-"


@pytest.mark.parametrize(
    ("line", "message", "allowed"),
    [
        ("log-format: xml", "is not one of the choices", "text | json"),
        ("log-sample: 2", "is out of range", "[0, 1]"),
        ("log-sample: -0.1", "is out of range", "[0, 1]"),
        ("log-lines-per-second: 0", "is out of range", "[1, 100000]"),
        ("access-log-format: apache", "is not one of the choices", "combined | json"),
        ("access-log-query: yes", "is not one of the choices", "drop | names | keep"),
        ("tracing: on", "is not one of the choices", "off | propagate | spans"),
        ("admin-open-paths: healthz", "is not a path", "/healthz"),
        ("admin-open-paths: /api?x", "is not a path", "/healthz"),
        ("drain-delay: 5", "has no unit", "1m30s"),
        ("tunnel-drain-idle: -1s", "is not a duration", ""),
    ],
)
def test_what_is_refused(line: str, message: str, allowed: str) -> None:
    """With the key, the value and what is allowed."""
    problem = the_problem(process(line))
    assert problem.where == f"stoker.{line.partition(':')[0]}"
    assert message in problem.message
    assert allowed in problem.allowed
    assert problem.line == 2


def test_spans_need_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything was started, with what to do."""
    text = process("tracing: spans")
    assert load(text, "stoker.yaml").process.tracing is Tracing.SPANS
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    problem = the_problem(text)
    assert (problem.where, problem.value, problem.line) == ("stoker.tracing", "spans", 2)
    assert "opentelemetry-api" in problem.message
    assert problem.hint == "install stoker[tracing], or set propagate"


def test_probe_paths_of_a_model() -> None:
    """None unless said; a list, or a text with commas."""
    assert model("").models[0].serving.probe_paths == ()
    paths = model("probe-paths: /healthz, /metrics").models[0].serving.probe_paths
    assert paths == ("/healthz", "/metrics")
    assert "is not a path" in model_problem("probe-paths: [metrics]").message
