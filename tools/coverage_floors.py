"""Fails where tests do not reach enough: pure modules 100 %, everything 90 %.

Which modules are pure is read from the import-linter contract in pyproject.toml, so that
there is one list. Reads the combined coverage data in the working directory.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tomllib
from pathlib import Path

import coverage

PURE_CONTRACT = "Decisions are pure"
FLOOR, PURE_FLOOR = 90.0, 100.0


def pure_modules(pyproject: Path) -> list[str]:
    """The modules whose contract says that they are pure, packages included."""
    contracts = tomllib.loads(pyproject.read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [c for c in contracts if c["name"].startswith(PURE_CONTRACT)]
    return list(contract["source_modules"])


def patterns(modules: list[str]) -> list[str]:
    """Globs for the files of ``modules`` (each may be a module or a package)."""
    paths = [module.replace(".", "/") for module in modules]
    return [pattern for path in paths for pattern in (f"{path}.py", f"{path}/*.py")]


def reached(data: coverage.Coverage, include: list[str] | None, floor: float) -> float:
    """Percent covered; the files below ``floor`` are printed."""
    out = io.StringIO()
    # A report without any file is an error to coverage: then nothing was reached.
    with contextlib.suppress(coverage.exceptions.NoDataError):
        percent = data.report(include=include, file=out, skip_covered=True, show_missing=True)
        if percent < floor:
            print(out.getvalue())
        return percent
    return 0.0


def main() -> int:
    """Print both figures; 1 when one is too low."""
    data = coverage.Coverage()
    data.load()
    pure = patterns(pure_modules(Path("pyproject.toml")))
    enough = True
    for name, include, floor in (("all", None, FLOOR), ("pure", pure, PURE_FLOOR)):
        percent = reached(data, include, floor)
        print(f"coverage of {name} modules: {percent:.2f} % (floor {floor:g} %)")
        enough = enough and percent >= floor
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
