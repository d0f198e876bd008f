"""A Dockerfile as a list of stages, for tests."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field


@dataclass
class Stage:
    """One FROM and what follows. ``steps``: instruction, and what stands behind it."""

    image: str
    name: str = ""
    steps: list[tuple[str, str]] = field(default_factory=list)

    def of(self, instruction: str) -> list[str]:
        return [rest for word, rest in self.steps if word == instruction]


def parse(text: str) -> list[Stage]:
    """Raises ValueError for an instruction outside of a stage, or one that is unknown."""
    stages: list[Stage] = []
    text = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        if not word:
            continue
        rest = re.sub(r"\s+", " ", rest.strip())
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            stages.append(Stage(image, name))
        elif word not in _KNOWN or not stages:
            raise ValueError(line)
        else:
            stages[-1].steps.append((word, rest))
    return stages


_KNOWN = {
    *("COPY", "RUN", "WORKDIR", "ENV", "USER", "EXPOSE", "LABEL", "ENTRYPOINT", "CMD"),
    "STOPSIGNAL",
}


def commands(run: str) -> list[list[str]]:
    """The commands of a RUN, each as its words."""
    return [shlex.split(part) for part in run.split(" && ")]
