"""The link between activators and autoscalers: real sockets, ends that come and go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from stoker import stats_receiver, stats_sender
from stoker.clock import SystemClock
from stoker.columns import StatColumns
from stoker.errors import ListenError
from stoker.stats_receiver import Linked, StatsReceiver
from stoker.stats_sender import PATH, StatsSender
from stoker.vocabulary import Address, ModelKey, Poke, Stat, StatReport
from tests.kubernetes.waiting import until

A, B = ModelKey("ns", "a"), ModelKey("ns", "b")
TOKEN = "a-token"
ANYWHERE = Address("127.0.0.1", 0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried at once."""
    monkeypatch.setattr(stats_sender, "RECONNECT_SECONDS", 0.01)
    monkeypatch.setattr(stats_sender, "RECONNECT_SECONDS_CAP", 0.02)
    monkeypatch.setattr(stats_sender, "LOOK_UP_SECONDS", 0.02)


class Heard:
    """An autoscaler's end, and what it heard."""

    def __init__(self, address: Address = ANYWHERE) -> None:
        self.reports: list[StatColumns] = []
        self.pokes: list[Poke] = []
        self.states: list[Any] = []
        self.lost: list[str] = []
        self.why = ""
        self.clock = SystemClock()
        self.receiver = StatsReceiver(
            address,
            self.authenticate,
            self.clock,
            on_report=self.reports.append,
            on_poke=self.pokes.append,
            on_state=self.state,
            on_lost=lambda linked: self.lost.append(linked.name),
        )

    async def authenticate(self, token: str) -> str:
        return self.why if token == TOKEN else "that is not the token"

    def state(self, linked: Linked) -> None:
        self.states.append(linked.state)

    @property
    def refused(self) -> dict[str, int]:
        return dict(self.receiver.refused)


class Side:
    """An activator's end."""

    def __init__(self, *targets: Address, name: str = "one", token: str = TOKEN) -> None:
        self.what: dict[str, Any] = {"ports": [1]}
        self.sequence = 0
        self.clock = SystemClock()

        async def tell() -> str:
            return token

        def answer(what: str, argument: Any) -> Any:
            return [name, what, argument]

        self.sender = StatsSender(name, targets, tell, lambda: self.what, answer, self.clock)

    def report(self, *models: ModelKey) -> None:
        self.sequence += 1
        stats = tuple(Stat(model, 0.0, 2.0, 3, 4) for model in models)
        now = self.clock.now()
        self.sender.report(StatReport("one", 1, self.sequence, now, 1.0, stats))


@asynccontextmanager
async def linked(heard: Heard, *sides: Side) -> AsyncIterator[None]:
    """Both ends, connected."""
    async with AsyncExitStack() as stack:
        if heard.receiver.address.port == 0:
            await heard.receiver.start()
        stack.push_async_callback(heard.receiver.close)
        for side in sides:
            side.sender._targets = side.sender._targets or (heard.receiver.address,)
            await side.sender.start()
            stack.push_async_callback(side.sender.close)
        await until(lambda: len(heard.states) >= len(sides))
        yield


async def test_load_and_pleas_arrive() -> None:
    """By columns; names once; in this clock's time; under the name of who speaks."""
    heard, side = Heard(), Side()
    async with linked(heard, side):
        side.report(A)
        await until(lambda: len(heard.reports) == 1)
        side.report(B, A)
        await until(lambda: len(heard.reports) == 2)
        first, second = heard.reports
        assert (first.reporter, first.new_models, list(first.active)) == ("one", (A,), [2.0])
        assert (second.known, second.new_models, list(second.ids)) == (1, (B,), [1, 0])
        assert second.sequence == first.sequence + 1
        assert abs(second.time - heard.clock.now()) < 5.0
        side.sender.poke(Poke("one", 1, A, 3, 0, side.clock.now()))
        await until(lambda: bool(heard.pokes))
        assert heard.pokes[0][:5] == ("one", first.epoch, A, 3, 0)
        assert side.sender.lost_reports == side.sender.lost_pokes == 0


async def test_what_an_activator_is_is_told_as_it_changes() -> None:
    """As a whole; at the beginning, and whenever it is another."""
    heard, side = Heard(), Side()
    async with linked(heard, side):
        assert heard.states == [{"ports": [1]}]
        side.what = {"ports": [1, 2]}
        side.sender.changed()
        await until(lambda: heard.states[-1] == {"ports": [1, 2]})
    assert heard.lost == ["one"]


async def test_every_autoscaler_hears_it() -> None:
    """Two of them, each with a numbering of its own; one that goes leaves the other alone."""
    first, second = Heard(), Heard()
    await first.receiver.start()
    await second.receiver.start()
    side = Side(first.receiver.address, second.receiver.address)
    async with linked(second), linked(first, side):
        await until(lambda: side.sender.up == 2)
        side.report(A)
        await until(lambda: len(first.reports) == len(second.reports) == 1)
        assert first.reports[0].new_models == second.reports[0].new_models == (A,)
        await first.receiver.close()
        await until(lambda: side.sender.up == 1)
        side.report(A)
        await until(lambda: len(second.reports) == 2)
        assert second.reports[1].known == 1
        assert side.sender.lost_reports == 0


