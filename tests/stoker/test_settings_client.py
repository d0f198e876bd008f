"""Settings about clients: whom to trust, TLS, limits."""

from __future__ import annotations

import pytest

from stoker.settings import ProcessConfig, load
from stoker.settings.process_rows import HalfClose, TlsVersion
from tests.stoker.settings_text import MODEL, problems, the_problem


def process(lines: str) -> ProcessConfig:
    """What a file with these lines under ``stoker:`` comes to."""
    text = "stoker:\n" + "".join(f"  {line}\n" for line in lines.splitlines()) + MODEL
    return load(text, "stoker.yaml", base_directory="/etc/stoker").process


def test_networks_are_read_in_any_form() -> None:
    """Addresses are networks of one; each is written one way."""
    found = process("trusted-peers: [10.0.0.0/8, 192.0.2.1, '2001:DB8::/32', '::1', unix]")
    assert found.trusted_peers == (
        *("10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32", "::1/128", "unix"),
    )
    assert process("trusted-peers: ''").trusted_peers == ()
    assert process("trusted-peers: 10.0.0.0/8, unix").trusted_peers == ("10.0.0.0/8", "unix")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("10.0.0.1/8", "write 10.0.0.0/8 for the whole network"),
        ("proxy.example", "is neither an address nor a network"),
        ("10.0.0.0/33", "is neither an address nor a network"),
        ("Unix", "is neither an address nor a network"),
    ],
)
def test_what_is_no_network(value: str, message: str) -> None:
    """Named with what is meant or allowed."""
    problem = the_problem(f"stoker:\n  trusted-peers: [127.0.0.0/8, {value}]\n" + MODEL)
    assert (problem.where, problem.value) == ("stoker.trusted-peers", value)
    assert message in problem.message
    assert "10.0.0.0/8" in problem.allowed


def test_tls_settings() -> None:
    """Files are seen from where the settings file is."""
    found = process(
        "listeners: {inside: '127.0.0.1:9000'}\ntls-certificate: tls/a.pem\ntls-key: /b.key\n"
        "tls-min-version: '1.3'\nplain-listeners: inside\ntls-handshake-timeout: 3s\n"
        "half-close: serve"
    )
    assert (found.tls_certificate, found.tls_key) == ("/etc/stoker/tls/a.pem", "/b.key")
    assert found.tls_min_version is TlsVersion.V1_3
    assert found.plain_listeners == ("inside",)
    assert found.tls_handshake_timeout == 3.0
    assert found.half_close is HalfClose.SERVE


@pytest.mark.parametrize(
    ("given", "missing"), [("tls-certificate", "tls-key"), ("tls-key", "tls-certificate")]
)
def test_one_of_the_pair_is_of_no_use(given: str, missing: str) -> None:
    """Both or none."""
    problem = the_problem(f"stoker:\n  {given}: /a.pem\n" + MODEL)
    assert problem.where == f"stoker.{given}"
    assert problem.message == f"is of no use without {missing}"
    assert missing in problem.hint


def test_a_plain_listener_must_be_declared() -> None:
    """As a model's must."""
    text = "stoker:\n  listeners: {a: '127.0.0.1:1'}\n  plain-listeners: [a, b]\n" + MODEL
    problem = the_problem(text)
    assert (problem.where, problem.value, problem.allowed) == ("stoker.plain-listeners", "b", "a")


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("max-chunk-extension-bytes: 2Mi", "[0, 1Mi]"),
        ("max-connections: -1", "[0, 10000000]"),
        ("max-pipelined: 0", "[1, 10000]"),
        ("body-timeout: 10ms", "[100ms, 24h]"),
        ("tls-handshake-timeout: 11m", "[100ms, 10m]"),
        ("tls-min-version: '1.1'", "1.2 | 1.3"),
        ("half-close: maybe", "leave | serve"),
    ],
)
def test_what_is_out_of_range(line: str, allowed: str) -> None:
    """Key, value and range are named."""
    (problem,) = problems(f"stoker:\n  {line}\n" + MODEL)
    assert problem.where == f"stoker.{line.partition(':')[0]}"
    assert allowed in problem.allowed
