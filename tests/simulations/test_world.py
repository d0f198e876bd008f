"""What is assumed of a world: starts step by step, and all of it in words."""

from __future__ import annotations

import numpy as np
import pytest

from simulations.draws import Constant, Lognormal
from simulations.world import (
    Capacity,
    Clients,
    Failures,
    Prices,
    Start,
    World,
    parse_start,
)
from stoker.vocabulary import Phase
from tests.simulations.runs import world


def test_steps_become_phases_in_their_order() -> None:
    """Schedule and node are one phase, start and warm-up another; others are left out."""
    start = Start(
        {
            "warm-up": Constant(1.0),
            "start": Constant(2.0),
            "node": Constant(4.0),
            "schedule": Constant(8.0),
        }
    )
    assert start.sample(np.random.default_rng(1)) == [
        (Phase.PENDING_NODE, 12.0),
        (Phase.STARTING, 3.0),
    ]
    assert start.mean == 15.0


def test_a_start_without_steps_takes_no_time() -> None:
    """But it is one."""
    assert Start({}).sample(np.random.default_rng(1)) == [(Phase.STARTING, 0.0)]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("30s", Start({"start": Constant(30.0)})),
        ("lognormal(mean=8s, cv=0.3)", Start({"start": Lognormal(8.0, 0.3)})),
        ("image=40s", Start({"image": Constant(40.0)})),
        (
            "image = 40s, start=lognormal(mean=8s, cv=0.3), warm-up=1s",
            Start(
                {"image": Constant(40.0), "start": Lognormal(8.0, 0.3), "warm-up": Constant(1.0)}
            ),
        ),
    ],
)
def test_what_is_written_is_read_and_written_again(text: str, start: Start) -> None:
    """As a whole, or by steps with any distribution."""
    assert parse_start(text) == start
    assert parse_start(str(start)) == start


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("img=3s", "img is no step of a start; allowed: schedule, node, image"),
        ("start=3s, start=4s", "start is given twice"),
        ("3s, image=4s", "'3s' names no step"),
        ("soon", "is not a duration"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    """With what is allowed."""
    with pytest.raises(ValueError, match=message):
        parse_start(text)


def test_assumptions_are_said_in_full() -> None:
    """Everything that is not plain, each on a line of its own."""
    assumed: World = world(
        prices=Prices(node_hour=4.0, replicas_per_node=2),
        failures=Failures(Constant(600.0), 0.01, 0.05),
        clients=Clients(30.0, 2),
        capacity=Capacity(8, ((210.0, 16),)),
        network=0.001,
        drain=2.0,
        learned={"image": "measured"},
    )
    assert assumed.assumptions() == [
        "service: 1s",
        "start of a replica: start=5s (5s on average)",
        "price: 4 $ per node and hour, 2 replicas each",
        "accelerators per replica: 1",
        "clients: give up after 30s, then try 2 more times, 1s later, doubling",
        "a replica dies 10m after it was ready",
        "1 % of starts fail",
        "5 % of starts take 5 times as long",
        "room for 8 replicas, for 16 more from 3m30s on",
        "network: 1ms per answer",
        "a replica ends 2s after its last request",
        "image: measured",
    ]


def test_a_plain_world_is_said_in_four_lines() -> None:
    """And clients that only try again are said to wait."""
    assert len(world().assumptions()) == 4
    patient = world(clients=Clients(retries=1)).assumptions()
    assert "clients: wait, then try 1 more times, 1s later, doubling" in patient
