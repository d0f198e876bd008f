"""The certificate for clients: what is refused and why, and what happens when it changes."""

from __future__ import annotations

import io
import logging
import ssl
from pathlib import Path

import pytest

from stoker.certificates import Certificates, server_context
from stoker.check import OK, WRONG, run_check
from stoker.errors import CertificateError
from tests.pki import Pair, make_pair, openssl


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Pair]:
    """Two pairs, for all tests to copy from."""
    directory = tmp_path_factory.mktemp("made")
    return make_pair(directory, "one"), make_pair(directory, "two")


@pytest.fixture
def pair(tmp_path: Path, made: tuple[Pair, Pair]) -> Pair:
    """A pair that a test may change."""
    mine = Pair(tmp_path / "server.pem", tmp_path / "server.key")
    mine.install(made[0])
    return mine


def problem(certificate: Path, key: Path) -> str:
    """Why the pair is refused."""
    with pytest.raises(CertificateError) as caught:
        server_context(str(certificate), str(key))
    return str(caught.value)


def handshake(context: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """The client's end of a connection over memory. Raises SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = context.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    left = [theirs, ours]
    for _ in range(10):
        for end in list(left):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            left.remove(end)
    assert not left
    return theirs


def test_a_context_for_clients(pair: Pair) -> None:
    """HTTP/1.1 is agreed on even where a client would rather have HTTP/2."""
    client = pair.client_context()
    client.set_alpn_protocols(["h2", "http/1.1"])
    connection = handshake(server_context(*map(str, pair)), client)
    assert connection.selected_alpn_protocol() == "http/1.1"
    assert connection.getpeercert(binary_form=True) == pair.der()


@pytest.mark.parametrize(("oldest", "passes"), [("1.2", True), ("1.3", False)])
def test_the_oldest_version(pair: Pair, oldest: str, passes: bool) -> None:
    """A client that speaks nothing newer than 1.2 gets in only where that is allowed."""
    client = pair.client_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    context = server_context(str(pair.certificate), str(pair.key), oldest)
    if passes:
        assert handshake(context, client).version() == "TLSv1.2"
    else:
        with pytest.raises(ssl.SSLError):
            handshake(context, client)


def test_a_missing_file(pair: Pair, tmp_path: Path) -> None:
    """Named with its setting."""
    absent = tmp_path / "absent"
    assert problem(absent, pair.key) == (
        f"tls-certificate = {absent}: cannot be read: No such file or directory"
    )
    assert problem(pair.certificate, absent).startswith(f"tls-key = {absent}: cannot be read")


def test_swapped_files(pair: Pair) -> None:
    """The commonest mistake is called by its name."""
    assert problem(pair.key, pair.certificate) == (
        f"tls-certificate = {pair.key}: holds no certificate in PEM form"
    )
    assert "tls-key = " in problem(pair.certificate, pair.certificate)


def test_another_one_s_key(pair: Pair, made: tuple[Pair, Pair]) -> None:
    """Both files are named."""
    other = made[1].key
    message = problem(pair.certificate, other)
    assert message.startswith(f"tls-key = {other}: is not the key of tls-certificate = ")


def test_damaged_files(pair: Pair) -> None:
    """What looks like PEM and is none."""
    text = pair.certificate.read_text().splitlines()
    pair.certificate.write_text("\n".join([text[0], "AAAA", text[-1], ""]))
    assert "cannot be used" in problem(*pair)


def test_an_encrypted_key(pair: Pair, tmp_path: Path) -> None:
    """Refused, instead of a question on a terminal that nobody looks at."""
    locked = tmp_path / "locked.key"
    openssl("pkey", "-in", pair.key, "-out", locked, "-aes256", "-passout", "pass:secret")
    message = problem(pair.certificate, locked)
    assert message.startswith(f"tls-key = {locked}: is encrypted")
    assert "openssl pkey" in message


def test_a_change_counts_once_it_stays(pair: Pair, made: tuple[Pair, Pair]) -> None:
    """Two looks in a row must see the same files; then new connections get the new one."""
    certificates = Certificates(*map(str, pair))
    first = certificates.context
    assert not certificates.refresh()
    pair.install(made[1])
    assert not certificates.refresh(), "it may still be written"
    assert certificates.context is first
    assert certificates.refresh()
    connection = handshake(certificates.context, pair.client_context())
    assert connection.getpeercert(binary_form=True) == made[1].der()
    assert not certificates.refresh()
    assert certificates.loads == {"applied": 2}


def test_half_a_change_is_not_tried(pair: Pair, made: tuple[Pair, Pair]) -> None:
    """The key follows a look later than the certificate: nobody hears of a wrong pair."""
    certificates = Certificates(*map(str, pair))
    pair.certificate.write_bytes(made[1].certificate.read_bytes())
    assert not certificates.refresh()
    pair.key.write_bytes(made[1].key.read_bytes())
    assert not certificates.refresh()
    assert certificates.refresh()
    assert certificates.loads == {"applied": 2}


def test_a_wrong_change_is_refused_once(
    pair: Pair, made: tuple[Pair, Pair], caplog: pytest.LogCaptureFixture
) -> None:
    """Said, counted; the last good one stays; put right it counts again."""
    certificates = Certificates(*map(str, pair))
    first = certificates.context
    pair.key.write_bytes(made[1].key.read_bytes())
    with caplog.at_level(logging.ERROR):
        assert [certificates.refresh() for _ in range(4)] == [False] * 4
    assert len(caplog.records) == 1
    assert "the last good one stays in use: tls-key = " in caplog.text
    assert certificates.context is first
    assert certificates.loads == {"applied": 1, "refused": 1}
    pair.install(made[1])
    assert [certificates.refresh() for _ in range(2)] == [False, True]


def test_files_that_go_and_come_back(pair: Pair, made: tuple[Pair, Pair]) -> None:
    """While they are away the last good one is used."""
    certificates = Certificates(*map(str, pair))
    for path in pair:
        path.unlink()
    assert [certificates.refresh() for _ in range(2)] == [False, False]
    pair.install(made[1])
    assert [certificates.refresh() for _ in range(2)] == [False, True]


def test_a_link_that_points_elsewhere(tmp_path: Path, made: tuple[Pair, Pair]) -> None:
    """Mounted secrets change so: the names stay, a link below them moves."""
    link = tmp_path / "current"
    link.symlink_to(made[0].certificate.parent)
    for pair, folder in zip(made, ("a", "b"), strict=True):
        (tmp_path / folder).mkdir()
        Pair(tmp_path / folder / "tls.crt", tmp_path / folder / "tls.key").install(pair)
    link.unlink()
    link.symlink_to(tmp_path / "a")
    certificates = Certificates(str(link / "tls.crt"), str(link / "tls.key"))
    link.unlink()
    link.symlink_to(tmp_path / "b")
    assert [certificates.refresh() for _ in range(2)] == [False, True]


def test_stoker_check_looks_at_the_pair(tmp_path: Path, made: tuple[Pair, Pair]) -> None:
    """Relative to the settings file; a wrong pair is a wrong settings file."""
    file = tmp_path / "stoker.yaml"
    lines = "stoker:\n  tls-certificate: tls/server.pem\n  tls-key: tls/server.key\nmodels: {}\n"
    file.write_text(lines)
    out = io.StringIO()
    assert run_check(str(file), out, {}) == WRONG
    wanted = tmp_path / "tls" / "server.pem"
    assert f"tls-certificate = {wanted}: cannot be read" in out.getvalue()
    wanted.parent.mkdir()
    Pair(wanted, wanted.with_suffix(".key")).install(made[0])
    out = io.StringIO()
    file.write_text(lines.replace("models: {}", "models: {a: {command: 'serve {port}'}}"))
    assert run_check(str(file), out, {}) == OK, out.getvalue()
