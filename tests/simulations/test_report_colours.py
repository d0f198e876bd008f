"""The report's colours: contrast in the light, in the dark and on paper; for all eyes."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from simulations.report.naming import COLOURS, DASHES

Colour = NDArray[np.float64]

STYLE = (files("simulations.report") / "style.css").read_text(encoding="utf-8")
RUNS = ("blue", "red", "green", "purple", "amber", "navy")

EYES = {
    "all cones": np.eye(3),
    # Machado, Oliveira, Fernandes 2009, severity 1, for linear light.
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def themes() -> dict[str, dict[str, Colour]]:
    """The colours of each theme by name, as linear light: those of the three ``:root`` blocks."""
    blocks = re.findall(r":root \{(.*?)\n *\}", STYLE, re.S)
    found = [dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in blocks]
    assert len(found) == 3
    return {
        name: {key: linear(value) for key, value in colours.items()}
        for name, colours in zip(("light", "dark", "paper"), found, strict=True)
    }


def linear(text: str) -> Colour:
    """``#fff`` or ``#ffffff`` as linear red, green and blue, 0 to 1 (sRGB's curve)."""
    digits = text[1:] if len(text) == 7 else "".join(c * 2 for c in text[1:])
    value = np.array([int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)])
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(one: Colour, other: Colour) -> float:
    """WCAG 2's ratio, 1 to 21."""
    low, high = sorted(float(c @ (0.2126, 0.7152, 0.0722)) for c in (one, other))
    return (high + 0.05) / (low + 0.05)


def difference(one: Colour, other: Colour, eyes: Colour) -> float:
    """CIE76 between two colours as such eyes see them; about 2 can just be told apart."""
    return float(np.linalg.norm(_lab(eyes @ one) - _lab(eyes @ other)))


def _lab(light: Colour) -> Colour:
    xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ) @ np.clip(light, 0, 1)
    x, y, z = np.cbrt(xyz / (0.9505, 1.0, 1.089))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("theme", ["light", "dark", "paper"])
def test_texts_and_lines_stand_out(theme: str) -> None:
    """4.5 to 1 for texts, 3 to 1 for lines and bars: WCAG 2.2, AA."""
    colours = themes()[theme]
    for ink, ground in (
        *((ink, ground) for ink in ("ink", "soft") for ground in ("page", "card")),
        ("best-ink", "best"),
        *(("card", own) for own in RUNS),
    ):
        assert contrast(colours[ink], colours[ground]) >= (3 if ink == "card" else 4.5), (
            ink,
            ground,
        )


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("theme", ["light", "dark", "paper"])
def test_runs_with_the_same_dash_differ_in_colour_for_all_eyes(theme: str, eyes: str) -> None:
    """Ten runs: each two differ in their dashes, or clearly in colour, however it is seen."""
    colours = themes()[theme]
    for one, other in combinations(range(10), 2):
        if one % DASHES == other % DASHES:
            a, b = (colours[RUNS[n % COLOURS]] for n in (one, other))
            assert difference(a, b, EYES[eyes]) >= 10, (RUNS[one % COLOURS], RUNS[other % COLOURS])
