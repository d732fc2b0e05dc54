"""One gateway for all tests; a client and a view of its wire for each."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import openai
import pytest
from gateway import Gateway
from langchain_openai import ChatOpenAI
from wire import Wire

# The clients read settings from the environment; a user's own would lead the
# tests elsewhere.
for _name in list(os.environ):
    if _name.startswith(("OPENAI_", "LANGCHAIN_", "LANGSMITH_")) or _name.lower().endswith("_proxy"):
        del os.environ[_name]
os.environ["LANGSMITH_TRACING"] = "false"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def gateway() -> Iterator[Gateway]:
    """`cozeway demo`; ended by SIGTERM, it exits with 0."""
    running = Gateway.demo()
    try:
        yield running
    finally:
        code = running.stop()
    assert code == 0, "\n".join(running.log.all()[-20:])


@pytest.fixture(scope="session")
def key(gateway: Gateway) -> str:
    return gateway.printed_key()


@pytest.fixture
def wire() -> Iterator[Wire]:
    """What the test's clients sent and got; checked when the test is over."""
    wire = Wire()
    yield wire
    wire.check()


@pytest.fixture
def client(gateway: Gateway, key: str, wire: Wire) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base_url, api_key=key, http_client=wire.client()) as client:
        yield client


@pytest.fixture
async def async_client(gateway: Gateway, key: str, wire: Wire) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=gateway.base_url, api_key=key, http_client=wire.async_client()
    ) as client:
        yield client


@pytest.fixture
def langchain(gateway: Gateway, key: str, wire: Wire) -> Callable[..., ChatOpenAI]:
    """Makes a ChatOpenAI as the README of LangChain does."""

    def make(model: str, **settings: Any) -> ChatOpenAI:
        settings = {"api_key": key, "max_retries": 0} | settings
        return ChatOpenAI(
            model=model,
            base_url=gateway.base_url,
            http_client=wire.client(),
            http_async_client=wire.async_client(),
            **settings,
        )

    return make
