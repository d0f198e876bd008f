"""When a request that has to wait would get its slot, and when to come back. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable

from activator.balancer import MODULUS, MULTIPLIER
from activator.throttler import Throttler
from activator.tickets import Ticket
from stoker.vocabulary import ModelKey

RETRY_AFTER_CAP = 300.0
RETRY_AFTER_UNKNOWN = 5.0
# Who is refused in one moment shall not come back in one moment: up to a quarter later.
SPREAD = 0.25

Eta = Callable[[ModelKey, float], float | None]


class Forecast:
    """``eta`` (model, now) estimates the seconds until a model that starts, or has yet to, can
    serve; None: not known. Estimates are made of what was measured, never of settings.
    """

    def __init__(self, eta: Eta | None) -> None:
        self._eta = eta
        self._draw = 1

    def ready_in(self, throttler: Throttler, now: float) -> float | None:
        """Seconds until the first replica is expected; None: not known."""
        return None if self._eta is None else self._eta(throttler.key, now)

    def start_in(self, ticket: Ticket, now: float) -> float | None:
        """Seconds until ``ticket`` would get a slot if it joined the line now; None: not known.

        Behind those before it in the order of the line, at the pace at which requests end:
        with replicas, as many at a time as there are in them, else as the first replica will
        take.
        """
        throttler = ticket.throttler
        each = throttler.seconds_each
        began = 0.0
        at_once = throttler.active
        if not throttler.ready_replicas:
            first = self.ready_in(throttler, now)
            at_once = throttler.config.container_concurrency
            if first is None or each is None or not at_once:
                return first
            began = first
        elif each is None or not at_once:
            return None
        most = throttler.queued
        if ticket.hard_deadline is not None and each:
            # More of them than can be served by then need not be counted.
            most = min(most, int((ticket.hard_deadline - now) * at_once / each) + 1)
        before = throttler.line.ahead(ticket, throttler.due(ticket), most)
        # Somebody has to leave first where all slots are taken.
        turns = before + 1 if throttler.ready_replicas else before
        return began + turns * each / at_once

    def retry_after(self, throttler: Throttler, now: float) -> float:
        """Whole seconds until another try may well succeed, from 1 to 300.

        With replicas: until the line has moved by its own length. Without: until the
        first replica is expected and has served those that wait.
        """
        if throttler.ready_replicas:
            seconds = throttler.seconds_for(throttler.queued)
        else:
            seconds = self.ready_in(throttler, now)
            each, limit = throttler.seconds_each, throttler.config.container_concurrency
            if seconds is not None and each is not None and limit:
                seconds += throttler.queued * each / limit
        return self.spread(RETRY_AFTER_UNKNOWN if seconds is None else seconds)

    def spread(self, seconds: float) -> float:
        """``seconds`` as a Retry-After, and up to a quarter more, different each time."""
        whole = math.ceil(min(max(seconds, 1.0), RETRY_AFTER_CAP / (1 + SPREAD)))
        self._draw = self._draw * MULTIPLIER % MODULUS
        return float(whole + int(whole * SPREAD * self._draw / MODULUS))
