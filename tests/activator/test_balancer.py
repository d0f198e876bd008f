"""Which replica gets the next request."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activator.balancer import (
    EJECTION_SECONDS,
    EJECTION_SECONDS_CAP,
    MODULUS,
    SLOW_START_WINDOW,
    Backend,
    Balancer,
    policy_for,
)
from stoker.vocabulary import Address, Balancing

ADDRESS = Address("127.0.0.1", 80)
POLICIES = [policy for policy in Balancing if policy is not Balancing.AUTO]


def backends(count: int, limit: int = 0, *, backlog: bool = False) -> list[Backend]:
    """That many fresh replicas."""
    return [Backend(f"r{n}", ADDRESS, limit, backlog=backlog) for n in range(count)]


@pytest.mark.parametrize(
    ("limit", "policy"),
    [
        (0, Balancing.LEAST_OF_TWO),
        (1, Balancing.FIRST_FREE),
        (3, Balancing.FIRST_FREE),
        (4, Balancing.ROUND_ROBIN),
        (1000, Balancing.ROUND_ROBIN),
    ],
)
def test_the_policy_follows_from_the_limit(limit: int, policy: Balancing) -> None:
    """Two choices without a limit, first free with few slots, round robin with many."""
    assert policy_for(Balancing.AUTO, limit) is policy


class TestBackend:
    def test_room_up_to_the_limit(self) -> None:
        """A replica with a limit has room until it is reached."""
        backend = Backend("a", ADDRESS, 2, backlog=True)
        assert backend.window == 0
        assert backend.has_room(0.0)
        backend.in_flight = 2
        assert not backend.has_room(0.0)

    def test_no_limit_no_bound(self) -> None:
        """Without limit and backlog there is always room."""
        backend = Backend("a", ADDRESS, 0, backlog=False)
        backend.in_flight = 10**6
        assert backend.has_room(0.0)

    def test_a_backlog_opens_a_window_that_grows_with_each_answer(self) -> None:
        """A new replica without a limit is not given a whole backlog at once."""
        backend = Backend("a", ADDRESS, 0, backlog=True)
        backend.in_flight = SLOW_START_WINDOW
        assert not backend.has_room(0.0)
        backend.answered()
        assert backend.has_room(0.0)
        assert backend.window == SLOW_START_WINDOW + 1

    def test_an_answer_opens_no_window(self) -> None:
        """A replica that never had a window gets none by answering."""
        backend = Backend("a", ADDRESS, 0, backlog=False)
        backend.answered()
        assert backend.window == 0

    def test_ejection_doubles_up_to_its_cap(self) -> None:
        """1, 2, 4 ... 30 s, and no overflow however long a replica stays broken."""
        backend = Backend("a", ADDRESS, 1, backlog=False)
        now, pauses = 0.0, []
        for _ in range(1100):
            backend.failed(now)
            assert not backend.has_room(now)
            pauses.append(backend.ejected_until - now)
            now = backend.ejected_until
            assert backend.has_room(now)
        assert pauses[:6] == [EJECTION_SECONDS * 2**n for n in range(5)] + [EJECTION_SECONDS_CAP]
        assert set(pauses[5:]) == {EJECTION_SECONDS_CAP}

    def test_what_fails_together_is_one_failure(self) -> None:
        """Sixty-four requests that break with one crash do not eject for half a minute."""
        backend = Backend("a", ADDRESS, 0, backlog=False)
        for n in range(64):
            backend.failed(n / 1000)
        assert backend.failures == 1
        assert backend.ejected_until == EJECTION_SECONDS

    def test_an_answer_ends_ejection(self) -> None:
        """It lives: it is back at once, and its next failure is a first one again."""
        backend = Backend("a", ADDRESS, 1, backlog=False)
        backend.failed(0.0)
        backend.failed(5.0)
        backend.answered()
        assert backend.has_room(5.0)
        backend.failed(6.0)
        assert backend.ejected_until == 6.0 + EJECTION_SECONDS

    def test_back_from_ejection_with_a_window(self) -> None:
        """A replica without a limit that failed gets a few at first, not all that wait."""
        backend = Backend("a", ADDRESS, 0, backlog=False)
        backend.failed(0.0)
        assert backend.window == SLOW_START_WINDOW
        limited = Backend("b", ADDRESS, 2, backlog=False)
        limited.failed(0.0)
        assert limited.window == 0

    @pytest.mark.parametrize(
        ("old", "new", "backlog", "window"),
        [(4, 0, True, SLOW_START_WINDOW), (4, 0, False, 0), (0, 4, True, 0)],
    )
    def test_a_changed_limit(self, old: int, new: int, backlog: bool, window: int) -> None:
        """Losing the limit in front of a backlog opens a window; gaining one closes it."""
        backend = Backend("a", ADDRESS, old, backlog=True)
        backend.set_limit(new, backlog=backlog)
        assert (backend.limit, backend.window) == (new, window)

    def test_the_same_limit_again_changes_nothing(self) -> None:
        """Another setting was changed: the window goes on growing from where it was."""
        backend = Backend("a", ADDRESS, 0, backlog=True)
        backend.answered()
        backend.set_limit(0, backlog=True)
        assert backend.window == SLOW_START_WINDOW + 1

    def test_repr_tells_the_load(self) -> None:
        """For logs and failed tests."""
        assert repr(Backend("a", ADDRESS, 0, backlog=False)) == "<Backend a 0/∞>"
        assert repr(Backend("a", ADDRESS, 3, backlog=False)) == "<Backend a 0/3>"


class TestBalancer:
    @pytest.mark.parametrize("policy", POLICIES)
    def test_nobody_to_pick(self, policy: Balancing) -> None:
        """No replica, or none with room: None."""
        balancer = Balancer(policy)
        assert balancer.pick([], 0.0) is None
        for count in (1, 2, 5):
            full = backends(count, limit=1)
            for backend in full:
                backend.in_flight = 1
            assert balancer.pick(full, 0.0) is None

    @pytest.mark.parametrize("policy", POLICIES)
    def test_the_only_one(self, policy: Balancing) -> None:
        """It is picked even where it should be avoided: there is no other."""
        only = backends(1)
        assert Balancer(policy).pick(only, 0.0, avoid="r0") is only[0]

    @pytest.mark.parametrize("policy", POLICIES)
    def test_another_one_if_there_is_one(self, policy: Balancing) -> None:
        """Whoever should be avoided is, even where it is the idlest, or first in turn."""
        pool = backends(3, limit=9)
        pool[1].in_flight = pool[2].in_flight = 5
        balancer = Balancer(policy)
        assert all(balancer.pick(pool, 0.0, avoid="r0") in pool[1:] for _ in range(50))

    def test_first_free_fills_the_first_first(self) -> None:
        """So that the last ones stay empty and may go."""
        pool = backends(3, limit=2)
        balancer = Balancer(Balancing.FIRST_FREE)
        order = []
        for _ in range(6):
            picked = balancer.pick(pool, 0.0)
            assert picked is not None
            picked.in_flight += 1
            order.append(picked.replica_id)
        assert order == ["r0", "r0", "r1", "r1", "r2", "r2"]

    def test_round_robin_goes_round(self) -> None:
        """Each in turn, passing over who is full."""
        pool = backends(3, limit=4)
        balancer = Balancer(Balancing.ROUND_ROBIN)
        order = [balancer.pick(pool, 0.0) for _ in range(4)]
        assert order == [pool[0], pool[1], pool[2], pool[0]]
        pool[1].in_flight = 4
        assert balancer.pick(pool, 0.0) is pool[2]

    def test_round_robin_survives_that_replicas_go(self) -> None:
        """Its place may lie behind the end of a list that has shrunk."""
        pool = backends(5, limit=4)
        balancer = Balancer(Balancing.ROUND_ROBIN)
        for _ in range(5):
            balancer.pick(pool, 0.0)
        assert balancer.pick(pool[:2], 0.0) in pool[:2]

    @given(
        seed=st.integers(0, 2**64),
        loads=st.lists(st.integers(0, 50), min_size=2, max_size=8),
    )
    def test_least_of_two_never_takes_the_single_busiest(self, seed: int, loads: list[int]) -> None:
        """Of two different replicas the busier one loses, so the busiest of all never wins."""
        pool = backends(len(loads))
        for backend, load in zip(pool, loads, strict=True):
            backend.in_flight = load
        picked = Balancer(Balancing.LEAST_OF_TWO, seed).pick(pool, 0.0)
        assert picked is not None
        if loads.count(max(loads)) == 1:
            assert picked.in_flight < max(loads)

    def test_least_of_two_reaches_everybody(self) -> None:
        """Every replica is drawn, about as often as every other."""
        pool = backends(5)
        balancer = Balancer(Balancing.LEAST_OF_TWO)
        drawn = Counter(balancer.pick(pool, 0.0) for _ in range(5000))
        assert set(drawn) == set(pool)
        assert min(drawn.values()) > 700

    def test_least_of_two_draws_every_pair(self) -> None:
        """Not only neighbours: the second busiest wins against the busiest, wherever they are."""
        pool = backends(4)
        for backend, load in zip(pool, [0, 1, 0, 2], strict=True):
            backend.in_flight = load
        balancer = Balancer(Balancing.LEAST_OF_TWO)
        drawn = Counter(balancer.pick(pool, 0.0) for _ in range(3000))
        assert set(drawn) == set(pool[:3])
        assert 350 < drawn[pool[1]] < 650

    def test_least_of_two_keeps_loads_level(self) -> None:
        """A thousand requests on ten replicas: none is far off the average of a hundred."""
        pool = backends(10)
        balancer = Balancer(Balancing.LEAST_OF_TWO)
        for _ in range(1000):
            picked = balancer.pick(pool, 0.0)
            assert picked is not None
            picked.in_flight += 1
        assert max(b.in_flight for b in pool) - min(b.in_flight for b in pool) <= 6

    def test_the_same_seed_picks_the_same(self) -> None:
        """A simulation can be repeated; another seed goes another way."""

        def picks(seed: int) -> list[Backend | None]:
            balancer = Balancer(Balancing.LEAST_OF_TWO, seed)
            return [balancer.pick(pool, 0.0) for _ in range(50)]

        pool = backends(7)
        assert picks(3) == picks(3)
        assert picks(3) != picks(4)

    @given(seed=st.integers(0, 2**70))
    def test_no_seed_gets_stuck(self, seed: int) -> None:
        """Whatever the seed, including those that would start the generator at zero."""
        pool = backends(4)
        balancer = Balancer(Balancing.LEAST_OF_TWO, seed)
        assert len({balancer.pick(pool, 0.0) for _ in range(100)}) > 1

    @pytest.mark.parametrize("seed", [0, MODULUS - 1, MODULUS, 2 * MODULUS])
    def test_seeds_that_could_be_zero(self, seed: int) -> None:
        """The generator never leaves zero, so none may start there."""
        pool = backends(4)
        balancer = Balancer(Balancing.LEAST_OF_TWO, seed)
        assert len({balancer.pick(pool, 0.0) for _ in range(100)}) > 1

    @given(
        policy=st.sampled_from(POLICIES),
        seed=st.integers(0, 1000),
        limit=st.integers(0, 5),
        states=st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=6),
        avoid=st.sampled_from(["", "r0", "r1", "r5"]),
        backlog=st.booleans(),
    )
    def test_a_pick_always_has_room(
        self,
        policy: Balancing,
        seed: int,
        limit: int,
        states: list[tuple[int, bool]],
        avoid: str,
        backlog: bool,
    ) -> None:
        """A free slot and no ejection; None only if nobody has; last who is to be avoided."""
        pool = backends(len(states), limit, backlog=backlog)
        for backend, (load, ejected) in zip(pool, states, strict=True):
            backend.in_flight = load
            if ejected:
                backend.failed(0.0)
        free = {b.replica_id for b in pool if b.has_room(0.5)}
        picked = Balancer(policy, seed).pick(pool, 0.5, avoid)
        if picked is None:
            assert not free
        else:
            assert picked.replica_id in (free - {avoid} or free)
