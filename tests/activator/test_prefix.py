"""Prompts that begin alike go to one replica, within bounds and with little movement."""

from __future__ import annotations

from collections import Counter
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activator.balancer import Backend, Balancer
from activator.prefix import POINTS, Ring, hash_key
from stoker.vocabulary import Address, Balancing
from tests.properties import costly

ADDRESS = Address("127.0.0.1", 80)
KEYS = [hash_key(b"llama", b"prompt %d" % number) for number in range(1000)]
NAMES = st.lists(st.sampled_from([f"r{n}" for n in range(12)]), min_size=1, unique=True)


def backends(count: int, limit: int = 0) -> list[Backend]:
    """That many idle replicas."""
    return [Backend(f"r{n}", ADDRESS, limit, backlog=False) for n in range(count)]


def owners(names: list[str]) -> dict[int, str]:
    """Whose each key is."""
    ring: Ring[str] = Ring(str)
    ring.set_members(names)
    return {key: next(ring.walk(key)) for key in KEYS}


class TestKeys:
    def test_depend_on_each_part(self) -> None:
        """Where one part ends and the next begins too; never 0, which means that there is none."""
        parts = [(b"a", b"b"), (b"ab", b""), (b"", b"ab"), (b"a", b"c"), (b"ab",)]
        assert len({hash_key(*each) for each in parts}) == len(parts)
        assert 0 < hash_key(b"a", b"b") < 2**64

    def test_are_the_same_everywhere(self) -> None:
        """Several Stokers send a prompt to the same replica: the hash has no secret."""
        assert owners(["a", "b", "c"]) == owners(["c", "a", "b"])


class TestRing:
    @given(before=NAMES, changed=st.sampled_from([f"r{n}" for n in range(13)]))
    @costly(25)
    def test_only_keys_of_the_changed_one_move(self, before: list[str], changed: str) -> None:
        """To it when it comes, from it when it goes; all others stay."""
        if changed in before:
            after = [name for name in before if name != changed]
            if not after:
                return
        else:
            after = [*before, changed]
        was, now = owners(before), owners(after)
        for key in KEYS:
            if was[key] != now[key]:
                assert changed in (was[key], now[key])
                assert (changed in before) == (was[key] == changed)

    @given(names=NAMES, key=st.integers(1, 2**64 - 1))
    @costly(40)
    def test_a_walk_meets_everybody_once(self, names: list[str], key: int) -> None:
        """Wherever it begins."""
        ring: Ring[str] = Ring(str)
        ring.set_members(names)
        assert sorted(ring.walk(key)) == sorted(names)

    def test_nobody_to_meet(self) -> None:
        """An empty ring is none."""
        assert list(Ring(str).walk(7)) == []

    def test_keys_are_spread(self) -> None:
        """With a hundred points each no member has twice its share, or half of it."""
        counts = Counter(owners([f"r{n}" for n in range(8)]).values())
        assert all(1000 / 16 < count < 1000 / 4 for count in counts.values())

    def test_is_rebuilt_only_if_members_change(self) -> None:
        """Their points are computed once, and kept while they stay."""
        asked: list[str] = []

        def name(member: str) -> str:
            asked.append(member)
            return member

        ring = Ring(name)
        for members in (["a", "b"], ["a", "b"], ("a", "b")):
            ring.set_members(members)
        assert asked == ["a", "b"]
        places = ring._places["a"]
        assert len(places) == POINTS
        ring.set_members(["a"])
        assert ring._places == {"a": places}
        assert ring._places["a"] is places


