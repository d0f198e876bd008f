"""Columns name a model once and number it from then on."""

from __future__ import annotations

from stoker.columns import ColumnEncoder
from stoker.vocabulary import ModelKey, Stat, StatReport

A, B, C = (ModelKey("default", name) for name in "abc")


def report(epoch: int, sequence: int, *models: ModelKey) -> StatReport:
    stats = tuple(Stat(model, 1.0, 2.0, 3, 4) for model in models)
    return StatReport("r1", epoch, sequence, 10.0, 1.0, stats)


def test_models_are_named_once() -> None:
    """New models get the next numbers; known ones only their number."""
    encoder = ColumnEncoder()
    first = encoder.encode(report(1, 1, A, B))
    assert (first.known, first.new_models, list(first.ids)) == (0, (A, B), [0, 1])
    second = encoder.encode(report(1, 2, C, A))
    assert (second.known, second.new_models, list(second.ids)) == (2, (C,), [2, 0])
    assert list(second.queued) == [1.0, 1.0]
    assert list(second.active) == [2.0, 2.0]
    assert list(second.arrivals) == [3, 3]
    assert list(second.completions) == [4, 4]
    assert second[:5] == ("r1", 1, 2, 10.0, 1.0)


def test_a_new_epoch_begins_anew() -> None:
    """After a restart nobody relies on earlier numbers."""
    encoder = ColumnEncoder()
    encoder.encode(report(1, 1, A, B))
    again = encoder.encode(report(2, 1, B))
    assert (again.known, again.new_models, list(again.ids)) == (0, (B,), [0])
