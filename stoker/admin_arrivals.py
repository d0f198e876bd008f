"""``/api/arrivals``: arrivals as they come, one JSON document a line, until somebody ends it.

The first line says when it began: ``began`` (monotonic seconds of the Stoker that is asked,
as all times here), ``wall`` (seconds since 1970). Then, at least once a second::

    {"arrived": [[number, "namespace/name", time], ...], "ended": [[number, seconds], ...]}
    {"at": time}

An end may come before its arrival, from another process; seconds are null where no replica
answered in full. Everything up to ``at`` has been told; ``lost`` and ``lost_ends`` count
what could not be, as its reader is too slow; ``notes`` are for people. The last line has
``over``: why nothing more comes.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from aiohttp import web

from stoker.arrivals import Piece, Recording, Recordings

log = logging.getLogger("stoker.admin")

LOOK_SECONDS: Final = 0.1
# Without anything to tell: it is how a recorder that is gone is found out.
BEAT_SECONDS: Final = 1.0
# Of a kind in one line, so that encoding them takes some milliseconds at most.
MOST_IN_LINE: Final = 2000
CONTENT_TYPE: Final = "application/x-ndjson"


async def stream(
    request: web.Request, recordings: Recordings, recording: Recording
) -> web.StreamResponse:
    """Answer with ``recording`` until its reader leaves or it is over."""
    response = web.StreamResponse(
        headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}
    )
    log.info("arrivals are being recorded by %s", request.remote)
    # That the reader is gone is an error here and none there.
    with suppress(ConnectionError):
        try:
            await response.prepare(request)
            await response.write(_line({"began": recording.began, "wall": recording.wall}))
            await _tell(response, recordings, recording)
            await response.write_eof()
        finally:
            recordings.close(recording)
            log.info(
                "arrivals are not recorded by %s any more: %d told, %d lost",
                request.remote,
                recording.total - recording.total_lost,
                recording.total_lost,
            )
    return response


async def _tell(response: web.StreamResponse, recordings: Recordings, recording: Recording) -> None:
    loop = asyncio.get_running_loop()
    beat = loop.time() + BEAT_SECONDS
    while True:
        over = recording.over
        at = recordings.known_until(recording)
        while (piece := recording.take(MOST_IN_LINE)) is not None:
            await response.write(_line(_document(piece)))
            beat = 0.0  # what was told is complete up to ``at``: say so
        if over:
            await response.write(_line({"over": over}))
            return
        if loop.time() >= beat:
            await response.write(_line({"at": at}))
            beat = loop.time() + BEAT_SECONDS
        await asyncio.sleep(LOOK_SECONDS)


def _document(piece: Piece) -> dict[str, object]:
    document: dict[str, object] = {}
    if piece.arrived:
        document["arrived"] = [(e.number, str(e.model), round(e.time, 6)) for e in piece.arrived]
    if piece.ended:
        document["ended"] = [
            (e.number, None if e.seconds is None else round(e.seconds, 6)) for e in piece.ended
        ]
    for name in ("lost", "lost_ends", "notes"):
        if value := getattr(piece, name):
            document[name] = value
    return document


def _line(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"
