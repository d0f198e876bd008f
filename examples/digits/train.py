"""Train the classifier: a support vector machine on scikit-learn's handwritten digits.

``python -m examples.digits.train [--out FILE]``. The 1,797 images of 8×8 pixels come with
scikit-learn. A fifth of them is held out; the accuracy on those is reported and kept
beside the model.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

MODEL_FILE = Path(__file__).resolve().parents[2] / "build" / "digits" / "model.pickle"
HELD_OUT_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Split:
    """Images are rows of 64 pixels from 0 (paper) to 16 (ink); labels are 0 to 9."""

    train_images: NDArray[np.float64]
    train_labels: NDArray[np.int64]
    held_out_images: NDArray[np.float64]
    held_out_labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is written beside the model, as JSON."""

    accuracy: float
    trained_on: int
    held_out: int
    scikit_learn: str


def load_split() -> Split:
    """The same split every time: what is held out is never trained on."""
    digits: Any = load_digits()
    train_images, held_out_images, train_labels, held_out_labels = train_test_split(
        digits.data,
        digits.target.astype(np.int64),
        test_size=HELD_OUT_SHARE,
        random_state=0,
        stratify=digits.target,
    )
    return Split(train_images, train_labels, held_out_images, held_out_labels)


def train(out: Path) -> Facts:
    """Train, measure on what is held out, and write the model and its facts to ``out``."""
    split = load_split()
    # break_ties: the predicted digit is always the one with the highest score.
    classifier = SVC(gamma=0.001, C=10.0, break_ties=True)
    classifier.fit(split.train_images, split.train_labels)
    accuracy = classifier.score(split.held_out_images, split.held_out_labels)
    facts = Facts(
        accuracy=float(accuracy),
        trained_on=len(split.train_labels),
        held_out=len(split.held_out_labels),
        scikit_learn=sklearn.__version__,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    # Into place in one step each, the model last: a server never reads half a file.
    with tempfile.TemporaryDirectory(dir=out.parent) as directory:
        new = Path(directory)
        (new / "model").write_bytes(pickle.dumps(classifier))
        (new / "facts").write_text(json.dumps(asdict(facts)) + "\n", encoding="utf-8")
        os.replace(new / "facts", facts_file(out))
        os.replace(new / "model", out)
    return facts


def facts_file(model: Path) -> Path:
    """Where the facts of a model file are."""
    return model.with_suffix(".json")


def ensure_trained(out: Path = MODEL_FILE) -> tuple[Facts, bool]:
    """Train unless this scikit-learn has done so already; second: whether it did now."""
    try:
        facts = Facts(**json.loads(facts_file(out).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        facts = None
    if facts is not None and facts.scikit_learn == sklearn.__version__ and out.is_file():
        return facts, False
    return train(out), True


def main() -> None:
    """Train and say how good it is."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=MODEL_FILE, help="default: %(default)s")
    out = parser.parse_args().out
    facts = train(out)
    print(
        f"{out}: trained on {facts.trained_on} images, "
        f"right on {facts.accuracy:.1%} of {facts.held_out} it has never seen"
    )


if __name__ == "__main__":
    main()
