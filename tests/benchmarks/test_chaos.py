"""The account that the benchmark of chaos keeps."""

from __future__ import annotations

from benchmarks import chaos
from benchmarks.chaotic.traffic import Account, Traffic
from benchmarks.common import Report

METRICS = """\
# HELP stoker_refusals_total ...
stoker_refusals_total{model="default/stream",reason="replica-died-mid-response"} 3.0
stoker_refusals_total{model="default/stream",reason="client-gone"} 1.0
stoker_tunnels_total{model="default/socket",ending="done"} 90.0
stoker_tunnels_total{model="default/socket",ending="replica-lost"} 2.0
stoker_queued_requests{model="default/short"} 7.0
stoker_late_requests_total 2.0
"""


def figures(accounts: dict[str, Account]) -> dict[str, float | None]:
    """What the report makes of these accounts, the metrics being those above."""
    report = Report("T", chaos.COLUMNS)
    traffic = Traffic(1)
    traffic.accounts.update(accounts)
    chaos.tabulate(report, traffic, chaos.counted_failures(METRICS))
    return {figure.name.partition(" ")[0]: figure.value for figure in report.figures}


def test_failures_are_explained_by_counters_of_their_model() -> None:
    """Refusals of any reason and tunnels that did not end well, nothing else."""
    counted = chaos.counted_failures(METRICS)
    assert counted == {"stream": 4, "socket": 2, chaos.LATE: 2}
    assert figures({"stream": Account(broken=4), "socket": Account(broken=2)}) == {
        "lost": 0.0,
        "failures": 0.0,
        "asked": 0.0,
        "answers": 0.0,
    }


def test_what_no_counter_explains_and_what_is_lost_is_told() -> None:
    """One failure more than the counter says, and a lost request."""
    told = figures({"stream": Account(broken=4, wrong=1), "large": Account(lost=1)})
    assert told == {"lost": 1.0, "failures": 2.0, "asked": 0.0, "answers": 1.0}
    told = figures({"short": Account(lost=2, again=2), "large": Account(again=1)})
    assert told == {"lost": 2.0, "failures": 2.0, "asked": 1.0, "answers": 0.0}
