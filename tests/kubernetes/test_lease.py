"""Election on a real Lease object: who leads, how it passes on, and what ends it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stoker.clock import SystemClock
from stoker.errors import NotLeadingError
from stoker.platforms.kubernetes.client import Client
from stoker.platforms.kubernetes.leadership import Election
from stoker.platforms.kubernetes.lease import LeaseElection
from stoker.telemetry import LEADING, LEASE_LOSSES
from tests.kubernetes.api.faults import Action, Answer, Hang, Reset
from tests.kubernetes.api.server import ApiServer
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.waiting import until


class SkewedClock(SystemClock):
    """Another machine's: hours away from this one's, in both its clocks."""

    def __init__(self, offset: float) -> None:
        self.now = lambda: SystemClock.now() + offset
        self.wall = lambda: SystemClock.wall() - offset


@asynccontextmanager
async def candidate(
    cluster: Cluster, name: str, *, duration: float = 15.0, skew: float = 0.0
) -> AsyncIterator[tuple[LeaseElection, list[str]]]:
    """A candidate that looks often, and what it was told: "start", "stop"."""
    told: list[str] = []
    async with await Client.connect(cluster.access, name) as client:
        election = LeaseElection(
            client,
            cluster.namespace,
            "stoker",
            Election(name, duration=duration, renew=min(0.05, duration / 10), retry=0.05),
            clock=SkewedClock(skew),
            on_start=lambda: told.append("start"),
            on_stop=lambda: told.append("stop"),
        )
        election.start()
        try:
            yield election, told
        finally:
            await election.close()
            await election.close()


async def lease(cluster: Cluster) -> dict[str, Any]:
    found = await cluster.client.get(cluster.path("leases", "stoker"))
    spec: dict[str, Any] = found["spec"]
    return spec


async def test_one_leads_and_the_next_follows(cluster: Cluster) -> None:
    """The second waits, however its clock is set; when the first ends it need not wait long."""
    async with candidate(cluster, "one") as (one, told_one):
        await until(lambda: told_one == ["start"])
        assert one.left() > 0
        async with candidate(cluster, "two", skew=7200.0) as (two, told_two):
            await until(lambda: two.holder == "one")
            with pytest.raises(NotLeadingError, match="held by one"):
                two.left()
            spec = await lease(cluster)
            assert (spec["holderIdentity"], spec["leaseDurationSeconds"]) == ("one", 15)
            while (await lease(cluster))["renewTime"] == spec["renewTime"]:
                pass
            assert told_two == []
            await one.close()
            assert told_one == ["start", "stop"]
            assert not one.leading
            await until(lambda: told_two == ["start"])
            spec = await lease(cluster)
            assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("two", 1)
            assert {r.spec: r.value for r in two.readings()} == {LEADING: 1, LEASE_LOSSES: 0}


TROUBLES: dict[str, Action] = {
    "reset": Reset(),
    "reset once written": Reset(after=True),
    "throttled": Answer(429, "slow down", retry_after=1),
    "a proxy's page": Answer(503, "<html>no backend</html>"),
    "half an answer": Answer(200, '{"metadata":'),
    "another answer": Answer(200, '{"metadata":{}}'),
}


@pytest.mark.parametrize("case", TROUBLES)
async def test_renewals_that_fail_are_made_up_for(
    case: str, cluster: Cluster, server: ApiServer
) -> None:
    """While its time is not over the holder tries again, also where nobody knows whether the
    renewal was written."""
    async with candidate(cluster, "one") as (one, told):
        await until(lambda: told == ["start"])
        fault = server.faults.add(TROUBLES[case], verb="update|get", agent="(one)", times=3)
        await until(lambda: fault.met == 3)
        renewals = server.count("update", agent="(one)")
        await until(lambda: server.count("update", agent="(one)") > renewals + 2)
        assert told == ["start"]
        assert one.leading


async def test_a_holder_whose_requests_hang_stops_in_time(
    cluster: Cluster, server: ApiServer
) -> None:
    """By its clock, with the request still under way; whoever is not cut off takes over."""
    async with candidate(cluster, "one", duration=1.0) as (one, told_one):
        await until(lambda: told_one == ["start"])
        fault = server.faults.add(Hang(), agent="(one)")
        async with candidate(cluster, "two", duration=1.0) as (_, told_two):
            await until(lambda: told_one[-1] == "stop")
            assert fault.met > 0
            with pytest.raises(NotLeadingError):
                one.left()
            assert one.losses > 0
            await until(lambda: told_two[:1] == ["start"])
        fault.lift()
        await until(lambda: told_one[-1] == "start")


async def test_a_lease_that_is_taken_by_hand_is_let_go(cluster: Cluster) -> None:
    """An administrator's word is taken at once, before the lease would have run out."""
    async with candidate(cluster, "one") as (one, told):
        await until(lambda: told == ["start"])
        path = cluster.path("leases", "stoker")
        await cluster.client.patch(path, {"spec": {"holderIdentity": "somebody"}})
        await until(lambda: told == ["start", "stop"])
        await until(lambda: one.holder == "somebody")


async def test_a_lease_that_cannot_be_given_back_runs_out(
    cluster: Cluster, server: ApiServer
) -> None:
    """The end of Stoker does not depend on the API server."""
    async with candidate(cluster, "one") as (one, told):
        await until(lambda: told == ["start"])
        server.faults.add(Answer(503, "no"), verb="update", agent="(one)")
        await one.close()
        assert told == ["start", "stop"]
        assert (await lease(cluster))["holderIdentity"] == "one"
