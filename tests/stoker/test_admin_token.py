"""Who may ask the admin port."""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from stoker import admin as admin_module
from stoker.admin import Admin
from stoker.admin_token import AdminToken
from stoker.errors import SettingsError
from stoker.exposition import Exposition
from stoker.vocabulary import Address

TOKEN = "a-long-random-text"
Ask = Callable[..., "asyncio.Future[tuple[int, str, str]]"]


@asynccontextmanager
async def asking(token: AdminToken, *open_paths: str) -> AsyncIterator[Ask]:
    """An admin port with that token, and a way to ask it: path, what to send."""
    admin = Admin(
        Address("127.0.0.1", 0),
        Exposition([]),
        models=list,
        explain=lambda model: None,
        ready=lambda: (True, "ready"),
        token=token,
        open_paths=open_paths,
    )
    await admin.start()
    session = aiohttp.ClientSession()

    async def ask(path: str, sent: str | None = None) -> tuple[int, str, str]:
        headers = {} if sent is None else {"Authorization": sent}
        async with session.get(f"http://{admin.address}{path}", headers=headers) as answer:
            challenge = answer.headers.get("WWW-Authenticate", "")
            return answer.status, await answer.text(), challenge

    try:
        yield lambda *told: asyncio.ensure_future(ask(*told))
    finally:
        await session.close()
        await admin.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong tokens cost less time here."""
    monkeypatch.setattr(admin_module, "WRONG_SECONDS", 0.01)


async def test_without_a_token_it_is_open() -> None:
    """As long as none is set, everybody on the machine may look."""
    async with asking(AdminToken()) as ask:
        assert (await ask("/api/models"))[0] == 200


async def test_the_token_opens_it_and_nothing_else_does(tmp_path: Path) -> None:
    """401 with a challenge; open paths stay open; unknown paths tell nothing either."""
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    async with asking(AdminToken(str(file)), "/healthz", "/readyz") as ask:
        assert (await ask("/healthz"))[0] == 200
        assert (await ask("/readyz"))[0] == 200
        for path in ("/metrics", "/api/models", "/api/explain/x", "/nothing"):
            status, text, challenge = await ask(path)
            assert (status, challenge) == (401, 'Bearer realm="stoker"')
            assert "Authorization: Bearer TOKEN" in text
        assert (await ask("/api/models", f"Bearer {TOKEN}"))[0] == 200
        assert (await ask("/metrics", f"bearer  {TOKEN}"))[0] == 200
        assert (await ask("/nothing", f"Bearer {TOKEN}"))[0] == 404
        for wrong in (f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}",
                      "Bearer \xe9\udc80", f"Bearer {TOKEN.upper()}"):  # fmt: skip
            assert (await ask("/api/models", wrong))[0] == 401, wrong


async def test_a_new_token_counts_from_the_next_question(tmp_path: Path) -> None:
    """The file is looked at each time; while it is gone or too short nobody is let in."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    async with asking(AdminToken(str(file))) as ask:
        assert (await ask("/api/models", f"Bearer {TOKEN}"))[0] == 200
        new = tmp_path / "new"
        new.write_text("another-random-text")
        os.replace(new, file)
        assert (await ask("/api/models", f"Bearer {TOKEN}"))[0] == 401
        assert (await ask("/api/models", "Bearer another-random-text"))[0] == 200
        file.write_text("short")
        assert (await ask("/api/models", "Bearer short"))[0] == 401
        file.unlink()
        assert (await ask("/api/models", "Bearer another-random-text"))[0] == 401
        assert (await ask("/api/models", "Bearer another-random-text"))[0] == 401
        file.write_text("another-random-text")
        assert (await ask("/api/models", "Bearer another-random-text"))[0] == 200


async def test_guessing_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wrong token waits for its answer; too many at once are told to wait themselves."""
    monkeypatch.setattr(admin_module, "WRONG_SECONDS", 3600.0)
    monkeypatch.setattr(admin_module, "MOST_WRONG", 2)
    async with asking(AdminToken(text=TOKEN)) as ask:
        waiting = [ask("/api/models", "Bearer wrong-token") for _ in range(3)]
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert [future.result()[0] for future in done] == [429]
        assert len(pending) == 2
        # Those who know it, or have sent none, are not kept waiting.
        assert (await ask("/api/models", f"Bearer {TOKEN}"))[0] == 200
        assert (await ask("/api/models"))[0] == 401
        for future in pending:
            future.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


def test_comparing_takes_the_same_time_whatever_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """compare_digest, over digests of one length."""
    compared: list[tuple[int, int]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", compare)
    token = AdminToken(text=TOKEN)
    assert token.accepts(TOKEN.encode())
    assert not token.accepts(b"")
    assert not token.accepts(b"x" * 1000)
    assert compared == [(32, 32)] * 3


def test_a_token_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path) -> None:
    """A file that is not there, an empty one, a short variable: a typo must not open the port."""
    with pytest.raises(SettingsError, match=r"admin-token-file = .*cannot be read: No such file"):
        AdminToken(str(tmp_path / "none"))
    empty = tmp_path / "empty"
    empty.write_text("\n")
    with pytest.raises(SettingsError, match="holds fewer than 8 characters; a token is a long"):
        AdminToken(str(empty))
    with pytest.raises(SettingsError, match="STOKER_ADMIN_TOKEN: holds fewer than 8"):
        AdminToken(text="short")
    assert not AdminToken().is_set


async def test_a_port_open_to_others_without_a_token_is_warned_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At the start; on loopback, or with a token, nothing is said."""

    async def start(host: str, token: AdminToken) -> None:
        admin = Admin(
            Address(host, 0),
            Exposition([]),
            models=list,
            explain=lambda model: None,
            ready=lambda: (True, "ready"),
            token=token,
        )
        await admin.start()
        await admin.close()

    await start("127.0.0.1", AdminToken())
    await start("0.0.0.0", AdminToken(text=TOKEN))
    assert caplog.text == ""
    await start("0.0.0.0", AdminToken())
    assert "asks for no token: set admin-token-file" in caplog.text
    assert not admin_module._is_loopback("some.name")
