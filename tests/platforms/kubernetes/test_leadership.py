"""Who may act, and until when: never two at a time, whatever hangs or is lost."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from stoker.platforms.kubernetes.leadership import (
    ACTING_SHARE,
    Create,
    Election,
    LeaseRecord,
    Read,
    Take,
    Wait,
)

D = 15.0
ACTS = D * ACTING_SHARE


def held_by(holder: str, version: str = "1", duration: float = D) -> LeaseRecord:
    return LeaseRecord(holder, duration, version, 4)


def leader(now: float = 100.0) -> Election:
    """One that has just created the lease."""
    subject = Election("me")
    assert subject.next(now, 0.0) == Read()
    subject.read(None, now)
    assert subject.next(now, 0.0) == Create()
    subject.wrote(held_by("me"), sent_at=now, now=now + 0.5)
    return subject


def test_a_lease_that_is_not_there_is_created() -> None:
    """And led from the moment the request was sent, for two thirds of its duration."""
    subject = leader(100.0)
    assert subject.acts_until == 100.0 + ACTS
    assert subject.leads(100.0 + ACTS - 0.01)
    assert not subject.leads(100.0 + ACTS)
    assert subject.left(105.0) == pytest.approx(ACTS - 5.0)
    assert subject.left(200.0) == 0.0
    assert subject.holder == "me"


def test_the_holder_renews() -> None:
    """Over the version it wrote; each renewal counts from when it was sent."""
    subject = leader(100.0)
    assert subject.next(100.5, 0.0) == Wait(103.0)
    assert subject.next(103.0, 0.0) == Take("1", 4, renewal=True)
    subject.wrote(held_by("me", "2"), sent_at=103.0, now=104.0)
    assert subject.acts_until == 103.0 + ACTS


def test_renewals_that_fail_extend_nothing() -> None:
    """The lease is read before the next; time runs out unless one is confirmed."""
    subject = leader(100.0)
    subject.failed(104.0, 0.0)
    assert subject.next(104.0, 0.0) == Wait(104.75)
    assert subject.next(104.75, 0.0) == Read()
    subject.read(held_by("me", "2"), 105.0)  # it had come through after all
    assert subject.acts_until == 100.0 + ACTS
    assert subject.next(105.0, 0.0) == Take("2", 4, renewal=True)
    subject.failed(111.0, 0.0)
    assert not subject.leads(111.0)


def test_a_lease_of_another_is_respected() -> None:
    """Until it was unchanged for as long as its holder said, by our own clock."""
    subject = Election("me")
    subject.read(held_by("you", "1", duration=40.0), 100.0)
    for now in (100.0, 102.0, 130.0, 139.9):
        step = subject.next(now, 0.0)
        assert step == Wait(now + 2.0), now
        assert subject.next(now + 2.0, 0.0) == Read()
        if now < 139.0:
            subject.read(held_by("you", "1", duration=40.0), now + 2.0)
    subject.read(held_by("you", "2", duration=40.0), 141.9)  # renewed just in time
    assert isinstance(subject.next(141.9, 0.0), Wait)
    assert subject.next(144.0, 0.0) == Read()
    subject.read(held_by("you", "2", duration=40.0), 182.0)
    assert subject.next(182.0, 0.0) == Take("2", 5, renewal=False)
    assert not subject.leads(182.0)


def test_a_released_lease_is_taken_at_once() -> None:
    """Nobody holds it: nobody has to be waited for."""
    subject = Election("me")
    subject.read(held_by("", "7"), 100.0)
    assert subject.next(100.0, 0.0) == Take("7", 5, renewal=False)


@pytest.mark.parametrize("record", [held_by("you", "2"), None], ids=["taken", "deleted"])
def test_a_lease_that_is_lost_is_lost_at_once(record: LeaseRecord | None) -> None:
    """Also before its time: somebody took it by hand, or deleted it."""
    subject = leader(100.0)
    subject.failed(101.0, 0.0)
    subject.read(record, 102.0)
    assert not subject.leads(102.0)


def test_resigning_stops_first_and_tells_what_to_give_back() -> None:
    """Nothing is given back that is not ours."""
    subject = leader(100.0)
    assert subject.resign() == held_by("me")
    assert not subject.leads(100.5)
    assert subject.resign() is None
    other = Election("me")
    other.read(held_by("you"), 100.0)
    assert other.resign() is None
    assert Election("x").resign() is None
    assert Election("x").holder == ""


def test_a_renewal_must_have_a_second_chance() -> None:
    """Otherwise one lost request costs the lead."""
    with pytest.raises(ValueError, match=r"renew = 5: must be below 5"):
        Election("me", duration=15.0, renew=5.0)


# --- many candidates, a server, and everything that goes wrong ---------------------------------


@dataclass
class Server:
    """A Lease with a version; requests reach it late, or not at all."""

    holder: str = ""
    version: int = 0
    exists: bool = False

    def record(self) -> LeaseRecord | None:
        return LeaseRecord(self.holder, D, str(self.version)) if self.exists else None


@dataclass
class Candidate:
    """A process with a clock of its own: an offset, and a speed that is up to 1 % off."""

    election: Election
    offset: float
    speed: float
    busy_until: float = 0.0
    frozen_until: float = 0.0
    acted: list[tuple[float, float]] = field(default_factory=list)

    def clock(self, time: float) -> float:
        return self.offset + time * self.speed


@pytest.mark.parametrize("seed", range(6))
def test_never_two_act_at_a_time(seed: int) -> None:
    """Lost requests, lost answers, answers after seconds, frozen processes, clocks that are
    hours apart: at no moment may two act, and when all is well again one does."""
    rng = random.Random(seed)
    server = Server()
    candidates = [
        Candidate(Election(f"c{n}"), rng.uniform(-9000, 9000), rng.uniform(0.99, 1.01))
        for n in range(3)
    ]
    # (when it happens, candidate, what): requests arriving, answers arriving.
    pending: list[tuple[float, Candidate, object]] = []
    time, trouble_until, led = 0.0, 400.0, 0
    while time < 500.0:
        time += 0.05
        calm = time > trouble_until
        for entry in [entry for entry in pending if entry[0] <= time]:
            pending.remove(entry)
            entry[2]()  # type: ignore[operator]
        acting = [c.election.identity for c in candidates if c.election.leads(c.clock(time))]
        assert len(acting) <= 1, (time, acting)
        led += len(acting)
        for candidate in candidates:
            if not calm and rng.random() < 0.0005:
                candidate.frozen_until = time + rng.uniform(1, 40)
            if time < max(candidate.busy_until, candidate.frozen_until):
                continue
            election, now = candidate.election, candidate.clock(time)
            step = election.next(now, rng.random())
            if isinstance(step, Wait):
                continue
            lost, mute = (False, False) if calm else (rng.random() < 0.1, rng.random() < 0.1)
            there = time + (0.05 if calm else rng.choice([0.05, 0.3, 2.5]))
            back = there + (0.05 if calm else rng.choice([0.05, 0.5, 2.0]))
            candidate.busy_until = time + 3.0 if lost or mute or back > time + 3.0 else back

            def arrive(
                candidate: Candidate = candidate,
                step: object = step,
                sent: float = now,
                mute: bool = mute,
                back: float = back,
                begun: float = time,
            ) -> None:
                answer: LeaseRecord | None = None
                refused = False
                match step:
                    case Read():
                        answer = server.record()
                    case Create() if server.exists:
                        refused = True
                    case Take(version) if version != str(server.version):
                        refused = True
                    case _:
                        server.holder = candidate.election.identity
                        server.version += 1
                        server.exists = True
                        answer = server.record()

                def answered() -> None:
                    now = candidate.clock(max(back, candidate.frozen_until))
                    if refused:
                        candidate.election.failed(now, 0.5)
                    elif isinstance(step, Read):
                        candidate.election.read(answer, now)
                    else:
                        assert answer is not None
                        candidate.election.wrote(answer, sent, now)

                if not mute and back <= begun + 3.0:
                    pending.append((max(back, candidate.frozen_until), candidate, answered))

            pending.append((there, candidate, (lambda: None) if lost else arrive))
            if lost or mute or back > time + 3.0:

                def gave_up(candidate: Candidate = candidate) -> None:
                    at = max(candidate.busy_until, candidate.frozen_until)
                    candidate.election.failed(candidate.clock(at), 0.5)

                pending.append((time + 3.0, candidate, gave_up))
    assert [c for c in candidates if c.election.leads(c.clock(time))] != []
    assert led > 2000  # of 10,000 moments
