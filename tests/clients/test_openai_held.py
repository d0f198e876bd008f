"""OpenAI's own client behind comments: it passes over them, and raises what comes as an event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.activator.world import (
    DIGITS,
    Asked,
    World,
    make_world,
    ok,
    spec,
    until,
)

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]
PIECE = b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"digits","choices":'
CHUNKS = [
    PIECE + b'[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n' % text
    for text in (b"one ", b"two")
]


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with make_world(monkeypatch) as made:
        await made.start(spec(hold_comments=0.02))
        yield made


def ask(port: int) -> tuple[str, str]:
    """What a streaming chat gave: its text, and the error that it ended with."""
    text = ""
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{port}/v1", api_key="unused", max_retries=0
    ) as client:
        try:
            for chunk in client.chat.completions.create(
                model="digits", messages=QUESTION, stream=True
            ):
                text += chunk.choices[0].delta.content or ""
        except openai.APIError as error:
            return text, error.message
    return text, ""


async def commented(world: World) -> asyncio.Task[tuple[str, str]]:
    """A client that has got comments."""
    asked = asyncio.create_task(asyncio.to_thread(ask, world.address().port))
    await until(lambda: world.model.held_counts.comments >= 2)
    return asked


async def test_a_held_stream(world: World) -> None:
    """Comments first, then the replica's tokens."""
    asked = await commented(world)

    async def stream(asked: Asked) -> None:
        await asked.read()
        await asked.send(
            ok(b"".join(CHUNKS) + b"data: [DONE]\n\n", "Content-Type: text/event-stream")
        )

    await world.replica(stream)
    assert await asked == ("one two", "")


async def test_an_outage_behind_comments(world: World) -> None:
    """The status was 200 already: the client raises the event's error all the same."""
    asked = await commented(world)
    world.platform.set_outage(DIGITS, "exit code 3: no GPU", retry_in=40.0)
    assert await asked == ("", "cannot start model digits: exit code 3: no GPU")
