"""Settings of what answers instead of a model: checked before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoker.errors import SettingsError
from stoker.settings import load
from stoker.settings.instead import LARGEST_PLACEHOLDER
from stoker.vocabulary import AnswerHeaders, PlaceholderFor

COMMAND = "    command: server --port {port}\n"


def settings(*blocks: str) -> str:
    """A settings file of models one, two ... with these lines each."""
    names = ("one", "two", "three")
    text = "models:\n"
    for name, block in zip(names, blocks, strict=False):
        lines = "".join(f"    {line}\n" for line in block.split("\n") if line)
        text += f"  {name}:\n{COMMAND}{lines}"
    return text


def problems(text: str, directory: str = "") -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(text, "stoker.yaml", base_directory=directory)
    return [str(problem) for problem in caught.value.problems]


def test_everything_set(tmp_path: Path) -> None:
    """Each key arrives; the placeholder is relative to the settings file."""
    (tmp_path / "wait.html").write_text("<p>")
    text = settings(
        "fallback: two\nfallback-after: 2s\nplaceholder: wait.html\nplaceholder-status: 202\n"
        "placeholder-for: all\nanswer-headers: all\nhold-comments: 5s",
        "",
    )
    serving = load(text, "stoker.yaml", base_directory=str(tmp_path)).models[0].serving
    assert (serving.fallback, serving.fallback_after) == ("two", 2.0)
    assert serving.placeholder == str(tmp_path / "wait.html")
    assert (serving.placeholder_status, serving.placeholder_for) == (202, PlaceholderFor.ALL)
    assert (serving.answer_headers, serving.hold_comments) == (AnswerHeaders.ALL, 5.0)


def test_defaults() -> None:
    """Held requests are told; nothing else is done unasked."""
    serving = load(settings(""), "stoker.yaml").models[0].serving
    assert (serving.answer_headers, serving.hold_comments) == (AnswerHeaders.HELD, 0.0)
    assert (serving.fallback, serving.placeholder) == ("", "")


def test_a_fallback_in_another_namespace() -> None:
    """Named with it; a bare name is of the model's own."""
    load(settings("fallback: other/two", "namespace: other"), "stoker.yaml")
    (problem,) = problems(settings("fallback: two", "namespace: other"))
    assert "there are other/two" in problem


@pytest.mark.parametrize(
    ("blocks", "told"),
    [
        (["fallback: one"], "is the model itself"),
        (["fallback: nobody"], "is no model of this file; there is no other model"),
        (["fallback: nobody", ""], "there are default/two"),
        (["fallback: two", "fallback: three", ""], "there are no chains"),
        (["fallback: two", "fallback: one"], "there are no chains"),
        (["fallback: No/Name!"], "is not a model's name"),
        (["fallback: a b"], "is not a model's name"),
        (["placeholder-status: 100"], "[200, 599]"),
        (["placeholder-for: some"], "html | all"),
        (["answer-headers: some"], "off | held | all"),
        (["hold-comments: 10ms"], "0s or [100ms, 10m]"),
        (["placeholder: none.html"], "does not exist"),
        (["placeholder: ."], "is no file"),
    ],
)
def test_mistakes(blocks: list[str], told: str, tmp_path: Path) -> None:
    """Each is refused, naming the key and what to do."""
    found = problems(settings(*blocks), str(tmp_path))
    assert any(told in problem for problem in found), found
    assert blocks[0].partition(":")[0] in found[0]


def test_a_placeholder_that_is_too_long(tmp_path: Path) -> None:
    """It is kept in memory and answered whole."""
    (tmp_path / "long.html").write_bytes(b"x" * (LARGEST_PLACEHOLDER + 1))
    (problem,) = problems(settings("placeholder: long.html"), str(tmp_path))
    assert "is too long: 1048577 bytes" in problem
    assert "at most 1Mi" in problem


def test_a_placeholder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says why."""
    (tmp_path / "wait.html").write_text("<p>")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    (problem,) = problems(settings("placeholder: wait.html"), str(tmp_path))
    assert "cannot be read: Permission denied" in problem
