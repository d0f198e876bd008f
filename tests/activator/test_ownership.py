"""Who should have what: the same for all who look, moved as little as can be."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activator.ownership import Largeness, is_large, owner, place, score, shares

NAMES = st.text("abcdefgh-0123", min_size=1, max_size=6)
MEMBERS = st.sets(NAMES, min_size=1, max_size=8)
REPLICAS = st.sets(NAMES, max_size=40)


def test_scores_are_what_they_were() -> None:
    """Members of different versions must agree: the function may never change."""
    assert score("default/digits", "a") == 7_915_561_642_958_753_544
    assert score("ab", "c") != score("a", "bc")


@given(st.sets(NAMES, max_size=20), MEMBERS, NAMES)
def test_minimal_movement(models: set[str], members: set[str], one: str) -> None:
    """A member that joins takes models from others and nothing moves between those."""
    before = {model: owner(model, members) for model in models}
    after = {model: owner(model, members | {one}) for model in models}
    assert all(after[model] in (before[model], one) for model in models)


def test_models_spread_evenly() -> None:
    """Of many models each member has about its share: within five standard deviations."""
    members = ["a", "b", "c", "d"]
    count = Counter(owner(f"default/model-{number}", members) for number in range(4000))
    assert all(abs(count[member] - 1000) < 137 for member in members)


@given(REPLICAS, MEMBERS)
def test_every_replica_has_one_member(replicas: set[str], members: set[str]) -> None:
    """Large or small: each replica belongs to exactly one member, and large ones evenly."""
    for large in (False, True):
        places = {me: place("m", me, members, replicas, large=large) for me in members}
        assert len({each.owner for each in places.values()}) == 1
        mine = [replica for each in places.values() for replica in each.mine]
        assert sorted(mine) == sorted(replicas)
    loads = {len(each.mine) for each in places.values()}
    assert max(loads) - min(loads) <= 1


@given(REPLICAS, st.sets(NAMES, min_size=2, max_size=8))
def test_shares_do_not_depend_on_order(replicas: set[str], members: set[str]) -> None:
    """Who looks at them in another order sees the same shares."""
    there = shares(sorted(replicas), sorted(members))
    assert shares(sorted(replicas, reverse=True), sorted(members, reverse=True)) == there


def test_shares_move_little() -> None:
    """A replica more moves few of 100; a member more takes a fifth, and few others move."""
    replicas = [f"r{number}" for number in range(100)]
    members = ["a", "b", "c", "d"]
    before = shares(replicas, members)
    after = shares([*replicas, "r100"], members)
    assert sum(before[r] != after[r] for r in replicas) <= 15
    after = shares(replicas, [*members, "e"])
    moved = [r for r in replicas if before[r] != after[r]]
    assert sum(after[r] == "e" for r in moved) == 20
    assert len(moved) <= 35


@pytest.mark.parametrize(
    ("was", "replicas", "limit", "members", "large"),
    [
        (False, 4, 8, 2, True),
        (False, 3, 100, 2, False),  # not two for each
        (False, 4, 7, 2, False),  # 28 slots, not 16 for each
        (True, 2, 8, 2, True),
        (True, 1, 100, 2, False),  # less than one for each
        (True, 2, 7, 2, False),  # 14 slots, less than 8 for each
        (True, 100, 100, 1, False),  # alone
    ],
)
def test_large_models(was: bool, replicas: int, limit: int, members: int, large: bool) -> None:
    """Two replicas and 16 slots for each make a model large, less than half make it small."""
    assert is_large(was, replicas, limit, members, 16) is large


def test_the_owner_says_what_is_large() -> None:
    """Others follow the owner, and who owns the model next goes on from what it said."""
    mine, theirs = Largeness(16), Largeness(16)
    assert mine.decide("m", 4, 8, 2)
    assert mine.mine == {"m"}
    assert theirs.hear("a", mine.mine) == {"m"}
    assert theirs.hear("a", mine.mine) == set()
    assert theirs.follow("m", "a")
    assert not theirs.follow("n", "a")
    # The owner is lost; half of it left is enough for a model that was large.
    assert theirs.decide("m", 2, 8, 2)
    assert not theirs.follow("m", "b")
    assert theirs.mine == set()
    theirs.forget("a")
    theirs.forget("a")
    assert not theirs.decide("m", 2, 8, 2)
    assert mine.decide("m", 2, 8, 2)
    assert not mine.decide("m", 1, 8, 2)
    assert mine.decide("m", 4, 8, 2)
    mine.drop("m")
    assert mine.mine == set()
