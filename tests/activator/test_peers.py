"""Who is let in as a peer, what is done about odd ones, and what settings make of it."""

from __future__ import annotations

import asyncio
import json
import socket
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from activator.cluster import Cluster
from activator.peer_identity import read_token
from activator.peer_link import Accepting, Link, connect
from activator.peer_wire import LINK, REQUESTS, WireError
from activator.shared_slots import PeerBackend
from stoker.errors import SettingsError
from stoker.settings import ProcessConfig
from stoker.vocabulary import Address, ModelKey, Tenancy
from tests.activator.crowd import HERE, Crowd, Member, make_crowd
from tests.activator.world import DIGITS, get, post, soon, until

HELLO: dict[str, Any] = {
    "epoch": 5,
    "leaving": False,
    "blind": 1e9,
    "up": [],
    "losses": [],
    "large": [],
}


class Stranger:
    """The other end of a link, by hand."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.ends: list[str] = []

    async def connect(
        self,
        member: Member,
        name: str = "a",
        token: bytes = b"",
        role: str = LINK,
        target: str = "",
    ) -> Link:
        return await connect(
            *(member.address, token, role, name, target or member.name),
            partial(Link, member.name, self._take, self._ended),
        )

    def _take(self, link: Link, items: list[Any]) -> None:
        self.heard += items

    def _ended(self, link: Link, why: str) -> None:
        self.ends.append(why)


async def lonely(crowd: Crowd, **options: Any) -> Member:
    """A member ``m`` that was told of a peer ``a``, which nobody is (yet)."""
    member = Member(crowd, "m", **options)
    crowd.members["m"] = member
    member.cluster.set_peers({"a": HERE, "m": HERE})
    await member.activator.start()
    return member


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"token": b"another"}, "same peer-token-file"),
        ({"name": "b"}, "b is not among the peers of m"),
        ({"target": "n"}, "this is m, not n"),
        ({"role": "nonsense"}, "its introduction is none"),
    ],
)
async def test_who_is_not_let_in(said: dict[str, Any], why: str) -> None:
    """Without the token, or as somebody else, nobody gets in; both sides' logs say why."""
    async with make_crowd() as crowd:
        member = await lonely(crowd, token=b"the token")
        with pytest.raises(WireError, match=why):
            await Stranger().connect(member, **{"token": b"the token", **said})
        assert member.cluster.view()["peers"] == {"a": "lost"}


async def test_without_a_token_only_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes from another machine is let in only if it can prove that it has the token."""
    monkeypatch.setattr(Accepting, "is_local", False)
    async with make_crowd() as crowd:
        member = await lonely(crowd)
        with pytest.raises(WireError, match="only peers on loopback are let in"):
            await Stranger().connect(member)


@pytest.mark.parametrize("somebody_else", [False, True])
async def test_who_cannot_be_connected_to_is_tried_again(somebody_else: bool) -> None:
    """As long as its link says that the member is there, no request is given up for that."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        crowd.model(container_concurrency=1, retry_attempts=0)
        await crowd.replica(1)
        owner, (other,) = crowd.owner(), crowd.others()
        pool = other.cluster.pool(f"peer:{owner.name}")
        assert pool is not None
        right = pool.address
        pool.address = other.address if somebody_else else Address("127.0.0.1", 1)
        asked = asyncio.create_task(other.ask(post(b"x")))
        await until(lambda: other.activator.models[DIGITS].retries > 2)
        pool.address = right
        assert (await asked)[0] == 200
        assert other.cluster.pool("r1") is None


async def test_requests_only_from_members() -> None:
    """A connection for requests has to be proved like a link; a plain client gets nothing."""
    async with make_crowd() as crowd:
        member = await lonely(crowd, token=b"the token")
        with pytest.raises(WireError, match="same peer-token-file"):
            await connect(member.address, b"", REQUESTS, "a", "m", asyncio.Protocol)
        reader, writer = await asyncio.open_connection(*member.address)
        writer.write(get())
        assert b"200" not in await reader.read()
        writer.close()


