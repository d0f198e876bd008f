"""llama.cpp's own HTTP server, as the xllamacpp package brings it, on one port of 127.0.0.1.

    python -m examples.llama_cpp.server --port 8000 --model build/llama_cpp/parrot.gguf

It is the server that ``llama-server`` runs; where you have that program, put its command
line into stoker.yaml instead. A model file that is not there is made first if it is the
one of this example.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

import xllamacpp

from examples.llama_cpp.make_model import make

EXAMPLE = "parrot.gguf"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serve a GGUF file with llama.cpp.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", type=Path, required=True, help="a GGUF file")
    parser.add_argument("--alias", default="", help="the name it is listed under")
    parser.add_argument("--parallel", type=int, default=2, help="answers made at the same time")
    parser.add_argument("--context", type=int, default=1024, help="tokens for each of them")
    parser.add_argument("--threads", type=int, default=1, help="for the model's arithmetic")
    return parser.parse_args(argv)


def params(options: argparse.Namespace) -> xllamacpp.CommonParams:
    """What ``llama-server`` would make of the same options."""
    made = xllamacpp.CommonParams()
    made.model.path = str(options.model)
    if options.alias:
        made.model_alias = {options.alias}
    made.hostnames = ["127.0.0.1"]
    made.port = options.port
    made.n_parallel = options.parallel
    made.n_ctx = options.context * options.parallel
    made.cpuparams.n_threads = made.cpuparams_batch.n_threads = options.threads
    made.n_gpu_layers = 0
    made.ctx_shift = True  # answers may be longer than the context
    made.embedding = True  # beside completions; vectors are those of the last token
    made.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST
    made.ui = False
    return made


def main() -> None:
    options = parse()
    if not options.model.exists():
        if options.model.name != EXAMPLE:
            sys.exit(f"{options.model}: no such file")
        make(options.model)
    # Blocked before llama.cpp starts its threads, which inherit that: only this one ends.
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    server = xllamacpp.Server(params(options))
    print(f"listening on {server.listening_address}", flush=True)
    signal.sigwait(ends)
    # Stoker asks only when no request is left, so there is nothing to wait for.
    os._exit(0)


if __name__ == "__main__":
    main()
