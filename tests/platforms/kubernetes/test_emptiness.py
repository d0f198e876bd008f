"""A pod goes once every activator there is has said that nothing of its own is in it."""

from __future__ import annotations

import random

from stoker.platforms.kubernetes.emptiness import LOST_SECONDS, Emptiness


def test_all_have_to_say_so() -> None:
    """In whatever order: also before the pod is seen to drain here. It is told once."""
    pods = Emptiness()
    assert pods.said("a", []) == pods.said("b", ["p"]) == []
    assert pods.draining("p") == []
    assert pods.said("a", ["p"]) == ["p"]
    assert pods.said("a", ["p"]) == pods.draining("p") == []
    pods.gone("p")
    assert pods.draining("p") == ["p"]


def test_without_activators_nobody_has_requests_in_it() -> None:
    """None is there, none was: it may go at once."""
    assert Emptiness().draining("p") == ["p"]


def test_one_that_is_there_and_says_nothing_is_waited_for() -> None:
    """A new leader has not heard of all yet; one whose pod is gone is none any more."""
    pods = Emptiness()
    assert pods.there(["a", "b"]) == pods.draining("p") == pods.said("a", ["p"]) == []
    assert pods.there(["a"]) == ["p"]
    assert pods.draining("q") == pods.there(["a", "b"]) == []
    assert pods.said("b", ["q"]) == []
    assert pods.said("a", ["p", "q"]) == ["q"]


def test_one_that_was_lost_counts_for_a_while() -> None:
    """Its requests may be under way; one that came back or has left counts no more."""
    pods = Emptiness()
    pods.said("a", ["p"])
    pods.said("b", [])
    pods.lost("b", 10.0)
    assert pods.draining("p") == pods.tick(10.0 + LOST_SECONDS / 2) == []
    assert pods.tick(10.0 + LOST_SECONDS) == ["p"]
    pods.said("b", [])
    pods.lost("b", 20.0)
    assert pods.draining("q") == pods.said("a", ["p", "q"]) == []
    assert pods.said("b", []) == []
    assert pods.left("b") == ["q"]


def test_a_pod_is_never_told_while_somebody_has_requests_in_it() -> None:
    """Whatever happens in whatever order; in the end every pod is told."""
    for seed in range(200):
        chance = random.Random(seed)
        pods, told = Emptiness(), set()
        busy = {name: {"p", "q"} for name in "abc"}
        pods.there("abc")
        for step in range(60):
            name = chance.choice("abc")
            match chance.randrange(4):
                case 0:
                    busy[name].discard(chance.choice("pq"))
                case 1:
                    told |= set(pods.said(name, {"p", "q"} - busy[name]))
                case 2:
                    pods.lost(name, float(step))
                case _:
                    told |= set(pods.draining(chance.choice("pq")))
            told |= set(pods.tick(float(step)))
            assert all(pod not in requests for pod in told for requests in busy.values())
        for pod in "pq":
            told |= set(pods.draining(pod))
        for name in "abc":
            told |= set(pods.said(name, "pq"))
        assert told == {"p", "q"}