async def test_who_leaves_before_it_is_let_in() -> None:
    """Whoever is gone again at once, at any moment, is refused; nothing fails for that."""
    async with make_crowd() as crowd:
        member = await lonely(crowd)
        for number in range(20):
            reader, writer = await asyncio.open_connection(*member.address)
            if number % 2:
                await reader.readline()
                writer.write(b"nothing that a member says\n")
            writer.transport.abort()
        peers = member.cluster._peers
        await until(lambda: not peers._accepting)


async def test_a_link_that_says_nonsense_ends() -> None:
    """Whatever no peer would say ends the link, and nothing else."""
    lines: list[list[Any]] = [
        [["ask"]],
        [["beat"], 7],
        [["hello", HELLO], ["hello", HELLO]],
        [["ask", "r", 1, 0]],
        [["hello", {}]],
        [["hello", HELLO], ["x"]],
    ]
    async with make_crowd() as crowd:
        member = await lonely(crowd)
        for items in lines:
            link = await Stranger().connect(member)
            for item in items:
                link.say(item)
            await soon(link.closed.wait())
        link = await Stranger().connect(member)
        link.transport.write(b"\xff" * 8)
        await until(lambda: link.over)


async def test_a_silent_member_is_lost() -> None:
    """Three heartbeats without a word: it counts as lost, and its link is broken off."""
    async with make_crowd(heartbeat=0.03) as crowd:
        member = await lonely(crowd)
        stranger = Stranger()
        link = await stranger.connect(member)
        link.say(["hello", HELLO])
        await until(lambda: member.cluster.settled)
        assert member.cluster.view()["members"] == ["a", "m"]
        await until(lambda: stranger.ends)
        await until(lambda: member.cluster.view()["members"] == ["m"])
        assert ["beat"] in stranger.heard


async def test_a_member_that_connects_anew() -> None:
    """A second link of the same member replaces the first, which may be half dead."""
    async with make_crowd(heartbeat=5.0) as crowd:
        member = await lonely(crowd)
        first, second = Stranger(), Stranger()
        (await first.connect(member)).say(["hello", HELLO])
        await until(lambda: member.cluster.settled)
        link = await second.connect(member)
        link.say(["hello", {**HELLO, "epoch": 6}])
        await until(lambda: first.ends)
        assert member.cluster.settled
        link.close()
        await until(lambda: not member.cluster.settled)


async def test_peers_change_at_run_time() -> None:
    """Who is taken off the list is let go, and comes back with it."""
    async with make_crowd() as crowd:
        a, b = await crowd.join("a", "b")
        crowd.model(container_concurrency=1)
        _, script = await crowd.replica(1)
        for member in (a, b):
            assert (await member.ask(get()))[0] == 200
        for member in (a, b):
            member.cluster.set_peers({})
        await until(lambda: a.cluster.view()["members"] == ["a"])
        assert a.cluster.settled
        crowd.tell()
        await crowd.met()
        for member in (a, b):
            assert (await member.ask(get()))[0] == 200
        moved = {**crowd.addresses(), "b": Address("127.0.0.2", b.address.port)}
        a.cluster.set_peers(moved)
        await until(lambda: a.cluster.view()["members"] == ["a"])
        crowd.tell()
        await crowd.met()
        assert script.violations == 0


async def test_sent_back_until_the_model_is_known() -> None:
    """A member that has not heard of the model yet sends requests back; they are tried again."""
    async with make_crowd() as crowd:
        crowd.model(container_concurrency=1)
        await crowd.join("a", "b", "c")
        owner, other = crowd.owner(), crowd.others()[0]
        model = owner.activator.models.pop(DIGITS)
        asked = asyncio.create_task(other.ask(post(b"x" * 200_000)))
        await until(lambda: other.cluster.moved > 1)
        owner.activator.models[DIGITS] = model
        await crowd.replica(1)
        assert (await asked)[0] == 200


