"""What supervision asks for, and what it is told of a process's end. Plain data."""

from __future__ import annotations

import enum
import errno
import os
import signal
from dataclasses import dataclass

from stoker.platform import ReplicaEvent
from stoker.vocabulary import LaunchConfig


class Cause(enum.StrEnum):
    """Why a replica ended, for counting."""

    STOPPED = "stopped"
    FAILED_START = "failed-start"
    CRASHED = "crashed"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Start:
    """Start a process for ``id``; answer with ``placed``, later ``ready`` or ``ended``."""

    id: str
    launch: LaunchConfig


@dataclass(frozen=True, slots=True)
class Terminate:
    """Send SIGTERM to the replica's group."""

    id: str


@dataclass(frozen=True, slots=True)
class Kill:
    """Send SIGKILL to the replica's group."""

    id: str


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the watchers. ``cause`` is set with a ReplicaGone."""

    event: ReplicaEvent
    cause: Cause | None = None


Effect = Start | Terminate | Kill | Announce


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended. ``how`` reads on after the replica's name: "exited with code 3".

    ``hopeless``: trying again soon cannot help (the command does not exist). ``blameless``:
    neither the model's fault nor a reason to wait (the reaper was killed).
    """

    how: str
    output: str = ""
    hopeless: bool = False
    blameless: bool = False

    def reason(self, context: str = "") -> str:
        """One sentence, and what the replica printed last on the lines below it."""
        text = f"{self.how}{context}"
        return f"{text}; last output:\n{self.output}" if self.output else text


_TRANSIENT = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def refusal(launch: LaunchConfig, what: str, number: int) -> Ending:
    """The ending of a replica whose command could not even be executed, and why (errno)."""
    command, why = launch.command[0], os.strerror(number)
    hopeless = what != "fork" and number not in _TRANSIENT
    if what == "directory":
        return Ending(f"working directory {launch.directory}: {why}", hopeless=hopeless)
    if what == "command" and number == errno.ENOENT:
        # A script's missing interpreter has the same errno.
        or_else = ", or the interpreter that it names" if "/" in command else ""
        return Ending(f"command not found: {command}{or_else}", hopeless=hopeless)
    return Ending(f"command could not be executed: {command}: {why}", hopeless=hopeless)


def ending(code: int, output: str) -> Ending:
    """The ending of a process by its exit code, or negative, the signal that killed it."""
    if code >= 0:
        return Ending(f"exited with code {code}", output)
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal between SIGRTMIN and SIGRTMAX has no name
        name = f"signal {-code}"
    return Ending(f"killed by {name}", output)
