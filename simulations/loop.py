"""The loop: arrivals and completions merged, and everything else at its moment.

Most of a run is a request that finds a slot, and a request that ends; these two are written
out in ``Loop._stretch``, with nothing looked up that can be known before. All the rest
(reports, decisions, replicas, deadlines, clients that give up) happens in ``_control``, at a
time that is worked out anew only when something may have changed it.

What is decided is decided by the activator's ``Admission`` and the autoscaler's ``Brain``,
as in a running Stoker; here is only what time, sockets and processes would do there.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Any, Final, cast

import numpy as np

from activator.admission import Admission
from activator.balancer import Backend
from activator.reporter import Reporter
from activator.throttler import Throttler, furthest
from activator.tickets import GRANTED, HELD, REFUSED, Failure, Reason, Ticket
from autoscaler.brain import Brain
from simulations.books import Books
from simulations.platform import SimulatedPlatform
from simulations.result import Result
from simulations.run import Run
from simulations.sharing import Sharing
from simulations.trace import Trace
from stoker.platform import ModelChanged, ModelEvent, ModelOutage, ReplicaEvent, ReplicaGone
from stoker.vocabulary import ModelKey, Phase, Poke, Replica, ScaleTo, StatReport

Progress = Callable[[float], None]
"""Told the virtual second that was reached, with each report of load."""
Together = Callable[[float], float]
"""Told when nothing is under way any more; says how long to go on, as others of the same run do."""

NEVER: Final = math.inf
FLUSH: Final = 65_536
"""So many values are gathered before they go into the histograms, all at once."""
_SERVICES_DRAWN: Final = 101
"""Seeds: what is drawn for requests, apart from what is drawn for anything else. Not 0: to
numpy's seeds a trailing 0 is nothing, and a trace made with the same seed would go along."""


class _Clock:
    """Virtual time. ``wall`` is the same: nobody compares it with the world's."""

    __slots__ = ("time",)

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time


class _Link:
    """From the reporter to the brain, at once. ``stirred``: a decision is wanted early."""

    def __init__(self, brain: Brain, clock: _Clock) -> None:
        self._brain = brain
        self._clock = clock
        self.stirred = False

    def report(self, report: StatReport) -> None:
        self._brain.report(report, self._clock.time)

    def poke(self, poke: Poke) -> None:
        self.stirred = self._brain.poke(poke, self._clock.time) or self.stirred


