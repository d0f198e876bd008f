"""Who is believed: stoker-* and X-Forwarded-* fields of peers that are trusted, and of others."""

from __future__ import annotations

import pytest

from activator.headers import REQUEST, Field
from activator.request import Request
from activator.trust import TrustedPeers, forwarded_lines
from stoker import telemetry
from tests.activator.world import World, chunks, echo, get, post, request, spec

STRANGERS = ("10.0.0.0/8",)
SAID = [
    "X-Forwarded-For: 198.51.100.7",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: public.example",
]


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("128.0.0.1", False),
        ("::1", True),
        ("::2", False),
        ("::ffff:127.0.0.1", True),
        ("::ffff:192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("unix", True),
        ("", False),
        ("localhost", False),
    ],
)
def test_loopback_is_trusted_by_default(peer: str, trusted: bool) -> None:
    """This machine and its Unix sockets, in whatever form the address comes; nobody else."""
    assert TrustedPeers(("127.0.0.0/8", "::1/128", "unix")).trusts(peer) is trusted


def test_nobody_may_be_trusted() -> None:
    """An empty list is one."""
    peers = TrustedPeers(())
    assert not any(map(peers.trusts, ("127.0.0.1", "::1", "unix")))


def test_networks_of_both_families() -> None:
    """Scoped addresses belong to their network as others do."""
    peers = TrustedPeers(("10.0.0.0/8", "fe80::/10"))
    assert peers.trusts("10.1.2.3")
    assert peers.trusts("::ffff:10.1.2.3")
    assert peers.trusts("fe80::1%eth0")
    assert not peers.trusts("unix")


def test_what_a_trusted_proxy_said_is_completed() -> None:
    """Addresses are added to the lists of the way, what is missing is filled in."""
    said = [(b"x-forwarded-for", b"1.2.3.4"), (b"x-forwarded-for", b""), (b"forwarded", b"for=x")]
    assert forwarded_lines(said, "192.0.2.1", b"http", b"a.example:80").split(b"\r\n") == [
        b"X-Forwarded-For: 1.2.3.4, 192.0.2.1",
        b"Forwarded: for=x, for=192.0.2.1;proto=http",
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Host: a.example:80",
        b"",
    ]


def test_what_a_trusted_proxy_said_stays() -> None:
    """Scheme, host and the like are the first proxy's to know; IPv6 is quoted where it must be."""
    said = [
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"public.example"),
        (b"x-forwarded-prefix", b"/api"),
        (b"forwarded", b"for=x"),
    ]
    assert forwarded_lines(said, "2001:db8::1", b"http", b"inner").split(b"\r\n") == [
        b"X-Forwarded-For: 2001:db8::1",
        b'Forwarded: for=x, for="[2001:db8::1]";proto=http',
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: public.example",
        b"x-forwarded-prefix: /api",
        b"",
    ]


def test_a_hop_that_is_not_to_be_seen() -> None:
    """Without an address of its own the last hop adds nothing to the lists."""
    said = [(b"x-forwarded-for", b"1.2.3.4"), (b"forwarded", b"for=x")]
    lines = forwarded_lines(said, "", b"http", b"a").split(b"\r\n")
    assert lines[:2] == [b"X-Forwarded-For: 1.2.3.4", b"Forwarded: for=x"]


async def test_forwarded_fields_of_strangers_are_overwritten(world: World) -> None:
    """trust-forwarded-headers is about trusted peers only."""
    await world.start(trust_forwarded_headers=True, trusted_peers=STRANGERS)
    replica = await world.replica(echo)
    client = await world.client()
    await client.ask(get("/", "digits.localhost", *SAID, "Forwarded: for=198.51.100.7"))
    (seen,) = replica.seen
    assert seen.get("X-Forwarded-For") == "127.0.0.1"
    assert seen.get("X-Forwarded-Proto") == "http"
    assert seen.get("X-Forwarded-Host") == "digits.localhost"
    assert seen.get("Forwarded") is None


@pytest.mark.parametrize("trusted", [False, True])
async def test_whatever_is_forwarded_is_for_proxies_to_say(world: World, trusted: bool) -> None:
    """Who a request is from, in any X-Forwarded-* field: from trusted proxies or from nobody."""
    await world.start(trust_forwarded_headers=trusted)
    replica = await world.replica(echo)
    client = await world.client()
    said = {
        "X-Forwarded-User": "admin",
        "X-Forwarded-Client-Cert": "Hash=1",
        "X-Real-IP": "6.6.6.6",
    }
    lines = [f"{name}: {value}" for name, value in said.items()]
    await client.ask(get("/", "digits.localhost", *lines, "X_Forwarded_User: root"))
    (seen,) = replica.seen
    assert {name: seen.get(name) for name in said} == (said if trusted else dict.fromkeys(said))
    assert seen.get("X_Forwarded_User") is None


