"""Who is next among those that wait for one model, and who has to make room."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activator.line import SLACK, Line
from activator.throttler import Throttler
from activator.tickets import Ticket
from stoker.vocabulary import ModelKey, ServingConfig

MODEL = Throttler(ModelKey("default", "digits"), ServingConfig(), 0.0)
LATE = 1e9


def ticket(tenant: str = "", priority: int = 0, *, failed: bool = False, size: int = 1) -> Ticket:
    """A request that waits."""
    made = Ticket(MODEL, tenant, priority, None, size, 0.0, None)
    made.avoid = "r1" if failed else ""
    return made


def line(*tickets: Ticket, **weights: float) -> Line:
    """All of them wait, in this order."""
    made = Line(weights)
    for one in tickets:
        made.join(one, LATE)
    return made


def serve(waiting: Line, share: float = 0.0) -> Ticket:
    """The next one's turn."""
    first = waiting.first()
    waiting.charge(first, share)
    waiting.leave(first)
    return first


def serve_all(waiting: Line, count: int, share: float = 0.0) -> list[Ticket]:
    return [serve(waiting, share) for _ in range(count)]


class TestTenants:
    def test_take_turns(self) -> None:
        """Whoever came first with however many: one each, in the order of coming."""
        many = [ticket("many") for _ in range(5)]
        few = [ticket("few"), ticket("few")]
        waiting = line(*many, *few)
        order = [many[0], few[0], many[1], few[1], *many[2:]]
        assert waiting.in_order() == order
        assert serve_all(waiting, 7) == order

    def test_by_their_weights(self) -> None:
        """Three turns for one, and half a turn for one."""
        waiting = line(
            *(ticket(name) for name in ("gold", "plain", "half") for _ in range(90)),
            gold=3.0,
            half=0.5,
        )
        served = Counter(t.tenant for t in serve_all(waiting, 90))
        assert served == {"gold": 60, "plain": 20, "half": 10}

    def test_a_tenant_that_comes_back_has_lost_and_gained_nothing(self) -> None:
        """One request at a time is no way past a backlog, nor are new names each time."""
        for same_name in (True, False):
            waiting = line(*(ticket("backlog") for _ in range(100)))
            served = Counter[str]()
            for number in range(100):
                waiting.join(ticket("one" if same_name else f"one{number}"), LATE)
                served[serve(waiting).tenant] += 1
                if served.total() > 1:
                    served[serve(waiting).tenant] += 1
            assert served["backlog"] == pytest.approx(served.total() / 2, abs=2)

    def test_turns_while_alone_are_turns(self) -> None:
        """Who was served alone has had its turn when another one comes."""
        waiting = line(ticket("a"), *(ticket("half") for _ in range(3)), half=0.5)
        serve_all(waiting, 2)
        newcomer = ticket("a")
        waiting.join(newcomer, LATE)
        assert serve(waiting) is newcomer

    def test_made_up_names_starve_nobody(self) -> None:
        """However many new tenants come per turn, who waits is served before those behind."""
        waiting = line(*(ticket("honest") for _ in range(3)))
        serve(waiting)
        for number in range(50):
            waiting.join(ticket(f"fake{number}"), LATE)
        tenants = []
        for number in range(60):
            for copy in range(5):
                waiting.join(ticket(f"more{number}-{copy}"), LATE)
            tenants.append(serve(waiting).tenant)
        assert tenants.count("honest") == 2

    def test_those_that_left_leave_nothing_behind(self) -> None:
        """A hundred thousand tenants later the line is as small as it was."""
        waiting = line(*(ticket("stays") for _ in range(3)))
        for number in range(10_000):
            visitor = ticket(f"visitor{number}")
            waiting.join(visitor, LATE)
            waiting.leave(visitor)
        rank = waiting._ranks[0]
        assert set(rank.tenants) == {"stays"}
        assert len(rank._order) <= 2 * len(rank.tenants) + SLACK + 1
        assert rank.weight == 1.0

    def test_leaving_is_not_charged(self) -> None:
        """Who gave up did not have a turn."""
        mine, theirs = [ticket("a") for _ in range(3)], [ticket("b") for _ in range(3)]
        waiting = line(*mine, *theirs)
        waiting.leave(mine[0])
        assert serve_all(waiting, 2) == [mine[1], theirs[0]]

    @given(
        weights=st.dictionaries(st.sampled_from("abcde"), st.sampled_from([0.25, 0.5, 2, 3, 7])),
        counts=st.dictionaries(st.sampled_from("abcde"), st.integers(1, 60), min_size=2),
        turns=st.integers(1, 120),
    )
    def test_shares_follow_weights(
        self, weights: dict[str, float], counts: dict[str, int], turns: int
    ) -> None:
        """Of any two that had waiting all the time, neither is ahead of the other by more than
        one request of each, as self-clocked fair queueing promises.
        """
        waiting = line(*(ticket(n) for n, c in counts.items() for _ in range(c)), **weights)
        served = Counter[str]()
        backlogged = set(counts)
        for _ in range(min(turns, sum(counts.values()))):
            name = serve(waiting).tenant
            served[name] += 1
            backlogged -= {n for n in counts if served[n] == counts[n]}
        for one in backlogged:
            for other in backlogged:
                had = served[one] / weights.get(one, 1), served[other] / weights.get(other, 1)
                bound = 1 / weights.get(one, 1) + 1 / weights.get(other, 1)
                assert abs(had[0] - had[1]) <= bound + 1e-6