class Loop:
    """One run. Used once."""

    def __init__(self, run: Run) -> None:
        self.run_ = run
        models = run.source.models
        chosen = None if run.only is None else frozenset(run.only)
        self.models = tuple(key for key in models if chosen is None or key in chosen)
        self.clock = _Clock()
        self.brain = Brain(
            tick_interval=run.tick_interval, policy=None if run.policy is None else run.policy()
        )
        self.brain.agenda.begin(0.0)
        self.admission = Admission(
            run.max_queued_requests, run.max_queued_bytes, eta=self.brain.eta
        )
        self.link = _Link(self.brain, self.clock)
        self.reporter = Reporter("simulated", 1, self.admission, self.link, 0.0)
        self.platform = SimulatedPlatform(self.clock, run.world, run.seed)
        self.books = Books(run, self.models)
        # Completions: (time, order, ticket), or for a shared replica its backend and version.
        self.heap: list[tuple[float, int, Any]] = []
        # Ties are broken by order: arrivals by their number, what is granted later behind them.
        self.arrived = 0
        self.order = itertools.count(1 << 60)
        # Replicas with something to do, since when; seconds of them by model.
        self.busy_since: dict[Backend, float] = {}
        self.busy: dict[Throttler, float] = {}
        self.sharings: dict[Backend, Sharing] | None = (
            {} if run.world.service.slowdown(2) != 1.0 else None
        )
        # Clients that give up, in the order in which they do; those who come back.
        self.timeouts: deque[tuple[float, Ticket]] = deque()
        self.returns: list[tuple[float, int, Throttler, float, float, int]] = []
        # Of requests that came more than once, or were tried again: when first, which try.
        self.first: dict[Ticket, tuple[float, int]] = {}
        self.cold: dict[Ticket, None] = {}
        self.starting: dict[Throttler, dict[str, Replica]] = {}
        self.waits: list[float] = []
        self.latencies: list[float] = []
        self.next_report = run.report_phase or run.report_interval
        self.next_warm = run.warm_up or NEVER
        self.failure: BaseException | None = None
        # Our own policies ask to be looked at again before they would wake a model by themselves,
        # so that silence need not be gone through; a baseline may not.
        self.may_skip = run.policy is None
        self.platform.watch_models(self._guarded(self._model_event))
        self.platform.watch_replicas(self._guarded(self._replica_event))
        self.platform.apply(run.specs[key] for key in models if chosen is None or key in chosen)
        self.throttlers = [self.admission.throttlers.get(key) for key in models]
        # What an arrival needs to know of its model: looked up once, not a million times.
        self.served: list[Any] = [
            throttler and (throttler, throttler.config.priority, throttler.config.total_timeout)
            for throttler in self.throttlers
        ]

    def _guarded(self, watcher: Callable[..., None]) -> Callable[..., None]:
        """A watcher whose failure ends the run: the platform itself would swallow it."""

        def guarded(event: object) -> None:
            try:
                watcher(event)
            except BaseException as error:
                self.failure = self.failure or error

        return guarded

    # --- from beginning to end ---

    def run(self, progress: Progress | None = None, together: Together | None = None) -> Result:
        run = self.run_
        self.progress = progress
        self._control(0.0, 0.0)
        for number, block in enumerate(run.source.blocks()):
            self._block(block, number)
        self._stretch([], [], [], run.source.duration)
        end = run.source.duration + run.after
        while self._under_way() and self.clock.time < end:
            self._stretch([], [], [], min(end, self.clock.time + 10.0))
        if together is not None:
            self._stretch([], [], [], max(self.clock.time, together(self.clock.time)))
        self.reporter_says(self.clock.time)
        self._flush()
        self._settle_busy(self.clock.time)
        return self.books.close(self.clock.time, self._in_hand())

    def _in_hand(self) -> dict[Throttler, int]:
        """How many requests wait or are served, by model."""
        return {
            throttler: count
            for throttler in self.throttlers
            if throttler is not None and (count := throttler.queued + throttler.active)
        }

    def _settle_busy(self, now: float) -> None:
        """Write down for how long replicas have been busy up to now."""
        for ticket in self._served():
            backend = ticket.backend
            assert backend is not None
            self.busy[ticket.throttler] += now - self.busy_since[backend]
            self.busy_since[backend] = now
        for throttler, seconds in self.busy.items():
            if seconds:
                self.books.busy(throttler, seconds)
                self.busy[throttler] = 0.0

    def _served(self) -> Iterator[Ticket]:
        """The requests that are in replicas."""
        for _, _, what in self.heap:
            if isinstance(what, Ticket) and what.state is GRANTED:
                yield what
        for sharing in (self.sharings or {}).values():
            yield from sharing.tickets()

    def _under_way(self) -> bool:
        return bool(self.heap or self.admission.held or self.returns)

    def _block(self, block: Trace, number: int) -> None:
        """The arrivals of one block, and what happens up to the last of them."""
        run = self.run_
        stream = np.random.SeedSequence((run.seed, number, _SERVICES_DRAWN))
        rng = np.random.Generator(np.random.PCG64(stream))
        services = run.world.service.seconds(block, rng)
        times, which = block.times, block.which
        if run.only is not None:
            mine = np.array([throttler is not None for throttler in self.throttlers])[which]
            times, which, services = times[mine], which[mine], services[mine]
        self.books.arrivals(times, which)
        last = float(times[-1]) if len(times) else 0.0
        self._stretch(times.tolist(), which.tolist(), services.tolist(), last)

    # --- the hot path ---

    def _stretch(
        self, times: list[float], which: list[int], services: list[float], limit: float
    ) -> None:
        """Arrivals, and everything that happens up to ``limit``."""
        run, clock, heap = self.run_, self.clock, self.heap
        sharings, size = self.sharings, run.request_bytes
        offer, served = self.admission.offer, self.served
        busy_since, busy, first, cold = self.busy_since, self.busy, self.first, self.cold
        waited, took = self.waits.append, self.latencies.append
        push, pop = heappush, heappop
        patience = run.world.clients.timeout
        timing_out = self.timeouts.append
        count, place, number = len(times), 0, self.arrived
        self.arrived += count
        times.append(limit)
        control = self._next_control()
        ticket: Any
        while True:
            arrival = times[place]
            while heap:
                entry = heap[0]
                now = entry[0]
                if now > arrival or control <= now:
                    break
                pop(heap)
                ticket = entry[2]
                if ticket.__class__ is not Ticket:
                    ticket = self._shared_end(ticket, now)
                    if ticket is None:
                        continue
                if ticket.state is not GRANTED:
                    continue  # its client left meanwhile
                backend = ticket.backend
                granted = ticket.throttler.finish(ticket, now, answered=True)
                since = ticket.held_since
                if ticket.granted != since:
                    waited(ticket.granted - since)
                if first:
                    took(now - first.pop(ticket, (since, 0))[0])
                else:
                    took(now - since)
                if cold and ticket in cold:
                    del cold[ticket]
                    self.books.cold(ticket.throttler, ticket.granted - since, now)
                if granted:
                    clock.time = now
                    self._dispatch(granted, now)
                if not backend.in_flight:
                    busy[ticket.throttler] += now - busy_since.pop(backend)
                    if backend.draining:
                        clock.time = now
                        self.platform.drained(backend.replica_id)
                        control = self._next_control()
            if control <= arrival:
                control = self._control(control, arrival)
                continue
            if place == count:
                break
            throttler, priority, budget = served[which[place]]
            work = services[place]
            place += 1
            deadline = arrival + budget if budget else None
            ticket = offer(throttler, "", priority, deadline, size, arrival, work)
            if patience:
                timing_out((arrival + patience, ticket))
                control = min(control, arrival + patience)
            if ticket.state is GRANTED:
                backend = ticket.backend
                if sharings is None:
                    push(heap, (arrival + work, number + place, ticket))
                else:
                    self._join(ticket, arrival)
                if backend.in_flight == 1:
                    busy_since[backend] = arrival
            else:
                clock.time = arrival
                control = min(control, self._not_granted(ticket, arrival))
        clock.time = max(clock.time, limit)
        if self.failure is not None:
            raise self.failure

    def _not_granted(self, ticket: Ticket, now: float) -> float:
        """It is held, or refused; returns when something is to be done about it."""
        throttler = ticket.throttler
        if ticket.state is HELD:
            if not throttler.ready_replicas:
                self.cold[ticket] = None
                if throttler.queued == 1:
                    self.books.activation(throttler)
            self.reporter.poke(throttler, now)
        else:
            refusal = ticket.refusal
            assert refusal is not None
            if refusal.reason is Reason.DEADLINE_UNREACHABLE:
                self.reporter.poke(throttler, now)
            self._refused(ticket, now)
        soon = min(ticket.deadline if ticket.state is HELD else NEVER, self._first_return())
        if self.admission.displaced:
            soon = now
        if self.link.stirred:
            self.link.stirred = False
            soon = min(soon, self.brain.agenda.until())
        return max(now, soon)  # what is overdue is due now

    def _dispatch(self, tickets: Iterable[Ticket], now: float) -> None:
        """Tickets that got a slot, or whose hold ended without."""
        for ticket in tickets:
            if ticket.state is GRANTED:
                backend = ticket.backend
                assert backend is not None
                if self.sharings is None:
                    work = cast(float, ticket.owner)
                    heappush(self.heap, (now + work, next(self.order), ticket))
                else:
                    self._join(ticket, now)
                self.busy_since.setdefault(backend, now)
                self.books.waited(now - ticket.held_since, now)
            elif ticket.state is REFUSED:
                self._refused(ticket, now)

    # --- shared replicas ---

    def _join(self, ticket: Ticket, now: float) -> None:
        assert self.sharings is not None
        backend = ticket.backend
        assert backend is not None
        sharing = self.sharings.get(backend)
        if sharing is None:
            sharing = self.sharings[backend] = Sharing(self.run_.world.service.slowdown, now)
        sharing.join(ticket, cast(float, ticket.owner), next(self.order), now)
        self._arm(backend, sharing, now)

    def _arm(self, backend: Backend, sharing: Sharing, now: float) -> None:
        end = sharing.next_end(now)
        if end is not None:
            heappush(self.heap, (end, next(self.order), (backend, sharing.version)))

    def _shared_end(self, which: tuple[Backend, int], now: float) -> Ticket | None:
        """Who ends in a shared replica now; None: that has changed since."""
        assert self.sharings is not None
        backend, version = which
        sharing = self.sharings.get(backend)
        if sharing is None or sharing.version != version:
            return None
        ticket = sharing.end(now)
        self._arm(backend, sharing, now)
        return ticket

    # --- endings other than an answer ---

    def _refused(self, ticket: Ticket, now: float) -> None:
        refusal = ticket.refusal
        assert refusal is not None
        self.cold.pop(ticket, None)
        if not self._comes_back(ticket, now):
            self.books.refused(ticket.throttler, refusal.reason.value, now)

    def _comes_back(self, ticket: Ticket, now: float) -> bool:
        """Its client tries again later, as often as clients do."""
        clients = self.run_.world.clients
        since, tries = self.first.pop(ticket, (ticket.held_since, 0))
        if tries >= clients.retries:
            return False
        again = now + clients.backoff * 2.0**tries
        work = cast(float, ticket.owner)
        heappush(self.returns, (again, next(self.order), ticket.throttler, work, since, tries + 1))
        return True

    def _first_return(self) -> float:
        return self.returns[0][0] if self.returns else NEVER

    def _give_up(self, now: float) -> None:
        """Clients whose patience is over leave; some come back."""
        while self.timeouts and self.timeouts[0][0] <= now:
            ticket = self.timeouts.popleft()[1]
            if ticket.state not in (GRANTED, HELD):
                continue
            backend = ticket.backend
            if backend is not None and self.sharings is not None:
                self.sharings[backend].leave(ticket, now)
                self._arm(backend, self.sharings[backend], now)
            granted = self.admission.give_up(ticket, now)
            self.cold.pop(ticket, None)
            if not self._comes_back(ticket, now):
                self.books.abandoned(ticket.throttler)
            self._dispatch(granted, now)
            if backend is not None:
                self._left(backend, ticket.throttler, now)

    def _left(self, backend: Backend, throttler: Throttler, now: float) -> None:
        """A request left the replica otherwise than by an answer."""
        if not backend.in_flight:
            self.busy[throttler] += now - self.busy_since.pop(backend, now)
            if backend.draining:
                self.platform.drained(backend.replica_id)

    def _come_back(self, now: float) -> None:
        """Clients that try again, with the same work as before."""
        run = self.run_
        while self.returns and self.returns[0][0] <= now:
            _, _, throttler, work, since, tries = heappop(self.returns)
            config = throttler.config
            deadline = now + config.total_timeout if config.total_timeout else None
            ticket = self.admission.offer(
                throttler, "", config.priority, deadline, run.request_bytes, now, work
            )
            self.first[ticket] = (since, tries)
            self.books.tried_again(throttler)
            if run.world.clients.timeout:
                self.timeouts.append((now + run.world.clients.timeout, ticket))
            if ticket.state is GRANTED:
                self._dispatch([ticket], now)
            else:
                self._not_granted(ticket, now)

    def _lost(self, backend_id: str, throttler: Throttler, now: float) -> None:
        """A replica died: what was in it is tried elsewhere, as production does."""
        lost: dict[Ticket, None] = {}
        kept = []
        for entry in self.heap:
            ticket = entry[2]
            if isinstance(ticket, Ticket):
                backend = ticket.backend
                if backend is not None and backend.replica_id == backend_id:
                    lost[ticket] = None
                    continue
            elif ticket[0].replica_id == backend_id:
                continue
            kept.append(entry)
        if self.sharings is not None:
            for backend in [b for b in self.sharings if b.replica_id == backend_id]:
                lost.update(dict.fromkeys(self.sharings.pop(backend).tickets()))
        self.heap[:] = kept
        heapify(self.heap)
        for ticket in lost:
            backend = ticket.backend
            assert backend is not None
            since = self.first.pop(ticket, (ticket.held_since, 0))
            why = f"{backend_id} died"
            refusal = self.admission.failed(ticket, Failure(why, idempotent=False), now)
            if not backend.in_flight:
                self.busy[throttler] += now - self.busy_since.pop(backend, now)
            if refusal is None:
                self.first[ticket] = since
                self.books.retried(throttler)
                self._dispatch(self.admission.retry(ticket, ticket.size, now), now)
            else:
                ticket.state, ticket.refusal = REFUSED, refusal
                self._refused(ticket, now)
                self._dispatch(throttler.grant(now), now)

    # --- everything at its moment ---

    def _next_control(self) -> float:
        """When something other than an arrival or a completion happens next."""
        self.link.stirred = False
        now = self.clock.time
        deadline = self.admission.next_deadline(now) if self.admission.held else None
        first = min(
            self.next_report,
            self.next_warm,
            self.brain.agenda.until(),
            self.platform.next_at(),
            NEVER if deadline is None else deadline,
            self.timeouts[0][0] if self.timeouts else NEVER,
            self._first_return(),
        )
        return max(now, first)  # what is overdue is due now

    def _control(self, now: float, arrival: float) -> float:
        """Let happen what is due at ``now``; ``arrival``: when the next request comes.

        Returns when to be called again.
        """
        self.clock.time = now
        self.platform.advance()
        if self.admission.held or self.admission.displaced:
            self._dispatch(self.admission.expire(now), now)
        if self.timeouts:
            self._give_up(now)
        if self.returns:
            self._come_back(now)
        if now >= self.next_report:
            self.reporter_says(now)
            self.next_report = self._grid(now)
        if now >= self.next_warm:
            self.next_warm = NEVER
            self._warm(now)
        everyone, models = self.brain.agenda.take(now)
        if everyone or models:
            self._decide(now, None if everyone else models)
        if self.failure is not None:
            raise self.failure
        if self.may_skip and not self.heap and self._asleep():
            self._skip(now, arrival)
        return self._next_control()

    def _decide(self, now: float, models: set[ModelKey] | None) -> None:
        plan = self.brain.decide(now, models)
        self.books.decided(len(self.models) if models is None else len(models))
        for command in plan.commands:
            if isinstance(command, ScaleTo):
                self.books.desired(command, now)
                self.platform.scale_now(command.model, command.replicas, command.victims)

    def reporter_says(self, now: float) -> None:
        """A report of load; what it says is what the run's curves are drawn from."""
        report = self.reporter.report(now)
        self.books.load(report)
        if len(self.latencies) >= FLUSH:
            self._flush()
        if self.progress is not None:
            self.progress(now)

    def _grid(self, now: float) -> float:
        """The next moment for a report after ``now``."""
        interval, phase = self.run_.report_interval, self.run_.report_phase
        return (math.floor((now - phase) / interval + 1e-9) + 1) * interval + phase

    def _asleep(self) -> bool:
        """Nothing is there, nothing wanted, nothing under way: only an arrival changes that."""
        rows = len(self.brain.planner.rows)
        return (
            not self.platform.busy
            and not self.admission.held
            and bool(self.brain.planner.state.asleep[:rows].all())
        )

    def _skip(self, now: float, arrival: float) -> None:
        """Leave out the reports and ticks of a silence: they would all say zero.

        The last report before the arrival is made, so that the one after it speaks of its
        own second alone.
        """
        until = min(arrival, self.next_warm, self.brain.agenda.earliest_wake())
        last = self._grid(until) - self.run_.report_interval
        if last > self.next_report:
            self.next_report = last
        self.brain.agenda.skip(until)

    def _warm(self, now: float) -> None:
        """What is counted begins here."""
        self.reporter_says(now)
        self._flush()
        self._settle_busy(now)
        self.books.restart(now, self._in_hand())

    def _flush(self) -> None:
        self.books.answered(self.waits, self.latencies)
        self.waits.clear()
        self.latencies.clear()

    # --- what the platform tells ---

    def _model_event(self, event: ModelEvent) -> None:
        now = self.clock.time
        self.brain.model_event(event, now)
        assert isinstance(event, ModelChanged)
        throttler, granted = self.admission.set_model(event.spec, now)
        self.starting.setdefault(throttler, {})
        self.busy.setdefault(throttler, 0.0)
        self._dispatch(granted, now)

    def _replica_event(self, event: ReplicaEvent) -> None:
        now = self.clock.time
        self.brain.replica_event(event, now)
        if isinstance(event, ModelOutage):
            throttler = self.admission.throttlers[event.model]
            self._dispatch(self.admission.outage(throttler, event.outage, now), now)
            return
        replica = event.replica
        throttler = self.admission.throttlers[replica.model]
        self.books.replica(event, now)
        starting = self.starting[throttler]
        starting.pop(replica.id, None)
        if isinstance(event, ReplicaGone) or replica.phase is Phase.FAILED:
            backend = throttler.slots.drain(replica.id)
            throttler.remove_replica(replica.id)
            if backend is not None and backend.in_flight:
                self._lost(replica.id, throttler, now)
        elif replica.phase is Phase.DRAINING:
            if throttler.drain_replica(replica.id):
                self.platform.drained(replica.id)
        elif replica.phase is Phase.READY:
            assert replica.address is not None
            granted = self.admission.replica_ready(throttler, replica.id, replica.address, now)
            self._dispatch(granted, now)
        else:
            starting[replica.id] = replica
            self.admission.progressed(throttler, furthest(starting.values()), now)
