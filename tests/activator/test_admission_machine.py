"""Admission and throttlers keep their promises under any sequence of events."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stoker.vocabulary import ServingConfig
from tests.activator.promises import Promises

MODELS = ("one", "two")
NAMES = st.sampled_from(MODELS)
WHICH = st.integers(0, 60)
SIZES = st.integers(0, 20)
# Multiples of a quarter: sums and differences of times are exact.
SECONDS = st.integers(1, 30).map(lambda quarters: quarters / 4)
CONFIGS = st.builds(
    ServingConfig,
    container_concurrency=st.sampled_from([1, 1, 2, 5, 0]),
    queue_requests=st.sampled_from([6, 9, 3, 0]),
    queue_bytes=st.sampled_from([60, 60, 25, 0]),
    hold_timeout=st.sampled_from([10.0, 4.0, 1.0]),
    hold_timeout_cap=st.sampled_from([20.0, 6.0, 0.5]),
    priority=st.integers(0, 2),
)
# What happens most, and several times between two of anything else.
TRAFFIC = st.sampled_from(
    ["offer", "offer", "offer", "finish", "finish", "fail", "leave", "grow", "wait"]
)


class AdmissionMachine(RuleBasedStateMachine):
    """Does anything to two models in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.promises = Promises()

    @initialize(configs=st.tuples(CONFIGS, CONFIGS))
    def begin(self, configs: tuple[ServingConfig, ServingConfig]) -> None:
        for name, config in zip(MODELS, configs, strict=True):
            self.promises.add_model(name, config)
            self.promises.replica_ready(name)

    @rule(steps=st.lists(st.tuples(TRAFFIC, WHICH), min_size=4, max_size=16))
    def traffic(self, steps: list[tuple[str, int]]) -> None:
        promises = self.promises
        for what, which in steps:
            match what:
                case "offer":
                    promises.offer(MODELS[which % 2], None, which % 7, None)
                case "finish":
                    promises.finish(which, answered=which % 5 > 0)
                case "fail":
                    promises.fail(which, eject=which % 3 > 0, again=which % 7 > 0)
                case "leave":
                    promises.leave(which)
                case "grow":
                    promises.grow(which, which % 11)
                case "wait":
                    promises.wait(which % 9 / 4)
            promises.check()

    @rule(
        name=NAMES,
        priority=st.none() | st.integers(0, 2),
        size=SIZES,
        patience=st.none() | SECONDS,
    )
    def offer(self, name: str, priority: int | None, size: int, patience: float | None) -> None:
        self.promises.offer(name, priority, size, patience)

    @rule(name=NAMES, config=CONFIGS)
    def reconfigure(self, name: str, config: ServingConfig) -> None:
        self.promises.reconfigure(name, config)

    @rule(name=NAMES, config=CONFIGS)
    def replace_model(self, name: str, config: ServingConfig) -> None:
        self.promises.replace_model(name, config)

    @rule(name=NAMES)
    def replica_ready(self, name: str) -> None:
        self.promises.replica_ready(name)

    @rule(name=NAMES, which=WHICH)
    def replica_ready_again(self, name: str, which: int) -> None:
        self.promises.replica_ready_again(name, which)

    @rule(name=NAMES, which=WHICH, gone=st.booleans())
    def replica_goes(self, name: str, which: int, gone: bool) -> None:
        self.promises.replica_goes(name, which, gone=gone)

    @rule(name=NAMES, there=st.booleans())
    def outage(self, name: str, there: bool) -> None:
        self.promises.outage(name, there=there)

    @rule(name=NAMES)
    def progress(self, name: str) -> None:
        self.promises.progress(name)

    @rule(seconds=SECONDS)
    def wait_rudely(self, seconds: float) -> None:
        self.promises.wait_rudely(seconds)

    @rule()
    def report(self) -> None:
        self.promises.report()

    @invariant()
    def promises_are_kept(self) -> None:
        self.promises.check()

    def teardown(self) -> None:
        self.promises.end()


AdmissionMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
TestAdmissionMachine = AdmissionMachine.TestCase
