"""Who may ask the admin port: whoever knows the token, if there is one.

Comparing takes as long whatever was sent, and each wrong token costs its sender a pause, so
that neither time nor number of tries helps in guessing. A file that cannot be read closes
the port to everybody: a typo must not open it.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
from pathlib import Path
from typing import Final

from stoker.errors import Problem, SettingsError

log = logging.getLogger("stoker.admin")

VARIABLE: Final = "STOKER_ADMIN_TOKEN"
SHORTEST: Final = 8
_HINT: Final = "a token is a long random text, for example of openssl rand -hex 32"


class AdminToken:
    """The token now: of ``file``, read again when it changes, else ``text``; both empty: none.

    Raises SettingsError for a file that cannot be read, and for what is too short.
    """

    def __init__(self, file: str = "", text: str = "") -> None:
        self._file = Path(file) if file else None
        self._state: tuple[int, int, int] | None = None
        self._digest: bytes | None = None
        self._complained = False
        self.is_set = bool(file or text)
        if self._file is not None:
            self._read_first()
        elif text:
            if len(text.strip()) < SHORTEST:
                why = f"holds fewer than {SHORTEST} characters"
                raise SettingsError("environment", [Problem(VARIABLE, "", why, hint=_HINT)])
            self._digest = _digest(text.strip().encode("utf-8", "surrogateescape"))

    def _read_first(self) -> None:
        assert self._file is not None
        try:
            self._look()
        except OSError as caught:
            why = f"cannot be read: {caught.strerror or caught}"
        else:
            if self._digest is not None:
                return
            why = f"holds fewer than {SHORTEST} characters"
        raise SettingsError(
            "settings", [Problem("stoker.admin-token-file", str(self._file), why, hint=_HINT)]
        )

    def _look(self) -> None:
        """Read the file if it changed."""
        assert self._file is not None
        status = os.stat(self._file)
        state = (status.st_mtime_ns, status.st_size, status.st_ino)
        if state == self._state:
            return
        text = self._file.read_bytes().strip()
        self._state = state
        self._digest = _digest(text) if len(text) >= SHORTEST else None

    def accepts(self, sent: bytes) -> bool:
        """Whether ``sent`` is the token as it is now."""
        if self._file is not None:
            try:
                self._look()
            except OSError as caught:
                self._state = self._digest = None
                if not self._complained:
                    log.error("admin-token-file = %s: %s; nobody is let in", self._file, caught)
                self._complained = True
            else:
                self._complained = False
        # Digests are of one length: not even that of the token is told by the time it takes.
        known = self._digest
        same = hmac.compare_digest(_digest(sent), known or bytes(32))
        return same and known is not None


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
