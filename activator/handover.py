"""Who may use a replica's slots where several activators could. Pure.

For each replica and each pair of members there is one permission, and one of the two
holds it (the rule of Carvalho and Roucairol, 1983, for each replica by itself). A member
that wants a replica asks for those that it lacks; who does not want the replica gives
its permission at once, with the number of requests it still has in it, and reports as
that number falls; who wants it keeps the question until it does not. So two members
never both use one replica, whatever each of them believes about who should; that they
believe the same in the end (``activator.ownership``) makes it go forward.

A member that is lost answers nothing. What it had in a replica is taken to be over
``expiry`` seconds after its loss: in a replica that it had given away, the requests it
last reported; in any other, all slots. Replicas that were seen to start after the loss
can have none of its requests; they wait ``grace`` seconds only, in which a member that
lost nothing but its connection has come back. What was before this process started is
known from what others tell in their greeting; who is a member, but has not been seen, may be
at work for ``expiry``.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

NEVER: Final = float("inf")
LONG_AGO: Final = float("-inf")
# How a number of seconds without end is told to others: JSON has no infinity.
AGES: Final = 1e9

# One line of talk between two members. (ask, replica, serial, 0): may I have it?
# (free, replica, serial, count): yes, to that very question; I have so many requests left
# in it. (left, replica, 0, count): so many now. A permission that answers an older
# question is not used: its giver may have been given ours for it meanwhile.
Line = tuple[str, str, int, int]
ASK: Final = "ask"
FREE: Final = "free"
LEFT: Final = "left"


class Claim(enum.Enum):
    """What this member wants of a replica.

    OPEN: it has no limit, all members use it without asking. OWNED: use it alone.
    CLOSING: use it no more, and know when nobody does.
    """

    NONE = "none"
    OPEN = "open"
    OWNED = "owned"
    CLOSING = "closing"


class Lost(NamedTuple):
    """One life of a member that ended. ``epoch`` 0: it has never been seen."""

    member: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a member tells of the past when a link to it comes up; ages in seconds.

    ``blind``: how long ago its knowledge begins. ``up``: the members it has links to.
    ``losses``: who it lost, or has not reached yet, and how long ago that began.
    """

    blind: float = 0.0
    up: tuple[str, ...] = ()
    losses: tuple[tuple[str, int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Send:
    """Tell a member."""

    member: str
    line: Line


@dataclass(frozen=True, slots=True)
class Changed:
    """How many slots this member may use of a replica is to be asked again: ``allowance``.

    Must be acted on before anything else is granted.
    """

    replica: str


@dataclass(frozen=True, slots=True)
class Drained:
    """Nobody has a request left in a replica that is CLOSING."""

    replica: str


Effect = Send | Changed | Drained


class _Replica:
    """``free``: permissions held, and how many requests their givers still have in it.
    ``tails``: the same of members that were lost since. ``serial``: of our last question.
    ``asking``: who waits for our permission, by the serial of theirs. ``told``: who was
    given it while we had requests in it, and so hears of each that ends.
    """

    __slots__ = ("asking", "born", "claim", "drained", "free", "serial", "tails", "told")

    def __init__(self, born: float) -> None:
        self.born = born
        self.claim = Claim.NONE
        self.free: dict[str, int] = {}
        self.tails: dict[Lost, int] = {}
        # Dicts for sets: their order is the same in every run.
        self.asking: dict[str, int] = {}
        self.told: dict[str, None] = {}
        self.drained = False
        self.serial = 0

    @property
    def wanted(self) -> bool:
        return self.claim is Claim.OWNED or self.claim is Claim.CLOSING


class Handover:
    """All permissions of one member: ``me``, in its life ``epoch`` (never 0).

    ``in_flight`` tells how many requests it has in a replica now. ``fresh``: nobody has had
    requests in any replica before ``now``. Every call returns what is to be done, in order.
    """

    def __init__(
        self,
        me: str,
        epoch: int,
        expiry: float,
        grace: float,
        in_flight: Callable[[str], int],
        now: float,
        *,
        fresh: bool = False,
    ) -> None:
        self.me = me
        self.epoch = epoch
        self.expiry = expiry
        self.grace = grace
        self._in_flight = in_flight
        self._blind = LONG_AGO if fresh else now
        self._up: dict[str, int] = {}
        self._losses: dict[Lost, float] = {}
        self._members: dict[str, None] = {}
        self._replicas: dict[str, _Replica] = {}
        self._serial = 0
        # Wanted, but with slots that time may set free.
        self._unsettled: dict[str, None] = {}

    # --- members ---

    def set_members(self, members: Iterable[str], now: float) -> list[Effect]:
        """Who belongs to the cluster. One that has not been seen may be at work unseen."""
        wanted = dict.fromkeys(name for name in members if name != self.me)
        for name in self._members:
            if name not in wanted:
                self._forget_life(Lost(name, 0))
        for name in wanted:
            if name not in self._members and name not in self._up:
                self._remember(Lost(name, 0), now, now)
        self._members = wanted
        return self._changed()

    def _remember(self, lost: Lost, at: float, now: float) -> None:
        """One more life that may have left requests behind.

        Not in what this member is using: it could not have come by that unasked.
        """
        for replica_id, replica in self._replicas.items():
            if replica.claim is Claim.OWNED and self.waits(replica_id, now) is None:
                replica.tails[lost] = 0
        self._losses[lost] = at

    def _forget_life(self, lost: Lost) -> None:
        self._losses.pop(lost, None)
        for replica in self._replicas.values():
            replica.tails.pop(lost, None)

    def greeting(self, now: float) -> Greeting:
        """What to tell a member that a link has come up to."""

        def age(at: float) -> float:
            return min(now - at, AGES)

        losses = tuple((*lost, age(at)) for lost, at in self._losses.items())
        return Greeting(age(self._blind), tuple(self._up), losses)

    def up(self, member: str, epoch: int, greeting: Greeting, now: float) -> list[Effect]:
        """A link to a member came up. Its permissions are asked for anew, all of them:
        it may have been at work while it could not be reached.
        """
        self._blind = min(self._blind, now - greeting.blind)
        for name, lost_epoch, age in greeting.losses:
            self._hear_of(Lost(name, lost_epoch), now - age, greeting.up, now)
        self._up[member] = epoch
        self._forget_life(Lost(member, 0))
        self._forget_life(Lost(member, epoch))
        asks = [
            Send(member, (ASK, replica_id, replica.serial, 0))
            for replica_id, replica in self._replicas.items()
            if replica.wanted
        ]
        return [*self._changed(), *asks]

    def _hear_of(self, lost: Lost, at: float, up: Sequence[str], now: float) -> None:
        """Another member lost ``lost``, or has never seen it, since that time."""
        name, epoch = lost
        if lost == (self.me, self.epoch) or self._up.get(name) == epoch:
            return
        unseen = Lost(name, 0)
        if name not in up and unseen in self._losses:
            # It has been away for as long, so it cannot be at work where we do not see it.
            self._losses[unseen] = min(self._losses[unseen], at)
        if epoch and lost not in self._losses:
            self._remember(lost, at, now)

    def lost(self, member: str, now: float, *, goodbye: bool = False) -> list[Effect]:
        """The link to a member ended. ``goodbye``: it had said that it has nothing left."""
        epoch = self._up.pop(member, None)
        if epoch is None:
            return []
        lost = Lost(member, epoch)
        self._losses[lost] = LONG_AGO if goodbye else now
        for replica in self._replicas.values():
            count = replica.free.pop(member, None)
            if count is not None and not goodbye:
                replica.tails[lost] = count
            replica.asking.pop(member, None)
            replica.told.pop(member, None)
        return self._changed()

    # --- replicas ---

    def learn(self, replica_id: str, now: float, *, starting: bool) -> None:
        """A replica is there. ``starting``: nobody can have had a request in it yet."""
        if replica_id not in self._replicas:
            self._replicas[replica_id] = _Replica(now if starting else LONG_AGO)

    def knows(self, replica_id: str) -> bool:
        """Whether it was learned of and not forgotten."""
        return replica_id in self._replicas

    def wants(self, replica_id: str) -> bool:
        """Whether it is to be this member's alone."""
        replica = self._replicas.get(replica_id)
        return replica is not None and replica.claim is Claim.OWNED

    def forget(self, replica_id: str) -> list[Effect]:
        """The replica is gone; whoever asked for it need not wait."""
        replica = self._replicas.pop(replica_id, None)
        self._unsettled.pop(replica_id, None)
        if replica is None:
            return []
        return [Send(m, (FREE, replica_id, serial, 0)) for m, serial in replica.asking.items()]

    def claim(self, replica_id: str, claim: Claim, now: float) -> list[Effect]:
        """Want something else of a replica that was learned of."""
        replica = self._replicas[replica_id]
        before, replica.claim = replica.claim, claim
        if before is claim:
            return []
        effects: list[Effect] = [Changed(replica_id)]
        if claim is Claim.NONE:
            asking, replica.asking = replica.asking, {}
            for member, serial in asking.items():
                effects.append(self._give(replica_id, replica, member, serial))
        elif replica.wanted and before not in (Claim.OWNED, Claim.CLOSING):
            self._serial += 1
            replica.serial = self._serial
            effects += [
                Send(member, (ASK, replica_id, replica.serial, 0))
                for member in self._up
                if member not in replica.free
            ]
        if claim is Claim.OPEN:
            # All use it without asking from here on: what was permitted and counted is void, and
            # whoever wants it alone afterwards has to ask everybody again.
            replica.free.clear()
            replica.tails.clear()
        elif not replica.wanted:
            # Once it is another's, whom we have not seen may have it from there.
            for lost in [lost for lost in replica.tails if not lost.epoch]:
                del replica.tails[lost]
        return effects + self._look(replica_id, replica, now)

    def released(self, replica_id: str, now: float) -> list[Effect]:
        """A request of ours in a ``watched`` replica ended."""
        replica = self._replicas.get(replica_id)
        if replica is None:
            return []
        left = self._in_flight(replica_id)
        effects: list[Effect] = [Send(m, (LEFT, replica_id, 0, left)) for m in replica.told]
        if not left:
            replica.told.clear()
        return effects + self._look(replica_id, replica, now)

    def watched(self, replica_id: str) -> bool:
        """Whether ``released`` wants to hear of requests that end in this replica."""
        replica = self._replicas.get(replica_id)
        return replica is not None and (bool(replica.told) or replica.claim is Claim.CLOSING)

    # --- talk ---

    def receive(self, member: str, line: Line, now: float) -> list[Effect]:
        """A member whose link is up said something about a replica."""
        verb, replica_id, serial, count = line
        replica = self._replicas.get(replica_id)
        if verb == ASK:
            if replica is None:
                return [Send(member, (FREE, replica_id, serial, 0))]
            if replica.claim is not Claim.NONE:
                replica.asking[member] = serial
                return []
            return [self._give(replica_id, replica, member, serial)]
        if replica is None:
            return []
        if (verb == FREE and replica.wanted and serial == replica.serial) or (
            verb == LEFT and member in replica.free
        ):
            replica.free[member] = count
        else:
            return []
        return [Changed(replica_id), *self._look(replica_id, replica, now)]

    def _give(self, replica_id: str, replica: _Replica, member: str, serial: int) -> Effect:
        replica.free.pop(member, None)
        left = self._in_flight(replica_id)
        if left:
            replica.told[member] = None
        return Send(member, (FREE, replica_id, serial, left))

    # --- what follows ---

    def allowance(self, replica_id: str, limit: int, now: float) -> int:
        """How many of a replica's ``limit`` slots may be in use by this member now."""
        replica = self._replicas.get(replica_id)
        if replica is None or replica.claim is not Claim.OWNED:
            return 0
        if self.waits(replica_id, now) is not None:
            return 0
        return max(limit - self._elsewhere(replica, now), 0)

    def waits(self, replica_id: str, now: float) -> tuple[str, float] | None:
        """What a wanted replica waits for: a member's name, and until when at the latest
        (NEVER: until it answers). None: for nothing.
        """
        replica = self._replicas[replica_id]
        for member in self._up:
            if member not in replica.free:
                return member, NEVER
        worst: tuple[str, float] | None = None
        for lost, until in self._blocking(replica):
            if until > now and (worst is None or until > worst[1]):
                worst = lost, until
        return worst

    def _blocking(self, replica: _Replica) -> Iterable[tuple[str, float]]:
        """Each past life that may still have requests in the replica, and until when."""
        if replica.born <= self._blind:
            yield self.me, self._blind + self.expiry
        for lost, at in self._losses.items():
            if lost not in replica.tails:
                # One that was never seen may not have got through to us yet.
                brief = lost.epoch and replica.born > at
                yield lost.member, at + (self.grace if brief else self.expiry)

    def _elsewhere(self, replica: _Replica, now: float) -> int:
        """Requests that others have in the replica."""
        tails = sum(
            count
            for lost, count in replica.tails.items()
            if self._losses.get(lost, LONG_AGO) + self.expiry > now
        )
        return sum(replica.free.values()) + tails

    def elsewhere(self, replica_id: str, now: float) -> int:
        """Requests that others, here or lost, are known to have in the replica."""
        replica = self._replicas.get(replica_id)
        return 0 if replica is None else self._elsewhere(replica, now)

    def _look(self, replica_id: str, replica: _Replica, now: float) -> list[Effect]:
        """Whether time can change anything for the replica, and whether it is drained."""
        if not replica.wanted:
            self._unsettled.pop(replica_id, None)
            return []
        waits = self.waits(replica_id, now)
        if waits is not None or self._elsewhere(replica, now):
            self._unsettled[replica_id] = None
            return []
        self._unsettled.pop(replica_id, None)
        if replica.claim is not Claim.CLOSING or replica.drained or self._in_flight(replica_id):
            return []
        replica.drained = True
        return [Drained(replica_id)]

    def _changed(self) -> list[Effect]:
        """Whose members changed: all that is wanted has to be looked at again."""
        wanted = [replica_id for replica_id, replica in self._replicas.items() if replica.wanted]
        self._unsettled.update(dict.fromkeys(wanted))
        return [Changed(replica_id) for replica_id in wanted]

    def tick(self, now: float) -> list[Effect]:
        """Time has passed: to be called every so often, say with each heartbeat."""
        effects: list[Effect] = []
        for replica_id in list(self._unsettled):
            effects.append(Changed(replica_id))
            effects += self._look(replica_id, self._replicas[replica_id], now)
        for lost, at in list(self._losses.items()):
            if at + self.expiry <= now and lost.epoch and not self._is_last(lost):
                self._forget_life(lost)
        return effects

    def _is_last(self, lost: Lost) -> bool:
        """It is how a member that is away was last seen: others may have to be told."""
        if lost.member in self._up or lost.member not in self._members:
            return False
        at = self._losses[lost]
        return all(
            other.member != lost.member or self._losses[other] <= at for other in self._losses
        )

    @property
    def losses(self) -> Mapping[Lost, float]:
        """Past lives that are remembered, and when each ended."""
        return self._losses
