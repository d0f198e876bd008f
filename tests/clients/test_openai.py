"""The OpenAI client against llama.cpp's own server, through a real Stoker."""

from __future__ import annotations

import asyncio
import json
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from examples.llama_cpp.make_model import SENTENCE, make
from tests.cli.running import Running, echo_command, wait_until
from tests.clients.places import example

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What does Stoker do?"}]
# Goes on until the client leaves.
ENDLESS: dict[str, Any] = {"ignore_eos": True}
WORDS = [word if number == 0 else f" {word}" for number, word in enumerate(SENTENCE[:-1].split())]


@pytest.fixture(scope="module")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model that examples/llama_cpp makes."""
    return make(tmp_path_factory.mktemp("model") / "parrot.gguf")


def llama(parrot: Path, **settings: Any) -> dict[str, Any]:
    """The example's block with the model that was made for this test."""
    model = example("llama_cpp", **settings)
    words = [str(parrot) if w.endswith("parrot.gguf") else w for w in model["command"]]
    return {**model, "command": words, "scale-down-delay": "0s"}


@pytest.fixture(scope="module")
def stoker(parrot: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One Stoker: a model that never sleeps again, one with a single place, one that is broken."""
    broken = {"command": echo_command("--exit-code", "3"), "failures-before-giving-up": 1}
    models = {
        "parrot": llama(parrot, **{"stable-window": "1h", "max-scale": 1}),
        "narrow": llama(
            parrot,
            **{"container-concurrency": 1, "queue-requests": 1, "max-scale": 1},
        ),
        "broken": {**broken, "initial-scale": 0},
    }
    with Running(tmp_path_factory.mktemp("stoker"), {"models": models}) as running:
        yield running


@pytest.fixture
def client(stoker: Running) -> Iterator[openai.OpenAI]:
    """As a user makes it, but without retries."""
    base = f"http://127.0.0.1:{stoker.port}/v1"
    with openai.OpenAI(base_url=base, api_key="any", max_retries=0, timeout=60) as made:
        yield made


def slots(stoker: Running) -> list[dict[str, Any]]:
    """llama.cpp's own word on what it works on, asked through Stoker."""
    status, text, _ = stoker.request("/slots", host="parrot.localhost")
    assert status == 200, text
    found: list[dict[str, Any]] = json.loads(text)
    return found


def working(stoker: Running) -> int:
    return sum(slot["is_processing"] for slot in slots(stoker))


def test_a_sleeping_model_is_listed_and_woken_by_a_stream(
    stoker: Running, client: openai.OpenAI
) -> None:
    """Listing wakes nobody; a stream is held, then its tokens come one by one."""
    assert [listed.id for listed in client.models.list()] == ["broken", "narrow", "parrot"]
    assert stoker.model("parrot")["phase"] == "zero"
    stream = client.chat.completions.create(
        model="parrot",
        messages=QUESTION,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    texts = [c.choices[0].delta.content for c in chunks if c.choices]
    assert [text for text in texts if text] == [*WORDS, "."]
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.completion_tokens == len(WORDS) + 2  # the full stop, and the end
    assert stoker.metric('stoker_hold_seconds_count{model="default/parrot"}') == 1


@pytest.mark.long  # the shortest window is six seconds
def test_it_falls_asleep_again_and_wakes_once_more(parrot: Path, tmp_path: Path) -> None:
    """Awake, asleep, awake: the same answer from another process."""
    model = llama(parrot, **{"scale-to-zero-grace-period": "1s"})
    with Running(tmp_path, {"models": {"parrot": model}}) as stoker:
        base = f"http://127.0.0.1:{stoker.port}/v1"
        pids = []
        with openai.OpenAI(base_url=base, api_key="any", max_retries=0) as client:
            for _ in range(2):
                answer = client.chat.completions.create(model="parrot", messages=QUESTION)
                assert answer.choices[0].message.content == SENTENCE
                pids += stoker.pids("parrot")
                stoker.wait_for("parrot", lambda m: m["phase"] == "zero", "asleep")
        assert len(set(pids)) == 2


def test_the_first_token_is_passed_on_before_the_last_is_made(
    stoker: Running, client: openai.OpenAI
) -> None:
    """An answer without end is read word by word while llama.cpp says it still makes more."""
    stream = client.chat.completions.create(
        model="parrot", messages=QUESTION, stream=True, extra_body=ENDLESS
    )
    texts = (chunk.choices[0].delta.content for chunk in stream)
    words = filter(None, texts)
    assert next(words) == WORDS[0]
    assert working(stoker) == 1
    rest = [*WORDS[1:], ".", f" {WORDS[0]}", *WORDS[1:], "."]
    assert [next(words) for _ in rest] == rest
    assert working(stoker) == 1
    stream.close()
    wait_until(lambda: working(stoker) == 0, why="llama.cpp to notice that its client left")
    stoker.wait_for("parrot", lambda m: m["active"] == 0, "free again")


def test_answers_without_a_stream(client: openai.OpenAI) -> None:
    """Chat and plain completions, with the model's own counts, and the end by length."""
    chat = client.chat.completions.create(model="parrot", messages=QUESTION)
    assert chat.choices[0].message.content == SENTENCE
    assert chat.choices[0].finish_reason == "stop"
    plain = client.completions.create(model="parrot", prompt="Once upon a time", max_tokens=3)
    assert plain.choices[0].text == "".join(WORDS[:3])
    assert plain.choices[0].finish_reason == "length"
    assert plain.usage is not None
    assert plain.usage.completion_tokens == 3


def test_embeddings(client: openai.OpenAI) -> None:
    """Several texts at once, each its vector, in order."""
    made = client.embeddings.create(
        model="parrot", input=["warm", "cold", "warm"], encoding_format="float"
    )
    vectors = [item.embedding for item in made.data]
    assert [item.index for item in made.data] == [0, 1, 2]
    assert len(vectors[0]) == 64
    assert vectors[0] == pytest.approx(vectors[2], abs=1e-3)
    assert vectors[0] != pytest.approx(vectors[1], abs=1e-3)


def test_more_streams_than_places_all_end(stoker: Running) -> None:
    """Twelve at once through two places: each gets its whole sentence, none too many at once."""

    async def one(client: openai.AsyncOpenAI) -> str:
        stream = await client.chat.completions.create(
            model="parrot", messages=QUESTION, stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def all_of_them() -> list[str]:
        base = f"http://127.0.0.1:{stoker.port}/v1"
        async with openai.AsyncOpenAI(base_url=base, api_key="any", max_retries=0) as client:
            return await asyncio.gather(*(one(client) for _ in range(12)))

    assert asyncio.run(all_of_them()) == [SENTENCE] * 12


def behind_a_gate(command: list[str], gate: Path) -> list[str]:
    """The same, but it does not start before the file is there."""
    waits = f"while [ ! -e {shlex.quote(str(gate))} ]; do sleep 0.02; done"
    return ["sh", "-c", f'{waits}; exec "$@"', "sh", *command]


def test_comments_while_it_wakes_do_not_disturb_the_client(parrot: Path, tmp_path: Path) -> None:
    """With hold-comments the answer begins before there is a replica; its tokens are the same."""
    gate = tmp_path / "gate"
    model = llama(parrot, **{"hold-comments": "100ms"})
    model["command"] = behind_a_gate(model["command"], gate)
    with Running(tmp_path, {"models": {"parrot": model}}) as stoker:
        base = f"http://127.0.0.1:{stoker.port}/v1"
        with openai.OpenAI(base_url=base, api_key="any", max_retries=0) as client:
            raw = client.chat.completions.with_raw_response.create(
                model="parrot", messages=QUESTION, stream=True
            )
            assert raw.status_code == 200
            assert raw.headers["content-type"].startswith("text/event-stream")
            assert stoker.model("parrot")["queued"] == 1
            gate.touch()
            texts = [c.choices[0].delta.content for c in raw.parse() if c.choices]
    assert [text for text in texts if text] == [*WORDS, "."]


def test_an_error_after_comments_is_an_error_to_the_client(tmp_path: Path) -> None:
    """It is an event by then; the client raises it, with Stoker's reason."""
    gate = tmp_path / "gate"
    model = {
        "command": behind_a_gate(echo_command("--exit-code", "3"), gate),
        "failures-before-giving-up": 1,
        "initial-scale": 0,
        "hold-comments": "100ms",
    }
    with Running(tmp_path, {"models": {"broken": model}}) as stoker:
        base = f"http://127.0.0.1:{stoker.port}/v1"
        with openai.OpenAI(base_url=base, api_key="any", max_retries=0) as client:
            stream = client.chat.completions.create(model="broken", messages=QUESTION, stream=True)
            gate.touch()
            with pytest.raises(openai.APIError, match="cannot go on") as caught:
                list(stream)
    assert caught.value.type == "cannot-start"


def test_what_the_server_refuses_arrives_unchanged(client: openai.OpenAI) -> None:
    """llama.cpp's 400 with its own message."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="parrot", messages=[], extra_body={"messages": 3})
    assert "messages" in str(caught.value)
    assert "server" in caught.value.response.headers


def test_an_unknown_model_is_a_not_found_error(client: openai.OpenAI) -> None:
    """It names what was looked for and what there is."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="ghost", messages=QUESTION)
    body = caught.value.body
    assert isinstance(body, dict)
    assert body["code"] == 404
    assert body["type"] == "model-not-found"
    assert 'model "ghost"' in body["message"]
    assert "parrot" in body["message"]


def test_a_model_that_cannot_start_is_an_error_with_its_reason(client: openai.OpenAI) -> None:
    """503 as the client's InternalServerError: exit status and last words in the message."""
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="broken", messages=QUESTION)
    assert caught.value.status_code == 503
    assert caught.value.type == "cannot-start"
    assert "cannot go on" in str(caught.value)


def test_a_full_queue_is_a_rate_limit_error_and_retried_when_told(
    stoker: Running, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client waits for as long as Retry-After says, asks again and is answered."""
    at_work = client.chat.completions.create(
        model="narrow", messages=QUESTION, stream=True, extra_body=ENDLESS
    )
    next(iter(at_work))
    answers: list[str | None] = []

    def wait_in_line() -> None:
        answer = client.chat.completions.create(model="narrow", messages=QUESTION)
        answers.append(answer.choices[0].message.content)

    waiting = threading.Thread(target=wait_in_line)
    waiting.start()
    stoker.wait_for("narrow", lambda m: m["queued"] == 1, "full")
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="narrow", messages=QUESTION)
    assert caught.value.type == "queue-full"
    told = int(caught.value.response.headers["retry-after"])
    assert told >= 1

    slept: list[float] = []

    def meanwhile(seconds: float) -> None:
        """What happens while the client waits: those before it are answered."""
        slept.append(seconds)
        at_work.close()
        waiting.join(60)

    monkeypatch.setattr("openai._base_client.time.sleep", meanwhile)
    patient = client.with_options(max_retries=1)
    answer = patient.chat.completions.create(model="narrow", messages=QUESTION)
    assert answer.choices[0].message.content == SENTENCE
    assert slept == [told]
    assert answers == [SENTENCE]
