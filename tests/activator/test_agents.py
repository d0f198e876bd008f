"""Whose requests are only probes or scrapes."""

from __future__ import annotations

from activator.agents import KNOWN_AGENTS, LONGEST_KNOWN, Agents


def test_beginnings_are_told_apart_each_time() -> None:
    """An agent is a probe by how its name begins; asked again the answer is the same."""
    agents = Agents(("kube-probe", "ELB"))
    for _ in range(2):
        assert agents[b"kube-probe/1.30"]
        assert agents[b"ELB-HealthChecker/2.0"]
        assert not agents[b"curl/8 kube-probe"]
        assert not agents[b""]
    assert not Agents(())[b"kube-probe/1.30"]


def test_nobody_is_a_probe_by_saying_nothing() -> None:
    """A beginning that is empty by mistake makes no probe of those without an agent."""
    assert not Agents(("",))[b""]


def test_what_clients_send_does_not_grow_the_table() -> None:
    """Neither many names nor long ones are kept; they are told apart all the same."""
    agents = Agents(("probe",))
    long = b"probe" + b"x" * LONGEST_KNOWN
    assert agents[long]
    assert long not in agents
    for number in range(2 * KNOWN_AGENTS):
        assert agents[b"probe %d" % number]
    assert len(agents) == KNOWN_AGENTS
