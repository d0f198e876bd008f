"""Many configurations at once, roughly: load and queues as fluid, decisions as in production.

One row per configuration and lane (``simulations.lanes``). Each second the requests that
come flow into free slots, else into a queue; each tick ``autoscaler.decider.Decider`` decides
for all rows, the very code that decides in production, and who is held is decided for at
once, as its poke would have it. What is rough is the world:

- requests are a fluid that leaves a replica at the rate active / service. In one second, of
  ``A`` active ``A e`` are left, e = exp(-1 / service), and of a flow ``f`` that enters ``f g``,
  g = service (1 - e). So slots for ``cap`` requests let in (cap - A e) / g at most. A service
  of 2 s: e = 0.61, g = 0.79; ten free slots take 12.7 requests in the first second;
- a replica is ready the mean start-up after its start, nothing fails, nothing is refused;
- what happens within a second is not seen: a wait below it is a guess.

It ranks configurations, so that the exact engine need replay only the best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from autoscaler.decider import Decider
from autoscaler.policies import Policy
from autoscaler.policies.per_model import PerModel
from autoscaler.scale_to_zero import NEVER
from autoscaler.table import At, rows_of
from autoscaler.window import Averages
from simulations.fluid_waits import Waits
from simulations.lanes import Lanes
from stoker.vocabulary import PolicyName, ScalingConfig

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

UNLIMITED = 1e12
"""Slots of a replica without a limit."""
TAIL = 0.2
"""Active requests below this are none: an exponential never ends, the last request does."""


@dataclass(frozen=True, slots=True)
class FluidWorld:
    """``slots`` per replica (``UNLIMITED``: no bound); ``start``: mean seconds until one is
    ready; ``drain``: seconds it lasts once it is scaled away and empty; ``most`` replicas at
    once, 0: no bound. ``slowdown[k]``: the factor of service with k requests in a replica, the
    last one for more as well; empty: none.
    """

    slots: float = UNLIMITED
    start: float = 10.0
    drain: float = 0.0
    most: int = 0
    slowdown: Floats = field(default_factory=lambda: np.zeros(0))
    tick: int = 2


@dataclass(frozen=True, slots=True, eq=False)
class Flowed:
    """What came of it: [configuration, lane], but ``waits`` [configuration, lane, bin].

    ``cold``: requests that came while no replica was ready. ``ticks``: configuration-ticks
    decided on, those out of turn and of ``lead`` among them, and those skipped not.
    """

    waits: Floats
    cold: Floats
    replica_seconds: Floats
    ticks: int


def flow(
    configs: Sequence[ScalingConfig],
    lanes: Lanes,
    world: FluidWorld,
    policy: Callable[[], Policy] = PerModel,
    progress: Callable[[float], None] | None = None,
) -> Flowed:
    """Let all ``configs`` live through all ``lanes``. ``progress``: told the share done."""
    # Rows whose windows have the same shape lie together: each shape is one slice then.
    order = sorted(
        range(len(configs)),
        key=lambda i: (
            configs[i].stable_window,
            configs[i].panic_window,
            configs[i].window_aggregation,
        ),
    )
    pass_ = _Pass([configs[i] for i in order], lanes, world, policy())
    pass_.run(progress or (lambda _: None))
    back = np.argsort(np.array(order, dtype=np.int64))
    shape = (len(configs), lanes.count)
    return Flowed(
        pass_.waits.counts.reshape(*shape, -1)[back],
        pass_.cold.reshape(shape)[back],
        pass_.replica_seconds.reshape(shape)[back],
        pass_.ticks,
    )


class _Pass:
    def __init__(
        self, configs: Sequence[ScalingConfig], lanes: Lanes, world: FluidWorld, policy: Policy
    ) -> None:
        self.rows = len(configs) * lanes.count
        self.lanes = lanes
        self.world = world
        self.decider = Decider(policy)
        self.decider.reserve(self.rows)
        for row in range(self.rows):
            self.decider.configure(row, configs[row // lanes.count])
        self.ready = self.decider.state.ready[: self.rows]
        self.starting = self.decider.state.starting[: self.rows]
        self.decider.state.start_seconds[: self.rows] = world.start
        self.active, self.queue = np.zeros(self.rows), np.zeros(self.rows)
        self.waits = Waits(self.rows, lanes)
        self.cold = np.zeros(self.rows)
        self.replica_seconds = np.zeros(self.rows)
        self.ticks = 0
        self._listening = any(config.policy is not PolicyName.KPA for config in configs)
        self._delay = max(1, round(world.start))
        # [second modulo its length, row]: replicas that get ready then.
        self._rising = np.zeros((self._delay + 2, self.rows))
        self._risen = np.zeros(0, dtype=np.int64)
        left = np.exp(-1.0 / lanes.service)
        stay = lanes.service * (1 - left)
        self._flows = (left, stay, lanes.service * (1 - stay))

    def run(self, progress: Callable[[float], None]) -> None:
        lanes = self.lanes
        comes = lanes.arrivals.max(axis=1) > 0
        upcoming = np.append(np.flatnonzero(comes), lanes.seconds)
        self._decide(slice(0, self.rows), 0.0, np.ones(self.rows))
        second = 0
        while second < lanes.seconds:
            held = self._second(second, bool(comes[second]))
            after = second + 1
            if after % self.world.tick == 0:
                poked = np.zeros(self.rows)
                poked[held] = 1.0
                self._decide(slice(0, self.rows), float(after), poked)
            elif len(held):
                self._decide(held, float(after), np.ones(len(held)))
            if after % 512 == 0:
                progress(after / lanes.seconds)
            second = after
            if second < lanes.seconds and not comes[second] and self._quiet:
                second = int(upcoming[np.searchsorted(upcoming, second)])
        self._end()
        progress(1.0)

    @property
    def _quiet(self) -> bool:
        """Whether every row is at zero, and stays there until somebody comes."""
        waking = self._listening and (self.decider.state.look_again[: self.rows] != NEVER).any()
        return not (waking or self.ready.any() or self.starting.any() or self.queue.any())

    def _second(self, second: int, comes: bool) -> Ints:
        """Let one second pass; the rows in which somebody who came in it is held."""
        counts = second >= self.lanes.lead
        self._rise(second)
        shape = (-1, self.lanes.count)
        arrivals = self.lanes.arrivals[second]
        left, stay, kept = self._rates(second)
        active, before = self.active.reshape(shape), self.queue
        room = (self.ready * self.world.slots).reshape(shape)
        remains = active * left
        room -= remains
        room /= stay
        np.maximum(room, 0.0, out=room)
        offered = before.reshape(shape) + arrivals
        entered = np.minimum(offered, room)
        busy = active * stay
        busy += entered * kept
        self.active = (remains + entered * stay).ravel()
        self.active *= self.active >= TAIL
        offered -= entered
        self.queue = offered.ravel()
        entering = entered.ravel()
        if counts:
            self._leave(before, entering, second)
            self.replica_seconds += self.ready
            self.replica_seconds += self.starting
        self.waits.gone(entering)
        self._report(second, busy.ravel(), active.ravel() + entering - self.active)
        if not comes:
            return _NONE
        if counts:
            self.cold += ((self.ready == 0).reshape(shape) * arrivals).ravel()
        return np.flatnonzero(((self.queue > 0).reshape(shape) & (arrivals > 0)).ravel())

    def _report(self, second: int, busy: Floats, completions: Floats) -> None:
        """What the activator would say of this second; a model at rest is not mentioned."""
        policy = self.decider.policy
        load = busy + self.queue
        measures = policy.measures_service
        if not measures and not self._listening:
            self.decider.windows.fill(second, load)
            return
        if measures:
            rows = np.arange(self.rows)
            policy.serve(rows, busy, completions)
            load = busy + self.queue * policy.weight_of_queued(rows)
        self.decider.windows.fill(second, load)
        rows = np.flatnonzero(load)
        policy.observe(second, rows, load[rows])

    def _rates(self, second: int) -> tuple[Floats, Floats, Floats]:
        """What is left of the active, of those who entered, and what these add to the load."""
        factors = self.world.slowdown
        if not len(factors):
            left, stay, kept = self._flows
            return left[second], stay[second], kept[second]
        crowd = np.ceil(self.active / np.maximum(self.ready, 1.0)).astype(np.int64)
        factor = factors[np.clip(crowd, 1, len(factors) - 1)]
        service = factor.reshape(-1, self.lanes.count) * self.lanes.service[second]
        left = np.exp(-1.0 / service)
        stay = service * (1 - left)
        return left, stay, service * (1 - stay)

    def _rise(self, second: int) -> None:
        risen = self._rising[second % len(self._rising)]
        self._risen = np.flatnonzero(risen)
        if len(self._risen):
            self.ready[:] += risen
            self.starting[:] -= risen
            risen[:] = 0.0

    def _leave(self, before: Floats, entering: Floats, second: int) -> None:
        """Note the waits of those who were in the queue and got their slot."""
        rows = np.flatnonzero(before)
        rows = rows[entering[rows] > 0]
        if not len(rows):
            return
        at = np.full(self.rows, second + 0.5)
        # Started when somebody came, ready that much later: not at the middle of a second.
        at[self._risen] += self.world.start - self._delay
        self.waits.leave(rows, np.minimum(entering[rows], before[rows]), at[rows])

    def _decide(self, at: At, now: float, poked: Floats) -> None:
        """Decide, start and stop replicas. ``poked`` 1: decided for when somebody came, which
        is half a second before ``now``, else at ``now``."""
        decider = self.decider
        averages: Averages = decider.windows.averages(
            now, self.rows, None if isinstance(at, slice) else at
        )
        there, _, _, outcome = decider.conclude(at, averages, now)
        decider.state.asked[at] = outcome.desired
        decider.state.look_again[at] = outcome.look_again
        decider.sleep(at, outcome.desired + there == 0)
        desired = outcome.desired
        if self.world.most:
            desired = np.minimum(desired, self.world.most)
        more = desired - there
        self.ticks += len(more)
        places = np.flatnonzero(more > 0)
        if len(places):
            rows = rows_of(at, places)
            when = int(now) + self._delay - poked[places].astype(np.int64)
            self._rising[when % len(self._rising), rows] += more[places]
            self.starting[rows] += more[places]
        places = np.flatnonzero(more < 0)
        if len(places):
            self._stop(rows_of(at, places), -more[places], int(now))

    def _stop(self, rows: Ints, fewer: Floats, now: int) -> None:
        """Those that start go first, the youngest of them before the others."""
        cancelled = np.minimum(fewer, self.starting[rows])
        ready = fewer - cancelled
        self.starting[rows] -= cancelled
        which = np.flatnonzero(cancelled)
        self._cancel(rows[which], cancelled[which], now)
        which = np.flatnonzero(ready)
        rows, ready = rows[which], ready[which]
        if now > self.lanes.lead:
            busy = np.minimum(1.0, self.active[rows] / np.maximum(self.ready[rows], 1.0))
            service = self.lanes.service[min(now, self.lanes.seconds - 1), rows % self.lanes.count]
            self.replica_seconds[rows] += ready * (self.world.drain + busy * service)
        self.ready[rows] -= ready

    def _cancel(self, rows: Ints, count: Floats, now: int) -> None:
        """Take ``count`` of those that start from each of ``rows``, the youngest first."""
        if not len(rows):
            return
        youngest_first = np.arange(now + self._delay, now - 1, -1) % len(self._rising)
        at = np.ix_(youngest_first, rows)
        starting = self._rising[at]
        so_far = np.cumsum(starting, axis=0)
        gone = np.diff(np.minimum(so_far, count), axis=0, prepend=0.0)
        self._rising[at] = starting - gone

    def _end(self) -> None:
        """Who is still held has waited until now at least; everybody else not at all."""
        rows = np.flatnonzero(self.queue)
        if len(rows):
            at = np.full(len(rows), float(self.lanes.seconds))
            self.waits.leave(rows, self.queue[rows], at)
        counted = np.tile(self.lanes.counted, self.rows // self.lanes.count)
        waited = self.waits.counts[:, 1:].sum(axis=1)
        self.waits.counts[:, 0] = np.maximum(0.0, counted - waited)


_NONE = np.zeros(0, dtype=np.int64)
