"""Members that ask each other for slots, whatever each believes, whatever is lost or late.

Views are not even simulated: each member claims what it likes. What must hold all the same
is that all together never have more requests in a replica than its limit. Links deliver in
order, but late; they break and come back; members join, leave and are killed, and what a
killed one had in a replica goes on there for up to the slot expiry.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from activator.handover import Changed, Claim, Drained, Effect, Greeting, Handover, Line, Send
from tests.properties import costly

LIMIT = 3
EXPIRY = 10.0
GRACE = 3.0
# Nothing is under way for longer, and no broken link stays broken for longer.
LATEST = 2.0
NAMES = ("a", "b", "c", "d")

Said = tuple[int, Greeting] | Line | bool


@dataclass(eq=False)
class Node:
    """One life of a member."""

    name: str
    epoch: int
    in_flight: Counter[str] = field(default_factory=Counter)
    up: dict[str, Wire] = field(default_factory=dict)
    leaving: bool = False
    # Replicas that have no limit, as far as it has heard.
    open: set[str] = field(default_factory=set)
    handover: Handover = field(init=False)

    def allowance(self, replica: str, now: float) -> int:
        return self.handover.allowance(replica, LIMIT, now)


@dataclass(eq=False)
class Wire:
    """One direction of a connection: what was said and has not been heard. The end is a bool:
    whether goodbye was said before it.
    """

    sender: Node
    receiver: Node
    said: list[Said] = field(default_factory=list)
    since: float = 0.0
    cut: bool = False


class Members(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.epochs = 0
        self.nodes: dict[str, Node] = {}
        self.wires: list[Wire] = []
        self.apart: dict[frozenset[str], float] = {}
        self.ghosts: list[tuple[str, float]] = []
        self.replicas: list[str] = []
        self.open: set[str] = set()
        for name in NAMES[:3]:
            self._start(name, fresh=True)
        for number in range(2):
            self._replica(f"r{number}")

    # --- how the world works ---

    def _start(self, name: str, *, fresh: bool = False) -> None:
        self.epochs += 1
        node = Node(name, self.epochs)
        node.handover = Handover(
            name,
            self.epochs,
            EXPIRY,
            GRACE,
            lambda replica: node.in_flight[replica],
            self.now,
            fresh=fresh,
        )
        node.handover.set_members(NAMES if not fresh else NAMES[:3], self.now)
        for replica in self.replicas:
            node.handover.learn(replica, self.now, starting=False)
        for replica in sorted(self.open):
            node.handover.claim(replica, Claim.OPEN, self.now)
            node.open.add(replica)
        for other in self.nodes.values():
            self.apart[frozenset((name, other.name))] = self.now
        self.nodes[name] = node

    def _replica(self, replica: str) -> None:
        self.replicas.append(replica)
        for node in self.nodes.values():
            node.handover.learn(replica, self.now, starting=True)

    def _act(self, node: Node, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                wire = node.up.get(effect.member)
                if wire is not None:
                    self._say(wire, effect.line)
            elif isinstance(effect, Drained):
                assert self._load(effect.replica) == 0, f"{effect.replica} is not drained"
            else:
                assert isinstance(effect, Changed)

    def _say(self, wire: Wire, said: Said) -> None:
        if not wire.cut:
            wire.since = wire.since if wire.said else self.now
            wire.said.append(said)

    def _connect(self, a: Node, b: Node) -> None:
        for sender, receiver in ((a, b), (b, a)):
            wire = Wire(sender, receiver)
            self.wires.append(wire)
            greeting = sender.handover.greeting(self.now)
            self._say(wire, (sender.epoch, greeting))
        self.apart.pop(frozenset((a.name, b.name)), None)

    def _break(self, a: Node, b: Node, heard: int, *, goodbye: bool = False) -> None:
        """What ``a`` said is heard up to there; ``b`` speaks on into nothing."""
        for wire in self.wires:
            if not wire.cut and {wire.sender, wire.receiver} == {a, b}:
                if not goodbye:
                    del wire.said[heard:]
                self._say(wire, goodbye and wire.sender is a)
                wire.cut = True

    def _hear(self, wire: Wire) -> None:
        said = wire.said.pop(0)
        node, other = wire.receiver, wire.sender
        wire.since = self.now
        if self.nodes.get(node.name) is not node:
            return
        handover = node.handover
        back = next(
            (w for w in self.wires if (w.sender, w.receiver) == (node, other) and not w.cut), None
        )
        if isinstance(said, bool):
            self.wires.remove(wire)
            wire_up = node.up.get(other.name)
            if wire_up is not None and wire_up.receiver is other and back is None:
                del node.up[other.name]
                self._act(node, handover.lost(other.name, self.now, goodbye=said))
        elif len(said) == 2:
            epoch, greeting = said
            if other.name in node.up:
                del node.up[other.name]
                self._act(node, handover.lost(other.name, self.now))
            if back is not None:
                node.up[other.name] = back
                self._act(node, handover.up(other.name, epoch, greeting, self.now))
        elif other.name in node.up and node.up[other.name].receiver is other:
            self._act(node, handover.receive(other.name, said, self.now))

    def _catch_up(self) -> None:
        """Nothing is late any more, and all who are there are linked."""
        while True:
            for pair in list(self.apart):
                a, b = (self.nodes.get(name) for name in sorted(pair))
                if a is None or b is None:
                    del self.apart[pair]
                else:
                    self._connect(a, b)
            late = [wire for wire in self.wires if wire.said]
            if not late:
                return
            for wire in late:
                while wire.said:
                    self._hear(wire)

    def _load(self, replica: str) -> int:
        ghosts = sum(ghost == replica for ghost, _ in self.ghosts)
        return ghosts + sum(node.in_flight[replica] for node in self.nodes.values())

    # --- what happens ---

    @rule(data=st.data())
    def connect(self, data: st.DataObject) -> None:
        """Two members that are there come to be linked."""
        if self.apart:
            pair = data.draw(st.sampled_from(sorted(self.apart, key=sorted)))
            a, b = (self.nodes.get(name) for name in sorted(pair))
            if a is not None and b is not None:
                self._connect(a, b)

    @rule(data=st.data(), count=st.integers(1, 8))
    def hear(self, data: st.DataObject, count: int) -> None:
        """Some of what was said on one link arrives."""
        late = [number for number, wire in enumerate(self.wires) if wire.said]
        if late:
            wire = self.wires[data.draw(st.sampled_from(late))]
            for _ in range(min(count, len(wire.said))):
                self._hear(wire)

    @rule(
        name=st.sampled_from(NAMES),
        which=st.integers(0, 5),
        claim=st.sampled_from([Claim.NONE, Claim.OWNED, Claim.OWNED, Claim.CLOSING]),
    )
    def claim(self, name: str, which: int, claim: Claim) -> None:
        """A member changes its mind about a replica."""
        node = self.nodes.get(name)
        if node is not None and not node.leaving:
            replica = self.replicas[which % len(self.replicas)]
            if replica not in self.open:
                self._act(node, node.handover.claim(replica, claim, self.now))

    @rule(which=st.integers(0, 5), counts=st.lists(st.integers(0, LIMIT), min_size=4, max_size=4))
    def lift_limit(self, which: int, counts: list[int]) -> None:
        """A replica has no limit any more: all hear of it, and use it as they like."""
        replica = self.replicas[which % len(self.replicas)]
        self.open.add(replica)
        for node, count in zip(self.nodes.values(), counts, strict=False):
            node.open.add(replica)
            self._act(node, node.handover.claim(replica, Claim.OPEN, self.now))
            node.in_flight[replica] += count

    @precondition(lambda self: self.open)
    @rule(
        name=st.sampled_from(NAMES),
        claim=st.sampled_from([Claim.NONE, Claim.OWNED, Claim.CLOSING]),
    )
    def limit_again(self, name: str, claim: Claim) -> None:
        """A member hears that there is a limit again; the others do later."""
        if name in self.nodes:
            self._limit_again(self.nodes[name], claim)
        self.open = {r for r in self.open if any(r in n.open for n in self.nodes.values())}

    def _limit_again(self, node: Node, claim: Claim) -> None:
        for replica in sorted(node.open):
            node.open.discard(replica)
            self._act(node, node.handover.claim(replica, claim, self.now))

    @rule(
        name=st.sampled_from(NAMES),
        which=st.integers(0, 5),
        counts=st.lists(st.integers(0, LIMIT), min_size=4, max_size=4),
    )
    def lift_for_a_while(self, name: str, which: int, counts: list[int]) -> None:
        """A limit is lifted and set again, with one owner whom all agree on before and after."""
        self.hand_over(name, which, settled=True)
        self.lift_limit(which, counts)
        for node in list(self.nodes.values()):
            self._limit_again(node, Claim.OWNED if node.name == name else Claim.NONE)
        self.open.clear()

    @rule(name=st.sampled_from(NAMES), which=st.integers(0, 5), settled=st.booleans())
    def hand_over(self, name: str, which: int, settled: bool) -> None:
        """All agree on who is to have a replica; with ``settled`` that one gets it at once."""
        replica = self.replicas[which % len(self.replicas)]
        if name in self.nodes:
            self.open.discard(replica)
            for node in self.nodes.values():
                node.open.discard(replica)
                claim = Claim.OWNED if node.name == name else Claim.NONE
                self._act(node, node.handover.claim(replica, claim, self.now))
        if settled:
            self._catch_up()

    @rule(name=st.sampled_from(NAMES), count=st.integers(1, LIMIT))
    def answer(self, name: str, count: int) -> None:
        """Requests of a member end."""
        if name in self.nodes:
            self._answer(self.nodes[name], count)

    def _answer(self, node: Node, count: int) -> None:
        for replica in self.replicas * count:
            if node.in_flight[replica]:
                node.in_flight[replica] -= 1
                if node.handover.watched(replica):
                    self._act(node, node.handover.released(replica, self.now))

    @rule(name=st.sampled_from(NAMES), heard=st.integers(0, 9))
    def kill(self, name: str, heard: int) -> None:
        """A member is killed; what it has in replicas goes on there for a while."""
        node = self.nodes.pop(name, None)
        if node is None:
            return
        for other in list(self.nodes.values()):
            self._break(node, other, heard)
        for replica, count in node.in_flight.items():
            self.ghosts += [(replica, self.now + EXPIRY)] * count

    @rule(name=st.sampled_from(NAMES))
    def leave(self, name: str) -> None:
        """A member hands over what it has, and ends once it has nothing left."""
        node = self.nodes.get(name)
        if node is None:
            return
        node.leaving = True
        for replica in self.replicas:
            if replica not in node.open:
                self._act(node, node.handover.claim(replica, Claim.NONE, self.now))
        if not any(node.in_flight.values()):
            del self.nodes[name]
            for other in list(self.nodes.values()):
                self._break(node, other, 0, goodbye=True)

    @rule(name=st.sampled_from(NAMES))
    def join(self, name: str) -> None:
        """A member starts, for the first time or again."""
        if name not in self.nodes:
            self._start(name)
            for node in self.nodes.values():
                self._act(node, node.handover.set_members(NAMES, self.now))

    @rule(pair=st.sets(st.sampled_from(NAMES), min_size=2, max_size=2), heard=st.integers(0, 9))
    def break_link(self, pair: set[str], heard: int) -> None:
        """A connection between two that live on breaks, and some of what was said is lost."""
        a, b = (self.nodes.get(name) for name in sorted(pair))
        if a is not None and b is not None and frozenset(pair) not in self.apart:
            self._break(a, b, heard)
            self.apart[frozenset(pair)] = self.now

    @precondition(lambda self: len(self.replicas) < 4)
    @rule()
    def new_replica(self) -> None:
        """One more replica starts."""
        self._replica(f"r{len(self.replicas)}")

    @rule(which=st.integers(0, 30))
    def ghost_ends(self, which: int) -> None:
        """A request of a member that was killed ends in its replica."""
        if self.ghosts:
            del self.ghosts[which % len(self.ghosts)]

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 3.0, 5.0]))
    def pass_time(self, seconds: float) -> None:
        """Time goes by, and with it everybody's heartbeat."""
        late = [wire.since for wire in self.wires if wire.said]
        if min([*late, *self.apart.values(), self.now]) + LATEST <= self.now + seconds:
            self._catch_up()
        self.now += seconds
        self.ghosts = [ghost for ghost in self.ghosts if ghost[1] > self.now]
        for node in self.nodes.values():
            self._act(node, node.handover.tick(self.now))

    @invariant()
    def within_the_limit(self) -> None:
        """All send as much as they may, all the time: nobody ever sends one too many."""
        for replica in self.replicas:
            for node in self.nodes.values():
                free = node.allowance(replica, self.now) - node.in_flight[replica]
                if free > 0:
                    node.in_flight[replica] += free
                    load = {other.name: other.in_flight[replica] for other in self.nodes.values()}
                    assert self._load(replica) <= LIMIT, f"{replica}: {load}, {self.ghosts}"

    def teardown(self) -> None:
        """In the end one member that wants everything gets everything."""
        for node in self.nodes.values():
            node.leaving = False
        if not self.nodes:
            self._start("a")
        first, *others = self.nodes.values()
        for node in self.nodes.values():
            # What came in without a limit is more than the rounds below would end.
            node.in_flight = Counter({r: min(c, LIMIT) for r, c in node.in_flight.items()})
        for node in others:
            for replica in self.replicas:
                self._act(node, node.handover.claim(replica, Claim.NONE, self.now))
        for replica in self.replicas:
            self._act(first, first.handover.claim(replica, Claim.OWNED, self.now))
        self._catch_up()
        for _ in range(3):
            self.now += EXPIRY
            self.ghosts.clear()
            for node in self.nodes.values():
                self._answer(node, LIMIT)
                self._act(node, node.handover.tick(self.now))
            self._catch_up()
        for replica in self.replicas:
            waits = first.handover.waits(replica, self.now)
            assert first.allowance(replica, self.now) == LIMIT, f"{replica} waits for {waits}"


Members.TestCase.settings = settings(costly(60), stateful_step_count=60)
TestMembers = Members.TestCase
