"""The asynchronous OpenAI SDK."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from gateway import Gateway
from wire import Wire

pytestmark = pytest.mark.anyio


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


async def test_an_answer(async_client: openai.AsyncOpenAI) -> None:
    answer = await async_client.chat.completions.create(model="echo", messages=user("Hello, 世界"))
    assert answer.choices[0].message.content == "Hello, 世界"


async def test_a_stream(async_client: openai.AsyncOpenAI) -> None:
    stream = await async_client.chat.completions.create(
        model="echo", messages=user("Hello, 世界"), stream=True, stream_options={"include_usage": True}
    )
    text, usage = "", None
    async for chunk in stream:
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        usage = chunk.usage or usage
    assert text == "Hello, 世界"
    assert usage is not None and usage.total_tokens > 0


async def test_the_stream_helper(async_client: openai.AsyncOpenAI) -> None:
    async with async_client.chat.completions.stream(model="echo", messages=user("Hello"), n=2) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_completion()
    assert [choice.message.content for choice in final.choices] == ["Hello", "Hello"]


async def test_many_streams_at_once(async_client: openai.AsyncOpenAI) -> None:
    async def one(text: str) -> str:
        stream = await async_client.chat.completions.create(model="echo", messages=user(text), stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    texts = [f"stream number {i}" for i in range(50)]
    assert await asyncio.gather(*map(one, texts)) == texts


async def test_a_failure_in_the_middle_is_raised(async_client: openai.AsyncOpenAI) -> None:
    stream = await async_client.chat.completions.create(model="broken", messages=user("hi"), stream=True)
    text = ""
    with pytest.raises(openai.APIError) as raised:
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    assert text.strip() == "Once upon a"
    assert raised.value.code == "upstream_error"


async def test_errors_are_classes(async_client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await async_client.chat.completions.create(model="nobody", messages=user("hi"))
    with pytest.raises(openai.AuthenticationError):
        await async_client.with_options(api_key="sk-wrong").models.list()
    with pytest.raises(openai.BadRequestError):
        await async_client.chat.completions.create(model="echo", messages=[])


async def test_models(async_client: openai.AsyncOpenAI) -> None:
    assert "echo" in [model.id async for model in async_client.models.list()]


async def test_a_cancelled_task_ends_the_turn(gateway: Gateway, async_client: openai.AsyncOpenAI) -> None:
    raw = await async_client.chat.completions.with_raw_response.create(
        model="storyteller", messages=user("A story"), stream=True
    )
    first = asyncio.Event()

    async def read() -> None:
        async with raw.parse() as stream:
            async for _ in stream:
                first.set()

    task = asyncio.create_task(read())
    await first.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    entry = await asyncio.to_thread(gateway.logged, raw.headers["x-request-id"])
    assert entry["outcome"] == "client_left"


async def test_a_client_that_gives_up_on_silence(gateway: Gateway, async_client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.APITimeoutError):
        await async_client.with_options(timeout=0.4, max_retries=0).chat.completions.create(
            model="slow", messages=user("hi"), extra_headers={"x-request-id": "gives-up-async"}
        )
    entry = await asyncio.to_thread(gateway.logged, "gives-up-async")
    assert entry["outcome"] == "client_left"


async def test_silence_is_no_end(async_client: openai.AsyncOpenAI, wire: Wire) -> None:
    async def whole() -> str | None:
        answer = await async_client.chat.completions.create(model="slow", messages=user("hi"))
        return answer.choices[0].message.content

    async def streamed() -> str:
        stream = await async_client.chat.completions.create(model="slow", messages=user("hi"), stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    one, other = await asyncio.gather(whole(), streamed())
    assert one == other and other
    [stream] = [exchange for exchange in wire.exchanges if exchange.is_stream]
    assert stream.body.startswith(b": "), "a comment fills the silence"
