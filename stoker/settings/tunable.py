"""The shape of one row of the table of tunables."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from stoker.settings.kinds import BadValueError, Kind, Raw

COUNT_MAX = "2147483647"
DURATION_MAX = "8760h"
SIZE_MAX = "1024Ti"


class Section(enum.StrEnum):
    """Which configuration a tunable belongs to; the value is its heading in the docs."""

    SCALING = "Scaling"
    SERVING = "Serving"
    LAUNCH = "Launching replicas"
    IDENTITY = "Names of a model"
    PROCESS = "The Stoker process"


class Scope(enum.StrEnum):
    """Who a value is for: the process as a whole, or one model at a time."""

    PROCESS = "process"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Tunable:
    """One row. ``default``, ``low``, ``high`` and ``above`` are written as a user would.

    ``default`` None: unset, see ``reason``. ``above`` is an exclusive lower bound; ``also``
    one value allowed outside the range. ``shared``: may stand under ``defaults:``.
    ``live``: takes effect without a restart.
    """

    name: str
    section: Section
    kind: Kind
    default: str | None
    reason: str
    low: str = ""
    above: str = ""
    high: str = ""
    also: str = ""
    shared: bool = True
    live: bool = True

    @property
    def field(self) -> str:
        return self.name.replace("-", "_")

    @property
    def scope(self) -> Scope:
        return Scope.PROCESS if self.section is Section.PROCESS else Scope.MODEL

    @property
    def allowed(self) -> str:
        """The range or the grammar, for people."""
        return self.range or self.kind.expects

    @property
    def range(self) -> str:
        """``[6s, 1h]``, ``(1, 100]``; "" where every value of the kind is allowed."""
        lower = f"[{self.low}" if self.low else f"({self.above}" if self.above else ""
        if not lower:
            return ""
        text = f"{lower}, {self.high}]"
        return f"{self.also} or {text}" if self.also else text

    def read(self, raw: Raw) -> Any:
        """The value in ``raw``, in range. Raises BadValueError."""
        try:
            value = self.kind.read(raw)
        except BadValueError as error:
            if self.range and error.allowed:
                error.allowed += f" in {self.range}"
            raise
        if self.also and value == self.kind.read(self.also):
            return value
        too_low = (self.low and value < self.kind.read(self.low)) or (
            self.above and value <= self.kind.read(self.above)
        )
        if too_low or (self.high and value > self.kind.read(self.high)):
            raise BadValueError("is out of range", self.allowed)
        return value
