"""One gateway for all tests; a client and a view of its wire for each."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from chats import TEAM_KEY, Chat, serving, write_config
from coze import Coze
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


@pytest.fixture(scope="session")
def coze() -> Iterator[Coze]:
    """A simulated Coze that can be looked into."""
    running = Coze()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def remembering(coze: Coze, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway before it, with keys of its own."""
    folder: Path = tmp_path_factory.mktemp("remembering")
    with serving(write_config(folder / "cozeway.toml", coze, "memory:")) as running:
        yield running


@pytest.fixture
def team(remembering: Gateway, wire: Wire) -> Iterator[openai.OpenAI]:
    """A client of that gateway."""
    with openai.OpenAI(base_url=remembering.base_url, api_key=TEAM_KEY, http_client=wire.client()) as client:
        yield client


_topics = itertools.count(1)


@pytest.fixture
def topic() -> str:
    """Words that no other test says: what two chats have in common, the
    gateway cannot tell apart."""
    return f"topic {next(_topics)}"


@pytest.fixture
def chat(team: openai.OpenAI) -> Callable[..., Chat]:
    """Makes a chat of that client's."""

    def make(model: str, *, stream: bool = False, system: str | None = None, **settings: Any) -> Chat:
        messages = [{"role": "system", "content": system}] if system else []
        return Chat(team, model, stream, messages, settings)

    return make


@pytest.fixture
def team_langchain(remembering: Gateway, wire: Wire) -> Callable[..., ChatOpenAI]:
    """Makes a ChatOpenAI of the gateway that remembers."""

    def make(model: str, **settings: Any) -> ChatOpenAI:
        return ChatOpenAI(
            model=model,
            base_url=remembering.base_url,
            api_key=TEAM_KEY,
            http_client=wire.client(),
            http_async_client=wire.async_client(),
            **settings,
        )

    return make
