"""How a settings file says that a model's replicas speak TLS, and that tunnels may idle."""

from __future__ import annotations

import pytest

from stoker.errors import SettingsError
from stoker.settings import load
from stoker.vocabulary import ReplicaTls, ServingConfig

MODEL = "models:\n  digits:\n    command: serve --port {port}\n"


def serving(*lines: str) -> ServingConfig:
    """A model with these lines in its block, in a file that lies in /etc/stoker."""
    text = MODEL + "".join(f"    {line}\n" for line in lines)
    (model,) = load(text, "stoker.yaml", base_directory="/etc/stoker").models
    return model.serving


def test_tls_to_replicas() -> None:
    """Off by default; the file of authorities is taken relative to the settings file."""
    plain = serving()
    assert (plain.replica_tls, plain.replica_tls_ca) == (ReplicaTls.OFF, "")
    secure = serving(
        "replica-tls: on",
        "replica-tls-ca: certs/ca.pem",
        "replica-tls-server-name: models.example.org",
        "tunnel-idle-timeout: 90s",
    )
    assert secure.replica_tls is ReplicaTls.ON
    assert secure.replica_tls_ca == "/etc/stoker/certs/ca.pem"
    assert secure.replica_tls_server_name == "models.example.org"
    assert secure.tunnel_idle_timeout == 90.0


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("replica-tls: maybe", "off | on | insecure"),
        ("replica-tls-server-name: http://x", "a host name such as"),
        ("tunnel-idle-timeout: -1s", "0s"),
    ],
)
def test_bad_values(line: str, told: str) -> None:
    """Each is refused with what is allowed."""
    with pytest.raises(SettingsError) as caught:
        serving(line)
    assert told in str(caught.value)
    assert line.partition(":")[0] in str(caught.value)
