"""``stoker check``: what it prints and how it exits."""

from __future__ import annotations

import io
from pathlib import Path

from stoker.check import MISSING, OK, WRONG, run_check, summary
from stoker.settings import LocalConfig, ProcessConfig
from stoker.vocabulary import ModelKey, ModelSpec


def checked(path: Path, **environ: str) -> tuple[int, str]:
    """Exit code and output."""
    out = io.StringIO()
    return run_check(str(path), out, environ), out.getvalue()


def test_a_good_file_is_summarised(tmp_path: Path) -> None:
    """Names, hosts and the key numbers of every model; notices last."""
    path = tmp_path / "stoker.yaml"
    path.write_text(
        "stoker: {listeners: {own: '127.0.0.1:9000'}}\n"
        "defaults: {pod-autoscaler-class: kpa}\n"
        "models:\n"
        "  digits:\n    command: serve --port {port}\n    readiness: /ready\n"
        "    hosts: d.example\n    aliases: numbers\n    listeners: own\n"
        "    container-concurrency: 4\n    max-scale: 3\n    stable-window: 30s\n"
        "  other:\n    command: serve {port}\n    metric: rps\n    namespace: lab\n"
    )
    code, text = checked(path, STOKER_ADMIN="127.0.0.1:9999")
    assert code == OK
    assert text.splitlines() == [
        f"{path}: 2 models, nothing wrong",
        "requests on 127.0.0.1:8080, admin on 127.0.0.1:9999",
        "listener own on 127.0.0.1:9000",
        "",
        "default/digits",
        "  hosts     digits.localhost, d.example",
        "  aliases   numbers",
        "  replicas  0 to 3, 2.8 requests at once each (limit: 4)",
        "  windows   30s stable, 3s panic",
        "  command   serve --port '{port}'",
        "  ready     when /ready answers",
        "",
        "lab/other",
        "  hosts     other.localhost",
        "  replicas  0 or more, 140 requests per second each (no limit)",
        "  windows   1m stable, 6s panic",
        "  command   serve '{port}'",
        "  ready     when its port is open",
        "",
        "note: defaults.pod-autoscaler-class has no effect: there is one autoscaler here",
    ]


def test_one_model_is_not_several(tmp_path: Path) -> None:
    """The count reads right for one."""
    path = tmp_path / "stoker.yaml"
    path.write_text("models: {a: {command: 's {port}'}}\n")
    assert checked(path)[1].startswith(f"{path}: 1 model, nothing wrong\n")


def test_problems_are_listed_a_line_each(tmp_path: Path) -> None:
    """Each with its line, and a count at the end."""
    path = tmp_path / "stoker.yaml"
    path.write_text("models:\n  a:\n    command: serve\n    stabel-window: 3s\n")
    code, text = checked(path)
    assert code == WRONG
    assert text.splitlines() == [
        f"{path}:",
        "  line 3: models.a.command = serve: does not contain {port}; allowed: a text or a list of"
        " words containing {port}; Stoker chooses the port: pass it on, for example --port {port}",
        "  line 4: models.a.stabel-window: is not a setting here; did you mean stable-window?",
        "2 problems",
    ]


def test_a_model_that_is_not_launched_here_has_no_command() -> None:
    """On other platforms a model comes without one."""
    config = LocalConfig(ProcessConfig(), (ModelSpec(ModelKey("lab", "m")),))
    assert summary("x", config)[3:] == [
        "lab/m",
        "  hosts     m.localhost",
        "  replicas  0 or more, 70 requests at once each (no limit)",
        "  windows   1m stable, 6s panic",
    ]


def test_one_problem_is_not_several(tmp_path: Path) -> None:
    """The count reads right for one."""
    path = tmp_path / "stoker.yaml"
    path.write_text("models: [\n")
    code, text = checked(path)
    assert code == WRONG
    assert text.endswith("\n1 problem\n")


def test_a_missing_file_has_its_own_exit_code(tmp_path: Path) -> None:
    """A wrong path is not a wrong file; a directory is no file either."""
    assert checked(tmp_path / "no.yaml") == (MISSING, f"{tmp_path / 'no.yaml'}: no such file\n")
    assert checked(tmp_path)[0] == MISSING
