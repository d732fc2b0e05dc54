"""Bots as tools: the Model Context Protocol by its own SDK, by LangChain and
by openai-agents, and OpenAPI by LangChain's toolkit."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from agents.mcp import MCPServerStreamableHttp
from chats import TEAM_KEY, serving, write_config
from coze import Coze
from gateway import PATIENCE, Gateway
from jsonschema import validate
from langchain_community.agent_toolkits.openapi.spec import reduce_openapi_spec
from langchain_core.tools import BaseTool
from langchain_mcp_adapters.callbacks import Callbacks
from langchain_mcp_adapters.client import MultiServerMCPClient
from mcp import ClientSession, McpError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult
from openapi_spec_validator import validate as validate_openapi

pytestmark = pytest.mark.anyio

#: A key that may use two models alone.
FEW_KEY = "sk-a-key-of-few-tools-for-the-tests"

LIMIT = timedelta(seconds=PATIENCE)


@pytest.fixture(scope="module")
def tools(coze: Coze, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    yield from serve_tools(coze, tmp_path_factory)


def serve_tools(coze: Coze, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with two keys that see different tools."""
    config = write_config(tmp_path_factory.mktemp("tools") / "cozeway.toml", coze, "memory:")
    more = f'[keys.few]\nkey = "{FEW_KEY}"\nmodels = ["echo", "slow"]\n'
    config.write_text(config.read_text(encoding="utf-8") + more, encoding="utf-8")
    with serving(config) as running:
        yield running


def headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@asynccontextmanager
async def session(gateway: Gateway, key: str = TEAM_KEY) -> AsyncIterator[ClientSession]:
    """A session of the SDK's."""
    async with (
        httpx.AsyncClient(headers=headers(key), trust_env=False, timeout=PATIENCE) as http,
        streamable_http_client(f"{gateway.address}/mcp", http_client=http) as (read, write, _),
        ClientSession(read, write) as opened,
    ):
        await opened.initialize()
        yield opened


def content(result: CallToolResult) -> dict[str, Any]:
    assert result.structuredContent is not None
    return result.structuredContent


