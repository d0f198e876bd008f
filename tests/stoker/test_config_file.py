"""The settings file of a running Stoker: changes, refusals, deletions, half-written files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest

from stoker.config_file import ConfigFile, Generations, Refused, Reloaded, Unchanged
from stoker.errors import SettingsError
from stoker.settings import load
from stoker.telemetry import CONFIG_REFUSED, CONFIG_RELOADS
from stoker.vocabulary import ModelKey

GOOD = "models:\n  a:\n    command: serve {port}\n    max-scale: 2\n"
BETTER = GOOD.replace("max-scale: 2", "max-scale: 3")
BAD = GOOD.replace("max-scale: 2", "max-scale: -1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good settings file."""
    file = tmp_path / "stoker.yaml"
    file.write_text(GOOD)
    return file


@pytest.fixture
def config_file(path: Path) -> ConfigFile:
    """The same, loaded."""
    file = ConfigFile(path)
    file.load()
    return file


def counted(file: ConfigFile) -> Mapping[str, object]:
    """What a scrape would show, by outcome."""
    return {r.labels[0]: r.value for r in file.readings() if r.spec is CONFIG_RELOADS}


def refused(file: ConfigFile) -> object:
    """What a scrape would show of whether the file is refused now."""
    (value,) = [r.value for r in file.readings() if r.spec is CONFIG_REFUSED]
    return value


def test_nothing_is_in_force_before_the_first_load(path: Path) -> None:
    """Asking too early is a programming error, not an empty configuration."""
    with pytest.raises(RuntimeError):
        _ = ConfigFile(path).config


