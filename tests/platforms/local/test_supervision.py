"""Supervision alone: no process, no loop, time as an argument."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.platform import ModelOutage, ReplicaChanged, ReplicaGone, choose_victims
from stoker.platforms.local.effects import (
    Announce,
    Cause,
    Effect,
    Ending,
    Kill,
    Start,
    Terminate,
    ending,
    refusal,
)
from stoker.platforms.local.supervision import Supervision, backoff
from stoker.vocabulary import Address, LaunchConfig, ModelKey, ModelSpec, Outage, Phase, Replica

KEY = ModelKey.parse("digits")
LAUNCH = LaunchConfig(
    ("serve", "{port}"),
    start_timeout=100.0,
    drain_timeout=45.0,
    grace_period=30.0,
    restart_backoff=1.0,
    restart_backoff_cap=60.0,
    failures_before_giving_up=3,
)
SPEC = ModelSpec(KEY, launch=LAUNCH)
EXIT_3 = Ending("exited with code 3", "no such file")


class Machine:
    """A supervision, the effects so far by kind, and a clock kept by hand."""

    def __init__(self, spec: ModelSpec = SPEC) -> None:
        self.it = Supervision(spec, (f"r{n}" for n in range(1, 1000)), "here")
        self.now = 0.0
        self.started: list[str] = []
        self.terminated: list[str] = []
        self.killed: list[str] = []
        self.replicas: dict[str, Replica] = {}
        self.gone: dict[str, tuple[Replica, Cause | None]] = {}
        self.outages: list[Outage | None] = []

    def take(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Start(id, _):
                    self.started.append(id)
                case Terminate(id):
                    self.terminated.append(id)
                case Kill(id):
                    self.killed.append(id)
                case Announce(ReplicaChanged(replica), None):
                    self.replicas[replica.id] = replica
                case Announce(ReplicaGone(replica), cause):
                    del self.replicas[replica.id]
                    self.gone[replica.id] = replica, cause
                case Announce(ModelOutage(model, outage), None):
                    assert model == KEY
                    self.outages.append(outage)
                case _:
                    raise AssertionError(effect)

    def scale(self, count: int, *victims: str) -> None:
        self.take(self.it.scale(count, victims, self.now))

    def ready(self, *ids: str) -> None:
        for id in ids:
            self.take(self.it.ready(id, self.now))

    def end(self, id: str, how: Ending = EXIT_3) -> None:
        self.take(self.it.ended(id, how, self.now))

    def drained(self, id: str) -> None:
        self.take(self.it.drained(id, self.now))

    def wait(self, seconds: float) -> None:
        """Let time pass, ticking exactly whenever the supervision asks for it."""
        end = self.now + seconds
        while self.it.wake_at <= end:
            assert self.it.wake_at >= self.now, "asked to be woken in the past"
            self.now = self.it.wake_at
            before = self.it.wake_at
            self.take(self.it.tick(self.now))
            assert self.it.wake_at > before, "woken again for the same moment"
        self.now = end

    def phases(self) -> dict[str, str]:
        return {id: str(replica.phase) for id, replica in self.replicas.items()}


@pytest.fixture
def machine() -> Machine:
    return Machine()


# --- up and down --------------------------------------------------------------------


def test_start_comes_before_its_announcement(machine: Machine) -> None:
    """The process is asked for first: watchers shall not delay it."""
    effects = machine.it.scale(1, (), 0.0)
    assert isinstance(effects[0], Start)
    assert effects[0].launch is LAUNCH
    assert isinstance(effects[1], Announce)


def test_a_whole_life(machine: Machine) -> None:
    """Starting, placed, ready, draining, terminated, gone, each with its time."""
    machine.now = 10.0
    machine.scale(1)
    assert machine.it.wake_at == 110.0
    machine.take(machine.it.placed("r1", Address("127.0.0.1", 5)))
    machine.now = 12.0
    machine.ready("r1")
    replica = machine.replicas["r1"]
    assert replica.phase_seconds == ((Phase.STARTING, 2.0),)
    assert (replica.created, replica.since, replica.node) == (10.0, 12.0, "here")
    assert replica.address == Address("127.0.0.1", 5)
    assert machine.it.wake_at == math.inf
    machine.scale(0)
    assert machine.replicas["r1"].reason == "scaled down"
    assert machine.terminated == []
    machine.drained("r1")
    machine.drained("r1")
    assert machine.terminated == ["r1"]
    machine.end("r1", Ending("exited with code 0"))
    gone, cause = machine.gone["r1"]
    assert gone.reason == "scaled down; exited with code 0"
    assert (gone.phase, cause) == (Phase.DRAINING, Cause.STOPPED)
    assert machine.it.is_empty
    assert machine.started == ["r1"]


def test_what_is_never_drained_is_terminated_then_killed(machine: Machine) -> None:
    """drain_timeout, then grace_period, then SIGKILL; the reason tells."""
    machine.scale(1)
    machine.ready("r1")
    machine.scale(0)
    machine.wait(44.0)
    assert machine.terminated == []
    machine.wait(1.0)
    assert (machine.terminated, machine.killed) == (["r1"], [])
    machine.wait(30.0)
    assert machine.killed == ["r1"]
    machine.end("r1", Ending("killed by SIGKILL"))
    assert machine.gone["r1"][0].reason == (
        "scaled down; still there 30 s after SIGTERM; killed by SIGKILL"
    )


def test_what_was_never_ready_need_not_drain(machine: Machine) -> None:
    """A starting replica that is not wanted any more is terminated at once."""
    machine.scale(1)
    machine.scale(0)
    assert machine.terminated == ["r1"]
    machine.ready("r1")
    assert machine.replicas["r1"].phase is Phase.DRAINING
    machine.end("r1", ending(-15, ""))
    assert machine.outages == []


def test_events_of_unknown_replicas_are_ignored(machine: Machine) -> None:
    """What comes too late, or twice, changes nothing."""
    machine.scale(1)
    machine.ready("r1")
    assert machine.it.ready("r1", 0.0) == []
    for effects in (
        machine.it.ready("x", 0.0),
        machine.it.drained("x", 0.0),
        machine.it.drained("r1", 0.0),
        machine.it.ended("x", EXIT_3, 0.0),
        machine.it.placed("x", Address("127.0.0.1", 5)),
    ):
        assert effects == []
    machine.it.probed("x", "nothing")
    assert machine.phases() == {"r1": "ready"}


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=8), st.integers(-2, 10))
def test_victims_in_order(states: list[tuple[bool, bool]], count: int) -> None:
    """Preferred before others, not ready before ready, younger before older."""
    replicas = [
        Replica(KEY, f"r{n}", 1, Phase.READY if is_ready else Phase.STARTING, 0.0)
        for n, (is_ready, _) in enumerate(states)
    ]
    preferred = {f"r{n}" for n, (_, is_preferred) in enumerate(states) if is_preferred}
    chosen = choose_victims(replicas, count, preferred)
    assert len(chosen) == min(max(count, 0), len(replicas))

    def rank(replica: Replica) -> tuple[bool, bool, int]:
        is_ready = replica.phase is Phase.READY
        return replica.id not in preferred, is_ready, -int(replica.id[1:])

    spared = [r for r in replicas if r not in chosen]
    assert [rank(r) for r in chosen] == sorted(map(rank, chosen))
    assert all(rank(c) < rank(s) for c in chosen for s in spared)


def test_shrinking_takes_victims_then_not_ready_then_youngest(machine: Machine) -> None:
    """The same through the machine, with r2 not ready and r1 preferred."""
    machine.scale(4)
    machine.ready("r1", "r3", "r4")
    machine.scale(3, "r1")
    assert machine.phases()["r1"] == "draining"
    machine.scale(2, "nobody")
    assert machine.phases()["r2"] == "draining"
    machine.scale(1)
    assert machine.phases() == {
        "r1": "draining",
        "r2": "draining",
        "r3": "ready",
        "r4": "draining",
    }


def test_same_wish_changes_nothing(machine: Machine) -> None:
    """Asking again, with the same victims, neither starts nor stops anything."""
    machine.scale(2)
    machine.ready("r1", "r2")
    machine.scale(1, "r1")
    effects = machine.it.scale(1, ("r1",), machine.now)
    assert effects == []
    assert machine.started == ["r1", "r2"]


# --- failing ------------------------------------------------------------------------


@given(
    st.integers(-1, 5000), st.floats(0, 100, allow_nan=False), st.floats(0, 1000, allow_nan=False)
)
def test_backoff_doubles_up_to_its_cap(failures: int, base: float, cap: float) -> None:
    """Never negative, never above the cap, never shorter after one failure more."""
    launch = replace(LAUNCH, restart_backoff=base, restart_backoff_cap=cap)
    wait = backoff(launch, failures)
    assert 0 <= wait <= cap
    assert wait <= backoff(launch, failures + 1)
    if failures < 1:
        assert wait == 0
    elif failures < 50 and base * 2**failures <= cap:
        assert backoff(launch, failures + 1) == 2 * wait


def test_failed_starts_wait_longer_then_give_up(machine: Machine) -> None:
    """1 s, 2 s, then an outage with the reason; tried again at retry_at; over when ready."""
    machine.scale(1)
    machine.end("r1")
    assert machine.gone["r1"][1] is Cause.FAILED_START
    assert machine.gone["r1"][0].phase is Phase.FAILED
    assert machine.it.wake_at == 1.0
    machine.wait(1.0)
    assert machine.started == ["r1", "r2"]
    machine.end("r2")
    machine.wait(1.9)
    assert machine.started == ["r1", "r2"]
    machine.wait(0.1)
    assert machine.started == ["r1", "r2", "r3"]
    machine.end("r3")
    reason = "exited with code 3 before it was ready; last output:\nno such file"
    assert machine.outages == [Outage(KEY, reason, 3.0, 63.0)]
    machine.wait(59.0)
    assert machine.started == ["r1", "r2", "r3"]
    machine.wait(1.0)
    assert machine.started == ["r1", "r2", "r3", "r4"]
    machine.end("r4")
    assert machine.outages[1:] == [Outage(KEY, reason, 3.0, 123.0)]
    machine.wait(60.0)
    machine.ready("r5")
    assert machine.outages[2:] == [None]
    machine.end("r5")
    assert machine.started[-1] == "r6", "the count of failures began anew"


def test_one_try_at_a_time_while_failing(machine: Machine) -> None:
    """Replicas that fail together are one failure; one is tried, the rest follow success."""
    machine.scale(3)
    for id in ("r1", "r2", "r3"):
        machine.now += 0.1
        machine.end(id)
    assert machine.outages == []
    machine.wait(1.0)
    assert machine.started == ["r1", "r2", "r3", "r4"]
    machine.wait(50.0)
    assert machine.started == ["r1", "r2", "r3", "r4"]
    machine.ready("r4")
    assert machine.started == ["r1", "r2", "r3", "r4", "r5", "r6"]


def test_hopeless_gives_up_at_once(machine: Machine) -> None:
    """A command that does not exist needs no second try to be called an outage."""
    machine.scale(2)
    machine.end("r1", refusal(LAUNCH, "command", 2))
    assert [outage and outage.reason for outage in machine.outages] == ["command not found: serve"]
    machine.end("r2", refusal(LAUNCH, "command", 2))
    assert len(machine.outages) == 1


def test_outage_ends_when_nobody_waits(machine: Machine) -> None:
    """At zero nothing is tried at retry_at; the outage ends, so that a caller causes the try."""
    machine.scale(1)
    machine.end("r1", refusal(LAUNCH, "command", 2))
    machine.scale(0)
    machine.wait(59.0)
    assert len(machine.outages) == 1
    machine.wait(1.0)
    assert machine.outages[1:] == [None]
    assert machine.started == ["r1"]
    machine.scale(1)
    assert machine.started == ["r1", "r2"]
    machine.end("r2")
    assert machine.outages[2] is not None, "one more failure is enough after an outage"


def test_scaling_does_not_cut_the_wait_short(machine: Machine) -> None:
    """A wish during a back-off is met when it is over."""
    machine.scale(1)
    machine.end("r1")
    machine.scale(0)
    assert machine.it.wake_at == math.inf
    machine.scale(5)
    assert machine.started == ["r1"]
    machine.wait(1.0)
    assert machine.started == ["r1", "r2"]


def test_no_outage_while_one_serves(machine: Machine) -> None:
    """Callers are refused only when no replica is ready; then at once."""
    launch = replace(LAUNCH, failures_before_giving_up=1)
    machine = Machine(replace(SPEC, launch=launch))
    machine.scale(2)
    machine.ready("r1")
    machine.end("r2")
    assert machine.outages == []
    machine.end("r1")
    assert machine.outages[0] is not None
    assert "before it was ready" in machine.outages[0].reason


def test_start_timeout_is_a_failed_start(machine: Machine) -> None:
    """Killed, and the reason names the limit, the last probe and the last output."""
    machine.scale(1)
    machine.it.probed("r1", "HTTP 503")
    machine.wait(100.0)
    assert machine.killed == ["r1"]
    reason = "not ready within 100 s (last probe: HTTP 503)"
    assert (machine.replicas["r1"].phase, machine.replicas["r1"].reason) == (Phase.FAILED, reason)
    assert machine.started == ["r1"], "its place is not free until it is gone"
    machine.ready("r1")
    assert machine.replicas["r1"].phase is Phase.FAILED
    machine.end("r1", Ending("killed by SIGKILL", "loading"))
    gone, cause = machine.gone["r1"]
    assert gone.reason == f"{reason}; last output:\nloading"
    assert cause is Cause.FAILED_START
    assert [phase for phase, _ in gone.phase_seconds] == [Phase.STARTING]
    machine.wait(1.0)
    machine.wait(100.0)
    assert machine.replicas["r2"].reason == "not ready within 100 s"


def test_crash_is_replaced_at_once_then_more_slowly(machine: Machine) -> None:
    """The first at once, the second after 1 s, the third after 2 s; health resets that."""
    machine.scale(1)
    machine.ready("r1")
    machine.end("r1", ending(-9, "bye"))
    gone, cause = machine.gone["r1"]
    assert (gone.reason, cause) == ("killed by SIGKILL; last output:\nbye", Cause.CRASHED)
    assert machine.started == ["r1", "r2"]
    machine.ready("r2")
    machine.end("r2")
    assert machine.started == ["r1", "r2"]
    machine.wait(1.0)
    machine.ready("r3")
    machine.end("r3")
    machine.wait(1.9)
    assert machine.started == ["r1", "r2", "r3"]
    machine.wait(0.1)
    machine.ready("r4")
    machine.wait(60.0)
    machine.end("r4")
    assert machine.started == ["r1", "r2", "r3", "r4", "r5"]
    assert machine.outages == []


def test_blameless_ends_are_made_up_for_at_once(machine: Machine) -> None:
    """What went with the reaper counts neither as failure nor as crash."""
    machine.scale(3)
    machine.ready("r1", "r2")
    for id in ("r1", "r2", "r3"):
        machine.end(id, Ending("the reaper ended", blameless=True))
        assert machine.gone[id][1] is Cause.LOST
    assert len(machine.started) == 6
    machine.ready("r4")
    machine.end("r4")
    assert len(machine.started) == 7, "the first crash, so replaced at once"


# --- changing -----------------------------------------------------------------------

NEWER = replace(SPEC, generation=2, launch=replace(LAUNCH, command=("serve", "better")))


def test_new_launch_replaces_gracefully(machine: Machine) -> None:
    """New replicas first; as each gets ready an old one drains, the youngest first."""
    machine.scale(2)
    machine.ready("r1", "r2")
    machine.take(machine.it.respec(NEWER, machine.now))
    assert machine.started == ["r1", "r2", "r3", "r4"]
    assert machine.replicas["r3"].generation == 2
    assert machine.phases()["r1"] == machine.phases()["r2"] == "ready"
    machine.ready("r3")
    assert machine.phases()["r1"] == "ready"
    assert machine.phases()["r2"] == "draining"
    machine.ready("r4")
    assert machine.phases()["r1"] == "draining"
    assert "launch settings changed" in machine.replicas["r1"].reason


def test_new_launch_stops_what_was_not_ready(machine: Machine) -> None:
    """An old replica that cannot serve yet is of no use any more; its failure says nothing."""
    machine.scale(1)
    machine.take(machine.it.respec(NEWER, machine.now))
    assert machine.terminated == ["r1"]
    assert machine.started == ["r1", "r2"]
    machine.end("r1")
    assert machine.outages == []


def test_old_generation_crash_is_no_news_of_the_new(machine: Machine) -> None:
    """The old launch's crash neither delays nor stands in for the new one's start."""
    machine.scale(1)
    machine.ready("r1")
    machine.take(machine.it.respec(NEWER, machine.now))
    machine.end("r1")
    assert machine.started == ["r1", "r2"]
    assert machine.it.desired == 1


def test_new_launch_deserves_a_fresh_chance(machine: Machine) -> None:
    """An outage ends with the settings that caused it, and the start is not delayed."""
    machine.scale(1)
    machine.end("r1", refusal(LAUNCH, "command", 2))
    machine.take(machine.it.respec(replace(SPEC, hosts=("a",)), machine.now))
    assert len(machine.outages) == 1, "hosts have nothing to do with it"
    machine.take(machine.it.respec(NEWER, machine.now))
    assert machine.outages[1:] == [None]
    assert machine.started == ["r1", "r2"]


def test_outage_shows_when_the_old_replica_goes(machine: Machine) -> None:
    """A new launch that cannot start refuses nobody as long as the old one serves."""
    machine.scale(1)
    machine.ready("r1")
    machine.take(machine.it.respec(NEWER, machine.now))
    machine.end("r2", refusal(LAUNCH, "command", 2))
    assert machine.outages == []
    machine.scale(0)
    assert machine.outages[0] is not None


def test_removed_model_drains(machine: Machine) -> None:
    """Its replicas go, its outage too, and nothing is tried again; it may come back."""
    machine.scale(2)
    machine.ready("r1", "r2")
    machine.take(machine.it.remove(machine.now))
    assert machine.phases() == {"r1": "draining", "r2": "draining"}
    assert machine.replicas["r1"].reason == "model removed"
    assert machine.it.removed
    machine.take(machine.it.respec(SPEC, machine.now))
    machine.scale(1)
    assert machine.started == ["r1", "r2", "r3"]


def test_removed_while_being_replaced(machine: Machine) -> None:
    """Old replicas then go for the removal, not for the change."""
    machine.scale(1)
    machine.ready("r1")
    machine.take(machine.it.respec(NEWER, machine.now))
    machine.take(machine.it.remove(machine.now))
    assert machine.replicas["r1"].reason == "model removed"
    assert machine.replicas["r2"].reason == "model removed"


def test_stop_all_waits_for_nobody(machine: Machine) -> None:
    """Closing: SIGTERM at once for all that run or drain, no second one for others."""
    machine.scale(3)
    machine.ready("r1", "r2")
    machine.scale(2)
    assert machine.terminated == ["r3"]
    machine.scale(1)
    assert machine.phases()["r2"] == "draining"
    machine.take(machine.it.stop_all(machine.now))
    assert sorted(machine.terminated) == ["r1", "r2", "r3"]
    assert machine.replicas["r1"].reason == "Stoker is closing"
    assert machine.replicas["r2"].reason == "scaled down"
    machine.wait(30.0)
    assert sorted(machine.killed) == ["r1", "r2", "r3"]


# --- properties ---------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("scale"), st.integers(0, 4)),
        st.tuples(st.sampled_from(["ready", "end", "drained", "hopeless"]), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.integers(0, 120)),
        st.tuples(st.just("respec"), st.integers(0, 1)),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_the_wish_is_met_in_the_end(steps: list[tuple[str, int]]) -> None:
    """Never more running than wished for; once starts succeed, exactly that many are ready."""
    machine = Machine()
    generation = 1
    for step, number in steps:
        ids = list(machine.replicas)
        id = ids[number % len(ids)] if ids else "nobody"
        match step:
            case "scale":
                machine.scale(number)
            case "ready":
                machine.ready(id)
            case "end":
                machine.end(id)
            case "hopeless":
                machine.end(id, refusal(LAUNCH, "directory", 2))
            case "drained":
                machine.drained(id)
            case "wait":
                machine.wait(float(number))
            case _:
                generation += 1
                launch = replace(LAUNCH, command=("serve", str(generation)))
                spec = replace(SPEC, generation=generation, launch=launch)
                machine.take(machine.it.respec(spec, machine.now))
        current = [
            r
            for r in machine.replicas.values()
            if r.generation == generation and r.phase in (Phase.STARTING, Phase.READY)
        ]
        assert len(current) <= machine.it.desired
        published = machine.outages[-1] if machine.outages else None
        serving = any(r.phase is Phase.READY for r in machine.replicas.values())
        assert not (serving and published), "callers refused although a replica is ready"
    for _ in range(6):
        machine.wait(70.0)  # longer than any pause, shorter than start_timeout
        for id in list(machine.replicas):
            machine.ready(id)
            if machine.replicas[id].phase is not Phase.READY:
                machine.end(id, ending(-9, ""))
    assert [r.generation for r in machine.replicas.values()] == [generation] * machine.it.desired
    assert set(machine.phases().values()) <= {"ready"}
    assert not (machine.outages and machine.outages[-1] and machine.it.desired)


# --- words --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "number", "words", "hopeless"),
    [
        ("command", 2, "command not found: serve", True),
        ("command", 13, "command could not be executed: serve: Permission denied", True),
        ("command", 12, "command could not be executed: serve: Cannot allocate memory", False),
        ("directory", 2, "working directory /nowhere: No such file or directory", True),
        (
            "fork",
            11,
            "command could not be executed: serve: Resource temporarily unavailable",
            False,
        ),
    ],
)
def test_refusals_in_words(what: str, number: int, words: str, hopeless: bool) -> None:
    """What was wrong, its value, and whether another try may help."""
    refused = refusal(replace(LAUNCH, directory="/nowhere"), what, number)
    assert (refused.how, refused.hopeless) == (words, hopeless)


def test_missing_script_may_be_a_missing_interpreter() -> None:
    """For a path the kernel's answer is the same in both cases."""
    refused = refusal(replace(LAUNCH, command=("./serve",)), "command", 2)
    assert refused.how == "command not found: ./serve, or the interpreter that it names"


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "exited with code 0"), (-15, "killed by SIGTERM"), (-40, "killed by signal 40")],
)
def test_endings_in_words(code: int, words: str) -> None:
    """Exit codes, signals by name, and signals that have none."""
    assert ending(code, "").reason() == words


