"""What others do, by sequences worked out by hand from their documentation."""

from __future__ import annotations

import json

import numpy as np
import pytest

from autoscaler.planner import Planner
from autoscaler.policies import Policy, Supply
from autoscaler.window import Averages
from simulations.baselines import BASELINES, BaselineError, parse_baseline
from simulations.baselines.hpa import Hpa
from simulations.baselines.keda import Keda
from simulations.baselines.kubeai import KubeAi
from stoker.vocabulary import ModelKey, ScaleTo, ScalingConfig

CONFIG = ScalingConfig(target=10.0, initial_scale=0)
ROW = np.array([0])


class One:
    """One row of a policy; replicas are there as soon as they are asked for."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        policy.reserve(1)
        policy.configure(0, CONFIG, 0.0)
        self.replicas = 0.0

    def __call__(self, now: float, load: float | None) -> float:
        """What is wanted; ``load`` None: nobody said anything."""
        if load:
            self.policy.observe(int(now) - 1, ROW, np.array([load]))
        value = -1.0 if load is None else load
        averages = Averages(np.array([value]), np.array([value]), np.array([load is not None]))
        supply = Supply(np.array([self.replicas]), np.array([self.replicas]), np.zeros(1))
        verdict = self.policy.decide(slice(0, 1), averages, supply, now)
        assert verdict.floor is not None
        self.replicas = float(
            max(verdict.floor.replicas[0], verdict.wanted[0] if load is not None else 0.0)
        )
        return self.replicas


def test_always_on() -> None:
    """So many from the first tick on, in production's planner too; load does not matter."""
    planner = Planner(parse_baseline("always-on:3")())
    planner.set_model(ModelKey("default", "a"), CONFIG, 0.0)
    (command,) = planner.decide(0.0).commands
    assert isinstance(command, ScaleTo)
    assert command.replicas == 3
    assert command.reason == "the policy asks for at least 3, whatever the load"
    assert One(parse_baseline("always-on")())(0.0, 500.0) == 1


def test_hpa_up() -> None:
    """ceil(load / target), at most double or 4 more per sync of 15 s; in between nothing."""
    one = One(Hpa())
    assert [one(now, 200.0) for now in (0, 2, 14, 15, 29, 30, 45)] == [5, 5, 5, 10, 10, 20, 20]


def test_hpa_tolerance() -> None:
    """Within a tenth of current x target nothing moves: 109 for 10 replicas, but 112."""
    one = One(Hpa())
    one(0, 40.0), one(15, 80.0), one(30, 100.0)
    assert one.replicas == 10
    assert [one(45, 109.0), one(60, 92.0), one(75, 112.0)] == [10, 10, 12]


def test_hpa_down_after_300_s() -> None:
    """The highest recommendation of the last 300 s holds; then the highest since, down to 1,
    never to 0."""
    one = One(Hpa())
    one(0, 50.0)
    assert one(15, 20.0) == 5
    answers = {now: one(now, 20.0 if now < 100 else 0.0) for now in range(30, 500, 15)}
    assert answers[285] == 5
    assert answers[300] == 2
    assert answers[375] == 2
    assert answers[405] == 1
    assert answers[495] == 1


def test_hpa_without_data_keeps() -> None:
    """No metric, no change; at least one is there whatever happens."""
    one = One(Hpa())
    assert one(0.0, None) == 1
    one(2.0, 50.0)
    assert one.policy.decide(
        ROW,
        Averages(np.array([-1.0]), np.array([-1.0]), np.array([False])),
        Supply(ROW * 1.0, ROW * 1.0, ROW * 1.0),
        100.0,
    ).wanted.tolist() == [5.0]
    assert One(Hpa(5.0))(0.0, 20.0) == 4


def test_keda() -> None:
    """Woken at once with one, HPA from a sync later on, to zero 300 s after the last load
    however many there are."""
    one = One(Keda(10.0))
    assert [one(now, 0.0) for now in (0, 2)] == [0, 0]
    assert [one(now, 40.0) for now in (4, 6, 18, 19, 21)] == [1, 1, 1, 4, 4]
    # The last second with load was 20; its end 21.
    assert one(300, 0.0) == 4
    assert one(320, 0.0) == 1
    assert one(321, 0.0) == 0
    assert one(400, None) == 0
    assert one(500, 5.0) == 1
    many = One(Keda(10.0))
    assert [many(now, 40.0) for now in (0, 15)] == [1, 4]
    assert many(315, 0.0) == 0


def test_keda_s_published_target() -> None:
    """100 requests in hand per replica unless told otherwise."""
    one = One(Keda())
    one(0, 500.0)
    assert one(15, 500.0) == 5


