"""Everything Stoker raises on purpose.

::

    StokerError
    ├── SettingsError        a value a user wrote: names key, value, allowed range, remedy
    ├── ResultsError         saved results that cannot be read or written
    ├── PlatformError        the world refused or failed
    │   ├── UnknownModelError    a model the platform has never heard of
    │   ├── PlatformClosedError  used after close()
    │   ├── NotLeadingError      only the leader may do that, and this is not it (any more)
    │   └── ApiError             the Kubernetes API server refused, or did not answer
    ├── ListenError          an address cannot be bound
    ├── CertificateError     a certificate and its key cannot be used
    ├── ControlError         a running Stoker could not be asked (stoker status, explain, record)
    ├── OutputError          a file that was asked for cannot be written
    ├── JournalError         a decision journal cannot be read
    ├── TraceError           a trace cannot be read, made or written
    ├── TuningError          what stoker tune or advise is asked for cannot be done
    └── WorkerError          a worker process cannot start, or has ended
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class StokerError(Exception):
    """Base of every error raised on purpose."""


class Problem(NamedTuple):
    """One thing wrong with what a user wrote.

    ``where`` is the path of the key (``models.digits.stable-window``), ``value`` what
    was found there, ``allowed`` the range or the choices, ``hint`` what to do; ``line`` (from
    1) is where in the file, 0 where that is unknown or not a file.
    """

    where: str
    value: str
    message: str
    allowed: str = ""
    hint: str = ""
    line: int = 0

    def __str__(self) -> str:
        text = (
            f"{self.where} = {self.value}: {self.message}"
            if self.value
            else f"{self.where}: {self.message}"
        )
        if self.allowed:
            text += f"; allowed: {self.allowed}"
        if self.hint:
            text += f"; {self.hint}"
        return text


class _ProblemsError(StokerError):
    """One or more problems with what is in ``source``, all of which are listed."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        lines = "\n".join(
            f"  line {problem.line}: {problem}" if problem.line else f"  {problem}"
            for problem in self.problems
        )
        super().__init__(f"{source}:\n{lines}")


class SettingsError(_ProblemsError):
    """One or more problems in the settings; all of them are listed, not only the first."""


class ResultsError(_ProblemsError):
    """Results of simulations that cannot be read from a file, or written to one."""


class PlatformError(StokerError):
    """The platform refused or failed."""


class UnknownModelError(PlatformError):
    """Names a model that the platform has never heard of."""


class PlatformClosedError(PlatformError):
    """The platform was used after ``close()``."""


class NotLeadingError(PlatformError):
    """Only the leader may do that, and this process is not, or not for long enough."""


class ApiError(PlatformError):
    """The Kubernetes API server refused, or did not answer.

    ``status`` is HTTP's, 0 where no answer came: then nobody knows whether it was done.
    ``reason`` is Kubernetes' word for it (``Conflict``, ``Expired`` ...), empty if something
    else answered; ``retry_after`` seconds that the server asks to wait, 0 if it does not.
    """

    def __init__(
        self, status: int, message: str, reason: str = "", retry_after: float = 0.0
    ) -> None:
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        told = message or reason or "no reason given"
        super().__init__(f"API server: {status}: {told}" if status else f"API server: {told}")


class ListenError(StokerError):
    """An address cannot be bound: says which, and what to change."""


class CertificateError(StokerError):
    """A certificate and its key cannot be used: names the setting and the file."""


class ControlError(StokerError):
    """A running Stoker could not be asked."""


class OutputError(StokerError):
    """A file that was asked for cannot be written: names it and why."""


class JournalError(StokerError):
    """A decision journal cannot be read, or holds no answer: names file and line, or the range."""


class WorkerError(StokerError):
    """A worker process cannot start, or has ended before it answered."""


class TraceError(StokerError):
    """A trace cannot be read, made or written: names the file, the line and what is there."""


class TuningError(StokerError):
    """What ``stoker tune`` or ``stoker advise`` is asked for cannot be done: names the option,
    its value and what is allowed.
    """
