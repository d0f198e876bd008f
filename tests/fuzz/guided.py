"""Guided by coverage: ``python -m tests.fuzz.guided TARGET [-max_total_time=60] [...]``.

TARGET is ``requests``, ``answers`` or ``lives``; the rest are libFuzzer's own options. What
fails is saved in ``build/fuzz/TARGET`` and can be given again as a file. Needs atheris.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

TARGETS = ("requests", "answers", "lives")
SEEDS = 200
LONGEST = 1200


def target_named(name: str) -> Callable[[bytes], None]:
    """What to call with bytes. Whatever it imports first is what is watched."""
    if name == "lives":
        from tests.fuzz.lives import live

        return live
    from tests.fuzz import raw

    return raw.requests if name == "requests" else raw.answers


def main(argv: list[str]) -> None:
    name, *options = argv
    if name not in TARGETS:
        raise SystemExit(f"{name}: no target; there are {', '.join(TARGETS)}")
    import atheris

    with atheris.instrument_imports(include=["activator"]):
        target = target_named(name)
    logging.disable(logging.WARNING)
    found = Path("build", "fuzz", name)
    corpus = found / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    from tests.fuzz.seeds import seeds

    for number, data in enumerate(seeds(name, SEEDS)):
        (corpus / f"seed-{number:04}").write_bytes(data)
    files = [option for option in options if not option.startswith("-")]
    options = [
        *(f"-max_len={LONGEST}", f"-artifact_prefix={found}/", "-timeout=60"),
        *options,
        *([] if files else [str(corpus)]),
    ]
    atheris.Setup([sys.argv[0], *options], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
