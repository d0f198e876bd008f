"""Who the bearer of a token is, by TokenReview; for links between Stoker's own processes."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from typing import Final

from stoker.clock import Clock
from stoker.errors import ApiError
from stoker.platforms.kubernetes.client import Client

logger = logging.getLogger(__name__)

PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
# A token that was good is taken to be good for so long, one that was not for so long.
GOOD_SECONDS: Final = 60.0
BAD_SECONDS: Final = 5.0
# ... and for so long while the API server does not answer: a link must come back then too.
# Tokens of pods are good for an hour.
AWAY_SECONDS: Final = 3600.0
REMEMBERED: Final = 1000
REVIEW_TIMEOUT: Final = 5.0


class TokenCheck:
    """Called with a token: "" if its bearer is ``user`` (``system:serviceaccount:NS:NAME``),
    else why not. Tokens are remembered by their digest only.
    """

    def __init__(self, client: Client, user: str, audience: str, clock: Clock) -> None:
        self._client = client
        self._user = user
        self._audience = audience
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[float, str]] = OrderedDict()

    async def __call__(self, token: str) -> str:
        digest = hashlib.sha256(token.encode()).digest()
        now = self._clock.now()
        at, why = self._known.get(digest, (-AWAY_SECONDS, "unknown"))
        age = now - at
        if age < (BAD_SECONDS if why else GOOD_SECONDS):
            return why
        try:
            found = await self._review(token)
        except ApiError as error:
            if not why and age < AWAY_SECONDS:
                return ""
            logger.warning("a token cannot be checked: %s", error)
            return "its token cannot be checked now"
        self._known[digest] = (now, found)
        self._known.move_to_end(digest)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found

    async def _review(self, token: str) -> str:
        spec = {"token": token, "audiences": [self._audience]}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        answer = await self._client.create(PATH, body, timeout=REVIEW_TIMEOUT)
        status = answer.get("status") or {}
        if not status.get("authenticated"):
            return "its token is not accepted"
        if self._audience not in (status.get("audiences") or ()):
            return f"its token is not for the audience {self._audience}"
        user = (status.get("user") or {}).get("username", "")
        return "" if user == self._user else f"{user} is not {self._user}"
