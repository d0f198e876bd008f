"""What callers see of a hold is the same whichever of several activators they ask."""

from __future__ import annotations

from pathlib import Path

from stoker.vocabulary import ModelKey
from tests.activator.crowd import Crowd, Member, make_crowd
from tests.activator.test_held_callers import SSE, error_of, piece, rest
from tests.activator.world import Client, get, post, until

SMALL = ModelKey.parse("small")


async def held(crowd: Crowd, data: bytes) -> tuple[Member, Client]:
    """The same request to two members, both held by the owner: returns the other member, which
    passed its one on, and that one's client.
    """
    clients = {}
    for name, member in crowd.members.items():
        clients[name] = await member.client()
        await clients[name].send(data)

    def owners() -> list[str]:
        members = crowd.members.items()
        return [name for name, m in members if m.activator.admission.held == len(members)]

    await until(owners, "both held by one")
    (other,) = crowd.members.keys() - set(owners())
    return crowd.members[other], clients[other]


async def test_the_owner_s_headers_reach_the_caller() -> None:
    """The member that held it tells how long; the one between passes that on, once."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        crowd.model(container_concurrency=1)
        _, client = await held(crowd, get())
        state, _ = await crowd.replica(1)
        answer = await client.answer()
        assert answer.get("stoker-replica") == state.id
        for name in ("stoker-queued-ms", "stoker-cold-start"):
            assert answer.get(name) is not None


async def test_the_owner_s_comments_reach_the_caller() -> None:
    """And what goes wrong behind them comes as an event."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        crowd.model(container_concurrency=1, hold_comments=0.02)
        _, client = await held(crowd, get("/", "digits.localhost", SSE))
        head = await client.head()
        assert head.get("Content-Type") == "text/event-stream"
        for _ in range(3):
            assert (await piece(client)).startswith(b": stoker phase=asleep")
        await crowd.replica(1)
        assert error_of(await rest(client))["type"] == "not-a-stream"
        assert (await client.ask(post(b"x"))).status == 200


async def test_placeholder_and_fallback_by_the_owner(tmp_path: Path) -> None:
    """Whoever is asked: the page comes at once; the other model answers where it can."""
    page = tmp_path / "wait.html"
    page.write_text("<p>")
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        crowd.model(container_concurrency=1, placeholder=str(page), fallback="small")
        crowd.model(SMALL)
        await crowd.replica(0, key=SMALL)
        for member in crowd.members.values():
            client = await member.client()
            answer = await client.ask(get("/", "digits.localhost", "Accept: text/html"))
            assert (answer.status, answer.body) == (503, b"<p>")
            answer = await client.ask(post(b"x"))
            assert (answer.status, answer.get("stoker-fallback")) == (200, "small")


async def test_a_fallback_that_the_owner_has_not_got() -> None:
    """What a member passed on is not passed back to it: it is held as if there were none."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        names = [ModelKey("default", f"small{number}") for number in range(20)]
        for key in names:
            crowd.model(key, container_concurrency=1)
            crowd.platform.add_replica(key)
        await until(lambda: all(len(crowd.others(key)) == 1 for key in names))
        crowd.model(container_concurrency=1)
        member, _ = await held(crowd, post(b"first"))
        its_own = next(key for key in names if member.owns(key))
        crowd.model(container_concurrency=1, fallback=its_own.name)
        client = await member.client()
        await client.send(post(b"x"))
        await until(lambda: any(m.activator.admission.held == 3 for m in crowd.members.values()))
        await crowd.replica(1)
        answer = await client.answer()
        assert (answer.status, answer.get("stoker-fallback")) == (200, None)