def crash_three_times(machine: Machine) -> None:
    """Leaves a model whose next replica would wait 2 s after a crash: r4, ready now."""
    machine.scale(1)
    for number, pause in enumerate((0.0, 1.0, 2.0), 1):
        machine.ready(f"r{number}")
        machine.end(f"r{number}", ending(-9, "bye"))
        machine.wait(pause)
    assert machine.started == ["r1", "r2", "r3", "r4"]
    machine.ready("r4")


def test_a_clean_stop_forgives_crashes(machine: Machine) -> None:
    """After scaling down a healthy replica the next crash is the first again."""
    crash_three_times(machine)
    machine.scale(0)
    machine.drained("r4")
    machine.end("r4", ending(0, ""))
    machine.scale(1)
    machine.ready("r5")
    machine.end("r5")
    assert machine.started[-1] == "r6"


@pytest.mark.parametrize(("up", "at_once"), [(7.9, False), (8.1, True)])
def test_being_up_forgives_crashes(machine: Machine, up: float, at_once: bool) -> None:
    """Up for twice the pause that would follow (4 s by now): replaced at once, else not."""
    crash_three_times(machine)
    machine.wait(up)
    machine.end("r4")
    assert (machine.started[-1] == "r5") == at_once


@pytest.mark.parametrize(("up", "at_once"), [(7.9, False), (8.1, True)])
def test_one_that_stays_up_forgives_the_others_crashes(
    machine: Machine, up: float, at_once: bool
) -> None:
    """Another replica has been ready for twice the pause: the model works, whoever was killed."""
    crash_three_times(machine)
    machine.wait(up)
    machine.scale(2)
    machine.ready("r5")
    machine.end("r5")
    started = machine.started[-1]
    assert (started == "r6") == at_once
    if at_once:
        machine.ready("r6")
        machine.end("r6")
        assert machine.started[-1] == "r7", "the first of them again"


def test_a_pause_tells_why_and_how_long(machine: Machine) -> None:
    """While nothing runs and the next start is not due: the last reason and the seconds."""
    machine.scale(1)
    assert machine.it.pause(machine.now) is None
    machine.ready("r1")
    machine.end("r1")
    assert machine.it.pause(machine.now) is None
    machine.ready("r2")
    machine.end("r2", ending(-9, "bye"))
    told = machine.it.pause(machine.now + 0.25)
    assert told == ("killed by SIGKILL; last output:\nbye", 0.75)
    machine.scale(0)
    assert machine.it.pause(machine.now) is None


def test_there_is_no_pause_while_another_replica_runs(machine: Machine) -> None:
    """The next start is not due, but the model is served."""
    machine.scale(2)
    machine.ready("r1", "r2")
    machine.end("r2")
    machine.ready("r3")
    machine.end("r3")
    assert machine.started == ["r1", "r2", "r3"]
    assert machine.it.pause(machine.now) is None
    machine.end("r1")
    assert machine.it.pause(machine.now) is not None
