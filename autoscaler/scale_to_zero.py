"""From what a policy wants to what is asked for: bounds, the first scale, and the way to zero.

A wanted 0 becomes 0 only when all of this is past; until then one replica stays:

1. scale-to-zero is enabled (else one replica stays for good);
2. a model on its way up has become ready, or failed to for ``ACTIVATION_LIMIT`` seconds;
3. it has been active (something ready) for a stable window;
4. it has been idle for the pod retention period, and, while its traffic does not pass the
   activator yet, for the grace period.

A policy's floor holds like a bound, within max_scale: above 0 it wakes a model without any
data, and the way to zero begins only when it has fallen to 0.

Without valid data nothing moves but what bounds and floor demand. A model not yet initialised has
its initial scale as lower bound until that many replicas were ready once.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple, cast

import numpy as np

from autoscaler.policies import Floor
from autoscaler.table import At, Bools, Floats, Ints, Table, every, places_of, rows_of, some
from stoker.vocabulary import ScalingConfig

NEVER = -1e18
UNBOUNDED = 1e18
ACTIVATION_LIMIT = 610.0
"""Seconds a replica may take to get ready: a start timeout of 600 s, and 10 s to notice."""


class Kept(enum.IntEnum):
    """Why a model keeps, or gets, more than its load wants."""

    NOT = 0
    DISABLED = 1
    ACTIVATING = 2
    JUST_ACTIVE = 3
    RETENTION = 4
    GRACE = 5
    FLOOR = 6


class _Settings(Table):
    DEFAULTS = {  # noqa: RUF012 (declared ClassVar by Table)
        "least": 0.0,
        "most": UNBOUNDED,
        "initial": 0.0,
        "enabled": True,
        "stable_window": 60.0,
        "retention": 0.0,
        "grace": 30.0,
    }
    least: Floats
    most: Floats
    initial: Floats
    enabled: Bools
    stable_window: Floats
    retention: Floats
    grace: Floats


class _Memory(Table):
    """``awake``: since when replicas are asked for; ``active``: since when some are ready.

    ``idle``: since when only retention or grace keeps a replica. NEVER where not so.
    """

    DEFAULTS = {  # noqa: RUF012 (declared ClassVar by Table)
        "awake": NEVER,
        "active": NEVER,
        "idle": NEVER,
        "initialised": False,
        "via_activator": True,
    }
    awake: Floats
    active: Floats
    idle: Floats
    initialised: Bools
    via_activator: Bools


class Supply(NamedTuple):
    """Per row: replicas ready, on their way up, and ``asked`` for (or there, if unknown)."""

    ready: Floats
    starting: Floats
    asked: Floats


class Outcome(NamedTuple):
    """Per row: replicas to ask for, why some are kept (``Kept``), when to look again (or NEVER)."""

    desired: Floats
    kept: Floats
    look_again: Floats


class ScaleToZero:
    """Bounds and the way to zero for any number of rows."""

    def __init__(self) -> None:
        self.settings = _Settings()
        self.memory = _Memory()

    def reserve(self, rows: int) -> None:
        self.settings.reserve(rows)
        self.memory.reserve(rows)

    def configure(self, row: int, config: ScalingConfig) -> None:
        """Set or change a row's settings; its memory stays."""
        most = config.max_scale if config.max_scale > 0 else UNBOUNDED
        self.settings.put(
            row,
            {
                "least": min(config.min_scale, most),
                "most": most,
                "initial": min(config.initial_scale, most),
                "enabled": config.enable_scale_to_zero,
                "stable_window": config.stable_window,
                "retention": config.scale_to_zero_pod_retention_period,
                "grace": config.scale_to_zero_grace_period,
            },
        )

    def reset(self, row: int) -> None:
        self.settings.reset(row)
        self.memory.reset(row)

    def put(self, row: int, memory: Mapping[str, object], shift: int = 0) -> None:
        """Take over what ``memory.take`` gave, on a clock that is ``shift`` seconds ahead."""
        self.memory.put(row, {name: cast(float, memory[name]) for name in _Memory.DEFAULTS})
        for name in ("awake", "active", "idle"):
            column = getattr(self.memory, name)
            if column[row] != NEVER:
                column[row] += shift

    def decide(
        self,
        at: At,
        wanted: Floats,
        valid: Bools,
        supply: Supply,
        now: float,
        floor: Floor | None = None,
    ) -> Outcome:
        """Decide for the rows ``at``; the other arguments hold one entry for each of them,
        ``floor`` for those it names."""
        settings, memory = self.settings, self.memory
        ready, starting, asked = supply
        lowest = settings.least[at]
        initialised = memory.initialised[at]
        if not every(initialised):
            initialised = initialised | (ready >= settings.initial[at])
            memory.initialised[at] = initialised
            lowest = np.where(initialised, lowest, np.maximum(lowest, settings.initial[at]))

        desired = np.maximum(wanted if every(valid) else np.where(valid, wanted, asked), lowest)
        most = settings.most[at]
        held: Bools | None = None
        if floor is not None:
            demanded = np.minimum(floor.replicas, most[floor.places])
            held = demanded > desired[floor.places]
            desired[floor.places] = np.maximum(desired[floor.places], demanded)
        np.minimum(desired, most, out=desired)

        has = asked > 0
        busy = desired > 0
        awake = memory.awake[at]
        woken = (busy | has) & (awake == NEVER)
        if some(woken):
            awake = np.where(woken, now, awake)
            memory.awake[at] = awake
        active = memory.active[at]
        begun = has & (ready > 0) & (active == NEVER)
        if some(begun):
            active = np.where(begun, now, active)
            memory.active[at] = active
        idle = memory.idle[at]
        ended = busy & (idle != NEVER)
        if some(ended):
            memory.idle[at] = np.where(ended, NEVER, idle)

        kept, look_again = np.zeros(len(desired)), np.empty(len(desired))
        look_again.fill(NEVER)
        # Most idle models are asleep already: only those that still have something are looked at.
        leaving = places_of(has > busy)
        if len(leaving):
            part = self._leave(rows_of(at, leaving), starting[leaving], now)
            desired[leaving], kept[leaving], look_again[leaving] = part
        if floor is not None:
            kept[floor.places[held]] = Kept.FLOOR
            # A rule's own time comes first: until then the model is awake and ticked anyway.
            own = look_again[floor.places]
            look_again[floor.places] = np.where(own == NEVER, floor.look_again, own)
        if not every(busy):
            asleep = (desired == 0) & (awake != NEVER)
            if some(asleep):
                memory.awake[at] = np.where(asleep, NEVER, awake)
                memory.active[at] = np.where(asleep, NEVER, active)
                memory.idle[at] = np.where(asleep, NEVER, memory.idle[at])
        return Outcome(desired, kept, look_again)

    def _leave(self, rows: Ints, starting: Floats, now: float) -> Outcome:
        """The rules of the module's docstring for rows that have replicas and want none."""
        settings, memory = self.settings, self.memory
        active, awake = memory.active[rows], memory.awake[rows]
        never_ready = active == NEVER
        activating = never_ready & (starting > 0) & (now < awake + ACTIVATION_LIMIT)
        young_until = active + settings.stable_window[rows]
        young = now < young_until
        disabled = ~settings.enabled[rows]

        may_rest = ~(disabled | activating | young)
        idle = memory.idle[rows]
        idle = np.where(may_rest & (idle == NEVER), now, idle)
        memory.idle[rows] = idle
        retention = settings.retention[rows]
        grace = np.where(memory.via_activator[rows], 0.0, settings.grace[rows])
        rest_until = idle + np.where(never_ready, 0.0, np.maximum(retention, grace))
        resting = may_rest & (now < rest_until)

        kept = np.select(
            [disabled, activating, young, resting & (grace > retention), resting],
            [Kept.DISABLED, Kept.ACTIVATING, Kept.JUST_ACTIVE, Kept.GRACE, Kept.RETENTION],
            Kept.NOT,
        ).astype(np.float64)
        look_again = np.select(
            [disabled, activating, young, resting],
            [NEVER, awake + ACTIVATION_LIMIT, young_until, rest_until],
            NEVER,
        )
        return Outcome(np.where(kept == Kept.NOT, 0.0, 1.0), kept, look_again)
