"""What an activator tells the autoscaler."""

from __future__ import annotations

from activator.admission import Admission
from activator.reporter import Reporter
from activator.throttler import Throttler
from stoker.link import MemoryLink
from stoker.vocabulary import Address, ModelKey, ModelSpec, Poke, ServingConfig, Stat, StatReport

KEY = ModelKey("default", "digits")


class Sink:
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.reports: list[StatReport] = []
        self.pokes: list[Poke] = []

    def report(self, report: StatReport) -> None:
        self.reports.append(report)

    def poke(self, poke: Poke) -> None:
        self.pokes.append(poke)


class Bench:
    """A reporter, its admission and whoever listens, from time 0."""

    def __init__(self) -> None:
        self.sink = Sink()
        link = MemoryLink()
        link.attach(self.sink)
        self.admission = Admission(100, 1000)
        self.reporter = Reporter("here", 7, self.admission, link, 0.0)

    def model(self, name: str = "digits", *, replicas: int = 0) -> Throttler:
        """Add a model whose replicas have one slot each."""
        key = ModelKey("default", name)
        spec = ModelSpec(key, serving=ServingConfig(container_concurrency=1))
        throttler, _ = self.admission.set_model(spec, 0.0)
        for number in range(replicas):
            self.admission.replica_ready(throttler, f"{name}-{number}", Address("h", 1), 0.0)
        return throttler


def test_a_report_says_who_and_when() -> None:
    """Reporter, epoch, sequence, interval; also when there is nothing to say."""
    bench = Bench()
    reports = [bench.reporter.report(now) for now in (1.0, 2.5)]
    assert reports == [
        StatReport("here", 7, 1, 1.0, 1.0, ()),
        StatReport("here", 7, 2, 2.5, 1.5, ()),
    ]
    assert bench.sink.reports == reports


def test_load_is_averaged_over_the_interval() -> None:
    """One request active and one queued in the second half of a second."""
    bench = Bench()
    model = bench.model(replicas=1)
    bench.admission.offer(model, "", 0, None, 0, 0.5)
    bench.admission.offer(model, "", 0, None, 0, 0.5)
    assert bench.reporter.report(1.0).stats == (Stat(KEY, 0.5, 0.5, 2, 0),)
    assert bench.reporter.report(2.0).stats == (Stat(KEY, 1.0, 1.0, 0, 0),)


def test_the_first_report_after_a_long_sleep_is_not_diluted() -> None:
    """An hour of silence before a burst is no part of that second's average."""
    bench = Bench()
    model = bench.model()
    for second in range(1, 4):
        bench.reporter.report(float(second))
    bench.reporter.report(3600.0)
    for _ in range(64):
        bench.admission.offer(model, "", 0, None, 0, 3600.5)
    assert bench.reporter.report(3601.0).stats == (Stat(KEY, 32.0, 0.0, 64, 0),)


def test_an_idle_model_is_mentioned_no_more() -> None:
    """Once after its last request; then it costs nothing until it is asked for again."""
    bench = Bench()
    model = bench.model(replicas=1)
    ticket = bench.admission.offer(model, "", 0, None, 0, 0.0)
    bench.admission.finish(ticket, 0.5, answered=True)
    assert bench.reporter.report(1.0).stats == (Stat(KEY, 0.0, 0.5, 1, 1),)
    assert bench.reporter.report(2.0).stats == ()
    assert not bench.admission.touched
    bench.admission.offer(model, "", 0, None, 0, 2.5)
    assert bench.reporter.report(3.0).stats == (Stat(KEY, 0.0, 0.5, 1, 0),)


def test_two_reports_at_one_moment() -> None:
    """The second says how things stand, and loses no arrival."""
    bench = Bench()
    model = bench.model(replicas=1)
    bench.reporter.report(1.0)
    bench.admission.offer(model, "", 0, None, 0, 1.0)
    assert bench.reporter.report(1.0).stats == (Stat(KEY, 0.0, 1.0, 1, 0),)
    assert bench.reporter.report(1.0).stats == (Stat(KEY, 0.0, 1.0, 0, 0),)


def test_a_removed_model_stays_removed() -> None:
    """Requests that still run in its replicas do not bring it back when they end."""
    bench = Bench()
    model = bench.model(replicas=2)
    tickets = [bench.admission.offer(model, "", 0, None, 0, 0.0) for _ in range(2)]
    bench.reporter.report(1.0)
    bench.admission.remove_model(KEY, 1.5)
    bench.admission.finish(tickets[0], 1.6, answered=True)
    model.failed(tickets[1], 1.7, eject=True)
    bench.admission.retry(tickets[1], 0, 1.7)
    assert bench.reporter.report(2.0).stats == ()
    assert not bench.admission.touched


def test_pokes_double_within_an_interval() -> None:
    """Of many that have to wait the 1st, 2nd, 4th, 8th ... poke; the next interval may again."""
    bench = Bench()
    model, other = bench.model(), bench.model("other")
    for number in range(1, 10):
        bench.admission.offer(model, "", 0, None, 0, 0.25)
        bench.reporter.poke(model, number / 10)
    bench.reporter.poke(other, 0.95)
    assert bench.sink.pokes == [
        *(Poke("here", 7, KEY, number, 0, number / 10) for number in (1, 2, 4, 8)),
        Poke("here", 7, other.key, 1, 0, 0.95),  # whoever pokes wants one, held or refused
    ]
    bench.reporter.report(1.0)
    bench.reporter.poke(model, 1.5)
    assert bench.sink.pokes[5:] == [Poke("here", 7, KEY, 9, 0, 1.5)]
