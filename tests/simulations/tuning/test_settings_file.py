"""Files that are improved: only the lines that must change, and only where that is sure."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from simulations.tuning.settings_file import (
    as_configmap,
    as_defaults,
    defaults_diff,
    read_base,
    read_settings,
    scaling_settings,
)
from simulations.tuning.space import Base
from stoker.check import run_check
from stoker.errors import SettingsError, TuningError
from stoker.settings import load
from stoker.settings.configmap import load_configmap

FILE = """\
# ours
stoker:
  listen: 127.0.0.1:0
defaults:
  stable-window: 30s   # short
  container-concurrency: 4
models:
  llm:
      # the big one
      command: serve {port}
      min-scale: 1  # never cold
  other:
    command: serve {port}
"""
FOUND = (("min-scale", "0"), ("panic-window-percentage", "20"), ("stable-window", "300s"))


def written(folder: Path, text: str = FILE) -> str:
    path = folder / "stoker.yaml"
    path.write_text(text)
    return str(path)


def test_the_model_s_own_block_is_changed(tmp_path: Path) -> None:
    """Comments, order and other models stay; shared settings are overridden, not changed."""
    settings = read_settings(written(tmp_path), "llm")
    assert settings.base.scaling(()).stable_window == 30
    edited = settings.edited(FOUND)
    assert edited == FILE.replace(
        "min-scale: 1  # never cold", "min-scale: 0  # never cold"
    ).replace("  llm:\n", "  llm:\n      panic-window-percentage: 20\n      stable-window: 300s\n")
    config = {spec.key.name: spec.scaling for spec in load(edited, "edited").models}
    assert config["llm"] == settings.base.scaling(FOUND)
    assert config["other"].stable_window == 30
    diff = settings.diff(edited)
    assert diff[0] == f"--- a/{settings.path}"
    assert "-      min-scale: 1  # never cold" in diff
    assert "+      stable-window: 300s" in diff


def test_what_only_a_person_should_change_is_left_alone(tmp_path: Path) -> None:
    """A block in braces has no line for a setting of its own."""
    text = "models:\n  llm: {command: 'serve {port}', min-scale: 1}\n"
    assert read_settings(written(tmp_path, text), None).edited(FOUND) is None
    broken = "models:\n  llm:\n    command: serve {port}\n    min-scale: |-\n      1\n"
    assert read_settings(written(tmp_path, broken), None).edited((("min-scale", "0"),)) is None


def test_a_configmap_is_improved_too(tmp_path: Path) -> None:
    """It is for all models; its values are texts."""
    text = as_configmap(Base({"container_concurrency": 4, "min_scale": 1}), ())
    path = written(tmp_path, text)
    settings = read_settings(path, None)
    edited = settings.edited(FOUND)
    assert edited is not None
    assert '  min-scale: "0"\n' in edited
    values = load_configmap(edited, "edited").models
    assert Base(values).scaling(()) == settings.base.scaling(FOUND)
    assert (
        read_settings(
            written(tmp_path, "kind: ConfigMap\nmetadata: {name: x}\ndata: {}\n"), None
        ).edited(FOUND)
        is None
    )


@pytest.mark.parametrize("configmap", [False, True])
def test_what_is_written_passes_the_check(configmap: bool, tmp_path: Path) -> None:
    """``stoker check`` takes both forms, and finds the settings in them."""
    base = Base({"container_concurrency": 4})
    text = (as_configmap if configmap else as_defaults)(base, FOUND)
    out = io.StringIO()
    assert run_check(written(tmp_path, text), out, {}) == 0, out.getvalue()
    said = "a ConfigMap with 3 settings, nothing wrong" if configmap else "0 models, nothing wrong"
    assert said in out.getvalue()


def test_settings_that_are_the_defaults_are_not_written() -> None:
    """A file of nothing is still a file; the diff shows what is added."""
    base = Base({"container_concurrency": 4})
    assert scaling_settings(base, FOUND) == [
        ("stable-window", "5m"),
        ("panic-window-percentage", "20"),
        ("container-concurrency", "4"),
    ]
    assert as_defaults(Base({}), ()) == "defaults: {}\nmodels: {}\n"
    assert as_configmap(Base({}), ()).endswith("data: {}\n")
    assert "+  stable-window: 5m" in defaults_diff(base, FOUND)


def test_assignments_win(tmp_path: Path) -> None:
    """``--set`` over the file, over the built-in defaults."""
    settings = read_settings(written(tmp_path), "llm")
    base = read_base(settings, ["stable-window=90s", "max-scale=5"])
    scaling = base.scaling(())
    assert (scaling.stable_window, scaling.max_scale, scaling.min_scale) == (90, 5, 1)
    assert read_base(None, []).values == {}
    with pytest.raises(SettingsError, match="stable-window"):
        read_base(None, ["stable-window=1s"])


@pytest.mark.parametrize(
    ("text", "model", "said"),
    [
        (FILE, None, "has 2 models; say with --model whose settings are meant: llm, other"),
        (FILE, "gpt", "--model = gpt: not in .*; there: llm, other"),
        ("models: {}\n", None, "has 0 models.*: there is none"),
        ("models: {}\n", "llm", "--model = llm: not in .*; there: none"),
    ],
)
def test_no_model_is_guessed(text: str, model: str | None, said: str, tmp_path: Path) -> None:
    """Which model is meant is the user's to say."""
    with pytest.raises(TuningError, match=said):
        read_settings(written(tmp_path, text), model)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, no text, wrong: each is told."""
    with pytest.raises(TuningError, match=r"--settings = .*: No such file.*; name the file"):
        read_settings(str(tmp_path / "none"), None)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(TuningError, match="is not UTF-8 text"):
        read_settings(str(tmp_path / "bytes"), None)
    with pytest.raises(SettingsError, match="stable-window"):
        read_settings(written(tmp_path, FILE.replace("30s", "30")), None)


def test_notes_of_knative_stay_without_effect(tmp_path: Path) -> None:
    """A pasted ``config-autoscaler`` under ``defaults:`` is read as a start would."""
    text = FILE.replace("defaults:\n", "defaults:\n  pod-autoscaler-class: kpa\n")
    assert read_settings(written(tmp_path, text), "llm").base.scaling(()).stable_window == 30
