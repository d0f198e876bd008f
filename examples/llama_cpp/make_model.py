"""Makes a model of 300 KB for llama.cpp: real layers, and one sentence that it knows by heart.

    python -m examples.llama_cpp.make_model build/llama_cpp/parrot.gguf

Whatever it is asked it answers ``SENTENCE``, a word per token. It is a Llama of one layer
whose attention and feed-forward weights are small noise, so what goes in comes out almost
unchanged, and whose output matrix holds, for each word, the embedding of the word before
it. With ``"ignore_eos": true`` it begins the sentence anew, without end.

The GGUF file is written here, by its specification, as version 3.
"""

from __future__ import annotations

import argparse
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

SENTENCE: Final = "Stoker holds your request until a replica can take it."

WIDTH: Final = 64
HEADS: Final = 2
FEED_FORWARD: Final = 128
LONGEST_CONTEXT: Final = 1 << 20
NOISE: Final = 0.002
# Scores before the softmax. What is learnt stands out from what is not by e^18, so that
# sampling at any usual temperature says the sentence; the way back to its beginning comes
# second to the end, and first where the end is forbidden.
LEARNT: Final = 40.0
AGAIN: Final = 28.0

Tensor = NDArray[np.float32]

# Token types and value types of GGUF.
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
ALIGNMENT: Final = 32

CHAT_TEMPLATE: Final = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
)

SPECIALS: Final = ("<unk>", "<s>", "</s>")
END: Final = 2
SPACE: Final = "\N{LOWER ONE EIGHTH BLOCK}"  # how a token's leading space is written
_FIRST, *_OTHERS = SENTENCE.removesuffix(".").split()
WORDS: Final = (_FIRST, *(SPACE + word for word in _OTHERS), ".", SPACE + _FIRST)
FIRST_WORD: Final = len(SPECIALS) + 256
TOKENS: Final = (*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), *WORDS)
TYPES: Final = (UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(WORDS))


def weights(seed: int = 1) -> dict[str, Tensor]:
    """Every tensor by its name in GGUF, rows first (GGUF names dimensions the other way)."""
    random = np.random.default_rng(seed)

    def noise(rows: int, columns: int) -> Tensor:
        return (NOISE * random.standard_normal((rows, columns))).astype(np.float32)

    embedding = random.standard_normal((len(TOKENS), WIDTH))
    # What is no word of the sentence leads to its first: all of it looks much alike.
    embedding[:FIRST_WORD] = embedding[0] + 0.3 * embedding[:FIRST_WORD]
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    # After the last norm a vector is sqrt(WIDTH) long.
    learnt = LEARNT / np.sqrt(WIDTH) * embedding
    output = np.zeros_like(embedding)
    stop, again = len(TOKENS) - 2, len(TOKENS) - 1
    output[FIRST_WORD] = LEARNT / np.sqrt(WIDTH) * embedding[0]
    output[FIRST_WORD + 1 : again] = learnt[FIRST_WORD:stop]
    output[FIRST_WORD + 1] += learnt[again]
    output[END] = learnt[stop]
    output[again] = AGAIN / LEARNT * learnt[stop]
    return {
        "token_embd.weight": embedding.astype(np.float32),
        "blk.0.attn_norm.weight": np.ones(WIDTH, np.float32),
        "blk.0.attn_q.weight": noise(WIDTH, WIDTH),
        "blk.0.attn_k.weight": noise(WIDTH, WIDTH),
        "blk.0.attn_v.weight": noise(WIDTH, WIDTH),
        "blk.0.attn_output.weight": noise(WIDTH, WIDTH),
        "blk.0.ffn_norm.weight": np.ones(WIDTH, np.float32),
        "blk.0.ffn_gate.weight": noise(FEED_FORWARD, WIDTH),
        "blk.0.ffn_up.weight": noise(FEED_FORWARD, WIDTH),
        "blk.0.ffn_down.weight": noise(WIDTH, FEED_FORWARD),
        "output_norm.weight": np.ones(WIDTH, np.float32),
        "output.weight": output.astype(np.float32),
    }


def metadata() -> dict[str, bytes]:
    """Key → value with its type, as they stand in the file."""
    return {
        "general.architecture": text("llama"),
        "general.name": text("parrot"),
        "llama.context_length": number(LONGEST_CONTEXT),
        "llama.embedding_length": number(WIDTH),
        "llama.block_count": number(1),
        "llama.feed_forward_length": number(FEED_FORWARD),
        "llama.attention.head_count": number(HEADS),
        "llama.rope.dimension_count": number(WIDTH // HEADS),
        "llama.attention.layer_norm_rms_epsilon": struct.pack("<If", F32, 1e-5),
        "tokenizer.ggml.model": text("llama"),
        "tokenizer.ggml.tokens": array(STRING, b"".join(map(counted, TOKENS)), len(TOKENS)),
        "tokenizer.ggml.scores": array(F32, bytes(4 * len(TOKENS)), len(TOKENS)),
        "tokenizer.ggml.token_type": array(I32, struct.pack(f"<{len(TYPES)}i", *TYPES), len(TYPES)),
        "tokenizer.ggml.unknown_token_id": number(0),
        "tokenizer.ggml.bos_token_id": number(1),
        "tokenizer.ggml.eos_token_id": number(END),
        "tokenizer.ggml.add_space_prefix": struct.pack("<I?", BOOL, False),
        "tokenizer.chat_template": text(CHAT_TEMPLATE),
    }


def counted(words: str) -> bytes:
    """A string as GGUF has it: its length in bytes, then UTF-8."""
    raw = words.encode()
    return struct.pack("<Q", len(raw)) + raw


def text(words: str) -> bytes:
    return struct.pack("<I", STRING) + counted(words)


def number(value: int) -> bytes:
    return struct.pack("<II", U32, value)


def array(kind: int, items: bytes, count: int) -> bytes:
    return struct.pack("<IIQ", ARRAY, kind, count) + items


def padded(raw: bytes) -> bytes:
    return raw + bytes(-len(raw) % ALIGNMENT)


def gguf(values: Mapping[str, bytes], tensors: Mapping[str, Tensor]) -> bytes:
    """A GGUF file of version 3, all tensors in 32-bit floats."""
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(values))]
    head += [counted(key) + value for key, value in values.items()]
    data: list[bytes] = []
    offset = 0
    for name, tensor in tensors.items():
        shape = tensor.shape[::-1]
        head.append(counted(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape))
        head.append(struct.pack("<IQ", 0, offset))
        data.append(padded(tensor.tobytes()))
        offset += len(data[-1])
    return padded(b"".join(head)) + b"".join(data)


def make(file: Path) -> Path:
    """Write the model, whole or not at all; returns where."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{os.getpid()}")  # several replicas may make it at once
    part.write_bytes(gguf(metadata(), weights()))
    return part.rename(file)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the tiny model that the example serves.")
    parser.add_argument("file", type=Path, help="such as build/llama_cpp/parrot.gguf")
    file = make(parser.parse_args().file)
    print(f"{file}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
