"""What a member of a cluster takes from its surroundings: its token and its name."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

from stoker.errors import Problem, SettingsError
from stoker.settings.kinds import LABEL_RULE, is_label

# In bytes: shorter ones can be guessed.
SHORTEST_TOKEN: Final = 16


def read_token(path: str) -> bytes:
    """What is in ``peer-token-file``, without white space around it. Raises SettingsError."""
    if not path:
        return b""
    try:
        token = Path(path).read_bytes().strip()
    except OSError as caught:
        what, hint = caught.strerror or str(caught), "name a file that can be read"
    else:
        if len(token) >= SHORTEST_TOKEN:
            return token
        what = f"holds a token of {len(token)} bytes"
        hint = f"put a random text of {SHORTEST_TOKEN} or more into it, the same for all members"
    raise SettingsError("peers", [Problem("peer-token-file", path, what, hint=hint)])


def host_name() -> str:
    """What ``peer-name`` is where it is not set. Raises SettingsError."""
    name = socket.gethostname().lower().partition(".")[0]
    if is_label(name):
        return name
    what = "is the name of this machine, which cannot be a member's"
    raise SettingsError("peers", [Problem("peer-name", name, what, LABEL_RULE, "set peer-name")])