async def idle(gateway: Gateway) -> None:
    """Waits until no call runs; not for as long as the slow bot is silent."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        for _ in range(20):
            text = (await client.get(f"{gateway.address}/metrics")).text
            streams = [line for line in text.splitlines() if line.startswith("cozeway_upstream_open_streams")]
            assert streams, text
            if all(line.endswith(" 0") for line in streams):
                return
            await asyncio.sleep(0.05)
    raise AssertionError("a call still runs")


class TestSdk:
    async def test_keys_see_their_own_tools(self, tools: Gateway) -> None:
        async with session(tools, FEW_KEY) as few, session(tools) as team:
            assert [tool.name for tool in (await few.list_tools()).tools] == ["echo", "slow"]
            listed = {tool.name: tool for tool in (await team.list_tools()).tools}
            assert {"echo", "storyteller", "poem", "trip"} <= set(listed)
            assert listed["echo"].description == "Says what you said."
            unknown = await refusal(few.call_tool("poem", {"message": "tea"}))
            assert unknown.error.code == -32602

    async def test_a_call_tells_of_progress_and_goes_on(self, tools: Gateway) -> None:
        told: list[float] = []

        async def progress(step: float, _total: float | None, _message: str | None) -> None:
            told.append(step)

        async with session(tools) as client:
            slow = await client.call_tool("slow", {"message": "x"}, LIMIT, progress)
            assert not slow.isError and told == sorted(set(told)) and len(told) >= 2
            first = await client.call_tool("context", {"message": "one"}, LIMIT)
            name = content(first)["conversation"]
            second = await client.call_tool("context", {"message": "two", "conversation": name}, LIMIT)
            assert content(second)["answer"].splitlines()[0] == "user: one"
            assert content(second)["answer"].splitlines()[-1] == "user: two"
            assert content(second)["conversation"] == name

    async def test_a_question_is_answered(self, tools: Gateway) -> None:
        async with session(tools) as client:
            asked = content(await client.call_tool("trip", {"message": "a trip"}, LIMIT))
            assert asked["coze"]["interrupt"]["kind"] == "question"
            answer = {"message": "Paris", "conversation": asked["conversation"]}
            assert content(await client.call_tool("trip", answer, LIMIT))["coze"]["interrupt"]

    async def test_errors_have_our_codes(self, tools: Gateway) -> None:
        async with session(tools) as client:
            for tool, arguments, code in [
                ("broken", {"message": "x"}, "upstream_error"),
                ("echo", {"message": "x", "conversation": "conv_0"}, "conversation_not_found"),
                ("echo", {}, "missing_required_parameter"),
            ]:
                failed = await client.call_tool(tool, arguments, LIMIT)
                assert failed.isError and content(failed)["error"]["code"] == code
                assert failed.content[0].text.startswith(f"{code}: ")

    async def test_a_client_that_waits_no_longer_can_go_on(self, tools: Gateway) -> None:
        async with session(tools) as client:
            begun = time.monotonic()
            late = await refusal(client.call_tool("slow", {"message": "x"}, timedelta(seconds=0.3)))
            assert "Timed out" in str(late) and time.monotonic() - begun < 1.5
            assert content(await client.call_tool("echo", {"message": "y"}, LIMIT))["answer"] == "y"
        # Its connections have closed with the session.
        await idle(tools)

    async def test_a_wrong_key_is_refused(self, tools: Gateway) -> None:
        with pytest.raises(BaseException) as refused:
            async with session(tools, "sk-wrong"):
                pass
        assert "401" in str(leaf(refused.value))


async def refusal(call: Any) -> McpError:
    with pytest.raises(McpError) as refused:
        await call
    return refused.value


def leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class TestLangChain:
    @pytest.fixture
    def load(self, tools: Gateway) -> Callable[..., Any]:
        async def load(key: str = TEAM_KEY, **settings: Any) -> dict[str, BaseTool]:
            connection = {"transport": "streamable_http", "url": f"{tools.address}/mcp", "headers": headers(key)}
            client = MultiServerMCPClient({"coze": connection}, **settings)
            return {tool.name: tool for tool in await client.get_tools()}

        return load

    async def test_keys_see_their_own_tools(self, load: Callable[..., Any]) -> None:
        assert set(await load(FEW_KEY)) == {"echo", "slow"}
        assert {"echo", "poem", "trip"} <= set(await load())

    async def test_a_call_goes_on_and_tells_of_progress(self, load: Callable[..., Any]) -> None:
        told: list[float] = []

        async def progress(step: float, *_: Any) -> None:
            told.append(step)

        loaded = await load(callbacks=Callbacks(on_progress=progress))
        first = await call(loaded["context"], message="one")
        assert told == [1.0]
        again = await call(loaded["context"], message="two", conversation=structured(first)["conversation"])
        assert structured(again)["answer"].startswith("user: one\n")
        assert first.content[0]["text"] == structured(first)["answer"]

    async def test_an_error_is_a_message_to_the_model(self, load: Callable[..., Any]) -> None:
        failed = await call((await load())["broken"], message="x")
        assert failed.status == "error" and "upstream_error" in str(failed.content)

    async def test_a_slow_bot_may_take_its_time_or_not(self, load: Callable[..., Any], tools: Gateway) -> None:
        slow = (await load())["slow"]
        assert structured(await call(slow, message="x"))["answer"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await call(slow, message="x")
        await idle(tools)


async def call(tool: BaseTool, **arguments: str) -> Any:
    return await tool.ainvoke({"type": "tool_call", "id": "1", "name": tool.name, "args": arguments})


def structured(message: Any) -> dict[str, Any]:
    return message.artifact["structured_content"]


class TestOpenaiAgents:
    @asynccontextmanager
    async def server(self, gateway: Gateway, key: str = TEAM_KEY, patience: float = PATIENCE) -> Any:
        params: Any = {"url": f"{gateway.address}/mcp", "headers": headers(key)}
        async with MCPServerStreamableHttp(params, client_session_timeout_seconds=patience) as server:
            yield server

    async def test_a_server_lists_calls_and_goes_on(self, tools: Gateway) -> None:
        async with self.server(tools, FEW_KEY) as few, self.server(tools) as team:
            assert [tool.name for tool in await few.list_tools()] == ["echo", "slow"]
            assert len(await team.list_tools()) > 2
            first = content(await team.call_tool("context", {"message": "one"}))
            again = {"message": "two", "conversation": first["conversation"]}
            assert content(await team.call_tool("context", again))["answer"].startswith("user: one\n")
            failed = await team.call_tool("broken", {"message": "x"})
            assert failed.isError and content(failed)["error"]["code"] == "upstream_error"

    async def test_a_server_that_waits_too_little_says_so(self, tools: Gateway) -> None:
        async with self.server(tools, patience=0.5) as server:
            with pytest.raises(Exception) as late:
                await server.call_tool("slow", {"message": "x"})
            assert "imed out" in str(late.value)
        await idle(tools)


class TestOpenapi:
    def document(self, gateway: Gateway, key: str) -> dict[str, Any]:
        answer = httpx2.get(f"{gateway.address}/tools/openapi.json", headers=headers(key), trust_env=False)
        return answer.raise_for_status().json()

    async def test_the_toolkit_reads_the_document(self, tools: Gateway) -> None:
        few = reduce_openapi_spec(self.document(tools, FEW_KEY))
        assert [name for name, _, _ in few.endpoints] == ["POST /echo", "POST /slow"]
        (_, description, operation) = few.endpoints[0]
        assert description == "Says what you said."
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        assert schema["required"] == ["message"] and "conversation" in schema["properties"]
        assert few.servers == [{"url": f"{tools.address}/tools"}]

    async def test_what_is_described_is_what_is_answered(self, tools: Gateway) -> None:
        document = self.document(tools, TEAM_KEY)
        for path, item in document["paths"].items():
            if path not in ("/echo", "/poem", "/ask", "/broken"):
                continue
            url = document["servers"][0]["url"] + path
            answer = httpx2.post(
                url, headers=headers(TEAM_KEY), json={"message": "tea"}, trust_env=False, timeout=PATIENCE
            )
            responses = item["post"]["responses"]
            response = responses.get(str(answer.status_code), responses["default"])
            validate(answer.json(), response["content"]["application/json"]["schema"])
            assert (path == "/broken") == ("error" in answer.json())

    async def test_it_is_what_the_standard_says(self, tools: Gateway) -> None:
        for key in (TEAM_KEY, FEW_KEY):
            validate_openapi(self.document(tools, key))

    async def test_it_is_valid_json_without_references(self, tools: Gateway) -> None:
        assert "$ref" not in json.dumps(self.document(tools, TEAM_KEY))
