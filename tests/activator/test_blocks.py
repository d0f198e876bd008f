"""Blocks of the spool's file: which are free, and how long the file must be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from activator.blocks import WORTH_CUTTING, Blocks


def test_the_lowest_free_block_comes_first() -> None:
    """What is in use stays near the beginning of the file."""
    blocks = Blocks()
    assert [blocks.take() for _ in range(5)] == [0, 1, 2, 3, 4]
    assert not blocks.give_back([3, 1])
    assert (blocks.used, blocks.length) == (3, 5)
    assert [blocks.take() for _ in range(3)] == [1, 3, 5]


def test_an_empty_file_is_cut_to_nothing() -> None:
    """However short it was."""
    blocks = Blocks()
    block = blocks.take()
    assert blocks.give_back([block])
    assert (blocks.used, blocks.length) == (0, 0)
    assert blocks.take() == 0


def test_a_long_free_tail_is_cut_off() -> None:
    """But not a short one, nor one that is little of what is free."""
    blocks = Blocks()
    for _ in range(4 * WORTH_CUTTING):
        blocks.take()
    assert not blocks.give_back(range(4 * WORTH_CUTTING - 10, 4 * WORTH_CUTTING))
    assert not blocks.give_back(range(1, 2 * WORTH_CUTTING))
    assert not blocks.give_back(range(3 * WORTH_CUTTING, 4 * WORTH_CUTTING - 10))
    assert blocks.length == 4 * WORTH_CUTTING
    assert blocks.give_back(range(2 * WORTH_CUTTING, 3 * WORTH_CUTTING))
    assert blocks.length == 1
    assert blocks.take() == 1


@given(st.lists(st.integers(-40, 40), max_size=200))
def test_no_block_has_two_owners(steps: list[int]) -> None:
    """Whatever is taken and given back, in any order."""
    blocks = Blocks()
    owned: list[int] = []
    for step in steps:
        if step >= 0:
            for _ in range(step * 8):
                block = blocks.take()
                assert block not in owned[-20:]
                owned.append(block)
        else:
            cut = min(-step * 8, len(owned))
            going, owned = owned[:cut], owned[cut:]
            blocks.give_back(going)
        assert len(set(owned)) == len(owned) == blocks.used
        assert blocks.length > max(owned, default=-1)
