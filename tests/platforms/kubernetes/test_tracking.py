"""Pods as they change, told as replicas whose phases never go back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stoker.platform import ModelOutage, ReplicaChanged, ReplicaEvent, ReplicaGone
from stoker.platforms.kubernetes.pods import PodView
from stoker.platforms.kubernetes.tracking import Tracker, pod_part
from stoker.vocabulary import Address, ModelKey, Phase

KEY = ModelKey("ns", "m")
POD = PodView(
    namespace="ns",
    name="m-abc-xyz",
    uid="0123456789",
    owner="m",
    phase=Phase.PULLING_IMAGE,
    reason="",
    stuck=False,
    terminating=False,
    draining=False,
    restarts=0,
    host="10.0.0.7",
    ports=(("http", 8080),),
    node="n1",
    created=1000.0,
)
ID = "m-abc-xyz.01234567"


def at(phase: Phase, pod: PodView = POD, **more: Any) -> PodView:
    return replace(pod, phase=phase, **more)


def told(events: list[ReplicaEvent]) -> list[tuple[str, str, str]]:
    """(what, id, phase or reason) of each."""
    lines = []
    for event in events:
        match event:
            case ReplicaChanged(replica):
                lines.append(("changed", replica.id, str(replica.phase)))
            case ReplicaGone(replica):
                lines.append(("gone", replica.id, replica.reason))
            case ModelOutage(_, outage):
                lines.append(("outage", "", outage.reason if outage else "over"))
    return lines


def test_a_start_from_scheduled_to_ready() -> None:
    """Each phase with how long the ones before took; an address as soon as there is one."""
    tracker = Tracker(KEY)
    (first,) = tracker.changed(at(Phase.PENDING_NODE, host="", node=""), 50.0, 1002.0)
    assert isinstance(first, ReplicaChanged)
    assert first.replica.address is None
    assert first.replica.created == 48.0
    tracker.changed(at(Phase.PULLING_IMAGE), 52.0, 1004.0)
    assert tracker.changed(at(Phase.PULLING_IMAGE), 53.0, 1005.0) == []
    (last,) = tracker.changed(at(Phase.READY), 60.0, 1012.0)
    assert isinstance(last, ReplicaChanged)
    replica = last.replica
    assert (replica.id, replica.node, replica.since) == (ID, "n1", 60.0)
    assert replica.address == Address("10.0.0.7", 8080)
    assert replica.phase_seconds == ((Phase.PENDING_NODE, 2.0), (Phase.PULLING_IMAGE, 8.0))
    assert tracker.replicas == [replica]
    assert tracker.current(POD) == replica
    assert tracker.pod(f"{ID}~7") == at(Phase.READY)
    assert tracker.pod("other") is None


def test_a_clock_that_is_ahead_makes_nobody_younger_than_now() -> None:
    """The API server's clock says that the pod is from the future."""
    (event,) = Tracker(KEY).changed(at(Phase.READY, created=5000.0), 50.0, 1002.0)
    assert isinstance(event, ReplicaChanged)
    assert event.replica.created == event.replica.since == 50.0


def test_a_restart_makes_another_replica() -> None:
    """Ready, crashed, started again: the pod's second life has an id of its own."""
    tracker = Tracker(KEY)
    tracker.changed(at(Phase.READY), 1.0, 1000.0)
    crashed = tracker.changed(at(Phase.FAILED, reason="OOMKilled (exit code 137)"), 2.0, 1000.0)
    assert told(crashed) == [("changed", ID, "failed")]
    again = tracker.changed(at(Phase.STARTING, restarts=1), 3.0, 1000.0)
    assert told(again) == [
        ("gone", ID, "OOMKilled (exit code 137)"),
        ("changed", f"{ID}~2", "starting"),
    ]
    assert told(tracker.changed(at(Phase.READY, restarts=1), 4.0, 1000.0)) == [
        ("changed", f"{ID}~2", "ready"),
    ]
    # Seen ready both times, with the crash in between missed.
    missed = tracker.changed(at(Phase.READY, restarts=2), 5.0, 1000.0)
    assert told(missed) == [
        ("gone", f"{ID}~2", "not ready any more"),
        ("changed", f"{ID}~3", "ready"),
    ]


def test_readiness_that_comes_and_goes() -> None:
    """What is not ready gets no requests: to everyone it is gone until it is back."""
    tracker = Tracker(KEY)
    tracker.changed(at(Phase.READY), 1.0, 1000.0)
    lost = tracker.changed(at(Phase.STARTING), 2.0, 1000.0)
    assert told(lost) == [("gone", ID, "not ready any more"), ("changed", f"{ID}~2", "starting")]
    back = tracker.changed(at(Phase.READY), 3.0, 1000.0)
    assert told(back) == [("changed", f"{ID}~2", "ready")]


