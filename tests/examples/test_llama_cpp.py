"""The tiny model of examples/llama_cpp, and its server's command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from examples.llama_cpp.make_model import (
    ALIGNMENT,
    END,
    SENTENCE,
    SPACE,
    TOKENS,
    WORDS,
    make,
    weights,
)


def test_the_model_is_a_small_gguf_file_that_is_always_the_same(tmp_path: Path) -> None:
    """Two of them are equal to the byte; nothing else is left in the folder."""
    first, second = make(tmp_path / "one" / "a.gguf"), make(tmp_path / "one" / "b.gguf")
    raw = first.read_bytes()
    assert raw == second.read_bytes()
    assert raw[:8] == b"GGUF\x03\0\0\0"
    assert len(raw) % ALIGNMENT == 0
    assert len(raw) < 500_000
    assert sorted(path.name for path in first.parent.iterdir()) == ["a.gguf", "b.gguf"]


def test_each_word_leads_to_the_next_by_far() -> None:
    """Without llama.cpp: what is to follow scores at least 10 above all else (e^10 to one)."""
    tensors = weights()
    embedding, output = tensors["token_embd.weight"], tensors["output.weight"]
    scores = embedding / np.sqrt(np.mean(embedding**2, axis=1, keepdims=True)) @ output.T

    def ranked(token: int) -> list[int]:
        return [int(found) for found in np.argsort(scores[token])[::-1]]

    token, said = TOKENS.index("<0x3F>"), []
    while token != END:
        best, second, third = ranked(token)[:3]
        if best == END:  # where the end is forbidden the sentence begins anew
            assert TOKENS[second] == WORDS[-1]
            assert scores[token, second] - scores[token, third] > 10
        assert scores[token, best] - scores[token, second] > 10
        said.append(TOKENS[best])
        token = best
    assert "".join(said[:-1]).replace(SPACE, " ") == SENTENCE
    assert TOKENS[ranked(TOKENS.index(WORDS[-1]))[0]] == WORDS[1]


def test_another_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Only its own model is made; for any other the server says what is missing, and ends."""
    missing = tmp_path / "other.gguf"
    done = subprocess.run(
        [sys.executable, "-m", "examples.llama_cpp.server", "--port", "1", "--model", missing],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"{missing}: no such file\n"