async def test_forwarded_fields_of_trusted_peers_are_overwritten_by_default(world: World) -> None:
    """To be trusted with stoker-* is not to be a proxy that sets X-Forwarded-*."""
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    await client.ask(get("/", "digits.localhost", *SAID))
    assert replica.seen[0].get("X-Forwarded-For") == "127.0.0.1"


async def test_who_is_trusted_is_asked_when_a_client_connects(world: World) -> None:
    """A new setting is in force for new connections."""
    await world.start(trusted_peers=STRANGERS)
    await world.replica(echo)
    old = await world.client()
    routed = get("/", "nobody", "stoker-model: digits")
    assert (await old.ask(routed)).status == 404
    process = type(world.activator.process)()
    world.activator.reconfigure(process)
    assert (await (await world.client()).ask(routed)).status == 200
    assert (await old.ask(routed)).status == 404


CONTROLS = ["Stoker-Deadline: 3s", "STOKER-tenant: a", "stoker-anything-new: 1"]


async def test_controls_of_trusted_peers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are on the request by lower-case name, and no replica gets to see them."""
    requests: list[Request] = []
    await world.start()
    held = world.activator.held

    def look(request: Request, *rest: object) -> None:
        requests.append(request)
        held(request, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(world.activator, "held", look)
    data = get("/", "nobody", "Stoker-Model: digits", *CONTROLS)
    with_controls, without = await world.held(data, get())
    assert requests[0].controls == {
        b"stoker-deadline": b"3s",
        b"stoker-tenant": b"a",
        b"stoker-anything-new": b"1",
    }
    assert requests[0].model_header == b"digits"
    assert requests[1].controls is None
    replica = await world.replica(echo)
    for client in (with_controls, without):
        assert (await client.answer()).status == 200
    for seen in replica.seen:
        assert [name for name, _ in seen.headers if name.lower().startswith("stoker")] == []
    assert world.activator.ignored_controls == 0


async def test_controls_of_strangers(world: World) -> None:
    """Dropped and counted; who relied on one is told why it had no effect."""
    await world.start(trusted_peers=STRANGERS)
    replica = await world.replica(echo)
    client = await world.client()
    assert (await client.ask(get("/", "digits.localhost", *CONTROLS))).status == 200
    (seen,) = replica.seen
    assert [name for name, _ in seen.headers if name.lower().startswith("stoker")] == []
    answer = await client.ask(get("/", "nobody", "stoker-model: digits"))
    assert answer.status == 404
    assert "stoker-* fields were ignored: 127.0.0.1 is not trusted" in answer.error
    readings = {reading.spec: reading.value for reading in world.activator.readings()}
    assert readings[telemetry.IGNORED_CONTROLS] == 4


@pytest.mark.parametrize("name", ["stoker-model", "stoker-deadline"])
async def test_a_control_that_comes_twice_is_refused(world: World, name: str) -> None:
    """Nobody can say which was meant."""
    await world.start()
    client = await world.client()
    answer = await client.ask(get("/", "digits.localhost", f"{name}: a", f"{name.title()}: b"))
    assert answer.status == 400
    assert answer.error == f"more than one {name} header"


@pytest.mark.parametrize(
    "name",
    ["X_Forwarded_For", "stoker_tenant", "Content_Length", "transfer_Encoding", "X-forwarded_Host"],
)
async def test_fields_that_others_would_take_for_special_ones(world: World, name: str) -> None:
    """CGI and WSGI servers make ``_`` of ``-``: such a field could say what Stoker would not."""
    await world.start(trust_forwarded_headers=True)
    replica = await world.replica(echo)
    client = await world.client()
    assert REQUEST.classify(name.encode()) is Field.DROP
    answer = await client.ask(post(b"abc", "/", "digits.localhost", f"{name}: 1", "x_plain: 2"))
    assert answer.body == b"abc"
    (seen,) = replica.seen
    assert name.lower() not in {key.lower() for key, _ in seen.headers}
    assert seen.get("x_plain") == "2"


async def test_controls_do_not_come_as_trailers(world: World) -> None:
    """What stands behind the body neither controls nor reaches a replica."""
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    head = request("POST", "/", "digits.localhost", "Transfer-Encoding: chunked")
    await client.ask(head + chunks(b"x", trailer=b"stoker-model: other\r\nX-Sum: 1\r\n"))
    assert replica.seen[0].trailers == [("X-Sum", "1")]


async def test_the_model_of_a_trusted_peer_wins(world: World) -> None:
    """The header names the model whatever host and path say."""
    await world.start(spec())
    await world.replica(echo)
    client = await world.client()
    assert (await client.ask(get("/v2/models/none", "none", "stoker-model: digits"))).status == 200
