"""Which model a request is for."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activator.router import CACHED_HOSTS, KNOWN_NAMES, Builtin, NeedBody, NotFound, Route, Router
from stoker.vocabulary import ModelKey, ModelSpec

DIGITS = ModelKey("default", "digits")
LLAMA = ModelKey("default", "llama")
ELSEWHERE = ModelKey("team", "digits")
LONELY = ModelKey("team", "lonely")

SPECS = (
    ModelSpec(DIGITS, hosts=("digits.example.org", "[::1]"), aliases=("numbers",)),
    ModelSpec(LLAMA, aliases=("meta/llama", "llama:8b"), listeners=("gpu",)),
    ModelSpec(ELSEWHERE),
    ModelSpec(LONELY),
)


@pytest.fixture
def router() -> Router:
    """Four models in two namespaces."""
    made = Router()
    made.set_models(lambda: SPECS)
    return made


def ask(
    router: Router,
    target: str = "/",
    *,
    method: str = "POST",
    host: str = "gateway",
    header: str = "",
    listener: str = "",
) -> Route:
    """One question, with plain texts."""
    return router.route(listener, method.encode(), target.encode(), host.encode(), header.encode())


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("digits.localhost", DIGITS),
        ("DIGITS.localhost:8080", DIGITS),
        ("digits.localhost.", DIGITS),
        ("digits.example.org:80", DIGITS),
        ("[::1]:8080", DIGITS),
        ("[::1]", DIGITS),
        ("digits.default.localhost", DIGITS),
        ("digits.team.localhost", ELSEWHERE),
        ("lonely.localhost", LONELY),
        ("lonely.team.localhost", LONELY),
    ],
)
def test_by_host(router: Router, host: str, key: ModelKey) -> None:
    """Generated and configured hosts, in any spelling, with and without a port."""
    assert ask(router, host=host) == key
    assert ask(router, host=host) == key, "and again, now that the spelling is known"


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/v1/models/digits:predict", DIGITS),
        ("/v1/models/digits", DIGITS),
        ("/v1/models/digits:predict?x=/v1/models/llama", DIGITS),
        ("/v2/models/numbers/infer", DIGITS),
        ("/v2/models/digits", DIGITS),
        ("/v2/models/digits/versions/1/ready", DIGITS),
        ("/v2/models/meta%2Fllama/infer", LLAMA),
        ("/v2/models/team%2Fdigits/infer", ELSEWHERE),
        ("/v1/models/lonely:explain", LONELY),
        ("/v1/models/llama:8b", LLAMA),
        ("/v1/models/llama:8b:predict", LLAMA),
        ("/v1/models/llama%3A8b:predict", LLAMA),
        ("/v2/models/llama:8b/infer", LLAMA),
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_by_path(router: Router, path: str, key: ModelKey, method: str) -> None:
    """V1 with and without a verb, V2 with whatever follows; names may hold / and :."""
    assert ask(router, path, method=method) == key


@pytest.mark.parametrize(
    ("header", "key"),
    [("digits", DIGITS), (" meta/llama ", LLAMA), ("team/digits", ELSEWHERE)],
)
def test_by_header(router: Router, header: str, key: ModelKey) -> None:
    """Names, aliases, names with their namespace."""
    assert ask(router, header=header) == key


def test_the_first_that_says_something_decides(router: Router) -> None:
    """Listener before header before host before path."""
    path = "/v2/models/lonely/infer"
    assert ask(router, path, host="digits.localhost", header="team/digits", listener="gpu") == LLAMA
    assert ask(router, path, host="digits.localhost", header="team/digits", listener="") == (
        ELSEWHERE
    )
    assert ask(router, path, host="digits.localhost") == DIGITS
    assert ask(router, path) == LONELY


def test_an_unknown_header_is_not_passed_over(router: Router) -> None:
    """Who names a model that is not there gets no other one instead."""
    route = ask(router, host="digits.localhost", header="nobody")
    assert isinstance(route, NotFound)
    assert route.looked_for == "header stoker-model: nobody"


@pytest.mark.parametrize(
    ("path", "builtin"),
    [
        ("/v1/models", Builtin.V1_MODELS),
        ("/v1/models/", Builtin.V1_MODELS),
        ("/v2", Builtin.V2_METADATA),
        ("/v2/", Builtin.V2_METADATA),
        ("/v2/health/live", Builtin.V2_LIVE),
        ("/v2/health/ready?x=1", Builtin.V2_READY),
    ],
)
def test_what_is_answered_for_all(router: Router, path: str, builtin: Builtin) -> None:
    """Endpoints without a model, asked for with GET or HEAD and without naming one."""
    assert ask(router, path, method="GET") is builtin
    assert ask(router, path, method="HEAD") is builtin
    assert ask(router, path, method="GET", host="digits.localhost") == DIGITS
    assert ask(router, path, method="POST") is NeedBody.NEED_BODY


@pytest.mark.parametrize(
    ("method", "path", "host", "looked_for"),
    [
        ("GET", "/x?y", "other.localhost:80", "host other.localhost"),
        ("GET", "/x?y", "example.net:80", "host example.net and path /x"),
        ("DELETE", "/", "example.net", "host example.net and path /"),
        ("POST", "/v2/models/nobody/infer", "gateway", "path /v2/models/nobody/infer"),
        ("GET", "/v1/models/:predict", "gateway", "path /v1/models/:predict"),
        ("GET", "/v2/models/", "gateway", "host gateway and path /v2/models/"),
        ("GET", "/v1/models//x", "gateway", "host gateway and path /v1/models//x"),
    ],
)
def test_not_found_says_what_was_looked_for(
    router: Router, method: str, path: str, host: str, looked_for: str
) -> None:
    """And what there is."""
    route = ask(router, path, method=method, host=host)
    assert isinstance(route, NotFound)
    assert route.looked_for == looked_for
    assert "digits" in route.known
    assert "meta/llama" in route.known


def test_by_body(router: Router) -> None:
    """The name found there, or what to say if there is none."""
    assert ask(router, "/v1/chat/completions") is NeedBody.NEED_BODY
    assert router.by_body("meta/llama") == LLAMA
    unknown = router.by_body("x" * 1000)
    assert isinstance(unknown, NotFound)
    assert unknown.looked_for == f'model "{"x" * 253}" of the body'
    nameless = router.by_body(None, b"other.localhost:80")
    assert isinstance(nameless, NotFound)
    told = "a JSON body without a text field model in its first json-peek-bytes"
    assert nameless.looked_for == f"host other.localhost and {told}"
    without_host = router.by_body(None)
    assert isinstance(without_host, NotFound)
    assert without_host.looked_for == told


def test_the_default_namespace_has_the_bare_name() -> None:
    """Whatever the order in which the models come."""
    for specs in (SPECS, SPECS[::-1]):
        router = Router()
        router.set_models(partial(tuple, specs))
        assert ask(router, host="digits.localhost") == DIGITS
        assert router.names()["digits"] == DIGITS
        assert router.by_body("digits") == DIGITS


def test_a_configured_name_goes_before_a_bare_one() -> None:
    """A model of another namespace yields its bare name to who was given it explicitly."""
    named = ModelSpec(DIGITS, hosts=("lonely.localhost",), aliases=("lonely",))
    for specs in ((named, ModelSpec(LONELY)), (ModelSpec(LONELY), named)):
        router = Router()
        router.set_models(partial(tuple, specs))
        assert ask(router, host="lonely.localhost") == DIGITS
        assert router.by_body("lonely") == DIGITS
        assert router.by_body("team/lonely") == LONELY


def test_changes_are_seen_at_once(router: Router) -> None:
    """By every way in, also for hosts that were asked for before."""
    assert ask(router, host="digits.localhost") == DIGITS
    assert ask(router, host="new.localhost", method="GET") == NotFound(
        "host new.localhost", tuple(sorted(router.names()))
    )
    new = ModelKey("default", "new")
    router.set_models(lambda: [ModelSpec(new, listeners=("side",))])
    assert isinstance(ask(router, host="digits.localhost", method="GET"), NotFound)
    assert ask(router, host="new.localhost") == new
    assert ask(router, listener="side") == new
    assert ask(router, listener="gpu") is NeedBody.NEED_BODY
    assert set(router.names()) == {"new", "default/new"}
    route = ask(router, header="digits")
    assert route == NotFound("header stoker-model: digits", ("default/new", "new"))


def test_known_names_are_bounded() -> None:
    """An answer does not list twenty thousand models."""
    router = Router()
    router.set_models(lambda: [ModelSpec(ModelKey("default", f"m{n:03}")) for n in range(100)])
    route = router.by_body("nobody")
    assert isinstance(route, NotFound)
    assert route.known == tuple(f"default/m{n:03}" for n in range(KNOWN_NAMES))


def test_invented_hosts_do_not_grow_the_cache(router: Router) -> None:
    """A client that sends ever new hosts fills a bounded table, and is still answered."""
    for number in range(CACHED_HOSTS + 10):
        ask(router, host=f"h{number}")
    assert len(router._host_cache) == CACHED_HOSTS
    assert ask(router, host="digits.localhost") == DIGITS


@given(
    method=st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD"]),
    target=st.binary(max_size=30).map(lambda rest: b"/" + rest)
    | st.binary(max_size=20).map(lambda rest: b"/v1/models/" + rest),
    host=st.binary(max_size=20),
    header=st.binary(max_size=20),
)
def test_any_bytes_are_survived(method: bytes, target: bytes, host: bytes, header: bytes) -> None:
    """Whatever the parser lets through is answered, with text that can be sent."""
    router = Router()
    router.set_models(lambda: SPECS)
    route = router.route("", method, target, host, header)
    if isinstance(route, NotFound):
        route.looked_for.encode()


def test_a_port_opened_for_a_model_decides_first(router: Router) -> None:
    """Before every name; once its model is gone it names nobody else."""
    router.set_ports({"port-20000-1": LLAMA, "port-20001-1": ModelKey("team", "gone")})
    path = "/v1/models/digits"
    assert ask(router, path, header="team/digits", listener="port-20000-1") == LLAMA
    assert ask(router, path, listener="gpu") == LLAMA
    found = ask(router, path, listener="port-20001-1")
    assert isinstance(found, NotFound)
    assert found.looked_for == "the Service of team/gone"
    router.set_ports({})
    assert ask(router, path, listener="port-20000-1") == DIGITS
