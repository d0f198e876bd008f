"""All readings of one process as one Prometheus scrape target.

With thousands of models a scrape is 200,000 lines, and requests must not feel it. So the
readings are taken in slices, between which the event loop goes on; and the text is made in a
thread that lets go of the interpreter after each few hundred lines.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from stoker.telemetry import Histogram, Kind, MetricSpec, Reading

# A source gives readings, or lists of them. It may be left alone for a while behind a list,
# but not behind a reading: what it is looking at must not change under it.
Source = Callable[[], Iterable[Reading | Sequence[Reading]]]

SLICE_SECONDS: Final = 0.001
# Lines between two pauses of the thread: about a third of a millisecond's work.
SLICE_LINES: Final = 500
PAUSE_SECONDS: Final = 0.0003

_UNSAFE: Final = re.compile(r'[\\"\n]')
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}


class Exposition:
    """What all ``sources`` say."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = tuple(sources)

    def collect_readings(self) -> list[Reading]:
        """What they say now; nothing in it changes later. To be called on the loop."""
        return [_frozen(r) for source in self._sources for part in source() for r in _all(part)]

    async def collect_in_slices(self) -> list[Reading]:
        """The same, letting the loop go on again and again: not all is of one moment."""
        readings: list[Reading] = []
        began = time.perf_counter()
        for source in self._sources:
            for part in source():
                readings += map(_frozen, _all(part))
                if not isinstance(part, Reading) and time.perf_counter() - began > SLICE_SECONDS:
                    await asyncio.sleep(0)
                    began = time.perf_counter()
        return readings

    def render(self, readings: Iterable[Reading] | None = None) -> bytes:
        """The text exposition format 0.0.4, UTF-8, of ``readings`` or else of what is read now.

        With ``readings`` it touches nothing of the sources and may be called in any thread.
        """
        return b"".join(slices(self.collect_readings() if readings is None else readings))

    def render_gently(self, readings: Iterable[Reading]) -> bytes:
        """The same, for a thread beside which requests are served."""
        made = []
        for each in slices(readings):
            made.append(each)
            # Without a pause the other thread waits for the interpreter's switch interval.
            time.sleep(PAUSE_SECONDS)
        return b"".join(made)


def _all(part: Reading | Sequence[Reading]) -> Sequence[Reading]:
    return (part,) if isinstance(part, Reading) else part


def _frozen(reading: Reading) -> Reading:
    value = reading.value
    return reading._replace(value=value.copy()) if isinstance(value, Histogram) else reading


def slices(readings: Iterable[Reading]) -> Iterator[bytes]:
    """The exposition in pieces of whole lines. All series of a metric come together."""
    families: dict[str, list[Reading]] = {}
    for reading in readings:
        families.setdefault(reading.spec.name, []).append(reading)
    lines: list[str] = []
    for family in families.values():
        spec = family[0].spec
        add_series = _adder(spec)
        lines.append(_heading(spec))
        for reading in family:
            add_series(lines, reading)
            if len(lines) >= SLICE_LINES:
                yield "".join(lines).encode()
                lines.clear()
    yield "".join(lines).encode()


def _heading(spec: MetricSpec) -> str:
    name = f"{spec.name}_total" if spec.kind is Kind.COUNTER else spec.name
    help_ = spec.help.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {name} {help_}\n# TYPE {name} {spec.kind.value}\n"


def _pairs(spec: MetricSpec, values: Sequence[str]) -> list[str]:
    """``a="1"``, ``b="2"``: by name, as prometheus-client writes them."""
    return sorted(
        f'{name}="{_UNSAFE.sub(_escape, value) if _UNSAFE.search(value) else value}"'
        for name, value in zip(spec.labels, values, strict=True)
    )


def _escape(match: re.Match[str]) -> str:
    return _ESCAPES[match[0]]


def _adder(spec: MetricSpec) -> Callable[[list[str], Reading], None]:
    if spec.kind is Kind.HISTOGRAM:
        return _add_histogram
    suffix = "_total" if spec.kind is Kind.COUNTER else ""

    def add(lines: list[str], reading: Reading) -> None:
        assert not isinstance(reading.value, Histogram)
        pairs = _pairs(spec, reading.labels)
        braced = f"{{{','.join(pairs)}}}" if pairs else ""
        lines.append(f"{spec.name}{suffix}{braced} {float(reading.value)!r}\n")

    return add


def _add_histogram(lines: list[str], reading: Reading) -> None:
    name, value = reading.spec.name, reading.value
    assert isinstance(value, Histogram)
    pairs = _pairs(reading.spec, reading.labels)
    begin, end = f'{name}_bucket{{{"".join(f"{p}," for p in pairs if p < "le")}le="', '"'
    end += "".join(f",{pair}" for pair in pairs if pair > "le") + "}"
    running = 0
    for bound, count in zip(value.bounds, value.counts, strict=False):
        running += count
        lines.append(f"{begin}{bound!r}{end} {running}.0\n")
    running += value.counts[-1]
    braced = f"{{{','.join(pairs)}}}" if pairs else ""
    lines.append(
        f"{begin}+Inf{end} {running}.0\n{name}_count{braced} {running}.0\n"
        f"{name}_sum{braced} {float(value.total)!r}\n"
    )
