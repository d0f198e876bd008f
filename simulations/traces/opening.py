"""A trace's bytes: plain, gzip, xz or bzip2; one file, a tar of them, or a folder of them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, cast

from stoker.errors import TraceError

HEAD: Final = 64 << 10
"""Bytes by which a format is recognised."""
CHUNK: Final = 2 << 20
LONGEST_LINE: Final = 16 << 20

_DAMAGED = (EOFError, OSError, zlib.error, lzma.LZMAError, tarfile.TarError)
_PACKED: Final[dict[bytes, Callable[..., Any]]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ\0": lzma.open,
    b"BZh": bz2.open,
}
_FOREIGN: Final = {
    b"PK\x03\x04": "zip",
    b"Rar!": "RAR",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"PAR1": "Parquet",
}


class Lines(NamedTuple):
    """Consecutive lines without their ends; ``first`` is the number of the first, from 1."""

    first: int
    texts: list[str]


class Part:
    """One file of a trace, to be read once, before the next one is asked for.

    ``name``: where it is, as a user would look for it.
    """

    def __init__(self, name: str, stream: IO[bytes]) -> None:
        self.name = name
        self._stream = stream
        self._ahead = b""

    def peek(self) -> str:
        """How it begins, some 64 KB, cut at a line's end where there is one; still to be read."""
        self._ahead = self._read(HEAD)
        data = self._ahead
        if len(data) >= HEAD:
            data = data[: data.rfind(b"\n") + 1] or data
        return _text(data)

    def whole(self, most: int) -> str:
        """All of it. Raises TraceError beyond ``most`` bytes."""
        data = self._read(most + 1)
        if len(data) > most:
            raise TraceError(
                f"{self.name}: more than {most >> 20} MB in one document; ask for a shorter range"
            )
        return _text(data)

    def lines(self) -> Iterator[Lines]:
        """All of its lines, many at a time."""
        first, rest = 1, b""
        while data := self._read(CHUNK):
            data = rest + data
            end = data.rfind(b"\n") + 1
            rest = data[end:]
            if len(rest) > LONGEST_LINE:
                line = first + data.count(b"\n", 0, end)
                raise TraceError(
                    f"{self.name}, line {line}: longer than {LONGEST_LINE >> 20} MB;"
                    " a trace is lines of text"
                )
            if end:
                texts = _split(data[:end])
                yield Lines(first, texts)
                first += len(texts)
        if rest:
            yield Lines(first, _split(rest))

    def _read(self, size: int) -> bytes:
        ahead, self._ahead = self._ahead, b""
        try:
            return ahead + _filled(self._stream, size - len(ahead))
        except _DAMAGED as caught:
            raise TraceError(f"{self.name}: {_why(caught)}") from None


def parts(path: str) -> Generator[Part, None, None]:
    """The files at ``path``, in their natural order (2 before 10) where it is a folder.

    Raises TraceError where nothing can be read there.
    """
    place = Path(path)
    if place.is_dir():
        for inner in sorted(place.rglob("*"), key=lambda found: _natural(str(found))):
            if inner.is_file():
                yield from parts(str(inner))
        return
    if place.exists() and not place.is_file():
        raise TraceError(f"{path}: not a file or a folder; write what comes from there to a file")
    try:
        with place.open("rb", CHUNK) as raw, _unpacked(path, raw) as stream:
            if _is_tar(stream.peek(512)):
                yield from _members(path, stream)
            else:
                yield Part(path, stream)
    except _DAMAGED as caught:
        raise TraceError(f"{path}: {_why(caught)}") from None


def _members(path: str, stream: IO[bytes]) -> Iterator[Part]:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            inner = archive.extractfile(member) if member.isfile() else None
            if inner is not None:
                name = f"{path}:{member.name}"
                with _unpacked(name, inner) as unpacked:
                    yield Part(name, unpacked)


def _unpacked(name: str, raw: IO[bytes]) -> io.BufferedReader:
    """``raw`` with its compression undone, if there is one that is known."""
    buffered = cast("io.BufferedReader", raw)  # as open() and extractfile() give them
    magic = buffered.peek(8)
    for begin, kind in _FOREIGN.items():
        if magic.startswith(begin):
            raise TraceError(
                f"{name}: is a {kind} file; unpack it, or pack it with gzip, xz or tar"
            )
    for begin, unpack in _PACKED.items():
        if magic.startswith(begin):
            return io.BufferedReader(cast("io.RawIOBase", unpack(buffered)), CHUNK)
    return buffered


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _filled(stream: IO[bytes], size: int) -> bytes:
    """Up to ``size`` bytes; fewer only at the end."""
    found = []
    while size > 0 and (data := stream.read(size)):
        found.append(data)
        size -= len(data)
    return b"".join(found)


def _text(data: bytes) -> str:
    """What is not UTF-8 becomes U+FFFD: then its line is wrong, not the whole file."""
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")


def _split(data: bytes) -> list[str]:
    """Lines by \\n and \\r\\n alone: str.splitlines() would also cut at form feeds."""
    texts = _text(data).split("\n")
    if not texts[-1]:
        del texts[-1]
    if "\r" in texts[0]:
        texts = [text.removesuffix("\r") for text in texts]
    return texts


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(n) if n.isdecimal() else -1, n) for n in re.split(r"([0-9]+)", text)]


def _why(caught: Exception) -> str:
    if isinstance(caught, OSError) and caught.strerror:
        return f"{caught.strerror}; name a file that can be read"
    return f"is damaged or ends early ({caught}); fetch or pack it again"
