"""The load generator and the other proxies, as far as they are installed."""

from __future__ import annotations

import http.client
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import peers, proxy
from benchmarks.common import Report, arguments
from benchmarks.processes import free_ports, running
from benchmarks.wrk import Load, Request, find_wrk, parse, run_wrk

Start = Callable[[Path, int, int], peers.Command]


def backend_and_proxy(name: str) -> tuple[peers.Backend, Start]:
    """The two commands of a peer; where it is not installed the test says what to do."""
    nginx, envoy = peers.find_nginx(), peers.find_envoy()
    if name == "nginx" and nginx is not None:
        return lambda *a: peers.nginx_backend(nginx, *a), lambda *a: peers.nginx_proxy(nginx, *a)
    if name == "envoy" and envoy is not None:
        return lambda *a: peers.envoy_backend(envoy, *a), lambda *a: peers.envoy_proxy(envoy, *a)
    pytest.fail(f"{name} is not installed: make peers installs it")


@pytest.mark.long  # it takes little time but 40 MB of programs that only benchmarks need
@pytest.mark.parametrize("name", ["nginx", "envoy"])
def test_a_peer_forwards_to_its_backend_and_keeps_connections(name: str, tmp_path: Path) -> None:
    """Two requests on one connection both get the backend's 600 bytes."""
    backend, start = backend_and_proxy(name)
    upstream, port = free_ports(2)
    answer, request = proxy.inference_answer(), proxy.inference_request()
    behind = backend(tmp_path / "backend", upstream, answer)
    front = start(tmp_path / "proxy", port, upstream)
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
    request = proxy.inference_request()
    assert len({*(request.headers or {}), "Content-Length"}) == 8
    assert len(request.body) == 300
    assert len(proxy.inference_answer()) == 600


@pytest.mark.long
def test_wrk_sends_the_request_and_its_figures_are_read(tmp_path: Path) -> None:
    """A real run against a real backend: everything is answered."""
    wrk = find_wrk()
    if wrk is None:
        pytest.fail("wrk is not installed: make peers installs it")
    backend, _ = backend_and_proxy("nginx")
    (port,) = free_ports(1)
    command = backend(tmp_path, port, proxy.inference_answer())
    with running(command, port=port, log=tmp_path / "log"):
        load = run_wrk(
            *(wrk, port, proxy.inference_request()),
            connections=2,
            seconds=1,
            core=min(os.sched_getaffinity(0)),
        )
    assert load.requests > 0
    assert (load.failed, load.refused) == (0, 0)
    assert 0 < load.p50_us <= load.p99_us


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


def measured(cpu_us: list[float]) -> proxy.Measured:
    """Rounds of 1000 requests with so many CPU microseconds each."""
    result = proxy.Measured()
    for each in cpu_us:
        result.add(Load(1000, 1.0, 10.0, 20.0, 0, 0), each * 1000 / 1e6)
    return result


def test_missing_peers_are_named_and_the_figure_is_not_met(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without Envoy there is no ratio: not measured, never silently left out."""
    report = Report("T", proxy._COLUMNS)
    found = [proxy.Contender("Stoker", 1, 1)]
    results = {("Stoker", connections): measured([20.0]) for connections in (1, 64)}
    proxy.tabulate(report, found, results)
    assert report.finish(arguments("d", argv=["--quick"])) == 1
    printed = capsys.readouterr().out
    assert "nginx (missing)" in printed
    assert "Envoy (missing)" in printed
    assert "not measured" in printed


def test_ratios_are_taken_round_by_round() -> None:
    """A machine that slows down for everybody in one round does not change the ratio."""
    report = Report("T", proxy._COLUMNS)
    found = [proxy.Contender("Envoy", 1, 1), proxy.Contender("Stoker", 2, 2)]
    results = {}
    for connections in (1, 64):
        results["Envoy", connections] = measured([60.0, 600.0, 80.0])
        results["Stoker", connections] = measured([24.0, 240.0, 32.0])
    proxy.tabulate(report, found, results)
    assert [figure.value for figure in report.figures] == pytest.approx([0.4, 0.4])
