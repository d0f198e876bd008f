"""Taking a Service over and giving it back: it never loses an address that answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from stoker.platforms.kubernetes.names import DIRECT
from stoker.platforms.kubernetes.traffic import (
    FIRST_PORT,
    LAST_PORT,
    SETTLE,
    Activator,
    Annotate,
    DeleteSlice,
    Done,
    PutSlice,
    ServiceView,
    SetKey,
    SliceView,
    Step,
    Wait,
    selects,
    step,
    subset,
    unfit,
)

PORT = FIRST_PORT
ALLOCATED = (("", PORT),)
SERVICE = ServiceView("ns", "m", "u1", (("app", "m"),), ("",))
TAKEN = replace(SERVICE, selector=(("app", "m"), (DIRECT, "true")), allocated=ALLOCATED)
ONE = Activator("one", {"IPv4": "10.0.0.1"}, frozenset({PORT}))
TWO = Activator("two", {"IPv4": "10.0.0.2"}, frozenset({PORT}))
OURS = SliceView("m-stoker", "m", True, "IPv4", ("10.0.0.1",), ALLOCATED, 1)
THEIRS = SliceView("m-x", "m", False, "IPv4", ("10.1.0.1",), (("", 8080),), 1)


def next_step(
    service: ServiceView = SERVICE, *slices: SliceView, wanted: bool = True, **more: Any
) -> Step:
    known: dict[str, Any] = {"activators": [ONE], "ready": 1, "direct_for": 0.0}
    return step(service, slices, wanted=wanted, **(known | more))


def test_taking_over() -> None:
    """Ports, then activators that accept on them, then our slice, and only then the key."""
    assert next_step() == Annotate(ALLOCATED)
    annotated = replace(SERVICE, allocated=ALLOCATED)
    deaf = replace(ONE, ports=frozenset({PORT + 1}))
    assert next_step(annotated, activators=[deaf]) == Wait(f"no activator accepts on {PORT} (IPv4)")
    assert next_step(annotated, THEIRS) == PutSlice("IPv4", ("10.0.0.1",), ALLOCATED)
    assert next_step(annotated, THEIRS, OURS) == SetKey(True)
    assert next_step(TAKEN, OURS) == Done()


def test_giving_back() -> None:
    """The key, then nothing until the cluster's slice has been filled for a while, then ours."""
    back: dict[str, Any] = {"wanted": False}
    assert next_step(TAKEN, OURS, **back, ready=0) == Wait(
        "no replica is ready that could answer instead"
    )
    assert next_step(TAKEN, OURS, **back) == SetKey(False)
    free = replace(SERVICE, allocated=ALLOCATED)
    assert isinstance(next_step(free, OURS, THEIRS, **back, direct_for=SETTLE - 1), Wait)
    assert next_step(free, OURS, THEIRS, **back, direct_for=SETTLE) == DeleteSlice("m-stoker")
    assert next_step(free, OURS, **back, ready=0) == DeleteSlice("m-stoker")
    assert next_step(free, THEIRS, **back) == Annotate(())
    assert next_step(SERVICE, THEIRS, **back) == Done()


def test_activators_that_come_and_go() -> None:
    """Our slice follows; with nobody to name it stays as it is."""
    assert next_step(TAKEN, OURS, activators=[TWO]) == PutSlice("IPv4", ("10.0.0.2",), ALLOCATED)
    assert isinstance(next_step(TAKEN, OURS, activators=[]), Wait)


def test_ports_that_come_and_go() -> None:
    """Each has one of its own, those that were there keep theirs; used ones are left alone."""
    two = replace(TAKEN, ports=("http", "grpc"), allocated=(("http", PORT),))
    wanted = (("http", PORT), ("grpc", PORT + 2))
    assert next_step(two, OURS, used_ports={PORT + 1}) == Annotate(wanted)
    less = replace(TAKEN, ports=("grpc",), allocated=wanted)
    assert next_step(less, OURS) == Annotate((("grpc", PORT + 2),))
    all_used = range(FIRST_PORT, LAST_PORT + 1)
    assert next_step(used_ports=all_used) == Wait("every port from 20000 to 29999 is in use")


