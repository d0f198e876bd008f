"""Whole lives made up from bytes: clients, replicas, a world that changes, time that passes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

from stoker.settings import ProcessConfig
from stoker.settings.process_rows import HalfClose
from stoker.vocabulary import (
    AnswerHeaders,
    Balancing,
    ModelKey,
    ModelSpec,
    Phase,
    ServingConfig,
    Tenancy,
)
from tests.fuzz.choices import Choices
from tests.fuzz.judge import Judge
from tests.fuzz.messages import Ask, Reply, a_reply, an_ask, mark, spoilt
from tests.fuzz.stage import DIGITS, Guest, Segment, Server, Stage, staged

STEPS = 150
OTHER = ModelSpec(ModelKey.parse("other"), serving=ServingConfig(container_concurrency=1))
READS = (1, 2, 7, 60, 1000, 1_000_000)
# What is given back as soon as everybody has left, without any time passing.
AT_ONCE = ("held", "held bytes", "connections", "watched", f"{DIGITS} active", f"{DIGITS} queued")
WAITS = (0.01, 0.6, 5.0, 31.0, 61.0)


@dataclass
class Plan:
    """What a client is about. ``sound``: nothing is wrong with what it sends."""

    sound: bool
    asks: list[Ask] = field(default_factory=list)
    waiting: bytes = b""  # made up and not sent yet


def a_spec(choices: Choices) -> ModelSpec:
    serving = ServingConfig(
        container_concurrency=choices.one((0, 1, 2)),
        queue_requests=choices.one((1000, 2)),
        queue_bytes=choices.one((2**20, 3000)),
        hold_timeout=choices.one((60.0, 3.0)),
        hold_timeout_cap=60.0,
        first_byte_timeout=20.0,
        idle_timeout=20.0,
        total_timeout=choices.one((0.0, 40.0)),
        tunnel_idle_timeout=30.0,
        retry_attempts=choices.one((2, 0)),
        hold_comments=choices.one((0.0, 0.0, 2.0)),
        answer_headers=choices.one((AnswerHeaders.HELD, AnswerHeaders.ALL, AnswerHeaders.OFF)),
        balancing=choices.one((Balancing.AUTO, Balancing.PREFIX, Balancing.ROUND_ROBIN)),
        fallback=choices.one(("", "", "other")),
        fallback_after=choices.one((0.0, 1.0)),
        lower_priority_share=choices.one((0.0, 20.0)),
        tenant_queue_share=choices.one((100.0, 30.0)),
    )
    return ModelSpec(DIGITS, serving=serving)


def a_process(choices: Choices) -> ProcessConfig:
    return ProcessConfig(
        body_memory=choices.one((65_536, 300, 16)),
        spool_bytes=choices.one((2**30, 2**17, 2**15, 0)),
        max_queued_bytes=choices.one((2**30, 5000)),
        max_pipelined=choices.one((256, 2)),
        tenancy=choices.one((Tenancy.OFF, Tenancy.HEADER)),
        tenant_weights=choices.one(((), (("t1", 3.0),))),
        max_head_bytes=choices.one((32_768, 1024)),
        max_body_bytes=choices.one((0, 0, 5000)),
        max_chunk_extension_bytes=choices.one((16_384, 0)),
        max_connections=choices.one((100, 100, 2)),
        half_close=choices.one((HalfClose.LEAVE, HalfClose.SERVE)),
        json_peek_bytes=choices.one((65_536, 1024)),
    )


class Life:
    """One run. ``live`` until the choices are used up, then judge it."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.numbers = itertools.count(1)
        self.asks: dict[int, tuple[Guest, Ask]] = {}
        self.replies: dict[int, Reply] = {}
        self.stage: Stage
        self.ending = choices.number(6)

    def live(self) -> None:
        choices = self.choices
        spec, process = a_spec(choices), a_process(choices)
        with staged(spec, process, OTHER) as self.stage:
            stage = self.stage
            stage.on_request = self.on_request
            stage.high = choices.one((65_536, 500, 0))
            stage.welcoming = not choices.chance(4)
            for _ in range(choices.one((1, 2, 0))):
                stage.replica()
            if choices.number(2):
                stage.replica(OTHER.key)
            self.come()
            for _ in range(STEPS):
                if not choices:
                    break
                self.step()
                if not choices.chance(5):
                    stage.loop.settle()
            self.end()

    # --- what may happen ---

    def step(self) -> None:
        what = self.choices.number(24)
        if what < 6:
            self.ask()
        elif what < 11:
            self.some_read()
        elif what < 16:
            self.reply()
        elif what == 16:
            self.stage.rest()
        elif what == 17:
            self.stage.loop.advance(self.choices.one(WAITS))
        elif what == 18:
            self.stop_or_go()
        elif what == 19:
            self.leave()
        elif what == 20:
            self.come()
        elif what == 21:
            self.door()
        elif what == 22:
            self.world()
        else:
            self.disk()

    def come(self) -> None:
        if len(self.stage.guests) < 6:
            guest = self.stage.guest(secure=self.choices.chance(5))
            guest.plan = Plan(sound=not self.choices.chance(3))

    def a_guest(self) -> Guest:
        return self.choices.one(self.stage.guests)

    def ask(self) -> None:
        """A client sends (a part of) one more request."""
        guest = self.a_guest()
        plan = guest.plan
        if not plan.waiting:
            ask = an_ask(next(self.numbers), self.choices)
            if not plan.sound and self.choices.number(2):
                ask.data = spoilt(ask.data, self.choices)
            self.asks[ask.number] = guest, ask
            plan.asks.append(ask)
            plan.waiting = ask.data
        self.some_of(plan, guest)

    def some_of(self, plan: Plan, guest: Guest) -> None:
        count = self.choices.one((1_000_000, 1_000_000, 1, 3, 30, 300))
        guest.wire.send(plan.waiting[:count])
        plan.waiting = plan.waiting[count:]

    def some_read(self) -> None:
        wires = [wire for wire in self.stage.wires.values() if not wire.lost]
        if wires:
            self.choices.one(wires).read(self.choices.one(READS))

    def on_request(self, segment: Segment) -> None:
        """A replica sees the first of a request: it makes up its answer."""
        segment.plan = reply = a_reply(segment, self.numbers, self.choices)
        self.replies[reply.number] = reply

    def open_servers(self) -> list[Server]:
        return [s for s in self.stage.servers if not s.wire.lost and not s.wire.ending]

    def reply(self) -> None:
        """A replica sends (a part of) its answer, and then maybe its connection ends."""
        servers = self.open_servers()
        if not servers:
            return
        server = self.choices.one(servers)
        segment = server.segments[-1] if server.segments else None
        if segment is None:
            return
        reply = segment.plan
        wire = server.wire
        sent = len(wire.delivered) + len(wire.incoming)
        if not reply.cuts:
            reply.at = sent
            reply.cuts.append(0)
        done = sent - reply.at
        if done < len(reply.data):
            count = self.choices.one((1_000_000, 1_000_000, 1, 20, 300))
            wire.send(reply.data[done : done + count])
            done += count
        elif reply.status == 101:
            wire.send(mark(reply.number))
        if done >= len(reply.data) and reply.then:
            if reply.then == "eof":
                wire.end()
            else:
                wire.reset(at_once=bool(self.choices.number(2)))

    def stop_or_go(self) -> None:
        """Somebody stops taking what it is sent, or takes it again, or takes some."""
        wire = self.choices.one(list(self.stage.wires.values()))
        if self.choices.number(3):
            wire.open = not wire.open
        wire.take(self.choices.one((1_000_000, 1, 100)))

    def leave(self) -> None:
        """Somebody ends its sending, or its connection."""
        wire = self.choices.one(list(self.stage.wires.values()))
        what = self.choices.number(3)
        if what == 2:
            wire.end()
        else:
            wire.reset(at_once=what == 1)

    def door(self) -> None:
        stage = self.stage
        what = self.choices.number(4)
        if what == 3:
            stage.welcoming = not stage.welcoming
        else:
            stage.answer_door(ConnectionRefusedError(111, "refused") if what == 2 else None)

    def world(self) -> None:
        """The platform tells something."""
        platform, choices = self.stage.platform, self.choices
        what = choices.number(12)
        known = platform.replicas(DIGITS)
        model = DIGITS in self.stage.activator.models
        if what < 3 and model and len(known) < 4:
            self.stage.replica()
        elif what == 3 and known:
            platform.set_phase(choices.one(known).id, Phase.DRAINING)
        elif what == 4 and known:
            platform.vanish(choices.one(known).id)
        elif what == 5 and known:
            platform.fail(choices.one(known).id, "it fails")
        elif what == 6 and model:
            platform.set_outage(DIGITS, "it cannot start")
        elif what == 7:
            platform.clear_outage(DIGITS)
        elif what == 8:
            process = self.stage.activator.process
            self.stage.activator.reconfigure(replace(process, spool_bytes=0))
        elif what == 11 and model:
            platform.add_model(a_spec(choices))
        elif what == 10:
            self.stage.run(self.stage.activator.drain(5.0))
        elif what == 9 and model:
            platform.remove_model(DIGITS)
        elif what == 9:
            platform.add_model(ModelSpec(DIGITS))

    def disk(self) -> None:
        disk = self.stage.disk
        what = self.choices.number(4)
        if what == 3:
            disk.broken = not disk.broken
        else:
            disk.work(1 + what)

    # --- the end ---

    def end(self) -> None:
        stage, how = self.stage, self.ending
        if how in (0, 1):  # everybody does what is left to do, and time passes
            for guest in stage.guests:
                guest.wire.send(guest.plan.waiting)
                guest.wire.open = True
                guest.wire.take()
            stage.rest()
            if how == 1:
                for wire in stage.wires.values():
                    wire.end()
            stage.pass_time()
        elif how == 4:  # Stoker ends now
            stage.finish()
            stage.rest()
            stage.finish()
        elif how == 5:  # Stoker drains, whatever they do
            stage.loop.finish(stage.activator.drain(20.0))
            stage.finish()
            stage.rest()
        elif how == 2:  # nobody does anything any more
            for wire in stage.wires.values():
                wire.open = False
            stage.pass_time()
        else:
            stage.vanish()
            held = {what: n for what, n in stage.left().items() if what in AT_ONCE}
            assert held == {}, ("of nobody", held)
            stage.pass_time()
        Judge(self.asks, self.replies).judge(stage)
        left = stage.left()
        assert left == {}, left


def live(data: bytes) -> None:
    """A life made up from ``data``. Raises AssertionError if something is not as it should be."""
    Life(Choices(data)).live()
