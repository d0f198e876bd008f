"""Settings as text, and what ``load`` makes of them: shared by several test files."""

from __future__ import annotations

import pytest

from stoker.errors import Problem, SettingsError
from stoker.settings import LocalConfig, load

MODEL = "models:\n  digits:\n    command: serve --port {port}\n"


def problems(text: str, **environ: str) -> list[Problem]:
    """What ``load`` finds wrong with ``text``."""
    with pytest.raises(SettingsError) as caught:
        load(text, "stoker.yaml", environ=environ)
    return list(caught.value.problems)


def the_problem(text: str, **environ: str) -> Problem:
    """The only thing wrong with ``text``."""
    found = problems(text, **environ)
    assert len(found) == 1, found
    return found[0]


def outcome(text: str) -> LocalConfig | tuple[Problem, ...]:
    """What ``load`` makes of ``text``: a configuration, or what is wrong with it."""
    try:
        return load(text, "stoker.yaml")
    except SettingsError as error:
        return error.problems


def model(lines: str) -> LocalConfig:
    """A file with one model that has ``lines`` besides its command."""
    indented = "".join(f"    {line}\n" for line in lines.splitlines())
    return load(MODEL + indented, "stoker.yaml", base_directory="/srv/models")


def model_problem(lines: str) -> Problem:
    """The only thing wrong with ``lines`` in a model's block."""
    return the_problem(MODEL + "".join(f"    {line}\n" for line in lines.splitlines()))
