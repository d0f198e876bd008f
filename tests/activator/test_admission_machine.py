"""Admission and throttlers keep their promises under any sequence of events."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stoker.vocabulary import Balancing, ServingConfig
from tests.activator.promises import PHASES, Promises
from tests.properties import costly

MODELS = ("one", "two")
NAMES = st.sampled_from(MODELS)
WHICH = st.integers(0, 60)
SIZES = st.integers(0, 20)
# Multiples of a quarter: sums and differences of times are exact.
SECONDS = st.integers(1, 30).map(lambda quarters: quarters / 4)
CONFIGS = st.builds(
    ServingConfig,
    container_concurrency=st.sampled_from([1, 1, 2, 5, 0]),
    queue_requests=st.sampled_from([9, 6, 14, 3, 0]),
    queue_bytes=st.sampled_from([60, 60, 60, 25, 0]),
    hold_timeout=st.sampled_from([10.0, 4.0, 1.0]),
    hold_timeout_cap=st.sampled_from([20.0, 6.0, 0.5]),
    priority=st.integers(0, 2),
    lower_priority_share=st.sampled_from([0.0, 25.0, 50.0]),
    tenant_queue_share=st.sampled_from([100.0, 100.0, 40.0]),
    balancing=st.sampled_from(Balancing),
)
TENANTS = ("", "gold", "half", "other")
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
                    tenant = TENANTS[which % 4]
                    promises.offer(MODELS[which % 2], None, which % 7, None, tenant, which % 5)
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
        tenant=st.sampled_from(TENANTS),
    )
    def offer(
        self, name: str, priority: int | None, size: int, patience: float | None, tenant: str
    ) -> None:
        self.promises.offer(name, priority, size, patience, tenant)

    @rule(
        name=NAMES,
        asked=st.lists(
            st.tuples(st.sampled_from(TENANTS), st.integers(0, 2), st.none() | SECONDS),
            min_size=4,
            max_size=14,
        ),
        ends=st.integers(2, 12),
    )
    def rush(self, name: str, asked: list[tuple[str, int, float | None]], ends: int) -> None:
        """More of all kinds come than there are slots, and then have their turns."""
        promises = self.promises
        for tenant, priority, patience in asked:
            promises.offer(name, priority, 1, patience, tenant)
        promises.check()
        promises.wait(0.25)
        for _ in range(ends):
            promises.finish(0, answered=True)
            promises.check()
        promises.report()

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

    @rule(name=NAMES, phase=st.sampled_from(PHASES))
    def progress(self, name: str, phase: str) -> None:
        self.promises.progress(name, phase)

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


AdmissionMachine.TestCase.settings = settings(costly(40), stateful_step_count=40)
TestAdmissionMachine = AdmissionMachine.TestCase
