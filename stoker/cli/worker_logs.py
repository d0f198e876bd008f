"""Log lines of a worker: with its name, on the same stderr or where its parent shows them."""

from __future__ import annotations

import logging

from stoker import logs
from stoker.platforms.relay import messages
from stoker.platforms.relay.channel import Channel
from stoker.settings import ProcessConfig
from stoker.settings.process_rows import LogFormat


def set_up(name: str, process: ProcessConfig, relay: Channel | None) -> None:
    """As the settings say. ``relay``: where the parent draws a table on the terminal, all
    lines go through it.
    """
    level = process.log_level.value
    logs.set_up(level, as_json=process.log_format is LogFormat.JSON)
    if relay is not None:
        logging.basicConfig(level=level.upper(), handlers=[_Relay(relay)], force=True)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_Named(name))


class _Named(logging.Filter):
    """Says in each line which worker it is of."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> bool:
        record.fields = {**getattr(record, "fields", {}), "worker": self._worker}
        return True


class _Relay(logging.Handler):
    """Has the parent show the lines: it draws a table on the same terminal."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        fields = {name: str(value) for name, value in getattr(record, "fields", {}).items()}
        self._channel.offer(messages.Logged(record.levelno, record.name, text, fields))