def test_the_first_load_must_succeed(path: Path) -> None:
    """A wrong file at the start is an error for the caller."""
    path.write_text(BAD)
    with pytest.raises(SettingsError, match="max-scale = -1"):
        ConfigFile(path).load()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The first load says which file it looked for."""
    with pytest.raises(SettingsError, match=r"nowhere\.yaml: cannot be read: No such file"):
        ConfigFile(tmp_path / "nowhere.yaml").load()


def test_a_file_that_is_not_text_is_refused(path: Path) -> None:
    """Bytes that are not UTF-8 are refused with their line."""
    path.write_bytes(b"models:\n  \xff: 1\n")
    with pytest.raises(SettingsError, match="line 2: file: is not UTF-8 text"):
        ConfigFile(path).load()


def test_a_byte_order_mark_is_harmless(path: Path) -> None:
    """Some editors write one."""
    path.write_text("\ufeff" + GOOD, encoding="utf-8")
    assert len(ConfigFile(path).load().models) == 1


def test_paths_are_relative_to_the_file(path: Path) -> None:
    """A model runs where its settings file is unless it says otherwise."""
    launch = ConfigFile(path).load().models[0].launch
    assert launch is not None
    assert launch.directory == str(path.parent)


def test_environment_and_overrides_are_kept_for_reloads(path: Path) -> None:
    """A reload resolves with the same precedence as the start did."""
    environ, overrides = {"STOKER_MAX_HEADERS": "5"}, {"log-level": "debug"}
    file = ConfigFile(path, environ=environ, overrides=overrides)
    first = file.load()
    path.write_text(BETTER)
    file.refresh()
    assert isinstance(file.refresh(), Reloaded)
    assert file.config.process == first.process
    assert file.config.process.max_headers == 5


def test_an_untouched_file_is_unchanged(config_file: ConfigFile) -> None:
    """Looking again changes nothing."""
    assert config_file.refresh() == Unchanged()
    assert counted(config_file) == {"applied": 0, "refused": 0}


def test_a_change_is_applied_once_it_has_settled(path: Path, config_file: ConfigFile) -> None:
    """The first look sees it, the second confirms it, the third has nothing to tell."""
    before = config_file.config
    path.write_text(BETTER)
    assert config_file.refresh() == Unchanged()
    outcome = config_file.refresh()
    assert isinstance(outcome, Reloaded)
    assert outcome.previous is before
    assert outcome.config is config_file.config
    assert outcome.needs_restart == ()
    assert config_file.config.models[0].scaling.max_scale == 3
    assert config_file.refresh() == Unchanged()
    assert counted(config_file) == {"applied": 1, "refused": 0}


def test_a_file_being_written_is_left_alone(path: Path, config_file: ConfigFile) -> None:
    """Content that differs at every look is not acted on, even where it would be valid."""
    for text in (GOOD[:30], BETTER[:42], ""):
        path.write_text(text)
        assert config_file.refresh() == Unchanged()
    assert config_file.config.models[0].scaling.max_scale == 2
    assert config_file.error is None


def test_a_wrong_change_is_refused_once(path: Path, config_file: ConfigFile) -> None:
    """The last good settings stay, the refusal is kept and told once."""
    before = config_file.config
    path.write_text(BAD)
    config_file.refresh()
    outcome = config_file.refresh()
    assert isinstance(outcome, Refused)
    assert "models.a.max-scale = -1: is out of range; allowed: [0, 2147483647]" in str(
        outcome.error
    )
    assert config_file.error is outcome.error
    assert config_file.config is before
    assert config_file.refresh() == Unchanged()
    assert config_file.error is outcome.error
    assert counted(config_file) == {"applied": 0, "refused": 1}
    assert refused(config_file) == 1
    path.write_text(BETTER)
    config_file.refresh()
    config_file.refresh()
    assert refused(config_file) == 0


def test_a_half_written_file_is_refused_and_its_completion_applied(
    path: Path, config_file: ConfigFile
) -> None:
    """A writer that stopped halfway does no harm, and may go on later."""
    path.write_text(BETTER[:-12] + '"')
    config_file.refresh()
    outcome = config_file.refresh()
    assert isinstance(outcome, Refused)
    assert config_file.config.models[0].scaling.max_scale == 2
    path.write_text(BETTER)
    config_file.refresh()
    assert isinstance(config_file.refresh(), Reloaded)
    assert config_file.error is None
    assert config_file.config.models[0].scaling.max_scale == 3


def test_an_emptied_file_is_refused(path: Path, config_file: ConfigFile) -> None:
    """Truncation must not remove every model."""
    path.write_text("")
    config_file.refresh()
    assert isinstance(config_file.refresh(), Refused)
    assert len(config_file.config.models) == 1


def test_a_deleted_file_is_refused_and_its_return_unremarkable(
    path: Path, config_file: ConfigFile
) -> None:
    """What was in force stays; the same content coming back clears the error."""
    path.unlink()
    config_file.refresh()
    outcome = config_file.refresh()
    assert isinstance(outcome, Refused)
    assert "cannot be read: No such file" in str(outcome.error)
    assert config_file.refresh() == Unchanged()
    path.write_text(GOOD)
    config_file.refresh()
    outcome = config_file.refresh()
    assert isinstance(outcome, Reloaded)
    assert outcome.config == outcome.previous
    assert config_file.error is None


def test_a_file_replaced_by_another_is_noticed(path: Path, config_file: ConfigFile) -> None:
    """Editors and ConfigMap mounts rename over the old file; times may even be older."""
    other = path.with_suffix(".new")
    other.write_text(BETTER)
    os.utime(other, (0, 0))
    other.replace(path)
    config_file.refresh()
    assert isinstance(config_file.refresh(), Reloaded)


def test_process_settings_that_need_a_restart_are_named_and_left_out(
    path: Path, config_file: ConfigFile
) -> None:
    """What can be applied is; the addresses stay as they are."""
    path.write_text("stoker: {listen: '127.0.0.1:1', max-headers: 5}\n" + BETTER)
    config_file.refresh()
    outcome = config_file.refresh()
    assert isinstance(outcome, Reloaded)
    assert outcome.needs_restart == ("listen",)
    assert outcome.config.process.listen.port == 8080
    assert outcome.config.process.max_headers == 5
    assert outcome.config.models[0].scaling.max_scale == 3


def test_only_a_changed_launch_raises_the_generation(path: Path, config_file: ConfigFile) -> None:
    """Replicas are replaced when how they start changes, not when their limits do."""
    generations = []
    for text in (BETTER, BETTER.replace("serve", "other"), BETTER.replace("serve", "third")):
        path.write_text(text)
        config_file.refresh()
        config_file.refresh()
        generations.append(config_file.config.models[0].generation)
    assert generations == [1, 2, 3]


def test_a_refused_change_uses_up_no_generation(path: Path, config_file: ConfigFile) -> None:
    """Only what was in force counts."""
    for text in (BAD.replace("serve", "other"), GOOD):
        path.write_text(text)
        config_file.refresh()
        config_file.refresh()
    assert config_file.config.models[0].generation == 1


def test_a_model_that_comes_back_never_reuses_a_generation() -> None:
    """Numbers of models that went are remembered."""
    generations = Generations()

    def assigned(text: str) -> dict[ModelKey, int]:
        config = generations.assign(load(text, "test"))
        return {spec.key: spec.generation for spec in config.models}

    key = ModelKey("default", "a")
    assert assigned(GOOD) == {key: 1}
    assert assigned(GOOD.replace("serve", "other")) == {key: 2}
    assert assigned("models: {}\n") == {}
    assert assigned(GOOD.replace("serve", "other")) == {key: 2}
    assert assigned("models: {}\n") == {}
    assert assigned(GOOD) == {key: 3}


class Steps:
    """A sleep that returns when the test lets it: one look per ``step``."""

    def __init__(self) -> None:
        self._permits = asyncio.Semaphore(0)
        self._asleep = asyncio.Event()
        self.intervals: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.intervals.append(seconds)
        self._asleep.set()
        await self._permits.acquire()

    async def step(self) -> None:
        """Let the watcher look once and wait until it has."""
        await self._asleep.wait()
        self._asleep.clear()
        self._permits.release()
        await self._asleep.wait()


async def test_the_watcher_tells_of_changes_and_refusals(
    path: Path, config_file: ConfigFile
) -> None:
    """It looks at each interval, tells each outcome once, and survives a failing listener."""
    told: list[Reloaded | Refused] = []

    def on_change(outcome: Reloaded | Refused) -> None:
        told.append(outcome)
        if len(told) == 1:
            raise OSError("the listener failed")

    steps = Steps()

    async def written(change: Callable[[], object]) -> None:
        """Change the file and let the watcher look often enough to have settled."""
        change()
        for _ in range(3):
            await steps.step()

    watcher = asyncio.create_task(config_file.watch(on_change, 0.5, steps.sleep))
    try:
        for text in (BETTER, BAD, GOOD):
            await written(partial(path.write_text, text))
        await written(path.unlink)
    finally:
        watcher.cancel()
        await asyncio.wait([watcher])
    assert [type(outcome) for outcome in told] == [Reloaded, Refused, Reloaded, Refused]
    assert set(steps.intervals) == {0.5}
    assert watcher.cancelled()