async def test_a_link_that_broke_comes_back_and_begins_anew() -> None:
    """At the same address, later: a new epoch, all names again, the whole state again; what was
    to be told meanwhile is lost and counted."""
    heard, side = Heard(), Side()
    async with linked(heard, side):
        side.report(A)
        await until(lambda: len(heard.reports) == 1)
        address = heard.receiver.address
        await heard.receiver.close()
        await until(lambda: side.sender.up == 0)
        side.report(A)
        side.sender.poke(Poke("one", 1, A, 3, 0, 0.0))
        assert (side.sender.lost_reports, side.sender.lost_pokes) == (1, 1)
        again = Heard(address)
        await again.receiver.start()
        async with linked(again):
            await until(lambda: again.states == [{"ports": [1]}])
            side.report(A)
            await until(lambda: len(again.reports) == 1)
            (report,) = again.reports
            assert (report.known, report.new_models) == (0, (A,))
            assert report.epoch > heard.reports[0].epoch
            assert side.sender.reconnects >= 1


async def test_the_same_activator_twice_is_the_one_that_came_last() -> None:
    """One whose machine went away without a word comes back while its old link seems to be up."""
    heard, side = Heard(), Side()
    await heard.receiver.start()
    async with aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {TOKEN}", "Stoker-Activator": "one"}
        url = f"ws://{heard.receiver.address}{PATH}"
        async with session.ws_connect(url, headers=headers) as old:
            await until(lambda: "one" in heard.receiver.activators)
            async with linked(heard, side):
                await old.receive()
                assert old.closed
                side.report(A)
                await until(lambda: len(heard.reports) == 1)
                assert heard.lost == []


async def test_whoever_has_no_right_is_not_heard() -> None:
    """Refused and counted, and tried again: a token may have been given meanwhile."""
    heard, side = Heard(), Side(token="another")
    await heard.receiver.start()
    side.sender._targets = (heard.receiver.address,)
    await side.sender.start()
    try:
        await until(lambda: heard.refused.get("wrong-token", 0) > 1)
        assert heard.receiver.activators == {}
        assert heard.states == []
        url = f"http://{heard.receiver.address}{PATH}"
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession() as session:
            for headers, status in (({}, 401), (bearer, 400)):
                async with session.get(url, headers=headers) as answer:
                    assert answer.status == status
        assert heard.refused.keys() == {"wrong-token", "no-token", "no-name"}
    finally:
        await side.sender.close()
        await heard.receiver.close()


@pytest.mark.parametrize(
    "message",
    [
        *("nonsense", "[]", '{"what": 1}', '{"state": 1}', '{"poke": [1]}', '{"poke": 1, "a": 2}'),
        *(b"", b"SL1\nxxxxxxx", '{"poke": ["ns/a", "x", 1, 1]}', "x" * 200),
    ],
)
async def test_what_nobody_would_send_ends_the_link(
    message: str | bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also more than there can be; others are not concerned."""
    monkeypatch.setattr(stats_receiver, "LONGEST_MESSAGE", 150)
    heard, side = Heard(), Side()
    async with linked(heard, side), aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {TOKEN}", "Stoker-Activator": "bad"}
        url = f"ws://{heard.receiver.address}{PATH}"
        async with session.ws_connect(url, headers=headers) as ws:
            if isinstance(message, str):
                await ws.send_str(message)
            else:
                await ws.send_bytes(message)
            await ws.receive()
            assert ws.closed
        await until(lambda: heard.lost == ["bad"])
        assert list(heard.receiver.activators) == ["one"]


async def test_activators_answer_what_they_are_asked() -> None:
    """Each by its name; one that does not answer is left out."""
    heard, one, two = Heard(), Side(), Side(name="two")
    async with linked(heard, one, two):
        asked = await heard.receiver.ask("explain", "ns/a")
        assert asked == {name: [name, "explain", "ns/a"] for name in ("one", "two")}
        two.sender._answer = lambda what, argument: (_ for _ in ()).throw(ValueError("no"))
        asked = await heard.receiver.ask("explain", "ns/a", 0.2)
        assert asked == {"one": ["one", "explain", "ns/a"]}


async def test_an_autoscaler_that_does_not_read_costs_reports_and_nothing_else() -> None:
    """Old reports make room for new ones, and are counted: nobody waits."""
    heard, side = Heard(), Side()
    async with linked(heard, side):
        (link,) = side.sender._links.values()
        for _ in range(stats_sender.WAITING_REPORTS + 3):
            side.report(A)
        assert side.sender.lost_reports == 3
        for _ in range(stats_sender.WAITING_POKES + 2):
            side.sender.poke(Poke("one", 1, A, 3, 0, 0.0))
        assert side.sender.lost_pokes == 2
        assert len(link.reports) == stats_sender.WAITING_REPORTS
        await until(lambda: len(heard.reports) == stats_sender.WAITING_REPORTS)
        assert [report.sequence for report in heard.reports] == [4, 5]


async def test_names_that_nobody_knows_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """And looked up again and again."""
    side = Side(Address("no-such-host.invalid", 1))
    await side.sender.start()
    try:
        await until(lambda: "no autoscaler found: no-such-host.invalid" in caplog.text)
        side.report(A)
        assert side.sender.lost_reports == 1
        readings = {reading.spec.name: reading.value for reading in side.sender.readings()}
        assert readings["stoker_stats_links"] == 0
    finally:
        await side.sender.close()
    assert caplog.text.count("no autoscaler found") == 1


async def test_a_taken_address_is_said() -> None:
    """With the name of the flag."""
    heard = Heard()
    async with linked(heard):
        other = Heard(heard.receiver.address)
        with pytest.raises(ListenError, match=r"stats = 127\.0\.0\.1"):
            await other.receiver.start()
        assert {reading.spec.name for reading in heard.receiver.readings()} == {
            "stoker_stats_activators",
            "stoker_stats_reports",
        }