class TestOrder:
    @given(
        dues=st.lists(st.integers(0, 20), min_size=1, max_size=40), gone=st.sets(st.integers(0, 39))
    )
    def test_earliest_deadline_first(self, dues: list[int], gone: set[int]) -> None:
        """Those of one tenant; who came first where they are the same."""
        waiting = Line({})
        joined = [(due, number, ticket()) for number, due in enumerate(dues)]
        for due, _, one in joined:
            waiting.join(one, due)
        for number in gone:
            if number < len(joined):
                waiting.leave(joined[number][2])
        left = sorted(entry for entry in joined if entry[1] not in gone)
        assert waiting.in_order() == [entry[2] for entry in left]
        assert serve_all(waiting, len(left)) == [entry[2] for entry in left]

    def test_those_that_a_replica_failed_come_before_all_of_their_priority(self) -> None:
        """They had their turn; it is not charged to their tenant again."""
        waiting = line(
            *(urgent := [ticket("a", 1)]),
            *(plain := [ticket("a"), ticket("a"), ticket("b")]),
            *(failed := [ticket("b", failed=True), ticket("a", failed=True)]),
        )
        order = [*urgent, *failed, plain[0], plain[2], plain[1]]
        assert waiting.in_order() == order
        assert serve_all(waiting, 6) == order

    def test_priorities_are_strict(self) -> None:
        """Unless told otherwise."""
        waiting = line(*(ticket("", priority) for priority in (0, -5, 7, 0, 7)))
        assert [t.priority for t in serve_all(waiting, 5)] == [7, 7, 0, 0, -5]

    @pytest.mark.parametrize("share", [5.0, 25.0, 50.0])
    def test_lower_priorities_get_their_share(self, share: float) -> None:
        """Of all turns so many, the one that waited longest for one first."""
        waiting = line(*(ticket("", priority) for priority in (0, 1, 2) for _ in range(400)))
        served = Counter(t.priority for t in serve_all(waiting, 400, share))
        assert served[0] + served[1] == pytest.approx(400 * share / 100, abs=1)
        assert abs(served[0] - served[1]) <= 1

    def test_what_lower_ones_are_owed_does_not_pile_up(self) -> None:
        """A long reign of the highest is followed by one turn, not by many."""
        waiting = line(*(ticket("", 1) for _ in range(300)), ticket(), ticket(), ticket())
        order = [t.priority for t in serve_all(waiting, 303, 10.0)]
        lower = [number for number, priority in enumerate(order) if not priority]
        assert all(after - before >= 9 for before, after in pairwise(lower))

    def test_changing_places(self) -> None:
        """All with one priority, in the order in which they came, whoever's they are."""
        tickets = [ticket("b"), ticket("a", failed=True), ticket("a"), ticket("b")]
        waiting = line(*tickets, ticket("a", 3))
        assert waiting.of_priority(0) == tickets
        assert waiting.of_priority(9) == []


class TestRoom:
    def test_is_made_by_the_newest_of_who_has_most(self) -> None:
        """By its weight, and only for one that has less even with the newcomer."""
        gold, many = [ticket("gold") for _ in range(6)], [ticket("many") for _ in range(4)]
        waiting = line(*gold, *many, ticket("few"), gold=3.0)
        assert waiting.displaced_by(ticket("few")) is many[-1]
        assert waiting.displaced_by(ticket("new")) is many[-1]
        assert waiting.displaced_by(ticket("gold")) is many[-1]
        assert waiting.displaced_by(ticket("many")) is None

    def test_nobody_has_too_much(self) -> None:
        """Equals do not push each other out."""
        waiting = line(*(ticket(name) for name in "abc"))
        assert waiting.displaced_by(ticket("d")) is None
        assert waiting.displaced_by(ticket("a")) is None
        assert line().displaced_by(ticket("a")) is None

    def test_is_made_by_lower_priorities_first(self) -> None:
        """The lowest of all, and never by a higher one or for nothing."""
        low, middle = ticket("a", -1), ticket("a", 0)
        waiting = line(low, middle, ticket("a", 5), ticket("a", 5))
        assert waiting.displaced_by(ticket("a", 1)) is low
        waiting.leave(low)
        assert waiting.displaced_by(ticket("a", 1)) is middle
        waiting.leave(middle)
        assert waiting.displaced_by(ticket("a", 1)) is None

    def test_is_never_made_by_one_that_a_replica_failed(self) -> None:
        """It was admitted once, and a replica's death is no reason to refuse it."""
        waiting = line(ticket("a", -1, failed=True), ticket("a", failed=True), ticket("b"))
        assert waiting.displaced_by(ticket("c")) is None
        plain = ticket("b")
        waiting.join(plain, LATE)
        assert waiting.displaced_by(ticket("c", 2)) is plain

    @given(
        steps=st.lists(
            st.tuples(st.sampled_from("abcd"), st.sampled_from(["join", "serve", "ask"])),
            max_size=120,
        )
    )
    def test_who_has_most_is_always_known(self, steps: list[tuple[str, str]]) -> None:
        """However often some came and went since somebody last asked."""
        waiting = Line({"a": 2.0})
        counts = Counter[str]()
        for name, what in steps:
            if what == "join":
                waiting.join(ticket(name), LATE)
                counts[name] += 1
            elif what == "serve" and counts.total():
                counts[serve(waiting).tenant] -= 1
            elif what == "ask":
                loads = {n: c / (2.0 if n == "a" else 1.0) for n, c in counts.items() if c}
                victim = waiting.displaced_by(ticket("new"))
                most = max(loads.values(), default=0.0)
                if most <= 1:
                    assert victim is None
                else:
                    assert victim is not None
                    assert loads[victim.tenant] == most


