"""Several activators as one: links to the others, what each owns, requests passed on.

The shell around ``activator.ownership`` (who should have which replica) and
``activator.handover`` (who may use it): see docs/workers.md for what they promise.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

from activator.handover import Changed, Claim, Drained, Effect, Greeting, Handover, Send
from activator.ownership import Largeness, owner, place
from activator.peer_identity import host_name, read_token
from activator.peer_link import Link
from activator.peer_requests import PeerConnection, PeerPool
from activator.peers import MISSED_BEATS, Peers
from activator.shared_slots import PEER, PeerBackend, SharedSlots
from stoker import telemetry
from stoker.platform import ReplicaEvent, ReplicaGone
from stoker.settings import ProcessConfig
from stoker.telemetry import Reading
from stoker.vocabulary import Address, ModelKey, ModelSpec, Phase, Stat

if TYPE_CHECKING:
    from activator.server import Activator
    from activator.throttler import Throttler

log = logging.getLogger("stoker.peers")

# Of a member that has just gone: whoever still tries it fails at once.
NOWHERE: Final = Address("127.0.0.1", 0)


class Cluster:
    """This activator among its peers: give it to ``Activator(..., cluster=...)``.

    ``name``: who this member is (a DNS label, different for each). ``listen``: where peers
    reach it, or a bound socket that is taken over (and closed with it). ``token``: what all
    members know; without one only peers on loopback are let in. ``slot_expiry``: seconds
    after which what a lost member had in replicas is taken to be over. ``share_slots``: see
    ``activator.ownership.is_large``. ``fresh``: nobody has had requests in any replica
    before this start (the first workers of a machine). ``collects_drains``: the platform
    itself waits until every member has said ``drained``, so each says it for itself; else
    one member says it for all.

    The activator starts, drains and closes it. ``set_peers`` may be called at any time.
    """

    def __init__(
        self,
        name: str,
        listen: Address | socket.socket,
        *,
        token: bytes = b"",
        slot_expiry: float = 30.0,
        heartbeat: float = 1.0,
        share_slots: int = 16,
        fresh: bool = False,
        collects_drains: bool = False,
    ) -> None:
        self.name = name
        self.token = token
        self.collects_drains = collects_drains
        self.forwarded: Counter[str] = Counter()
        self.moved = 0
        # For Desk: see there.
        self.round = 0
        self.fence = float("inf")
        self.watched: set[str] = set()
        self._epoch = secrets.randbits(52) | 1
        self._slot_expiry = slot_expiry
        self._heartbeat = heartbeat
        self._fresh = fresh
        self._largeness = Largeness(share_slots)
        self._told_large: frozenset[str] = frozenset()
        self._peers = Peers(name, listen, token, self)
        self._wanted: dict[str, Address] = {}
        self._pools: dict[str, PeerPool] = {}
        self._members: tuple[str, ...] = (name,)
        self._models: dict[ModelKey, SharedSlots] = {}
        # Every life of a model that has a replica in common with this one; which those are.
        self._lives: dict[str, dict[SharedSlots, None]] = {}
        self._draining: dict[str, ModelKey] = {}
        self._grants: dict[ModelKey, None] = {}
        self._leaving = False
        self._closed = False
        self._started = False
        self._configured = False  # its peers are those of the settings
        self._timer: asyncio.Task[None] | None = None
        self._last_tick = 0.0
        self._activator: Activator | None = None
        self._handover: Handover | None = None

    @classmethod
    def configured(cls, process: ProcessConfig) -> Self | None:
        """The cluster that the settings ask for; None without ``peer-listen``.

        Raises SettingsError when ``peer-token-file`` cannot be read.
        """
        if process.peer_listen is None:
            return None
        cluster = cls(
            process.peer_name or host_name(),
            process.peer_listen,
            token=read_token(process.peer_token_file),
            slot_expiry=process.slot_expiry,
            heartbeat=process.peer_heartbeat,
            share_slots=process.peer_share_slots,
        )
        cluster._configured = True
        cluster.set_peers(dict(process.peers))
        return cluster

    # --- life ---

    def bind(self) -> Address:
        """Bind the peer port now, so that its address can be told to others before the
        activator starts. Idempotent; ``start`` does it otherwise. Raises ListenError.
        """
        return self._peers.bind()

    @property
    def address(self) -> Address:
        """Where peers reach this member, once bound."""
        return self._peers.address

    async def start(self, activator: Activator) -> None:
        """Called by ``Activator.start``, before the platform is watched. Raises ListenError."""
        self._activator = activator
        now = self._last_tick = self._now()
        self._handover = Handover(
            self.name,
            self._epoch,
            self._slot_expiry,
            MISSED_BEATS * self._heartbeat,
            self._in_flight,
            now,
            fresh=self._fresh,
        )
        await self._peers.start()
        self._started = True
        self.set_peers(self._wanted)
        self._timer = asyncio.get_running_loop().create_task(self._beat())

    def set_peers(self, peers: Mapping[str, Address]) -> None:
        """All members by name, with the address of their peer port (an entry of this
        member's own is ignored, so that all can be told the same). Who is new is connected
        to; who is missing is let go. The same mapping again changes nothing.
        """
        self._wanted = {name: address for name, address in peers.items() if name != self.name}
        if not self._started or self._closed:
            return
        for name in self._peers.set(self._wanted):
            self._drop_pool(name)
            if name not in self._wanted:
                self._largeness.forget(name)
        now = self._now()
        self._apply(self._handover_now().set_members(self._wanted, now))
        self._set_fence(now)
        self._look_around()

    def reconfigure(self, process: ProcessConfig) -> None:
        """New settings: peers, and how long what a lost member had is counted."""
        self._slot_expiry = process.slot_expiry
        self._heartbeat = process.peer_heartbeat
        self._largeness.share_slots = process.peer_share_slots
        if self._handover is not None:
            self._handover.expiry = process.slot_expiry
            self._handover.grace = MISSED_BEATS * process.peer_heartbeat
        if self._configured:
            self.set_peers(dict(process.peers))

    def leave(self) -> None:
        """Hand everything over and own nothing more; called by ``Activator.drain``."""
        if not self._leaving and self._started:
            self._leaving = True
            self._peers.say(["leaving"])
            self._look_around()

    async def close(self) -> None:
        """End all links; called by ``Activator.close`` first of all. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.gather(self._timer, return_exceptions=True)
        # With nothing in any replica the others need not wait for it to be over.
        idle = not any(self._in_flight(replica_id) for replica_id in self._lives)
        await self._peers.close(goodbye=idle)
        for name in list(self._pools):
            self._drop_pool(name)

    @property
    def settled(self) -> bool:
        """Whether every peer it was told of is linked (for tests and for ``/readyz``)."""
        return all(name in self._peers.links for name in self._wanted)

    # --- what Peers tells ---

    def hello(self) -> dict[str, Any]:
        greeting = self._handover_now().greeting(self._now())
        return {
            "epoch": self._epoch,
            "leaving": self._leaving,
            "blind": greeting.blind,
            "up": greeting.up,
            "losses": greeting.losses,
            "large": sorted(self._told_large),
        }

    def link_up(self, link: Link, hello: Mapping[str, Any]) -> None:
        greeting = Greeting(
            float(hello["blind"]),
            tuple(str(name) for name in hello["up"]),
            tuple((str(n), int(e), float(age)) for n, e, age in hello["losses"]),
        )
        self._hear_large(link, hello["large"])
        self._apply(self._handover_now().up(link.name, link.epoch, greeting, self._now()))
        self._look_around()

    def link_lost(self, link: Link) -> None:
        handover = self._handover_now()
        self._apply(handover.lost(link.name, self._now(), goodbye=link.said_goodbye))
        self._drop_pool(link.name)
        self._look_around()

    def heard(self, link: Link, item: Any) -> None:
        verb = item[0]
        if verb == "large":
            self._hear_large(link, item[1])
        elif verb == "leaving":
            link.leaving = True
            self._look_around()
        elif verb == "goodbye":
            link.said_goodbye = True
        else:
            line = str(verb), str(item[1]), int(item[2]), int(item[3])
            self._apply(self._handover_now().receive(link.name, line, self._now()))

    def requests_from(self, member: str) -> asyncio.BaseProtocol:
        assert self._activator is not None
        return PeerConnection(self._activator, member)

    def _hear_large(self, link: Link, models: Iterable[object]) -> None:
        for model in self._largeness.hear(link.name, map(str, models)):
            slots = self._models.get(ModelKey.parse(model))
            if slots is not None:
                self.arrange(slots)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat)
            try:
                self._tick()
            except Exception:
                log.exception("a heartbeat failed; going on")

    def _tick(self) -> None:
        now = self._now()
        late = now - self._last_tick > 2 * self._heartbeat
        self._last_tick = now
        self._peers.beat(late=late)
        self._apply(self._handover_now().tick(now))
        fenced = now > self.fence
        if fenced and late:
            return  # what has happened meanwhile may not have been read yet: next time
        self._set_fence(now)
        if fenced:
            for key in self._models:
                self._grant_soon(key)

    def _set_fence(self, now: float) -> None:
        """Others take over what a silent member had; should it have been stopped and go on
        later, it must not grant anything before it has looked at its links.
        """
        self.fence = now + self._slot_expiry if self._wanted else float("inf")

    # --- what the world tells ---

    def make_slots(self, spec: ModelSpec) -> SharedSlots:
        """For ``Admission``: the slots of a model that is new here."""
        assert self._activator is not None
        now = self._now()
        limit = spec.serving.container_concurrency
        slots = SharedSlots(spec.key, limit, self, now, seed=len(self._models) + 1)
        self._models[spec.key] = slots
        return slots

    def model_removed(self, key: ModelKey) -> None:
        """Its replicas will drain; what is in them is counted on."""
        slots = self._models.pop(key, None)
        if slots is not None:
            self._largeness.drop(str(key))
            self._tell_large()
            for replica_id in slots.ready:
                self._claim(replica_id, Claim.NONE)

    def replica_event(self, event: ReplicaEvent) -> None:
        """Called before anybody else acts on the event."""
        if not hasattr(event, "replica"):
            return
        assert self._activator is not None
        replica = event.replica
        now = self._now()
        handover = self._handover_now()
        if isinstance(event, ReplicaGone) or replica.phase is Phase.FAILED:
            self._draining.pop(replica.id, None)
            self.watched.discard(replica.id)
            self._lives.pop(replica.id, None)
            self._apply(handover.forget(replica.id))
            return
        handover.learn(replica.id, now, starting=replica.is_starting)
        if replica.phase is Phase.DRAINING and replica.id not in self._draining:
            self._draining[replica.id] = replica.model
            self._close_replica(replica.id, replica.model)

    def _close_replica(self, replica_id: str, model: ModelKey) -> None:
        """Nobody is to use it any more; one member finds out when nobody does."""
        if self.collects_drains or owner(str(model), self._members) != self.name:
            self._claim(replica_id, Claim.NONE)
        else:
            self._claim(replica_id, Claim.CLOSING)

    # --- who has what ---

    def _look_around(self) -> None:
        """Members came or went: decide anew what is whose."""
        assert self._activator is not None
        present = [name for name, link in self._peers.links.items() if not link.leaving]
        if not self._leaving:
            present.append(self.name)
        # Where all are leaving, requests that still come have to go somewhere.
        members = tuple(sorted(present or [self.name, *self._peers.links]))
        if members == self._members and self.round:
            return
        self._members = members
        self.round += 1
        for replica_id, model in self._draining.items():
            self._close_replica(replica_id, model)
        throttlers = self._activator.admission.throttlers
        for key, slots in self._models.items():
            throttler = throttlers.get(key)
            # The others are looked at when they are next asked for a slot.
            if slots.known or (throttler is not None and throttler.queued):
                self.arrange(slots)

    def arrange(self, slots: SharedSlots) -> None:
        """Decide anew what this member has of the model."""
        slots.round = self.round
        key, ready = slots.key, slots.ready
        for replica_id in ready:
            self._lives.setdefault(replica_id, {})[slots] = None
        if self._models.get(key) is not slots:
            slots.show(None)  # removed: it only ends
            return
        if not slots.limit:
            for replica_id in ready:
                self._claim(replica_id, Claim.OPEN)
                slots.allow(replica_id, 1)
            slots.show(None)
            self._grant_soon(key)
            return
        model, members = str(key), self._members
        whose = owner(model, members)
        if whose == self.name:
            large = self._largeness.decide(model, len(ready), slots.limit, len(members))
        else:
            large = self._largeness.follow(model, whose)
        self._tell_large()
        mine = place(model, self.name, members, ready, large=large).mine
        for replica_id in ready:
            self._claim(replica_id, Claim.OWNED if replica_id in mine else Claim.NONE)
            self._allow(replica_id, slots)
        if mine or whose == self.name:
            slots.show(None)
        elif slots.peer is not None and slots.peer.member == whose:
            slots.show(slots.peer)
        else:
            slots.show(PeerBackend(whose, self._wanted.get(whose, NOWHERE)))
        self._grant_soon(key)

    def _tell_large(self) -> None:
        large = self._largeness.mine
        if large != self._told_large:
            self._told_large = large
            self._peers.say(["large", sorted(large)])

    def _claim(self, replica_id: str, claim: Claim) -> None:
        assert self._activator is not None
        handover = self._handover_now()
        if handover.knows(replica_id):
            self._apply(handover.claim(replica_id, claim, self._now()))

    def _apply(self, effects: Sequence[Effect]) -> None:
        """Do what follows. What may be used first, so that nothing is granted in between."""
        for effect in effects:
            if isinstance(effect, Changed):
                for slots in self._lives.get(effect.replica, ()):
                    if self._models.get(slots.key) is slots:
                        self._allow(effect.replica, slots)
                        slots.show(slots.peer)
                        self._grant_soon(slots.key)
                self._watch(effect.replica)
        for effect in effects:
            if isinstance(effect, Send):
                link = self._peers.links.get(effect.member)
                if link is not None:
                    link.say(effect.line)
                self._watch(effect.line[1])
            elif isinstance(effect, Drained) and self._activator is not None:
                self._activator.platform.drained(effect.replica)
                self.watched.discard(effect.replica)

    def _watch(self, replica_id: str) -> None:
        if self._handover_now().watched(replica_id):
            self.watched.add(replica_id)
        else:
            self.watched.discard(replica_id)

    def _allow(self, replica_id: str, slots: SharedSlots) -> None:
        assert self._activator is not None
        handover = self._handover_now()
        now = self._now()
        if slots.limit:
            slots.allow(replica_id, handover.allowance(replica_id, slots.limit, now))

    def _grant_soon(self, key: ModelKey | None = None) -> None:
        """Slots may have come free. Not at once: whoever is at it may not be finished."""
        if key is not None:
            if key in self._grants:
                return
            self._grants[key] = None
            if len(self._grants) > 1:
                return
        asyncio.get_running_loop().call_soon(self._grant)

    def _grant(self) -> None:
        activator = self._activator
        assert activator is not None
        grants, self._grants = self._grants, {}
        now = activator.clock.now()
        for key in grants:
            throttler = activator.admission.throttlers.get(key)
            if throttler is not None and throttler.queued:
                activator.dispatch(throttler.grant(now), now)

    def released(self, replica_id: str) -> None:
        """A request in a watched replica ended."""
        assert self._activator is not None
        now = self._now()
        self._apply(self._handover_now().released(replica_id, now))
        self._watch(replica_id)

    def _in_flight(self, replica_id: str) -> int:
        return sum(slots.in_flight(replica_id) for slots in self._lives.get(replica_id, ()))

    def _now(self) -> float:
        assert self._activator is not None, "not started"
        return self._activator.clock.now()

    def _handover_now(self) -> Handover:
        assert self._handover is not None, "not started"
        return self._handover

    # --- requests passed on ---

    def pool(self, backend_id: str) -> PeerPool | None:
        """Connections to the member whose ``PeerBackend`` is called so; None: it is none's."""
        if not backend_id.startswith(PEER):
            return None
        name = backend_id.removeprefix(PEER)
        pool = self._pools.get(name)
        if pool is None or pool.closed:
            assert self._activator is not None
            address = self._wanted.get(name, NOWHERE)
            pool = self._pools[name] = PeerPool(self._activator, self, name, address)
        return pool

    def _drop_pool(self, name: str) -> None:
        pool = self._pools.pop(name, None)
        if pool is not None:
            pool.close()
            pool.end_unanswered()

    def count_forwarded(self, member: str) -> None:
        self.forwarded[member] += 1

    def own_load(self, throttler: Throttler, stat: Stat, interval: float) -> Stat:
        """``stat`` without what was passed on: the member that has it reports it."""
        slots = throttler.slots
        if not isinstance(slots, SharedSlots):
            return stat
        now = self._now() if self._activator is not None else 0.0
        active, arrivals, completions = slots.take_forwarded(now, interval)
        return Stat(
            stat.model,
            stat.queued,
            # What is left of a difference of two floats is no load.
            left if (left := stat.active - active) > 1e-6 else 0.0,
            max(stat.arrivals - arrivals, 0),
            max(stat.completions - completions, 0),
        )

    # --- to see ---

    def view(self) -> dict[str, object]:
        """For status: this member, its peers and how they are, what it has."""
        return {
            "name": self.name,
            "members": list(self._members),
            "peers": {
                name: "lost" if link is None else "leaving" if link.leaving else "up"
                for name in self._wanted
                for link in [self._peers.links.get(name)]
            },
            "forwarded": dict(self.forwarded),
            "moved": self.moved,
        }

    def explain(self, key: ModelKey) -> dict[str, object] | None:
        """Who has the model's slots, and what they wait for; None: it is not known here."""
        slots = self._models.get(key)
        if slots is None or self._activator is None:
            return None
        if slots.round != self.round:
            self.arrange(slots)
        now = self._now()
        handover = self._handover_now()
        replicas = {}
        for replica_id in slots.ready:
            mine = handover.wants(replica_id)
            waits = handover.waits(replica_id, now) if mine else None
            replicas[replica_id] = {
                "mine": mine,
                "slots": slots.allowances.get(replica_id, 0),
                "in_flight_elsewhere": handover.elsewhere(replica_id, now),
                "waits_for": None if waits is None else waits[0],
            }
        return {
            "owner": owner(str(key), self._members),
            "served_by": slots.peer.member if slots.peer is not None else self.name,
            "replicas": replicas,
        }

    def readings(self) -> Iterator[Reading]:
        """Metrics; ``Activator.readings`` includes them."""
        for name in self._wanted:
            yield Reading(telemetry.PEER_UP, (name,), float(name in self._peers.links))
        for name, count in self.forwarded.items():
            yield Reading(telemetry.FORWARDED_REQUESTS, (name,), count)
        yield Reading(telemetry.MOVED_REQUESTS, (), self.moved)
        owned, reserved = 0, 0
        if self._handover is not None:
            for slots in self._models.values():
                mine = [r for r in slots.ready if slots.limit and self._handover.wants(r)]
                owned += len(mine)
                reserved += sum(slots.limit - slots.allowances.get(r, 0) for r in mine)
        yield Reading(telemetry.OWNED_REPLICAS, (), owned)
        yield Reading(telemetry.RESERVED_SLOTS, (), reserved)
