"""Stand-in model servers, run by tests as processes of their own."""

from __future__ import annotations

import sys
from pathlib import Path

ECHO = Path(__file__).parent / "echo.py"


def echo_command(*options: str) -> tuple[str, ...]:
    """A replica's command that runs echo.py on ``{port}``; -S -E make its start quick."""
    return (sys.executable, "-S", "-E", str(ECHO), "--port", "{port}", *options)