def test_both_families() -> None:
    """A slice for each; with no activator in one of them its clients would lose the Service."""
    dual = replace(TAKEN, families=("IPv4", "IPv6"))
    assert isinstance(next_step(dual, OURS), Wait)
    both = replace(ONE, addresses={"IPv4": "10.0.0.1", "IPv6": "fd00::1"})
    put = PutSlice("IPv6", ("fd00::1",), ALLOCATED)
    assert next_step(dual, OURS, activators=[both]) == put
    six = replace(OURS, name="m-stoker-6", family="IPv6", addresses=("fd00::1",))
    assert next_step(dual, OURS, six, activators=[both]) == Done()
    assert next_step(TAKEN, OURS, six) == DeleteSlice("m-stoker-6")


UNFIT = {
    "ExternalName": replace(SERVICE, external=True),
    "headless": replace(SERVICE, headless=True),
    "no selector": replace(SERVICE, selector=((DIRECT, "true"),)),
    "not TCP": replace(SERVICE, udp=True),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_cannot_be_taken_over(case: str) -> None:
    """It is said why, and one that was taken before it became so is given back."""
    service = UNFIT[case]
    assert case in unfit(service)
    taken = replace(service, selector=(("app", "m"), (DIRECT, "true")))
    if case != "no selector":
        assert next_step(service) == Done()
        assert next_step(taken) == SetKey(False)
    assert unfit(SERVICE) == ""


def test_whose_pods_a_service_has() -> None:
    """By its own selector: our key is not looked for in labels."""
    assert selects(TAKEN, {"app": "m", "x": "y"})
    assert not selects(TAKEN, {"app": "other"})
    assert not selects(UNFIT["no selector"], {"app": "m"})


def test_slices_name_few_and_change_seldom() -> None:
    """Of 20 activators three each, spread evenly; one that goes touches only its own."""
    names = {f"a{n}": f"10.0.0.{n}" for n in range(20)}
    before = {uid: subset(f"u{uid}", names) for uid in range(500)}
    assert {len(addresses) for addresses in before.values()} == {3}
    counts = [sum(a in addresses for addresses in before.values()) for a in names.values()]
    assert min(counts) > 40  # 75 on average
    rest = {name: address for name, address in names.items() if name != "a7"}
    for uid, addresses in before.items():
        changed = subset(f"u{uid}", rest) != addresses
        assert changed == ("10.0.0.7" in addresses)


# --- every order of events, and a crash after every write ----------------------------------------


@dataclass(frozen=True)
class Truth:
    """What is in the cluster. ``slice``: the activators that ours names, None without one;
    ``filled``: the cluster's slice names ready pods."""

    key: bool = False
    annotated: bool = False
    slice: frozenset[str] | None = None
    filled: bool = False


@dataclass(frozen=True)
class World:
    """``view`` is what the process has seen of the truth so far; ``settled``: the cluster's
    slice has been filled for long, as far as it has seen. Activators that are ``listed`` are
    asked to serve; those that are ``bound`` accept."""

    truth: Truth = Truth()
    view: Truth = Truth()
    settled: bool = False
    pods: bool = True
    wanted: bool = False
    listed: frozenset[str] = frozenset({"one", "two"})
    bound: frozenset[str] = frozenset()

    @property
    def answers(self) -> bool:
        """A new connection to the Service's address finds somebody, whichever it is led to."""
        theirs = self.truth.filled
        named = self.truth.slice or frozenset()
        everyone = named <= self.bound and (self.pods or not theirs)
        return everyone and (theirs or bool(named))


START = World(Truth(filled=True), Truth(filled=True))


def observed(world: World) -> World:
    """The watches catch up."""
    view = world.truth
    still = world.settled and not view.key and view.filled
    return replace(world, view=view, settled=still)


def planned(world: World) -> Step:
    view = world.view
    selector = (("app", "m"), (DIRECT, "true")) if view.key else (("app", "m"),)
    service = replace(SERVICE, selector=selector, allocated=ALLOCATED if view.annotated else ())
    slices = []
    if view.slice is not None:
        slices.append(replace(OURS, addresses=tuple(sorted(view.slice))))
    if view.filled:
        slices.append(THEIRS)
    activators = [
        Activator(name, {"IPv4": name}, frozenset({PORT} if name in world.bound else ()))
        for name in sorted(world.listed)
    ]
    return step(
        service,
        slices,
        wanted=world.wanted,
        activators=activators,
        ready=int(world.pods),
        direct_for=SETTLE if world.settled else 0.0,
    )


def written(world: World) -> World:
    """The next write is done, if it is about the version that is there: else it is refused.
    The answer tells what was written, so the process knows that of what it wrote."""
    truth, view = world.truth, world.view
    match planned(world):
        case Annotate(ports) if (view.key, view.annotated) == (truth.key, truth.annotated):
            truth = replace(truth, annotated=bool(ports))
        case SetKey(present) if (view.key, view.annotated) == (truth.key, truth.annotated):
            truth = replace(truth, key=present)
        case PutSlice(_, addresses) if view.slice == truth.slice:
            truth = replace(truth, slice=frozenset(addresses))
        case DeleteSlice() if view.slice == truth.slice:
            truth = replace(truth, slice=None)
        case _:
            return world
    # What the cluster's own controller made of it is seen later.
    view = replace(truth, filled=view.filled)
    return replace(world, truth=truth, view=view, settled=world.settled and not view.key)


def neighbours(world: World) -> Iterator[tuple[str, World]]:
    """Everything that may happen next."""
    truth = world.truth
    yield "observe", observed(world)
    yield "crash", replace(observed(world), settled=False)
    yield "write", written(world)
    # The write was done and nobody was told: whoever goes on looks first.
    yield "write, crash", replace(observed(written(world)), settled=False)
    controlled = replace(truth, filled=world.pods and not truth.key)
    yield "endpoint controller", replace(world, truth=controlled)
    yield "wanted", replace(world, wanted=not world.wanted)
    if controlled == truth == world.view and truth.filled:
        yield "time passes", replace(world, settled=True)  # SETTLE is long for controllers
    for name in ("one", "two"):
        others = world.listed - {name}
        if name in world.listed:
            if truth.annotated:
                yield f"{name} binds", replace(world, bound=world.bound | {name})
            if others & world.bound:
                yield f"{name} is leaving", replace(world, listed=others)
        elif name not in (truth.slice or ()) and name not in (world.view.slice or ()):
            # It has left once no slice names it, and comes back as another would.
            left = replace(world, bound=world.bound - {name})
            yield f"{name} has left", left
            if name not in left.bound:
                yield f"{name} comes", replace(left, listed=world.listed | {name})
    if not world.pods:
        yield "pods start", replace(world, pods=True)
    elif truth.key and world.view.key and world.wanted and not truth.filled:
        yield "scaled to zero", replace(world, pods=False)


def test_in_every_order_of_events_the_service_keeps_an_answer() -> None:
    """Every reachable state of a Service with two activators: writes that are seen late, a
    process that dies after any of them and is followed by one that knows nothing, a wish that
    changes half-way, activators that come and leave, pods that come and go. Once the Service
    answers it always does."""
    assert START.answers
    seen = {START: ""}
    todo = [START]
    while todo:
        world = todo.pop()
        for what, after in neighbours(world):
            if after not in seen:
                assert after.answers, f"{seen[world]} | {what}: {after}"
                seen[after] = f"{seen[world]} | {what}"
                todo.append(after)
    taken = [w for w in seen if w.truth.key and not w.pods]
    back = [w for w in seen if not w.truth.key and w.truth.slice is None and not w.truth.annotated]
    assert len(seen) > 200
    assert taken  # asleep, held by the activators
    assert len(back) > 1


@pytest.mark.parametrize("wanted", [True, False])
def test_from_every_state_it_gets_where_it_is_wanted(wanted: bool) -> None:
    """When events stop, a bounded number of writes leads to the end, whatever was before."""
    seen, todo = {START}, [START]
    while todo:
        for _, after in neighbours(todo.pop()):
            if after not in seen:
                seen.add(after)
                todo.append(after)
    for begun in sorted(seen, key=repr)[::3]:
        world = replace(begun, wanted=wanted, pods=True)
        for _ in range(12):
            world = replace(world, listed=frozenset({"one", "two"}))
            if world.truth.annotated:
                world = replace(world, bound=frozenset({"one", "two"}))
            truth = replace(world.truth, filled=not world.truth.key)
            world = observed(replace(world, truth=truth))
            world = written(replace(world, settled=truth.filled))
        assert planned(observed(world)) == Done(), begun
        assert world.truth.key == wanted
        assert (world.truth.slice is not None) == wanted == world.truth.annotated