def test_kubeai_up() -> None:
    """600 requests from a cold start on: average 10 x samples, all six with the 51st."""
    one = One(KubeAi())
    answers = [one(now, 600.0) for now in range(0, 601, 2)]
    assert answers[0] == 1
    assert [answers[second // 2] for second in (98, 100, 198, 200)] == [1, 2, 2, 3]
    assert [answers[second // 2] for second in (498, 500, 600)] == [5, 6, 6]


def test_kubeai_down() -> None:
    """Each sample without load takes 10 off the average; a lower answer counts the fourth time."""
    one = One(KubeAi())
    for now in range(0, 600, 10):
        one(now, 600.0)
    assert one.replicas == 6
    answers = [one(now, 0.0) for now in range(600, 1300, 10)]
    # 590 .. 500 are the answers 6 .. 5: with the tenth it is 500, so 5 is said for the
    # first time at 690, and done at 720.
    assert answers[:12] == [6] * 12
    assert answers[12] == 5
    # An answer that is met begins the count anew: 300 is there after 30 samples, 0 after 60.
    assert answers[31:33] == [4, 3]
    assert answers[61:63] == [1, 0]


def test_kubeai_wakes_and_forgets_silence() -> None:
    """A request at zero makes one; missed samples are zeros, as many as there are at most."""
    one = One(KubeAi(1.0))
    assert one(0, 60.0) == 1
    assert one(10, 60.0) == 2
    assert one(10_000, 0.0) == 0
    assert one(10_003, 60.0) == 1
    assert one.policy.take(0)["samples"] == [0.0] * 60


def test_kubeai_begins_with_what_is_there() -> None:
    """Replicas from before are lowered as any others."""
    one = One(KubeAi())
    one.policy.begin(0, 3.0, 0.0)
    assert [one(now, 0.0) for now in (0, 10, 20, 30)] == [3, 3, 3, 0]


def test_kubeai_sums_what_reporters_say() -> None:
    """Several reports of one second are one sample; an older second changes nothing."""
    policy = KubeAi(1.0)
    one = One(policy)
    for second, load in ((9, 30.0), (9, 30.0), (8, 500.0)):
        policy.observe(second, ROW, np.array([load]))
    one(10, 0.0)
    assert policy.samples[0, 0] == 60.0


@pytest.mark.parametrize("name", BASELINES)
def test_memory_is_taken_over(name: str) -> None:
    """Through JSON, on a clock 600 s ahead, the same answers; a reused row starts anew."""
    loads = [60.0, 0.0, 700.0, 0.0, 0.0, 90.0] * 4
    old, ahead = One(BASELINES[name]()), One(BASELINES[name]())
    first = [old(7.0 * step, load) for step, load in enumerate(loads)]
    taken = json.loads(json.dumps(old.policy.take(0)))
    ahead.policy.put(0, taken, shift=600)
    ahead.replicas = old.replicas
    begin = 7.0 * len(loads)
    theirs = [old(begin + 7.0 * step, load) for step, load in enumerate(loads)]
    ours = [ahead(begin + 600 + 7.0 * step, load) for step, load in enumerate(loads)]
    assert ours == theirs
    frozen = old.policy.freeze(slice(0, 1), np.zeros(1), 0.0)(ROW)
    assert set(frozen[0]) <= set(taken)
    old.policy.reset(0)
    old.policy.configure(0, CONFIG, 0.0)
    old.policy.configure(0, CONFIG, 0.0)
    old.replicas = 0.0
    assert [old(7.0 * step, load) for step, load in enumerate(loads)] == first


@pytest.mark.parametrize("name", BASELINES)
def test_all_at_once_is_each_alone(name: str) -> None:
    """Forty models in one planner get what forty planners of one give them."""
    models = [ModelKey("default", str(number)) for number in range(40)]
    rng = np.random.default_rng(3)
    loads = rng.uniform(0, 90, (40, 40)) * (rng.uniform(0, 1, (40, 40)) < 0.4)

    def run(which: list[int]) -> list[list[int]]:
        planner = Planner(BASELINES[name]())
        for number in which:
            planner.set_model(models[number], CONFIG, 0.0)
        desired = []
        for step in range(40):
            planner.open_second(5 * step)
            planner.add_load(5 * step, np.arange(len(which)), loads[which, step])
            planner.decide(5 * step + 1.0)
            desired.append(planner.state.desired[: len(which)].astype(int).tolist())
        planner.remove_model(models[which[0]], 500.0)
        return desired

    together = np.array(run(list(range(40))))
    for number in range(0, 40, 7):
        assert together[:, number].tolist() == [each for (each,) in run([number])]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hpa2", "baseline 'hpa2': there is none of this name; there are: always-on[:N] (N: rep"),
        ("", "baseline '': there is none of this name"),
        ("always-on:0", "'0' is not a whole number above 0; N is replicas, 1 without"),
        ("always-on:1.5", "'1.5' is not a whole number above 0"),
        ("keda:", "'' is not a number above 0; N is load per replica, 100 without"),
        ("kubeai:inf", "'inf' is not a number above 0"),
        ("hpa:many", "'many' is not a number above 0; N is load per replica, without: each"),
    ],
)
def test_what_there_is_not(spec: str, message: str) -> None:
    """Errors name what was given, what is allowed, and what there is."""
    with pytest.raises(BaselineError) as error:
        parse_baseline(spec)
    assert message in str(error.value)


def test_each_is_made_anew() -> None:
    """Two runs share no memory."""
    make = parse_baseline("hpa:5")
    assert make() is not make()
