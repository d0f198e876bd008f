"""What a request gets instead of being held, or of being held for long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from activator import answer_headers
from activator.commenting import Commenting
from activator.request import COMMENTS, HELD, NEVER, NOTHING, REPLICA
from activator.stream_flag import accepts
from activator.tickets import Reason, Refusal
from stoker.vocabulary import AnswerHeaders

if TYPE_CHECKING:
    from activator.extras import Extras
    from activator.models import Model
    from activator.placeholder import Placeholder

# A refusal for one of these reasons is no refusal where another model can answer.
_ELSEWHERE = frozenset(
    (Reason.OUTAGE, Reason.QUEUE_FULL, Reason.QUEUE_BYTES_FULL, Reason.TENANT_QUEUE_FULL)
)


class Waiting(Commenting):
    """The alternatives of an exchange to its hold."""

    _fallback_timer: asyncio.TimerHandle | None = None

    if TYPE_CHECKING:

        def _admit(self, model: Model) -> None: ...

    def _has_alternative(self, extras: Extras, now: float) -> bool:
        """Before it is admitted: True where it was answered otherwise, or is another's now."""
        if extras.all_headers:
            self.marked = True
        model = self.model
        assert model is not None
        again = self.instead_of is model
        if again:
            self.instead_of = None  # more of its body has come
        if model.throttler.ready_replicas:
            return False
        if extras.placeholder is not None and self.commit is NOTHING and self._gets(extras):
            content = extras.placeholder.content(now)
            if content is not None:
                self._show(extras.placeholder, content, now)
                return True
        if extras.after and model.throttler.outage is None:
            return False
        other = self._other()
        if other is None:
            return False
        self._fall_back(other, now, again=again)
        return True

    def _gets(self, extras: Extras) -> bool:
        """Whether the placeholder is for this one."""
        if not extras.html_only:
            return True
        return self.method in (b"GET", b"HEAD") and accepts(self.fields, b"text/html")

    def _show(self, placeholder: Placeholder, content: bytes, now: float) -> None:
        model, activator = self.model, self.client.activator
        assert model is not None
        model.held_counts.placeholders += 1
        self._wake(model, now)
        retry_after = activator.admission.forecast.retry_after(model.throttler, now)
        self._before_own()
        data = placeholder.answer(
            content,
            retry_after,
            keep_alive=self.keep_alive,
            head_only=self.method == b"HEAD",
        )
        model.count(placeholder.status, now - self.arrived)
        if activator.observer is not None:
            activator.observer.stood_in(self)
        self._send_own(data, placeholder.status)

    def _wake(self, model: Model, now: float) -> None:
        """Nobody waits for the model, but somebody wants it."""
        activator = self.client.activator
        model.throttler.passed_by(now)
        activator.admission.touched[model.throttler] = None
        activator.reporter.poke(model.throttler, now)

    # --- the other model ---

    def _other(self) -> Model | None:
        """The fallback, if there is one that may answer this request."""
        model = self.model
        assert model is not None
        extras = model.extras
        if extras is None or extras.fallback is None or self.instead_of is not None:
            return None
        if self.commit is REPLICA or not (self._kept is None or self._kept.replayable):
            return None
        activator = self.client.activator
        other = activator.models.get(extras.fallback)
        if other is None or other is model:
            return None
        throttler = other.throttler
        if throttler.outage is not None and not throttler.ready_replicas:
            return None
        cluster = activator.cluster
        if cluster is None or not self.client.is_peer:
            return other
        # It came from another member: back to that one it must not go.
        elsewhere = any(cluster.pool(backend.replica_id) for backend in throttler.slots.backends)
        return None if elsewhere else other

    def _fall_back(self, other: Model, now: float, *, again: bool = False) -> None:
        """Hand it over. ``again``: it was counted before."""
        model = self.model
        assert model is not None
        model.held_counts.fallbacks += not again
        self._wake(model, now)
        self._unsettle()
        self.instead_of = model
        self.marked = True
        self.ticket = None
        self.total_deadline = NEVER  # its own counts
        self._admit(other)
        if self.stage is HELD:
            self.held_at = now  # what came before is counted already

    def _settle(self) -> None:
        super()._settle()
        model = self.model
        assert model is not None
        if model.spec.serving.answer_headers is not AnswerHeaders.OFF:
            self.marked = True
        self._begin_comments()
        extras = model.extras
        if extras is not None and extras.after and self._other() is not None:
            loop = asyncio.get_running_loop()
            self._fallback_timer = loop.call_later(extras.after, self._held_enough)

    def _held_enough(self) -> None:
        """fallback-after has passed."""
        self._fallback_timer = None
        ticket, model, activator = self.ticket, self.model, self.client.activator
        if self.stage is not HELD or ticket is None or self.client.closing:
            return
        other = self._other()
        if other is None:
            return
        assert model is not None
        now = activator.clock.now()
        model.note_hold(self, now, "fallback")
        ticket.owner = None
        activator.dispatch(activator.admission.give_up(ticket, now), now)
        self._fall_back(other, now)

    def _unsettle(self) -> None:
        super()._unsettle()
        self._stop_fallback_timer()

    def _end(self) -> None:
        self._stop_fallback_timer()
        super()._end()

    def _stop_fallback_timer(self) -> None:
        if self._fallback_timer is not None:
            self._fallback_timer.cancel()
            self._fallback_timer = None

    def refuse(self, refusal: Refusal) -> None:
        """Not where another model can answer instead."""
        if refusal.reason in _ELSEWHERE and self.upstream is None:
            other, ticket, model = self._other(), self.ticket, self.model
            if other is not None:
                assert model is not None
                now = self.client.activator.clock.now()
                if ticket is not None:
                    if self.stage is HELD:
                        model.note_hold(self, now, refusal.reason.value)
                    ticket.owner = None
                self._fall_back(other, now)
                return
        super().refuse(refusal)

    def _replica_failed(self, reason: str, *, stale: bool) -> None:
        super()._replica_failed(reason, stale=stale)
        if self.stage is HELD:
            self._begin_comments()

    # --- what answers tell ---

    def answer_lines(self, now: float, *, from_member: bool) -> bytes:
        """Header lines for a replica's answer. ``from_member``: another activator added its own."""
        told = b""
        if self.instead_of is not None:
            assert self.model is not None
            told = b"stoker-fallback: %b\r\n" % self.model.spec.key.name.encode()
        if from_member or self.commit is COMMENTS:
            return told
        model = self.instead_of or self.model
        assert model is not None
        wanted = model.spec.serving.answer_headers
        if wanted is AnswerHeaders.ALL or (wanted is AnswerHeaders.HELD and self.waited):
            told += answer_headers.lines(self, now)
        return told

    def _own_lines(self) -> bytes:
        """Header lines for Stoker's own answers."""
        if not self.marked or self.commit is not NOTHING:
            return b""
        model = self.model
        if model is None or model.spec.serving.answer_headers is AnswerHeaders.OFF:
            return b""
        return answer_headers.queued(self)