async def test_no_circles() -> None:
    """Members that take each other for the owner send requests back, not round and round."""
    async with make_crowd() as crowd:
        a, b = await crowd.join("a", "b")
        crowd.model(container_concurrency=1)
        await crowd.replica(1)
        owner, (other,) = crowd.owner(), crowd.others()
        slots = owner.cluster._models[DIGITS]
        slots.show(PeerBackend(other.name, other.address))
        asked = asyncio.create_task(other.ask(get()))
        await until(lambda: other.cluster.moved > 1)
        assert not owner.cluster.forwarded[other.name]
        owner.cluster.arrange(slots)
        assert (await asked)[0] == 200
        assert {a.name, b.name} == {owner.name, other.name}


async def test_what_the_owner_is_told_of_a_request() -> None:
    """Where it came from, what it may control and its body arrive as if it had come there."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        crowd.model(container_concurrency=1)
        await crowd.replica(1)
        (other,) = crowd.others()
        asked = post(b"body", "/x", "digits.localhost", "Stoker-Deadline: 5s", "X-Own: 1")
        status, body = await other.ask(asked)
        told = json.loads(body)
        assert (status, told["body"]) == (200, "body")
        headers = {name.lower(): value for name, value in told["headers"]}
        assert headers["x-forwarded-for"] == "127.0.0.1"
        assert headers["x-own"] == "1"
        assert headers["host"] == headers["x-forwarded-host"] == "digits.localhost"
        assert not any(name.startswith("stoker-") for name in headers)


async def test_claims_are_passed_on() -> None:
    """Tenant, priority and what is left of the deadline are the request's at the owner too."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        tenancy = ProcessConfig(listen=HERE, tenancy=Tenancy.HEADER, tenant_header="x-team")
        for member in crowd.members.values():
            member.activator.reconfigure(tenancy)
        crowd.model(container_concurrency=1)
        owner, (other,) = crowd.owner(), crowd.others()
        claims = ("X-Team: red", "Stoker-Priority: 3", "Stoker-Deadline: 40s")
        asked = asyncio.create_task(other.ask(get("/", "digits.localhost", *claims)))
        await until(lambda: owner.activator.admission.held == 1)
        (ticket,) = owner.activator.models[DIGITS].throttler.held()
        assert (ticket.tenant, ticket.priority) == ("red", 3)
        assert ticket.hard_deadline is not None
        assert 0 < ticket.hard_deadline - crowd.clock.now() <= 40
        await crowd.replica(1)
        assert (await asked)[0] == 200


async def test_refusals_come_back_as_they_are() -> None:
    """What the owner refuses the client is told, Retry-After included; it is counted once."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        crowd.model(container_concurrency=1, queue_requests=0)
        state, script = await crowd.replica(1)
        await until(lambda: crowd.slots() == {state.id: 1})
        script.gate = asyncio.Event()
        owner, (other,) = crowd.owner(), crowd.others()
        first = asyncio.create_task(other.ask(get()))
        await until(lambda: script.inside == 1)
        client = await other.client()
        answer = await client.ask(get())
        assert answer.status == 429
        assert answer.get("Retry-After") is not None
        script.gate.set()
        assert (await first)[0] == 200
        assert other.activator.models[DIGITS].codes[4] == 1
        assert sum(owner.activator.models[DIGITS].codes) == 0
        assert owner.activator.models[DIGITS].refusals.total() == 1


async def test_explained_and_measured() -> None:
    """Explain says who owns a model; metrics say who is up and what is passed on."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        crowd.model(container_concurrency=2)
        state, _ = await crowd.replica(2)
        await until(lambda: crowd.slots() == {state.id: 2})
        owner, (other,) = crowd.owner(), crowd.others()
        await other.ask(get())
        explained = other.activator.models[DIGITS].explain(crowd.clock.now())
        assert explained["cluster"] == {
            "owner": owner.name,
            "served_by": owner.name,
            "replicas": {
                state.id: {
                    "mine": False,
                    "slots": 0,
                    "in_flight_elsewhere": 0,
                    "waits_for": None,
                }
            },
        }
        assert other.cluster.explain(ModelKey("default", "nobody")) is None
        read = {
            (r.spec.name, r.labels): r.value
            for member in (owner, other)
            for r in member.activator.readings()
            if "peer" in r.spec.name or "owned" in r.spec.name or "forwarded" in r.spec.name
        }
        assert read[("stoker_peer_up", (owner.name,))] == 1
        assert read[("stoker_forwarded_requests", (owner.name,))] == 1


