"""Leader election on a Lease: the I/O around ``Election``."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from stoker.clock import Clock
from stoker.errors import ApiError, NotLeadingError
from stoker.platforms.kubernetes.client import Client, Obj
from stoker.platforms.kubernetes.leadership import Create, Election, LeaseRecord, Read, Take, Wait
from stoker.telemetry import LEADING, LEASE_LOSSES, Reading

logger = logging.getLogger(__name__)

# A request for the lease itself: so many fit into what the holder may act.
REQUEST_TIMEOUT = 3.0
# How long giving the lease back may take when Stoker ends; it runs out by itself else.
RELEASE_TIMEOUT = 2.0

Hook = Callable[[], None]


class LeaseElection:
    """``on_start`` is called when this process begins to lead, ``on_stop`` the moment it no
    longer may: by a timer, whatever requests hang. Neither may raise.

    ``left()`` is what writes are bounded by. Used with ``start()`` and ``close()``.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        election: Election,
        *,
        clock: Clock,
        on_start: Hook,
        on_stop: Hook,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.losses = 0
        self._client = client
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path = f"{self._collection}/{name}"
        self._name = name
        self._election = election
        self._clock = clock
        self._on_start = on_start
        self._on_stop = on_stop
        self._chance = chance
        self._acting = False
        self._acquired = ""
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def leading(self) -> bool:
        """Whether this process may act now: by the clock, not by what was last heard."""
        return self._election.leads(self._clock.now())

    @property
    def holder(self) -> str:
        """The identity that led when the lease was last read; "" for nobody."""
        return self._election.holder

    def left(self) -> float:
        """Seconds that a write may take. Raises NotLeadingError if there are none."""
        left = self._election.left(self._clock.now())
        if left <= 0:
            raise NotLeadingError(f"the lease {self._name} is held by {self.holder or 'nobody'}")
        return left

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop acting, then give the lease back so that another need not wait. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        held = self._election.resign()
        self._settle()
        if held is not None:
            await self._release(held)

    def readings(self) -> Iterator[Reading]:
        yield Reading(LEADING, (), int(self.leading))
        yield Reading(LEASE_LOSSES, (), self.losses)

    # --- the loop ---------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            now = self._clock.now()
            step = self._election.next(now, self._chance())
            if isinstance(step, Wait):
                await asyncio.sleep(max(0.0, step.until - now))
                continue
            try:
                await self._do(step, now)
            except Exception as error:
                self._election.failed(self._clock.now(), self._chance())
                if isinstance(error, ApiError):
                    level = logging.DEBUG if error.status == 409 else logging.WARNING
                    logger.log(level, "lease %s: %s", self._name, error)
                else:  # a lease of a shape nobody has thought of
                    logger.exception("lease %s: what came could not be taken in", self._name)
            self._settle()

    async def _do(self, step: Read | Create | Take, now: float) -> None:
        election = self._election
        match step:
            case Read():
                try:
                    found = await self._client.get(self._path, timeout=REQUEST_TIMEOUT)
                except ApiError as error:
                    if error.status != 404:
                        raise
                    election.read(None, self._clock.now())
                else:
                    election.read(_record(found), self._clock.now())
            case Create():
                body = self._lease("", 0, acquired=True)
                made = await self._client.create(self._collection, body, timeout=REQUEST_TIMEOUT)
                election.wrote(_record(made), now, self._clock.now())
            case Take(version, transitions, renewal):
                body = self._lease(version, transitions, acquired=not renewal)
                made = await self._client.replace(self._path, body, timeout=REQUEST_TIMEOUT)
                election.wrote(_record(made), now, self._clock.now())

    def _settle(self) -> None:
        """Begin or stop acting, and have the timer fire when we have to stop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._clock.now()
        leads = self._election.leads(now)
        if leads:
            left = self._election.acts_until - now
            self._timer = asyncio.get_running_loop().call_later(left, self._settle)
        if leads == self._acting:
            return
        self._acting = leads
        if leads:
            logger.info("lease %s: leading", self._name)
            self._on_start()
        else:
            if self._task is not None:
                self.losses += 1
                logger.warning("lease %s: no longer leading", self._name)
            self._on_stop()

    async def _release(self, held: LeaseRecord) -> None:
        body = self._lease(held.version, held.transitions, acquired=False)
        body["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            await self._client.replace(self._path, body, timeout=RELEASE_TIMEOUT)
        except ApiError as error:
            logger.info("lease %s: not given back, it will run out: %s", self._name, error)

    def _lease(self, version: str, transitions: int, *, acquired: bool) -> Obj:
        wall = datetime.fromtimestamp(self._clock.wall(), UTC)
        stamp = wall.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        metadata: Obj = {"name": self._name}
        if version:
            metadata["resourceVersion"] = version
        spec: Obj = {
            "holderIdentity": self._election.identity,
            "leaseDurationSeconds": round(self._election.duration),
            "leaseTransitions": transitions,
            "renewTime": stamp,
        }
        if acquired:
            self._acquired = stamp
        return {"metadata": metadata, "spec": spec | {"acquireTime": self._acquired or stamp}}


def _record(lease: Obj) -> LeaseRecord:
    spec = lease.get("spec") or {}
    return LeaseRecord(
        spec.get("holderIdentity") or "",
        float(spec.get("leaseDurationSeconds") or 0),
        lease["metadata"]["resourceVersion"],
        spec.get("leaseTransitions") or 0,
    )
