"""What a running Stoker has learned of starts, for a simulation of the same models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib.parse import quote

from simulations.draws import Constant
from simulations.world import Start
from stoker.cli.ask import Asked, ask, read_token
from stoker.errors import ControlError
from stoker.vocabulary import ModelKey, Phase

STEPS: Final[Mapping[str, str]] = {
    Phase.PENDING_NODE: "node",
    Phase.PULLING_IMAGE: "image",
    Phase.FETCHING_ARTIFACT: "artifact",
    Phase.STARTING: "start",
}


def learned_start(admin: str, models: Collection[ModelKey]) -> tuple[Start, str]:
    """The start of the model that was started most often, of ``models`` where it is among
    them, and where it comes from in words. Asks the Stoker whose admin address this is.

    Raises ControlError where nobody answers, or nothing has been started yet.
    """
    asked = Asked(admin, read_token(None))
    known = [str(entry["model"]) for entry in ask(asked, "/api/models")["models"]]
    ours = {str(key) for key in models}
    found = [_start_of(asked, name) for name in [n for n in known if n in ours] or known]
    count, name, phases = max(found, default=(0, "", {}), key=lambda each: each[0])
    if not count:
        raise ControlError(
            f"the Stoker on {admin} has not seen a start of its models yet;"
            " send one of them a request first, or say how long it takes: --start 30s"
        )
    steps = {STEPS[phase]: Constant(round(seconds, 6)) for phase, seconds in phases.items()}
    return Start(steps), f"as the Stoker on {admin} learned it from {count} starts of {name}"


def _start_of(asked: Asked, name: str) -> tuple[int, str, dict[str, Any]]:
    """How many starts of it were seen, its name, and the seconds of each phase."""
    told = ask(asked, f"/api/explain/{quote(name)}")
    own = told["start"]["known"]
    return (told["start"]["starts"] if own else 0), name, told["start_phases"]
