"""What a start takes besides right settings: files to read, folders to write to.

Looked at by ``stoker check`` and before ``stoker up`` opens a port, so that both refuse the
same. A Stoker that runs copes with such a file's loss; see each setting.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from activator.peer_identity import host_name, read_token
from stoker.admin_token import VARIABLE, AdminToken
from stoker.errors import Problem, SettingsError
from stoker.settings import LocalConfig, ProcessConfig
from stoker.vocabulary import ReplicaTls


def start_problems(config: LocalConfig, environ: Mapping[str, str]) -> list[Problem]:
    """Why Stoker could not start with these settings on this machine, as this user."""
    process = config.process
    return [
        *_raised(lambda: AdminToken(process.admin_token_file, environ.get(VARIABLE, ""))),
        *_of_peers(process),
        *_of_folders(process),
        *_of_replicas(config),
    ]


def _raised(what: Callable[[], object]) -> tuple[Problem, ...]:
    try:
        what()
    except SettingsError as error:
        return error.problems
    return ()


def _of_peers(process: ProcessConfig) -> Iterator[Problem]:
    if process.peer_listen is None:
        return
    for problem in (
        *_raised(lambda: read_token(process.peer_token_file)),
        *(() if process.peer_name else _raised(host_name)),
    ):
        yield problem._replace(where=f"stoker.{problem.where}")


def _of_folders(process: ProcessConfig) -> Iterator[Problem]:
    for setting, path, made in (
        ("access-log", process.access_log, False),
        ("journal-file", process.journal_file, True),
    ):
        why = _unwritable(Path(path), folders_made=made) if path not in ("", "-") else ""
        if why:
            hint = "name a file in a directory that Stoker may write to"
            yield Problem(
                f"stoker.{setting}", path, f"cannot be opened for writing: {why}", hint=hint
            )
    folder = process.spool_directory
    if folder and not (os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)):
        why = "may not be written to" if os.path.isdir(folder) else "is no directory"
        yield Problem("stoker.spool-directory", folder, why, hint="name one for held bodies")


def _unwritable(file: Path, *, folders_made: bool) -> str:
    """Why the file cannot be written, or made, with folders where those are; "": it can."""
    if file.is_dir():
        return "Is a directory"
    folder = file.parent
    while folders_made and not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not file.exists() and not folder.is_dir():
        return "No such file or directory"
    place, wanted = (file, os.W_OK) if file.exists() else (folder, os.W_OK | os.X_OK)
    return "" if os.access(place, wanted) else "Permission denied"


def _of_replicas(config: LocalConfig) -> Iterator[Problem]:
    for spec in config.models:
        serving = spec.serving
        path = serving.replica_tls_ca
        if serving.replica_tls is not ReplicaTls.ON or not path:
            continue
        try:
            ssl.create_default_context(cafile=path)
        except ssl.SSLError:
            why = "holds no certificate in PEM"
        except OSError as error:
            why = f"cannot be read: {error.strerror or error}"
        else:
            continue
        where = f"models.{spec.key.name}.replica-tls-ca"
        yield Problem(where, path, why, hint="name a file with whom to trust")
