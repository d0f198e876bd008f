"""What a request claims for itself, read from its head and the beginning of its body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from activator.balancer import PREFIX
from activator.claims import DEADLINE, PRIORITY, ClaimError, read_deadline, read_priority
from activator.peek import Peek, find_prefix
from activator.prefix import hash_key
from activator.request import HELD, NEVER, RECEIVING
from activator.responses import CONTINUE
from activator.tickets import Reason, Refusal
from activator.waiting import Waiting
from stoker.vocabulary import ServingConfig

# A prompt that trickles in is not waited for longer: its request goes to any replica.
PROMPT_SECONDS: Final = 1.0


class Claim(NamedTuple):
    """``deadline``: absolute, None: none; ``key``: of what its prompt begins with, 0: none."""

    tenant: str
    priority: int
    deadline: float | None
    key: int


class Claiming(Waiting):
    """The claims of an exchange. Only asked where there may be any."""

    patience = 0.0  # seconds from its arrival to its stoker-deadline; 0: it has none
    _prompt_due = NEVER

    if TYPE_CHECKING:

        def advance(self) -> None: ...

    def _claim(self, serving: ServingConfig) -> Claim | None:
        """What it claims. None: its prompt has yet to come, or it was answered."""
        activator, client = self.client.activator, self.client
        tenant, priority, deadline = "", serving.priority, None
        if serving.total_timeout:
            deadline = self.total_deadline
        controls = self.controls
        if controls is not None:
            try:
                if PRIORITY in controls:
                    priority = read_priority(controls[PRIORITY])
                seconds = read_deadline(controls[DEADLINE]) if DEADLINE in controls else None
            except ClaimError as malformed:
                activator.count_malformed(400, str(malformed), client.peer)
                self._answer(400, str(malformed), "malformed")
                return None
            if seconds is not None:
                if seconds <= 0:
                    why = f"stoker-deadline = {seconds:g} s: it had passed when the request came"
                    self.refuse(Refusal(Reason.DEADLINE_PASSED, why))
                    return None
                self.patience = seconds
                deadline = self.total_deadline = min(self.total_deadline, self.arrived + seconds)
        if activator.tenants is not None:
            tenant = activator.tenants.of(
                self.fields, controls, trusted=client.trusted, passed_on=client.is_peer
            )
        key = 0
        if serving.balancing is PREFIX and self.method == b"POST":
            found = self._prompt(serving.prefix_chars)
            if found is Peek.NEED_MORE:
                return None
            if isinstance(found, tuple):
                key = hash_key(*(text.encode(errors="surrogatepass") for text in found))
        self._prompt_due = NEVER
        return Claim(tenant, priority, deadline, key)

    def _prompt(self, chars: int) -> tuple[str, str] | Peek:
        """Its model field and what its prompt begins with, as far as that has come in time."""
        activator, body = self.client.activator, self.body
        limit = activator.process.json_peek_bytes
        # What was held goes to the fallback as it is: nobody looks at more of its body.
        complete = self.body_complete or body.size >= limit or self.stage is HELD
        if not complete:
            self._continue()
            now = activator.clock.now()
            if self._prompt_due == NEVER:
                self._prompt_due = self.deadline = now + PROMPT_SECONDS
                self._look_at = 0
            complete = now >= self._prompt_due
            if body.size < self._look_at and not complete:
                return Peek.NEED_MORE
            self._look_at = body.size + body.size // 8
        chunks = body.chunks
        text = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return find_prefix(text[:limit], complete, chars)

    def _continue(self) -> None:
        """Tell a client that waits for it to send its body."""
        if self.expects_continue and not self._continued and not self.body_complete:
            self._continued = True
            self.client.transport.write(CONTINUE)

    def check(self, now: float) -> None:
        """Called now and then: a prompt is not waited for for ever, nor anything else."""
        if self.stage is RECEIVING and now >= self._prompt_due:
            self._look_at = 0  # what has come is enough, for its model too
            self.advance()
        elif (
            self.patience
            and self.stage is not HELD  # its ticket's deadline is the same
            and now >= self.total_deadline == self.arrived + self.patience
        ):
            why = f"stoker-deadline = {self.patience:g} s has passed"
            self.refuse(Refusal(Reason.DEADLINE_PASSED, why))
        else:
            super().check(now)