def test_the_end_of_a_pod() -> None:
    """Draining stays draining, whatever its readiness does; then it is gone, with the reason."""
    tracker = Tracker(KEY)
    tracker.changed(at(Phase.READY), 1.0, 1000.0)
    marked = at(Phase.DRAINING, reason="scaled down", draining=True)
    assert told(tracker.changed(marked, 2.0, 1000.0)) == [("changed", ID, "draining")]
    assert tracker.changed(at(Phase.READY), 3.0, 1000.0) == []
    assert tracker.changed(at(Phase.STARTING, restarts=1), 3.0, 1000.0) == []
    assert told(tracker.gone(POD, 4.0)) == [("gone", ID, "scaled down")]
    assert tracker.gone(POD, 5.0) == []
    assert tracker.current(POD) is None
    tracker.changed(at(Phase.READY), 6.0, 1000.0)
    assert told(tracker.gone(POD, 7.0)) == [("gone", ID, "the pod was deleted")]


def test_a_port_that_is_not_there_is_said() -> None:
    """Ready without an address: nobody can be sent there, and people see why."""
    for port, said in (("grpc", "port grpc"), ("", "port")):
        ports = (("http", 8080),) if port else ()
        (event,) = Tracker(KEY, port).changed(at(Phase.READY, ports=ports), 1.0, 1000.0)
        assert isinstance(event, ReplicaChanged)
        assert event.replica.address is None
        assert event.replica.reason == f"ready, but its containers declare no {said}"


def test_an_outage_begins_when_all_are_stuck_and_ends_when_one_is_ready() -> None:
    """Not when a stuck one is tried again: that would let callers in for a moment each time."""
    tracker = Tracker(KEY)
    other = replace(POD, uid="9876543210", name="m-abc-two")
    tracker.changed(at(Phase.STARTING, other), 1.0, 1000.0)
    stuck = at(Phase.FAILED, reason="CrashLoopBackOff", stuck=True, restarts=2)
    assert told(tracker.changed(stuck, 2.0, 1000.0)) == [("changed", ID, "failed")]
    also = at(Phase.FAILED, other, reason="ImagePullBackOff", stuck=True)
    events = tracker.changed(also, 3.0, 1000.0)
    assert told(events)[-1] == ("outage", "", "CrashLoopBackOff")
    outage = tracker.outage
    assert outage is not None
    assert (outage.since, outage.retry_at) == (3.0, 43.0)
    tried = tracker.changed(at(Phase.STARTING, restarts=3), 4.0, 1000.0)
    assert [line[0] for line in told(tried)] == ["gone", "changed"]
    ready = tracker.changed(at(Phase.READY, restarts=3), 5.0, 1000.0)
    assert told(ready)[-1] == ("outage", "", "over")


def test_an_outage_ends_with_the_last_replica() -> None:
    """Scaled to zero, the next caller causes the next try. Its pause is bounded."""
    tracker = Tracker(KEY)
    stuck = at(Phase.FAILED, reason="ErrImagePull", stuck=True, restarts=50)
    tracker.changed(stuck, 1.0, 1000.0)
    assert tracker.outage is not None
    assert tracker.outage.retry_at == 301.0
    assert told(tracker.gone(POD, 2.0))[-1] == ("outage", "", "over")
    tracker.changed(stuck, 3.0, 1000.0)
    assert told(tracker.all_gone("closing")) == [("gone", ID, "closing"), ("outage", "", "over")]
    assert tracker.replicas == []
    tracker.changed(at(Phase.READY), 4.0, 1000.0)
    assert told(tracker.all_gone("closing")) == [("gone", ID, "closing")]
    assert pod_part(f"{ID}~3") == ID


PHASES = st.sampled_from(list(Phase))


@given(st.lists(st.tuples(st.integers(0, 2), st.none() | PHASES, st.integers(0, 1))))
def test_whatever_pods_do_the_seam_s_promises_hold(
    steps: list[tuple[int, Phase | None, int]],
) -> None:
    """Phases of one id never go back, nothing comes after its end, ids are never used twice."""
    tracker = Tracker(KEY)
    order = list(Phase)
    living: dict[str, Phase] = {}
    ended: set[str] = set()
    restarts = [0, 0, 0]
    for now, (number, phase, more) in enumerate(steps):
        restarts[number] += more
        pod = replace(POD, uid=f"{number:08}", name=f"m-{number}", restarts=restarts[number])
        if phase is None:
            events = tracker.gone(pod, float(now))
        else:
            events = tracker.changed(replace(pod, phase=phase), float(now), 1000.0)
        for event in events:
            if isinstance(event, ReplicaGone):
                del living[event.replica.id]
                ended.add(event.replica.id)
            elif isinstance(event, ReplicaChanged):
                replica = event.replica
                assert replica.id not in ended
                was = living.get(replica.id, Phase.PENDING_NODE)
                assert order.index(replica.phase) >= order.index(was)
                living[replica.id] = replica.phase
        assert living == {r.id: r.phase for r in tracker.replicas}
        if phase is None:
            # A pod with the same uid never comes back in a real cluster.
            restarts[number] = 0
            ended = {id for id in ended if not id.startswith(f"m-{number}.")}
