"""What a start would fail with is said by ``stoker check``, and by ``stoker up`` alike."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from stoker.check import OK, WRONG, run_check
from stoker.cli.starting import start_problems
from tests.cli.running import cli
from tests.pki import make_pair

MODEL = "models: {a: {command: 'run {port}', replica-tls: %s, replica-tls-ca: ca.pem}}\n"
PEERS = "peer-listen: '127.0.0.1:0', peer-token-file: token"


def said(directory: Path, process: str = "", tls: str = "off", **environ: str) -> tuple[int, str]:
    """Exit code and output of ``stoker check``."""
    file = directory / "stoker.yaml"
    file.write_text(f"stoker: {{{process}}}\n" + MODEL % f"'{tls}'")
    out = io.StringIO()
    return run_check(str(file), out, environ, start_problems), out.getvalue()


@pytest.mark.parametrize(
    ("process", "words"),
    [
        ("admin-token-file: none", "admin-token-file = {}/none: cannot be read: No such file"),
        ("access-log: no/x.log", "access-log = {}/no/x.log: cannot be opened for writing: No such"),
        ("journal-file: .", "journal-file = {}: cannot be opened for writing: Is a directory"),
        ("spool-directory: no", "spool-directory = {}/no: is no directory; name one"),
        (PEERS, "peer-token-file = {}/token: No such file or directory; name a file"),
    ],
)
def test_a_file_that_is_not_there(tmp_path: Path, process: str, words: str) -> None:
    """The setting, the file, why it will not do."""
    code, text = said(tmp_path, process)
    assert code == WRONG
    assert f"stoker.{words.format(tmp_path)}" in text
    assert text.endswith("\n1 problem\n")


def test_what_is_no_authority(tmp_path: Path) -> None:
    """The file must be there and hold certificates; it is looked at where it is used."""
    assert said(tmp_path, tls="off")[0] == said(tmp_path, tls="insecure")[0] == OK
    assert "models.a.replica-tls-ca" in said(tmp_path, tls="on")[1]
    assert "cannot be read: No such file" in said(tmp_path, tls="on")[1]
    (tmp_path / "ca.pem").write_text("nonsense")
    assert "holds no certificate in PEM" in said(tmp_path, tls="on")[1]
    (tmp_path / "ca.pem").write_bytes(make_pair(tmp_path, "ca").certificate.read_bytes())
    assert said(tmp_path, tls="on")[0] == OK


def test_what_is_there_will_do(tmp_path: Path) -> None:
    """Files that can be read and written, a name for the peers; nothing is made by looking."""
    (tmp_path / "token").write_text("0123456789abcdef")
    (tmp_path / "old.log").write_text("")
    before = {*tmp_path.iterdir(), tmp_path / "stoker.yaml"}
    for process in (
        f"{PEERS}, peer-name: left",
        "admin-token-file: token, access-log: '-', journal-file: j, spool-directory: .",
        "access-log: old.log",
    ):
        code, text = said(tmp_path, process)
        assert code == OK, text
    assert {*tmp_path.iterdir()} == before


def test_what_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever Stoker runs as; the tests may run as somebody who may do everything."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert (
        "x.log: cannot be opened for writing: Permission denied"
        in said(tmp_path, "access-log: x.log")[1]
    )
    assert "may not be written to" in said(tmp_path, "spool-directory: .")[1]


def test_of_the_environment_too(tmp_path: Path) -> None:
    """A token that is too short is refused wherever it comes from."""
    code, text = said(tmp_path, STOKER_ADMIN_TOKEN="short")
    assert code == WRONG
    assert "STOKER_ADMIN_TOKEN: holds fewer than 8 characters" in text
    assert "short" not in text.replace("shorter", "")


def test_up_says_the_same_and_opens_nothing(tmp_path: Path) -> None:
    """All of it at once, with the words of check."""
    file = tmp_path / "stoker.yaml"
    file.write_text(f"stoker: {{admin-token-file: none, {PEERS}}}\n" + MODEL % "'on'")
    up, check = cli("up", str(file)), cli("check", str(file))
    assert (up.returncode, check.returncode) == (1, 1)
    assert up.stderr.removeprefix("stoker: ") == check.stdout.removesuffix("3 problems\n")
    for setting in ("admin-token-file", "peer-token-file", "replica-tls-ca"):
        assert setting in up.stderr