async def test_stands_still_then_looks_before_it_grants() -> None:
    """A member whose timers stood still for longer than slot-expiry grants nothing at first."""
    async with make_crowd(heartbeat=5.0) as crowd:
        await crowd.join("a", "b")
        crowd.model(container_concurrency=1)
        await crowd.replica(1)
        owner = crowd.owner()
        assert (await owner.ask(get()))[0] == 200
        crowd.clock.jump(60)
        asked = asyncio.create_task(owner.ask(get()))
        await until(lambda: owner.activator.admission.held == 1)
        owner.cluster._tick()  # it was late: what others said may still be unread
        assert owner.activator.admission.held == 1
        owner.cluster._tick()
        assert (await asked)[0] == 200


async def test_replicas_that_are_gone_are_forgotten() -> None:
    """Nothing is left of replicas that ended, in any of the members."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        crowd.model(container_concurrency=1)
        for _ in range(3):
            state, _ = await crowd.replica(1)
            assert (await crowd.owner().ask(get()))[0] == 200
            crowd.platform.vanish(state.id)
        for member in crowd.members.values():
            assert not member.cluster._lives
            assert member.cluster._handover is not None
            assert not member.cluster._handover._replicas


def test_token_file(tmp_path: Path) -> None:
    """The token is what the file holds; one that is missing or short is refused by name."""
    file = tmp_path / "token"
    assert read_token("") == b""
    with pytest.raises(SettingsError, match=r"peer-token-file = .*No such file"):
        read_token(str(file))
    file.write_bytes(b"too short\n")
    with pytest.raises(SettingsError, match="holds a token of 9 bytes"):
        read_token(str(file))
    file.write_bytes(b"  0123456789abcdef\n")
    assert read_token(str(file)) == b"0123456789abcdef"


def test_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without peer-listen there is no cluster; the machine's name is a member's if it can be."""
    assert Cluster.configured(ProcessConfig()) is None
    process = ProcessConfig(peer_listen=HERE, peers=(("b", HERE),))
    monkeypatch.setattr(socket, "gethostname", lambda: "Left.example.org")
    made = Cluster.configured(process)
    assert made is not None
    assert made.name == "left"
    monkeypatch.setattr(socket, "gethostname", lambda: "not_a_label")
    with pytest.raises(SettingsError, match="peer-name = not_a_label"):
        Cluster.configured(process)


async def test_settings_reloaded() -> None:
    """Peers of the settings file follow it; a cluster told otherwise keeps its own."""
    async with make_crowd() as crowd:
        (member,) = await crowd.join("a")
        configured = Cluster.configured(ProcessConfig(peer_listen=HERE, peer_name="z"))
        assert configured is not None
        process = ProcessConfig(
            listen=HERE, peer_listen=HERE, peers=(("a", HERE),), slot_expiry=9.0
        )
        member.activator.reconfigure(process)
        assert member.cluster.view()["peers"] == {}
        member.cluster._configured = True
        member.activator.reconfigure(process.__class__(peer_listen=HERE, peers=(("b", HERE),)))
        assert member.cluster.view()["peers"] == {"b": "lost"}


async def test_close_without_start() -> None:
    """A cluster that never started, or only bound its port, leaves nothing behind."""
    await Cluster("a", HERE).close()
    bound = Cluster("a", HERE)
    assert bound.bind() == bound.bind() == bound.address
    await bound.close()
    await bound.close()
