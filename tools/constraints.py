"""Writes constraints.txt: every package that any command needs, pinned, with its hashes.

``python -m tools.constraints`` (``make constraints``) needs pip-tools. The file has three
parts, each of which needs those before it: what ``make demo`` installs, what ``make test``
adds, what ``make bench`` and ``make test-all`` add. The Makefile cuts it at their headings.

What goes into the container image is of the same versions: ``image/requirements.txt`` for what
runs there, ``image/build.txt`` for what makes Stoker's own package.

Model servers that bring a world of their own live in an environment of their own, so that
what they pin does not bind Stoker: ``requirements.in`` in their example's folder names
them, ``requirements.txt`` beside it is written in the same way.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

PARTS = (
    ("demo", ("setup", "demo")),
    ("test", ("dev",)),
    ("bench", ("bench", "fuzz")),
)
INTRO = """\
# Written by make constraints from pyproject.toml. Each part needs the parts before it.
"""
IMAGE = Path("image")
IMAGE_EXTRAS = ("kubernetes", "tracing")
IMAGE_INTRO = """\
# Written by make constraints: what of constraints.txt goes into the container image.
"""
SERVERS = (Path("examples/mlserver"),)
SERVER_INTRO = """\
# Written by make constraints from requirements.in. It has a virtual environment to itself.
"""


def heading(part: str) -> str:
    """The line that begins a part."""
    return f"# --- make {part} ---"


def compiled(source: str, *options: str) -> dict[str, str]:
    """What ``source`` needs, a file for pip-compile: name → its lines of a requirements file."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory, "compiled.txt")
        command = [
            *(sys.executable, "-m", "piptools", "compile", "--quiet", "--strip-extras"),
            *("--allow-unsafe", "--no-header", "--no-annotate", "--no-emit-options"),
            *("--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host"),
            *options,
            *("--output-file", str(out), source),
        ]
        subprocess.run(command, check=True)
        blocks = re.split(r"^(?=[^\s#])", out.read_text(), flags=re.MULTILINE)
    return {block.partition("==")[0]: block.rstrip() for block in blocks if "==" in block}


def project(extras: list[str], *options: str) -> dict[str, str]:
    """What the project with ``extras`` needs."""
    return compiled("pyproject.toml", *(f"--extra={extra}" for extra in extras), *options)


def main() -> int:
    """Resolve everything at once, then see which part needs what first."""
    pinned = project([extra for _, extras in PARTS for extra in extras], "--generate-hashes")
    lines = [INTRO]
    asked: list[str] = []
    placed: set[str] = set()
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as versions:
        versions.writelines(block.split(" ")[0] + "\n" for block in pinned.values())
        versions.flush()
        for part, extras in PARTS:
            asked += extras
            names = project(asked, "--constraint", versions.name)
            lines += [heading(part), *(pinned[name] for name in names if name not in placed)]
            placed |= names.keys()
        runs = project([*IMAGE_EXTRAS], "--constraint", versions.name)
        builds = project([*IMAGE_EXTRAS, "setup"], "--constraint", versions.name)
    write("constraints.txt", lines, len(placed))
    for file, packages in (
        ("requirements.txt", list(runs)),
        ("build.txt", [name for name in builds if name not in runs]),
    ):
        write(IMAGE / file, [IMAGE_INTRO, *(pinned[name] for name in packages)], len(packages))
    for folder in SERVERS:
        server = compiled(str(folder / "requirements.in"), "--generate-hashes")
        write(folder / "requirements.txt", [SERVER_INTRO, *server.values()], len(server))
    return 0


def write(file: str | Path, lines: list[str], packages: int) -> None:
    """A file of pins, and how many on stdout."""
    Path(file).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{file}: {packages} packages")


if __name__ == "__main__":
    sys.exit(main())
