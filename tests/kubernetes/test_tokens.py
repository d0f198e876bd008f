"""Whose token it is, as the API server says; and what counts while it says nothing."""

from __future__ import annotations

from stoker.platforms.kubernetes.tokens import AWAY_SECONDS, BAD_SECONDS, GOOD_SECONDS, TokenCheck
from stoker.testing import ManualClock
from tests.kubernetes.api.faults import Answer
from tests.kubernetes.api.server import ApiServer
from tests.kubernetes.conftest import Cluster

USER, AUDIENCE = "system:serviceaccount:stoker:stoker-activator", "stoker-autoscaler"
PATH = "/tokenreviews"


def check_of(cluster: Cluster, server: ApiServer) -> tuple[TokenCheck, ManualClock]:
    server.tokens = {
        "good": (USER, AUDIENCE),
        "another's": ("system:serviceaccount:team:default", AUDIENCE),
        "for-the-api": (USER, "https://kubernetes.default.svc"),
    }
    clock = ManualClock()
    return TokenCheck(cluster.client, USER, AUDIENCE, clock), clock


async def test_only_one_account_s_tokens_for_this_link_are_taken(
    cluster: Cluster, server: ApiServer
) -> None:
    """Not another account's, not one made for something else, not one that is none."""
    check, _ = check_of(cluster, server)
    assert await check("good") == ""
    assert await check("another's") == f"system:serviceaccount:team:default is not {USER}"
    assert await check("for-the-api") == await check("none") == "its token is not accepted"


async def test_answers_are_remembered_for_a_while(cluster: Cluster, server: ApiServer) -> None:
    """A good one longer than a bad one; one that is withdrawn is refused after that."""
    check, clock = check_of(cluster, server)
    for token, seconds in (("good", GOOD_SECONDS), ("none", BAD_SECONDS)):
        first, before = await check(token), server.count("create", PATH)
        clock.advance(seconds - 0.1)
        assert await check(token) == first
        assert server.count("create", PATH) == before
        clock.advance(0.2)
        await check(token)
        assert server.count("create", PATH) == before + 1
    del server.tokens["good"]
    clock.advance(GOOD_SECONDS)
    assert await check("good") == "its token is not accepted"


async def test_while_the_api_server_is_away_known_tokens_count(
    cluster: Cluster, server: ApiServer
) -> None:
    """Links come back then too; nobody new is let in, and nobody for ever."""
    check, clock = check_of(cluster, server)
    assert await check("good") == ""
    server.faults.add(Answer(503, "no"), path=PATH)
    clock.advance(GOOD_SECONDS + 1)
    assert await check("good") == ""
    assert await check("another's") == "its token cannot be checked now"
    clock.advance(AWAY_SECONDS)
    assert await check("good") == "its token cannot be checked now"
