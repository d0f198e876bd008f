"""Spans of requests with a real SDK, and what the replica is told of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from stoker.settings.process_rows import Tracing
from stoker.vocabulary import ModelKey
from tests.activator.world import Gate, World, get, gone, in_turn, ok, post, says, spec, until

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
UNSAMPLED = f"00-{TRACE}-b7ad6b7169203331-00"
ECHO = "HTTP/1.1 200 OK"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """An SDK as a user sets it up; spans are kept in memory."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(
        trace, "get_tracer", lambda name, version: provider.get_tracer(name, version)
    )
    yield exporter
    provider.shutdown()


def by_name(exporter: InMemorySpanExporter) -> dict[str, list[ReadableSpan]]:
    """The finished spans."""
    found: dict[str, list[ReadableSpan]] = {}
    for span in exporter.get_finished_spans():
        found.setdefault(span.name, []).append(span)
    return found


def ids(span: ReadableSpan) -> tuple[str, str]:
    """Trace and span id, as in a traceparent."""
    context = span.context
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def parent(span: ReadableSpan) -> str:
    assert span.parent is not None
    return f"{span.parent.span_id:016x}"


async def test_spans_of_a_held_request(world: World, exporter: InMemorySpanExporter) -> None:
    """The request, its hold and its forwarding; the replica's parent is the forwarding."""
    await world.start(tracing=Tracing.SPANS)
    data = post(b"x", "/v1/chat?key=secret", "digits.localhost", f"traceparent: {PARENT}",
                "tracestate: vendor=1")  # fmt: skip
    (client,) = await world.held(data)
    replica = await world.replica()
    assert (await client.answer()).status == 200
    await until(lambda: len(exporter.get_finished_spans()) == 3)
    spans = by_name(exporter)
    (server,), (hold,), (forward,) = spans["POST default/digits"], spans["hold"], spans["forward"]
    assert {ids(span)[0] for span in (server, hold, forward)} == {TRACE}
    assert parent(server) == "b7ad6b7169203331"
    assert parent(hold) == parent(forward) == ids(server)[1]
    assert (server.kind, forward.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    (seen,) = replica.seen
    assert seen.get("traceparent") == f"00-{TRACE}-{ids(forward)[1]}-01"
    assert seen.get("tracestate") == "vendor=1"
    attributes = dict(server.attributes or {})
    waited = attributes.pop("stoker.queued_seconds")
    assert isinstance(waited, float)
    assert waited > 0
    assert attributes == {
        "http.request.method": "POST",
        "url.path": "/v1/chat",
        "client.address": "127.0.0.1",
        "stoker.model": "default/digits",
        "http.response.status_code": 200,
    }
    assert dict(forward.attributes or {}) == {
        "stoker.replica": replica.id,
        "http.response.status_code": 200,
    }
    assert dict(hold.attributes or {}) == {"stoker.cause": "asleep"}
    times = [t for s in (server, hold, forward) for t in (s.start_time, s.end_time)]
    assert None not in times
    assert (server.start_time or 0) <= (hold.start_time or 0) < (hold.end_time or 0)
    assert (forward.end_time or 0) <= (server.end_time or 0)
    assert server.status.status_code is StatusCode.UNSET


async def test_the_sampled_flag_is_respected(world: World, exporter: InMemorySpanExporter) -> None:
    """A caller that does not sample gets no spans, and neither does the replica."""
    await world.start(tracing=Tracing.SPANS)
    replica = await world.replica()
    client = await world.client()
    assert (await client.ask(get("/", "digits.localhost", f"traceparent: {UNSAMPLED}"))).status
    told = replica.seen[0].get("traceparent") or ""
    assert told.startswith(f"00-{TRACE}-")
    assert told.endswith("-00")
    assert exporter.get_finished_spans() == ()


async def test_a_request_without_a_context_begins_a_trace(
    world: World, exporter: InMemorySpanExporter
) -> None:
    """What no caller traced has a root of its own, which the replica joins."""
    await world.start(tracing=Tracing.SPANS)
    replica = await world.replica()
    client = await world.client()
    await client.ask(get("/", "digits.localhost", "traceparent: rubbish", "tracestate: left=1"))
    await until(lambda: len(exporter.get_finished_spans()) == 2)
    (server,) = by_name(exporter)["GET default/digits"]
    assert server.parent is None
    assert (replica.seen[0].get("traceparent") or "").startswith(f"00-{ids(server)[0]}-")
    assert replica.seen[0].get("tracestate") is None


async def test_failures_are_recorded(world: World, exporter: InMemorySpanExporter) -> None:
    """A replica that died has its own span with the reason; the next one is another."""
    await world.start(tracing=Tracing.SPANS)
    replica = await world.replica(in_turn(gone, says(ok(b"fine"))))
    client = await world.client()
    assert (await client.ask(get())).body == b"fine"
    await until(lambda: len(by_name(exporter).get("forward", ())) == 2)
    failed, good = by_name(exporter)["forward"]
    assert failed.status.status_code is StatusCode.ERROR
    assert "closed the connection" in (failed.status.description or "")
    assert (failed.attributes or {})["error.type"] == "replica-failed"
    assert good.status.status_code is StatusCode.UNSET
    told = [(seen.get("traceparent") or "").rpartition("-")[0] for seen in replica.seen]
    assert [f"00-{ids(s)[0]}-{ids(s)[1]}" for s in (failed, good)] == told


async def test_refusals_are_errors(world: World, exporter: InMemorySpanExporter) -> None:
    """Refused while held: both spans say why; a replica's 5xx is an error by its status."""
    await world.start(spec(hold_timeout=5.0, hold_timeout_cap=5.0), tracing=Tracing.SPANS)
    (client,) = await world.held(get())
    world.jump(6.0)
    assert (await client.answer()).status == 504
    spans = by_name(exporter)
    for span in (*spans["hold"], *spans["GET default/digits"]):
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == "hold-deadline"
    assert (spans["GET default/digits"][0].attributes or {})["stoker.reason"] == "hold-deadline"
    exporter.clear()
    await world.replica(says(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"))
    await client.ask(get())
    for span in exporter.get_finished_spans():
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == "500"


async def test_a_client_that_leaves_ends_its_spans(
    world: World, exporter: InMemorySpanExporter
) -> None:
    """No span stays open, whatever happens to the request."""
    await world.start(tracing=Tracing.SPANS)
    gate = Gate()
    await world.replica(gate)
    client = await world.client()
    await client.send(get())
    await until(lambda: gate.inside == 1)
    client.reset()
    await until(lambda: len(exporter.get_finished_spans()) == 2)
    for span in exporter.get_finished_spans():
        assert (span.attributes or {})["error.type"] == "client-gone"


async def test_what_names_no_model_has_a_span_too(
    world: World, exporter: InMemorySpanExporter
) -> None:
    """404 of Stoker's own."""
    await world.start(tracing=Tracing.SPANS)
    client = await world.client()
    assert (await client.ask(get("/", "nobody.localhost"))).status == 404
    (span,) = exporter.get_finished_spans()
    assert span.name == "GET"
    assert (span.attributes or {})["http.response.status_code"] == 404


async def test_what_another_model_answers_is_one_trace(
    world: World, exporter: InMemorySpanExporter
) -> None:
    """A fallback is a child of the same request, after the hold that it ended."""
    words = ModelKey.parse("words")
    await world.start(
        spec(fallback="words", fallback_after=0.01), spec(words), tracing=Tracing.SPANS
    )
    replica = await world.replica(key=words)
    client = await world.client()
    assert (await client.ask(get())).status == 200
    spans = by_name(exporter)
    assert {name: len(found) for name, found in spans.items()} == {
        "GET default/digits": 1,
        "hold": 1,
        "forward": 1,
    }
    (server,), (forward,) = spans["GET default/digits"], spans["forward"]
    assert parent(forward) == ids(server)[1]
    assert (forward.attributes or {})["stoker.replica"] == replica.id
    assert (spans["hold"][0].attributes or {})["error.type"] == "fallback"


async def test_without_an_sdk_the_context_passes_through(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API alone makes no spans: said once, and the caller's context reaches the replica."""
    monkeypatch.setattr(trace, "get_tracer_provider", trace.NoOpTracerProvider)
    monkeypatch.setattr(trace, "get_tracer", lambda name, version: trace.NoOpTracer())
    with caplog.at_level(logging.WARNING):
        await world.start(tracing=Tracing.SPANS)
        world.activator.reconfigure(world.activator.process)
    assert caplog.text.count("no OpenTelemetry SDK is set up") == 1
    replica = await world.replica()
    client = await world.client()
    assert (await client.ask(get("/", "digits.localhost", f"traceparent: {PARENT}"))).status == 200
    assert replica.seen[0].get("traceparent") == PARENT
    assert (await client.ask(get())).status == 200
    assert replica.seen[1].get("traceparent") is None


@pytest.mark.parametrize("setting", [Tracing.OFF, Tracing.PROPAGATE])
async def test_a_good_context_is_passed_on_as_it_is(world: World, setting: Tracing) -> None:
    """Always, whatever the setting."""
    await world.start(tracing=setting)
    replica = await world.replica()
    client = await world.client()
    lines = (f"traceparent: {PARENT}", "tracestate: a=1", "X-Other: kept")
    await client.ask(get("/", "digits.localhost", *lines))
    (seen,) = replica.seen
    assert seen.get("traceparent") == PARENT
    assert seen.get("tracestate") == "a=1"
    assert seen.get("x-other") == "kept"


async def test_propagate_stops_what_is_malformed(world: World) -> None:
    """Neither a bad parent, nor two, nor a state alone reach the replica; off looks at none."""
    await world.start(tracing=Tracing.PROPAGATE)
    replica = await world.replica()
    client = await world.client()
    for lines in (
        ("traceparent: 00-bad", "tracestate: a=1"),
        (f"traceparent: {PARENT}", f"traceparent: {PARENT}"),
        ("tracestate: a=1",),
    ):
        assert (await client.ask(get("/", "digits.localhost", *lines))).status == 200
        assert replica.seen[-1].all("traceparent") == []
        assert replica.seen[-1].all("tracestate") == []