class TestBoundedLoads:
    @given(
        count=st.integers(2, 8),
        factor=st.sampled_from([1.0, 1.25, 2.0]),
        limit=st.sampled_from([0, 0, 3]),
        steps=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=80),
        ejected=st.sets(st.integers(0, 7), max_size=3),
    )
    def test_no_replica_is_ever_above_the_bound(
        self,
        count: int,
        factor: float,
        limit: int,
        steps: list[tuple[int, int]],
        ejected: set[int],
    ) -> None:
        """The average over those in service times the factor, rounded up; whatever the keys.
        Nor above its own limit, and never one that is set aside.
        """
        pool = backends(count, limit)
        for number in ejected:
            if number < count - 1:
                pool[number].failed(0.0)
        serving = [b for b in pool if b.has_room(0.5)]
        balancer = Balancer(Balancing.PREFIX, 1, factor)
        running: list[Backend] = []
        for key, ends in steps:
            before = sum(b.in_flight for b in serving)
            picked = balancer.pick(pool, 0.5, "", KEYS[key])
            if picked is None:
                assert limit
                assert before == limit * len(serving)
            else:
                assert picked in serving
                picked.in_flight += 1
                assert picked.in_flight <= ceil(factor * (before + 1) / len(serving))
                assert not limit or picked.in_flight <= limit
                running.append(picked)
            for _ in range(min(ends, len(running))):
                running.pop(0).in_flight -= 1

    def test_an_unloaded_key_stays_where_it_is(self) -> None:
        """One conversation, one replica; a crowd of one prompt is spread no further than needed."""
        pool = backends(4)
        balancer = Balancer(Balancing.PREFIX)
        home = balancer.pick(pool, 0.0, "", KEYS[0])
        assert home is not None
        assert all(balancer.pick(pool, 0.0, "", KEYS[0]) is home for _ in range(50))
        for _ in range(40):
            picked = balancer.pick(pool, 0.0, "", KEYS[0])
            assert picked is not None
            picked.in_flight += 1
        assert home.in_flight == max(b.in_flight for b in pool) == ceil(1.25 * 40 / 4)

    def test_a_higher_factor_keeps_more_together(self) -> None:
        """Cache hits for evenness."""
        pool = backends(4)
        balancer = Balancer(Balancing.PREFIX, 1, 3.0)
        for _ in range(40):
            picked = balancer.pick(pool, 0.0, "", KEYS[0])
            assert picked is not None
            picked.in_flight += 1
        assert max(b.in_flight for b in pool) == 30

    def test_without_a_key_the_less_busy_of_two(self) -> None:
        """A request without a prompt goes to whoever has time for it."""
        pool = backends(2)
        pool[0].in_flight = 5
        balancer = Balancer(Balancing.PREFIX)
        assert {balancer.pick(pool, 0.0) for _ in range(20)} == {pool[1]}

    def test_who_failed_it_is_the_last_resort(self) -> None:
        """Also if the prompt belongs there."""
        pool = backends(3)
        balancer = Balancer(Balancing.PREFIX)
        home = balancer.pick(pool, 0.0, "", KEYS[0])
        assert home is not None
        elsewhere = balancer.pick(pool, 0.0, home.replica_id, KEYS[0])
        assert elsewhere is not None
        assert elsewhere is not home
        for backend in pool:
            if backend is not home:
                backend.failed(0.0)
        assert balancer.pick(pool, 0.5, home.replica_id, KEYS[0]) is home

    def test_rather_above_the_bound_than_not_at_all(self) -> None:
        """New replicas start slowly; the others go on taking what these cannot yet."""
        pool = backends(3)
        pool[0].in_flight, pool[1].in_flight = 50, 40
        pool[2].window = pool[2].in_flight = 4
        balancer = Balancer(Balancing.PREFIX)
        for key in KEYS[:20]:
            assert balancer.pick(pool, 0.0, "", key) in (pool[1], pool[0])
        pool[0].in_flight = 60
        pool[1].in_flight = 59
        assert {balancer.pick(pool, 0.0, "", key) for key in KEYS[:20]} == {pool[1]}

    @pytest.mark.parametrize("size", [3, 20])
    def test_a_replica_that_goes_moves_only_its_own(self, size: int) -> None:
        """And they come back when it does."""
        pool = backends(size)
        balancer = Balancer(Balancing.PREFIX)
        before = {key: balancer.pick(pool, 0.0, "", key) for key in KEYS}
        left = pool[1:]
        after = {key: balancer.pick(left, 0.0, "", key) for key in KEYS}
        assert {key for key in KEYS if after[key] is not before[key]} == {
            key for key in KEYS if before[key] is pool[0]
        }
        assert {key: balancer.pick(pool, 0.0, "", key) for key in KEYS} == before
