"""What is told of each request to those who look: access log, spans, lines in the log.

There is an ``Observer`` only while one of them is asked for; the request path pays one look
at an attribute otherwise.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from activator.access_log import AccessLog
from activator.access_notes import Notes
from activator.balancer import Backend
from activator.tickets import Ticket
from activator.trace_context import (
    PARENT,
    is_told,
    referer_and_trace,
    trace_id,
    valid,
    values,
    without,
)
from stoker.errors import Problem, SettingsError
from stoker.log_limit import Sampler
from stoker.logs import tell
from stoker.settings import ProcessConfig
from stoker.settings.process_rows import Tracing as TracingSetting

if TYPE_CHECKING:
    from activator.request import Request
    from activator.server import Activator
    from activator.tracing import RequestSpans, Tracing

log = logging.getLogger("stoker.activator")

DEBUG: Final = logging.DEBUG


class Story:
    """What one request has met so far."""

    __slots__ = ("arrival", "attempts", "passed_on", "replica", "sent", "spans", "ticket")

    def __init__(self, ticket: Ticket | None) -> None:
        # For activator.arrivals: its number (0: nobody records it), when its replica got it
        # (0: none has it), whether another process tells of its end.
        self.arrival = 0
        self.sent = 0.0
        self.passed_on = False
        self.ticket = ticket
        self.replica = ""
        self.attempts = 0
        self.spans: RequestSpans | None = None


def make_observer(activator: Activator, before: Observer | None = None) -> Observer | None:
    """What the settings ask for; None: nothing. Takes over what ``before`` has open.

    Raises SettingsError when the access log cannot be opened; ``before`` is as it was then.
    """
    process = activator.process
    old = None if before is None else before.access_log
    access_log = old
    if process.access_log != ("" if old is None else old.path):
        access_log = _open(process.access_log) if process.access_log else None
    observer = _made(activator, access_log, before)
    if old is not None and old is not access_log:
        old.flush()
        activator.access_log_dropped += old.dropped
        activator.spawn(_let_go(activator, old))
    return observer


def tapped(activator: Activator) -> Observer | None:
    """The observer now that arrivals are, or are no longer, recorded; all else as before."""
    before = activator.observer
    return _made(activator, None if before is None else before.access_log, before)


def _made(
    activator: Activator, access_log: AccessLog | None, before: Observer | None
) -> Observer | None:
    if before is not None:
        before.write_noted()
    process = activator.process
    debug = log.isEnabledFor(DEBUG)
    wanted = (
        access_log is not None
        or process.tracing is not TracingSetting.OFF
        or process.log_sample
        or debug
        or activator.tap is not None
    )
    return Observer(activator, process, access_log, debug=debug, before=before) if wanted else None


async def _let_go(activator: Activator, old: AccessLog) -> None:
    """Its last lines may have to wait for the disk, or for whoever reads them."""
    dropped = old.dropped
    await asyncio.to_thread(old.close)
    activator.access_log_dropped += old.dropped - dropped


def _open(path: str) -> AccessLog:
    try:
        return AccessLog(path)
    except OSError as caught:
        why = f"cannot be opened for writing: {caught.strerror or caught}"
        hint = "name a file in a directory that Stoker may write to, or - for stdout"
        raise SettingsError(
            "settings", [Problem("stoker.access-log", path, why, hint=hint)]
        ) from None


class Observer:
    """Is told by the request path what happens, and tells on."""

    def __init__(
        self,
        activator: Activator,
        process: ProcessConfig,
        access_log: AccessLog | None,
        *,
        debug: bool,
        before: Observer | None = None,
    ) -> None:
        self._activator = activator
        self.access_log = access_log
        self.tap = activator.tap
        self._debug = debug
        self._sampler = Sampler(process.log_sample) if process.log_sample else None
        self._tidies = process.tracing is not TracingSetting.OFF
        self._tracing: Tracing | None = None
        if process.tracing is TracingSetting.SPANS:
            from activator.tracing import Tracing

            # Not anew at each reload: the warning about a missing SDK is told once.
            known = None if before is None else before._tracing
            self._tracing = known or Tracing(activator.clock)
        self._notes = None if access_log is None else Notes(access_log, process)

    # --- what the request path tells ---

    def admitted(self, request: Request, ticket: Ticket) -> None:
        """Asked for a slot: granted, held or refused, as ``ticket`` says."""
        story = request.story
        if story is not None:
            story.ticket = ticket  # another model's: it was asked instead
        else:
            story = request.story = Story(ticket)
            if self.tap is not None:
                self.tap.admitted(request, story)
            if self._tracing is not None:
                story.spans = self._tracing.begin(request)
            if self._tidies:
                _tidy(request)
        if self._debug:
            throttler = ticket.throttler
            tell(
                log,
                DEBUG,
                "admitted",
                model=throttler.key,
                state=ticket.state.name.lower(),
                client=request.client.peer,
                queued=throttler.queued,
                active=throttler.active,
                ready=throttler.ready_replicas,
            )

    def stood_in(self, request: Request) -> None:
        """Not admitted: a placeholder answers. Its model is wanted all the same."""
        if self.tap is not None:
            story = request.story = Story(None)
            self.tap.admitted(request, story)

    def held(self, request: Request, now: float, refused: str) -> None:
        """A hold is over."""
        story = request.story
        if story is not None and story.spans is not None and self._tracing is not None:
            self._tracing.held(story.spans, request, now, refused)
        if self._debug and request.cause is not None:
            tell(
                log,
                DEBUG,
                "hold over",
                model=request.model and request.model.label,
                seconds=now - request.held_at,
                cause=request.cause.kind,
                refused=refused or None,
            )

    def forwarding(self, request: Request, backend: Backend) -> None:
        """Sent to a replica."""
        story = request.story
        if story is None:
            return  # it was under way already when this observer was made
        story.replica = backend.replica_id
        story.attempts += 1
        if self.tap is not None:
            self.tap.forwarding(story, backend.replica_id, self._activator.clock.now())
        if story.spans is not None and self._tracing is not None:
            self._tracing.forwarding(story.spans, request, backend.replica_id)
        if self._debug:
            tell(
                log,
                DEBUG,
                "forwarding",
                model=request.model and request.model.label,
                replica=backend.replica_id,
                attempt=story.attempts,
                in_flight=backend.in_flight,
            )

    def attempt_failed(self, request: Request, why: str, now: float) -> None:
        """The replica failed it before its answer began."""
        story = request.story
        if story is not None and self.tap is not None:
            self.tap.attempt_failed(story)
        if story is not None and story.spans is not None and self._tracing is not None:
            self._tracing.attempt_failed(story.spans, why, now)

    def ended(self, request: Request, status: int, now: float) -> None:
        """The request is over, however; ``status`` 499: the client left before its answer."""
        story = request.story
        if story is None:
            story = Story(None)
            if self._tracing is not None:
                story.spans = self._tracing.begin(request)
        elif self.tap is not None:
            self.tap.ended(request, story, now)
        if story.spans is not None and self._tracing is not None:
            self._tracing.ended(story.spans, request, status, now)
        if request.client.is_peer:
            return  # its line is written where it came in
        if self._notes is not None:
            self._note(self._notes, request, story, status, now)
        if request.refusal is not None:
            return
        sampled = self._sampler is not None and self._sampler.takes()
        if sampled or self._debug:
            tell(
                log,
                logging.INFO if sampled else DEBUG,
                "served",
                model=request.model and request.model.label,
                replica=story.replica or None,
                status=status,
                seconds=now - request.arrived,
                queued_ms=request.waited * 1000,
                attempts=story.attempts,
                client=request.client.peer,
                trace_id=trace_id(request.fields) or None,
            )

    def malformed(self, status: int, peer: str, size: int) -> None:
        """Refused with ``size`` bytes before there was a request to speak of."""
        if self._notes is not None:
            wall = self._activator.clock.wall()
            self._notes.add(
                (
                    *(peer, "", wall, b"-", b"-", "HTTP/1.1", status, size, b"", b"", 0.0, 0.0),
                    *("", "", 0, "", "malformed"),
                )
            )

    # --- the access log ---

    def _note(self, notes: Notes, request: Request, story: Story, status: int, now: float) -> None:
        model, refusal, ticket = request.model, request.refusal, story.ticket
        referer, trace = referer_and_trace(request.fields)
        notes.add(
            (
                request.client.peer,
                "" if ticket is None else ticket.tenant,
                self._activator.clock.wall(),
                request.method,
                request.target,
                "HTTP/1.0" if request.http10 else "HTTP/1.1",
                status,
                request.sent_out,
                referer,
                request.agent,
                now - request.arrived,
                request.waited,
                "" if model is None else model.label,
                story.replica,
                story.attempts - 1 if story.attempts else 0,
                trace,
                request.told or ("" if refusal is None else refusal.reason.value),
            )
        )

    # --- now and then ---

    def sweep(self) -> None:
        """Hand on what waits to be written, and tell what could not be."""
        self.write_noted()
        if self.access_log is not None:
            self.access_log.flush()
            dropped = self.access_log.newly_dropped()
            if dropped:
                tell(
                    log,
                    logging.WARNING,
                    "access log lines dropped: writing is too slow or fails",
                    count=dropped,
                    path=self.access_log.path,
                )

    def write_noted(self) -> None:
        """Give the access log the lines of all requests that are over."""
        if self._notes is not None:
            self._notes.write()

    def reopen(self) -> None:
        """SIGHUP: whoever rotates logs has moved the file away."""
        if self.access_log is not None:
            self.access_log.reopen()

    def close(self) -> None:
        self.write_noted()
        if self.access_log is not None:
            self.access_log.close()


def _tidy(request: Request) -> None:
    """A context that says nothing valid must not be passed on, nor its state alone."""
    if not is_told(request.fields):
        return
    parents = values(request.fields, PARENT)
    if (len(parents) != 1 or not valid(parents[0])) and (
        parents or values(request.fields, b"tracestate")
    ):
        request.fields = without(request.fields)