class TestAhead:
    @given(
        waiting=st.lists(
            st.tuples(st.sampled_from(["", "a", "b", "c"]), st.integers(0, 2), st.integers(0, 9)),
            max_size=40,
        ),
        tenant=st.sampled_from(["", "a", "d"]),
        priority=st.integers(0, 2),
        due=st.integers(0, 9),
        served=st.integers(0, 20),
    )
    def test_is_about_who_is_served_before(
        self,
        waiting: list[tuple[str, int, int]],
        tenant: str,
        priority: int,
        due: int,
        served: int,
    ) -> None:
        """Off by no more than a turn of each of the other tenants."""
        made = Line({})
        for name, rank, by in waiting:
            made.join(ticket(name, rank), by)
        serve_all(made, min(served, len(waiting)))
        mine = ticket(tenant, priority)
        about = made.ahead(mine, due, 100)
        made.join(mine, due)
        assert abs(made.in_order().index(mine) - about) <= 3

    def test_looks_no_further_than_it_must(self) -> None:
        """More than can be served in time are as good as too many."""
        made = line(*(ticket() for _ in range(1000)))
        assert made.ahead(ticket(), LATE, 1000) == 1000
        assert made.ahead(ticket(), LATE, 10) == 10
        assert made.ahead(ticket(), 1.0, 1000) == 0
        assert made.ahead(ticket("", 1), LATE, 1000) == 0
        assert made.ahead(ticket("", -1), LATE, 1000) == 1000

    def test_deadlines_in_any_order(self) -> None:
        """Only those that are due before it count, of those that still wait."""
        made = Line({})
        tickets = [ticket() for _ in range(5)]
        for one, due in zip(tickets, (5, 3, 9, 1, 4), strict=True):
            made.join(one, due)
        assert [made.ahead(ticket(), due, 100) for due in (0, 1, 4, 8, 9)] == [0, 1, 3, 4, 5]
        made.leave(tickets[1])
        assert [made.ahead(ticket(), due, 100) for due in (0, 1, 4, 8, 9)] == [0, 1, 2, 3, 4]
        assert made.ahead(ticket(), 9, 2) == 2


def test_bytes_of_a_tenant() -> None:
    """Counted over all priorities, as they grow and go; those that failed are nobody's."""
    tickets = [ticket("a", size=3), ticket("a", 1, size=4), ticket("b", size=9)]
    failed = ticket("a", failed=True, size=5)
    waiting = line(*tickets, failed)
    assert waiting.tenant("a") == (2, 7)
    assert waiting.tenant("nobody") == (0, 0)
    for one in (tickets[0], failed):
        waiting.grow(one, 10)
        one.size += 10
    assert waiting.tenant("a") == (2, 17)
    waiting.leave(tickets[0])
    waiting.leave(failed)
    assert waiting.tenant("a") == (1, 4)


def test_many_come_and_go() -> None:
    """What is kept of those that left stays in proportion to those that wait."""
    waiting = line(*(ticket(f"t{number % 7}") for number in range(20)))
    for number in range(3000):
        one = ticket(f"t{number % 7}")
        waiting.join(one, number)
        assert waiting.displaced_by(ticket("new")) is not None
        waiting.leave(one)
    rank = waiting._ranks[0]
    for tenant in rank.tenants.values():
        assert tenant._heap is not None
        assert len(tenant._heap) <= 2 * (len(tenant.members) + 1) + SLACK + 1
    assert rank._heavy is None or len(rank._heavy) <= 4 * len(rank.tenants) + SLACK
    assert len(serve_all(waiting, 20)) == 20
    assert waiting._ranks == {}
