"""What is wrong with a settings file as a whole: syntax, keys, where problems are told."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stoker.errors import SettingsError
from stoker.settings import load
from tests.stoker.settings_text import MODEL, outcome, problems, the_problem


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n- b\n", "models"])
def test_a_file_without_settings_is_refused(text: str) -> None:
    """An emptied file must not take every model away."""
    assert "file: has no settings; it needs at least models:" in [str(p) for p in problems(text)]


def test_models_cut_off_are_refused_but_none_may_be_said() -> None:
    """A bare models: looks half-written; models: {} is meant."""
    assert the_problem("models:\n").where == "models"
    assert load("models: {}\n", "stoker.yaml").models == ()


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("models:\n  a: [1, 2\n", "line 3, column 1"),
        ("models:\n  a:\n command: x\n", "line 3, column 2"),
        ("a: 'unclosed\n", "line 2, column 1"),
        ("models: {}\n---\nmodels: {}\n", "line 2, column 1"),
        ("a: *nowhere\n", "line 1, column 4"),
        ("a:\tb: c\n", "line 1, column 5"),
    ],
)
def test_malformed_yaml_names_line_and_column(text: str, where: str) -> None:
    """What is not YAML is reported where the parser stumbled."""
    problem = the_problem(text)
    assert problem.where == where
    assert problem.message.startswith("is not YAML: ")
    assert problem.hint


def test_control_characters_are_refused() -> None:
    """A character that YAML does not allow is an error, not a crash."""
    assert the_problem("a: \x00\n").message.startswith("is not YAML: ")


def test_absurd_nesting_is_refused() -> None:
    """A file nested beyond all reason is an error, not a crash."""
    assert "is not YAML" in the_problem("[" * 100_000).message


def test_an_alias_is_followed_but_not_into_itself() -> None:
    """Anchors work; one that contains itself is refused."""
    text = "defaults: &d {max-scale: 3}\nmodels:\n  a: &a\n    command: s {port}\n    env: *e\n"
    assert the_problem(text).where.startswith("line 5")
    config = load("models:\n  a: &a {command: 's {port}'}\n  b: *a\n", "stoker.yaml")
    assert config.models[0].launch == config.models[1].launch
    found = problems("models: &m\n  a:\n    command: s {port}\n    env: *m\n")
    assert "is an alias that contains itself" in [problem.message for problem in found]


def test_a_duplicate_key_is_refused_with_both_lines() -> None:
    """YAML would silently take the last one."""
    problem = the_problem(MODEL + "    max-scale: 1\n    max-scale: 2\n")
    assert problem.where == "models.digits.max-scale"
    assert problem.message == "is written twice, in lines 4 and 5"
    assert problem.line == 5


def test_a_key_that_is_not_a_text_is_refused() -> None:
    """YAML allows a list as a key."""
    problem = the_problem(MODEL + "    [a, b]: 1\n")
    assert (problem.where, problem.message) == ("models.digits", "has a key that is not a text")


@pytest.mark.parametrize(
    ("text", "where", "hint"),
    [
        (MODEL + "    stabel-window: 10s\n", "models.digits.stabel-window", "stable-window"),
        (MODEL + "    stable_window: 10s\n", "models.digits.stable_window", "stable-window"),
        (MODEL + "    maxScale: 2\n", "models.digits.maxScale", "max-scale"),
        (MODEL + "    window: 10s\n", "models.digits.window", "stable-window"),
        (MODEL + "    listen: a:1\n", "models.digits.listen", "listeners"),
        (MODEL + "    max-head-bytes: 1\n", "models.digits.max-head-bytes", "under stoker:"),
        (MODEL + "    qwertz: 1\n", "models.digits.qwertz", "docs/settings.md"),
        (MODEL + "    <<: {a: 1}\n", "models.digits.<<", "under defaults:"),
        ("defaults:\n  command: x {port}\n" + MODEL, "defaults.command", "under models.NAME:"),
        ("stoker:\n  max-scale: 1\n" + MODEL, "stoker.max-scale", "under models.NAME:"),
        ("modles: {}\n" + MODEL, "modles", "models"),
        ("port: 1\n" + MODEL, "port", ""),
    ],
)
def test_an_unknown_key_is_refused_with_the_near_one(text: str, where: str, hint: str) -> None:
    """A typo is named with its place and what was probably meant."""
    problem = the_problem(text)
    assert problem.where == where
    assert hint in problem.hint
    assert problem.line


def test_a_bad_variable_is_named_as_such() -> None:
    """The environment is not blamed on the file."""
    problem = the_problem(MODEL, STOKER_TICK_INTERVAL="2")
    assert (problem.where, problem.value, problem.line) == ("STOKER_TICK_INTERVAL", "2", 0)
    problem = the_problem(MODEL, STOKER_LISTENERS="a=b")
    assert problem.where == "STOKER_LISTENERS.a"


def test_a_bad_override_is_named_as_an_option() -> None:
    """What came from the command line is called by the option's name."""
    with pytest.raises(SettingsError, match=r"--listen = x: does not end in a port"):
        load(MODEL, "stoker.yaml", overrides={"listen": "x"})


def test_all_problems_are_told_in_the_order_of_the_file() -> None:
    """One look at the message is enough to mend everything."""
    found = problems(
        "stoker:\n  listen: x\n"
        "models:\n"
        "  a:\n    command: serve\n    min-scale: x\n"
        "  b:\n    hosts: a.localhost\n    typo: 1\n",
        STOKER_ADMIN="y",
    )
    assert [(problem.where, problem.line) for problem in found] == [
        ("stoker.listen", 2),
        ("models.a.command", 5),
        ("models.a.min-scale", 6),
        ("models.b.command", 7),
        ("models.b.hosts", 8),
        ("models.b.typo", 9),
        ("STOKER_ADMIN", 0),
    ]


def test_the_error_names_the_source_and_lines() -> None:
    """The message can be printed as it is."""
    with pytest.raises(SettingsError) as caught:
        load("stoker: {listen: x}\n" + MODEL, "my.yaml")
    assert str(caught.value).startswith("my.yaml:\n  line 1: stoker.listen = x: does not end in")


@given(st.text(max_size=200))
def test_no_text_makes_it_crash(text: str) -> None:
    """Whatever is in the file, the answer is a configuration or a SettingsError."""
    assert outcome(text)


_SCALARS = st.one_of(st.none(), st.sampled_from(["1", "1s", "true", "x", "-1", "1e5", "a:1", "é"]))
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "b", "command", "listen", "env"]), inner, max_size=3),
    ),
    max_leaves=10,
)


@given(key=st.sampled_from(["stoker", "defaults", "models"]), tree=_TREES)
def test_no_structure_makes_it_crash(key: str, tree: object) -> None:
    """Lists where mappings belong and the other way round are problems, not crashes."""
    text = yaml.safe_dump({"models": {}, key: tree})
    assert outcome(text)
