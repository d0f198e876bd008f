"""From a trace and an SLO to settings: the whole way, on a trace that is short."""

from __future__ import annotations

import io
import json

import pytest

from simulations.draws import Constant
from simulations.services import Drawn
from simulations.tuning.segments import segments
from simulations.tuning.settings_file import read_settings
from simulations.tuning.slo import Reference, parse_slo
from simulations.tuning.space import Base
from simulations.tuning.task import Task
from simulations.tuning.texts import document, files, print_tuned
from simulations.tuning.tuner import Tuned, tune
from simulations.world import Prices, World, parse_start
from stoker.settings import load
from tests.simulations.streams import bursts

SLO = "p99<3s, cold<5%"


def task() -> Task:
    """Six requests every 25 s, 2 s each in replicas for two that take 8 s to start, at a model
    that sleeps whenever it can."""
    source = bursts(25.0, 6, 200.0)
    world = World(Drawn(Constant(2.0)), parse_start("8s"), prices=Prices(3.0))
    base = Base({"container_concurrency": 2, "stable_window": 6.0, "initial_scale": 0})
    return Task(source, world, base, segments(source, 3), seed=3)


@pytest.fixture(scope="module")
def tuned() -> Tuned:
    """Once for all tests here: it takes seconds."""
    told: list[tuple[str, float]] = []
    result = tune(task(), parse_slo(SLO), 24, 1, lambda what, share: told.append((what, share)))
    assert [what for what, share in told if share == 1.0] == [
        "a first sample, roughly",
        "around the best, roughly",
        "made plain, roughly",
        "the best, exactly",
    ]
    return result


def test_what_is_recommended_keeps_the_slo(tuned: Tuned) -> None:
    """The settings in force do not; the recommended ones do, and none on the front that does
    with room to spare is cheaper."""
    references = {Reference.CURRENT: tuned.current.judged, Reference.KNATIVE: tuned.knative.judged}
    assert not tuned.slo.met(tuned.current.judged, references)
    assert tuned.met
    assert tuned.slo.met(tuned.recommended.judged, references)
    for one in tuned.front:
        if tuned.slo.met(one.judged, references, margin=0.1):
            assert one.judged.dollars >= tuned.recommended.judged.dollars


def test_replays_are_of_the_same_requests(tuned: Tuned) -> None:
    """Common random numbers: everybody got as many requests, on the same seconds."""
    for one in (tuned.current, tuned.knative, tuned.recommended, *tuned.front):
        assert one.judged.requests == tuned.current.judged.requests > 30
        assert one.judged.dollars == pytest.approx(one.judged.replica_seconds * 3 / 3600)


def test_each_segment_is_judged_once_by_who_did_not_see_it(tuned: Tuned) -> None:
    """A choice per fold; all requests together; no more segments met than there are."""
    held = tuned.held_back
    assert len(held.chosen) == held.trials == 3
    assert held.tuned.requests == held.current.requests == tuned.current.judged.requests
    assert 0 <= held.met <= 3
    low, high = held.interval
    assert low <= held.met / 3 <= high


def test_the_same_again(tuned: Tuned) -> None:
    """The same task gives the same, to the last digit."""
    assert document(tune(task(), parse_slo(SLO), 24)) == document(tuned)


@pytest.mark.long
def test_however_many_processes(tuned: Tuned) -> None:
    """Two processes find what one finds."""
    assert document(tune(task(), parse_slo(SLO), 24, 2)) == document(tuned)


def test_it_is_told_in_words_and_as_json(tuned: Tuned) -> None:
    """The table, the choice, the confidence and the diff; the same figures as JSON."""
    out = io.StringIO()
    print_tuned(tuned, None, out)
    text = out.getvalue()
    for said in (
        "SLO: p99<3s, cold<5%, where a wait is a latency without the time in a replica",
        "service: 2s",
        "front 1",
        "\nrecommended: ",
        "Knative's defaults",
        f"the SLO was kept in {tuned.held_back.met} of 3 held-back segments",
        "+++ b/stoker.yaml",
    ):
        assert said in text
    figures = json.loads(json.dumps(document(tuned), allow_nan=False))
    assert figures["slo_met"] is True
    assert figures["recommended"]["settings"]
    assert f"${figures['recommended']['dollars_per_hour']:.3f} an hour" in text


def test_the_file_says_what_was_replayed(
    tuned: Tuned, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A settings file with the recommendation in force comes to the very settings replayed."""
    path = tmp_path_factory.mktemp("tuned") / "stoker.yaml"
    path.write_text(
        "models:\n  llm:\n    command: serve {port}\n    container-concurrency: 2\n"
        "    stable-window: 6s\n    initial-scale: 0\n"
    )
    settings = read_settings(str(path), None)
    text, configmap = files(tuned, settings)
    (spec,) = load(text, "tuned").models
    assert spec.scaling == tuned.task.base.scaling(tuned.recommended.candidate)
    assert "kind: ConfigMap" in configmap
    out = io.StringIO()
    print_tuned(tuned, settings, out)
    assert f"+++ b/{path}" in out.getvalue()
    path.write_text(path.read_text().replace("\n    ", " ").replace("llm:", "llm:"))
    path.write_text("models:\n  llm: {command: 'serve {port}', container-concurrency: 2}\n")
    out = io.StringIO()
    print_tuned(tuned, read_settings(str(path), None), out)
    assert "is written in a way that only people should change" in out.getvalue()


def test_what_nothing_keeps_is_said() -> None:
    """No wait at all from zero is not to be had: the nearest is shown as that."""
    hopeless = tune(task(), parse_slo("p50<1ms, latency p50<100ms"), 8)
    assert not hopeless.met
    out = io.StringIO()
    print_tuned(hopeless, None, out)
    assert "No configuration that was tried keeps p50<1ms, latency p50<100ms" in out.getvalue()
