"""Keeps the connection of a held caller alive: comments in a stream of events.

With the first one the answer is committed to 200 and a stream. From then on a replica's own
stream is joined to it, and whatever goes wrong becomes an event.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from activator import event_stream
from activator.request import COMMENTS, DONE, HELD, NOTHING, REPLICA
from activator.settling import Settling
from activator.stream_flag import accepts, asks_for_stream

if TYPE_CHECKING:
    from activator.spool import SpoolFile


class Commenting(Settling):
    """The comments of an exchange."""

    _comments: asyncio.TimerHandle | None = None
    _looked = False  # at all of the body

    def _begin_comments(self) -> None:
        """It is held: comment on it, if it is one that can be commented on."""
        model = self.instead_of or self.model
        assert model is not None
        interval = model.spec.serving.hold_comments
        if not interval or self._comments is not None:
            return
        if not (self.http10 or self.offer or self.method == b"HEAD"):
            loop = asyncio.get_running_loop()
            self._comments = loop.call_later(interval, self._comment)

    def _stop_comments(self) -> None:
        if self._comments is not None:
            self._comments.cancel()
            self._comments = None

    def _unsettle(self) -> None:
        super()._unsettle()
        if self.commit is NOTHING:
            self._stop_comments()  # else until the replica's answer begins

    def _end(self) -> None:
        self._stop_comments()
        super()._end()

    def joined(self) -> None:
        """The replica's answer has begun."""
        self._stop_comments()

    def _comment(self) -> None:
        """The interval has passed."""
        self._comments = None
        if self.stage is DONE or self.commit is REPLICA or self.client.closing:
            return
        if self.commit is NOTHING:
            if self.stage is not HELD:
                return
            if not self._streams():
                if not self._looked or not self.body_complete:
                    self._begin_comments()
                return
            self._commit_to_comments()
        if not self.client.write_paused:  # else it has enough to read
            self._write_comment()
        self._begin_comments()

    def _streams(self) -> bool:
        """Whether it asked for a stream, as far as can be seen now."""
        if accepts(self.fields, event_stream.KIND):
            return True
        kept = self._kept
        looked, self._looked = self._looked, self.body_complete
        if kept is None:
            return False
        if kept.file is not None:
            if not looked:
                self.client.activator.spawn(self._look(kept.file))
            return False
        return self._asks(b"".join(kept.chunks))

    def _asks(self, body: bytes) -> bool:
        return asks_for_stream(body[: self.client.activator.process.json_peek_bytes])

    async def _look(self, file: SpoolFile) -> None:
        """See in the file whether the body asks for a stream; then comment without delay."""
        try:
            body = await file.read(0)
        except OSError:
            return  # its owner will be told
        if self.stage is HELD and self.commit is NOTHING and self._asks(body):
            self._stop_comments()
            self._commit_to_comments()
            self._write_comment()
            self._begin_comments()

    def _commit_to_comments(self) -> None:
        client = self.client
        self.commit = COMMENTS
        self.marked = True  # what comes of a replica has to be joined to this
        if client.activator.draining or client.retired or not self.body_complete:
            self.keep_alive = False
        # What is encoded could not be joined to what is not.
        fields = self.fields
        self.fields = [
            piece
            for at in range(0, len(fields), 4)
            if fields[at].lower() != b"accept-encoding"
            for piece in fields[at : at + 4]
        ]
        self.fields += (b"Accept-Encoding", b": ", b"identity", b"\r\n")
        head = event_stream.head(self.keep_alive)
        self.sent_out += len(head)
        client.transport.write(head)

    def _write_comment(self) -> None:
        model, ticket, activator = self.model, self.ticket, self.client.activator
        assert model is not None
        if ticket is None:
            return
        throttler, now = ticket.throttler, activator.clock.now()
        eta: float | None = None
        if self.stage is not HELD:
            phase = "forwarded"
        elif throttler.ready_replicas:
            phase, eta = "queued", throttler.seconds_for(throttler.queued)
        else:
            phase = throttler.progress.partition(" ")[0] or "asleep"
            eta = activator.admission.forecast.ready_in(throttler, now)
        data = event_stream.comment(phase, eta, throttler.queued)
        self.sent_out += len(data)
        model.held_counts.comments += 1
        self.client.transport.write(data)

    def _as_event(self, content: Any) -> bytes:
        """Stoker's own answer where only an event can be sent; the stream ends with it."""
        assert self.model is not None
        self.model.held_counts.error_events += 1
        return event_stream.error_event(content) + event_stream.LAST_CHUNK
