"""``stoker up FILE``: everything in one process, local processes as replicas, until Ctrl-C."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Mapping

import uvloop
from rich.console import Console
from rich.live import Live

from stoker import logs
from stoker.cli.fleet import Fleet, worker_count
from stoker.cli.local import LocalStoker
from stoker.cli.starting import start_problems
from stoker.cli.views import ModelView, models_table
from stoker.config_file import ConfigFile
from stoker.errors import SettingsError
from stoker.settings import LocalConfig
from stoker.settings.process_rows import LogFormat

log = logging.getLogger("stoker")

REFRESH_SECONDS = 0.25


def run_up(path: str, overrides: Mapping[str, str], *, plain: bool) -> int:
    """Run until SIGINT or SIGTERM. Raises SettingsError, ListenError."""
    file = ConfigFile(path, environ=os.environ, overrides=overrides)
    config = file.load()
    problems = start_problems(config, os.environ)
    if problems:
        raise SettingsError(path, problems)
    console = Console()
    live = console.is_terminal and not plain
    _set_up_logging(config, console if live else None)
    return uvloop.run(_up(file, console, live))


def _set_up_logging(config: LocalConfig, console: Console | None) -> None:
    process = config.process
    as_json = process.log_format is LogFormat.JSON
    logs.set_up(process.log_level.value, as_json=as_json, console=console)


async def _up(file: ConfigFile, console: Console, live: bool) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    workers = worker_count(file.config.process)
    stoker = Fleet(file, workers, relay_logs=live) if workers > 1 else LocalStoker(file)
    loop.add_signal_handler(signal.SIGUSR2, lambda: stoker.roll())
    if not sys.stdin.isatty():  # else it means that the terminal was closed
        loop.add_signal_handler(signal.SIGHUP, lambda: stoker.reopen_logs())
    async with stoker:
        # What exists now lives as long as the process: the collector need not look at it
        # again and again. Requests make hardly any cycles, so it may look rarely.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        for listener, address in stoker.addresses.items():
            log.info("listening on %s%s", address, f" ({listener})" if listener else "")
        log.info("admin on %s", stoker.admin.address)
        show = loop.create_task(_show_table(stoker, console) if live else _show_lines(stoker))
        await stop.wait()
        log.info("stopping: letting requests finish (again to stop at once)")
        stop.clear()
        drained = loop.create_task(stoker.drain())
        again = loop.create_task(stop.wait())
        await asyncio.wait((drained, again), return_when=asyncio.FIRST_COMPLETED)
        for task in (drained, again, show):
            task.cancel()
        await asyncio.gather(drained, again, show, return_exceptions=True)
    log.info("stopped")
    return 0


async def _show_table(stoker: LocalStoker | Fleet, console: Console) -> None:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            await stoker.refresh()
            views = [ModelView.of(document) for document in stoker.documents()]
            live.update(models_table(views), refresh=True)
            await asyncio.sleep(REFRESH_SECONDS)


async def _show_lines(stoker: LocalStoker | Fleet) -> None:
    shown: dict[str, tuple[object, ...]] = {}

    def changed() -> list[ModelView]:
        views = [ModelView.of(document) for document in stoker.documents()]
        return [view for view in views if shown.get(view.model) != view.milestone]

    while True:
        if changed():
            await stoker.refresh()
            for view in changed():
                shown[view.model] = view.milestone
                log.info("%s", view.line())
        await asyncio.sleep(REFRESH_SECONDS)
