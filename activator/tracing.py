"""Spans of requests, by the OpenTelemetry API: the request, its hold, each forwarding.

What becomes of spans is up to the SDK that the user has set up; without one the API makes
none and passes the client's context on. Imported only where ``tracing = spans``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from activator.trace_context import carrier, with_carrier
from stoker import __version__
from stoker.clock import Clock

if TYPE_CHECKING:
    from activator.request import Request

log = logging.getLogger("stoker.activator")

_PROPAGATOR: Final = TraceContextTextMapPropagator()


class RequestSpans:
    """One request's spans that are open."""

    __slots__ = ("_offset", "forward", "server")

    def __init__(self, offset: float) -> None:
        # One for the whole request: parts must not begin before the whole.
        self._offset = offset
        self.server: Span = trace.INVALID_SPAN
        self.forward: Span | None = None

    def nanoseconds(self, time: float) -> int:
        """A time of Stoker's clock as the API wants it."""
        return int((time + self._offset) * 1e9)


class Tracing:
    """Makes the spans. Times are those of ``clock``, told to the API as wall-clock time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tracer = trace.get_tracer("stoker", __version__)
        provider = trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
            log.warning(
                "tracing = spans, but no OpenTelemetry SDK is set up: no span will be exported;"
                " start Stoker with opentelemetry-instrument, or set tracing to propagate"
            )

    def begin(self, request: Request) -> RequestSpans:
        """The span of the whole request, a child of the caller's if it sent a context."""
        fields = request.fields
        context = _PROPAGATOR.extract(carrier(fields))
        method = request.method.decode("latin-1")
        attributes: dict[str, str | int | float] = {
            "http.request.method": method,
            "url.path": request.target.partition(b"?")[0].decode("latin-1"),
            "client.address": request.client.peer,
        }
        name = method
        if request.model is not None:
            attributes["stoker.model"] = str(request.model.spec.key)
            name = f"{method} {request.model.spec.key}"
        spans = RequestSpans(self._clock.wall() - self._clock.now())
        spans.server = self._tracer.start_span(
            name,
            context,
            SpanKind.SERVER,
            attributes,
            start_time=spans.nanoseconds(request.arrived),
        )
        return spans

    def held(self, spans: RequestSpans, request: Request, now: float, refused: str) -> None:
        """The request was held, from ``held_at`` until now."""
        context = trace.set_span_in_context(spans.server)
        span = self._tracer.start_span(
            "hold", context, start_time=spans.nanoseconds(request.held_at)
        )
        if request.cause is not None:
            span.set_attribute("stoker.cause", request.cause.kind)
        if refused:
            _fail(span, refused, "")
        span.end(spans.nanoseconds(now))

    def forwarding(self, spans: RequestSpans, request: Request, replica: str) -> None:
        """The request goes to a replica, which is told that this span is its parent."""
        span = spans.forward = self._tracer.start_span(
            "forward",
            trace.set_span_in_context(spans.server),
            SpanKind.CLIENT,
            {"stoker.replica": replica},
            start_time=spans.nanoseconds(self._clock.now()),
        )
        if not span.get_span_context().is_valid:
            return
        injected: dict[str, str] = {}
        _PROPAGATOR.inject(injected, trace.set_span_in_context(span))
        request.fields = with_carrier(request.fields, injected.items())

    def attempt_failed(self, spans: RequestSpans, why: str, now: float) -> None:
        """The replica failed the request before its answer began."""
        if spans.forward is not None:
            _fail(spans.forward, "replica-failed", why)
            spans.forward.end(spans.nanoseconds(now))
            spans.forward = None

    def ended(self, spans: RequestSpans, request: Request, status: int, now: float) -> None:
        """The request is over. 5xx and whatever Stoker gave up are errors."""
        end = spans.nanoseconds(now)
        refusal = request.refusal
        for span in (spans.forward, spans.server):
            if span is None:
                continue
            span.set_attribute("http.response.status_code", status)
            if refusal is not None:
                span.set_attribute("stoker.reason", refusal.reason.value)
                _fail(span, refusal.reason.value, refusal.detail)
            elif status >= 500:
                span.set_status(Status(StatusCode.ERROR))
                span.set_attribute("error.type", str(status))
            if span is spans.server and request.waited:
                span.set_attribute("stoker.queued_seconds", request.waited)
            span.end(end)
        spans.forward = None


def _fail(span: Span, reason: str, detail: str) -> None:
    span.set_status(Status(StatusCode.ERROR, detail or reason))
    span.set_attribute("error.type", reason)
