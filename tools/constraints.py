"""Writes constraints.txt: every package that any command needs, pinned, with its hashes.

``python -m tools.constraints`` (``make constraints``) needs pip-tools. The file has three
parts, each of which needs those before it: what ``make demo`` installs, what ``make test``
adds, what ``make bench`` adds. The Makefile cuts it at their headings.
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
    ("bench", ("bench",)),
)
INTRO = """\
# Written by make constraints from pyproject.toml. Each part needs the parts before it.
"""


def heading(part: str) -> str:
    """The line that begins a part."""
    return f"# --- make {part} ---"


def compiled(extras: list[str], *options: str) -> dict[str, str]:
    """What the project with ``extras`` needs: name → its lines of a requirements file."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory, "compiled.txt")
        command = [
            *(sys.executable, "-m", "piptools", "compile", "--quiet", "--strip-extras"),
            *("--allow-unsafe", "--no-header", "--no-annotate", "--no-emit-options"),
            *("--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host"),
            *(f"--extra={extra}" for extra in extras),
            *options,
            *("--output-file", str(out), "pyproject.toml"),
        ]
        subprocess.run(command, check=True)
        blocks = re.split(r"^(?=[^\s#])", out.read_text(), flags=re.MULTILINE)
    return {block.partition("==")[0]: block.rstrip() for block in blocks if "==" in block}


def main() -> int:
    """Resolve everything at once, then see which part needs what first."""
    pinned = compiled([extra for _, extras in PARTS for extra in extras], "--generate-hashes")
    lines = [INTRO]
    asked: list[str] = []
    placed: set[str] = set()
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as versions:
        versions.writelines(block.split(" ")[0] + "\n" for block in pinned.values())
        versions.flush()
        for part, extras in PARTS:
            asked += extras
            names = compiled(asked, "--constraint", versions.name)
            lines += [heading(part), *(pinned[name] for name in names if name not in placed)]
            placed |= names.keys()
    Path("constraints.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"constraints.txt: {len(placed)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
