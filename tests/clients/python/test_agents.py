"""Bots as the tools of whole agents, with scripted models: a LangGraph agent by
langchain-mcp-adapters, one of openai-agents, and one that has LangChain's
OpenAPI tools. Each lists, calls, hears of progress where its protocol knows
any, goes on, meets an error and a timeout, and sees the tools of its key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from agents import Agent, Runner, set_tracing_disabled
from agents.items import ModelResponse
from agents.mcp import MCPServerStreamableHttp
from agents.models.interface import Model
from agents.usage import Usage
from chats import TEAM_KEY
from coze import Coze
from gateway import PATIENCE, Gateway
from langchain_community.agent_toolkits.openapi.spec import reduce_openapi_spec
from langchain_community.agent_toolkits.openapi.toolkit import RequestsToolkit
from langchain_community.utilities.requests import TextRequestsWrapper
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool
from langchain_mcp_adapters.callbacks import Callbacks
from langchain_mcp_adapters.client import MultiServerMCPClient
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from mcp import McpError
from mcp.types import ProgressNotification, ServerNotification
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText
from test_tools import FEW_KEY, headers, idle, serve_tools

pytestmark = pytest.mark.anyio

#: What a client that waits too little waits.
LITTLE = 0.5


@pytest.fixture(scope="module")
def tools(coze: Coze, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    yield from serve_tools(coze, tmp_path_factory)


class Scripted(BaseChatModel):
    """In place of a model: what it says in turn, each told the results of the
    tools so far."""

    steps: list[Callable[[list[ToolMessage]], AIMessage]]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        results = [message for message in messages if isinstance(message, ToolMessage)]
        step = self.steps[len(results)] if len(results) < len(self.steps) else lambda _: AIMessage("done")
        return ChatResult(generations=[ChatGeneration(message=step(results))])


def calls(name: str, **arguments: Any) -> Callable[[list[ToolMessage]], AIMessage]:
    return lambda results: AIMessage(
        "", tool_calls=[{"name": name, "args": arguments, "id": f"call-{len(results)}"}]
    )


async def run_graph(tools: list[BaseTool], *steps: Any) -> list[ToolMessage]:
    """What the tools gave a LangGraph agent."""
    model = Scripted(steps=list(steps))

    async def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("think", think)
    graph.add_node("tools", ToolNode(tools))
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", tools_condition)
    graph.add_edge("tools", "think")
    state = await graph.compile().ainvoke({"messages": [HumanMessage("begin")]})
    assert state["messages"][-1].text == "done"
    return [message for message in state["messages"] if isinstance(message, ToolMessage)]


class TestLangGraph:
    async def load(self, gateway: Gateway, key: str = TEAM_KEY, patience: float = PATIENCE, **more: Any) -> list[Any]:
        connection = {
            "transport": "streamable_http",
            "url": f"{gateway.address}/mcp",
            "headers": headers(key),
            "session_kwargs": {"read_timeout_seconds": timedelta(seconds=patience)},
        }
        return await MultiServerMCPClient({"coze": connection}, **more).get_tools()

    async def test_it_lists_the_tools_of_its_key(self, tools: Gateway) -> None:
        few, team = await self.load(tools, FEW_KEY), await self.load(tools)
        assert {tool.name for tool in few} == {"echo", "slow"}
        assert {"echo", "slow", "poem", "trip"} <= {tool.name for tool in team}
        (refused,) = await run_graph(few, calls("poem", message="tea"))
        assert refused.status == "error" and "poem is not a valid tool" in str(refused.content)
        (said,) = await run_graph(team, calls("poem", message="tea"))
        assert said.status == "success" and "tea" in str(said.content)

    async def test_it_calls_and_goes_on(self, tools: Gateway) -> None:
        def again(results: list[ToolMessage]) -> AIMessage:
            name = results[0].artifact["structured_content"]["conversation"]
            # The words tell it, too: a model sees nothing else.
            assert name in str(results[0].content)
            return calls("context", message="two", conversation=name)(results)

        first, second = await run_graph(await self.load(tools), calls("context", message="one"), again)
        assert first.content[0]["text"] == "user: one"
        assert second.content[0]["text"].startswith("user: one\n") and second.content[0]["text"].endswith("user: two")

    async def test_it_answers_a_question(self, tools: Gateway) -> None:
        def answer(results: list[ToolMessage]) -> AIMessage:
            asked = results[0].artifact["structured_content"]
            assert asked["coze"]["interrupt"]["kind"] == "question"
            return calls("trip", message="Paris", conversation=asked["conversation"])(results)

        first, second = await run_graph(await self.load(tools), calls("trip", message="a trip"), answer)
        assert "This is a question." in str(first.content) and second.status == "success"
        assert second.artifact["structured_content"]["answer"] != first.artifact["structured_content"]["answer"]

    async def test_it_is_told_of_progress(self, tools: Gateway) -> None:
        told: list[float] = []

        async def progress(step: float, *_: Any) -> None:
            told.append(step)

        loaded = await self.load(tools, callbacks=Callbacks(on_progress=progress))
        await run_graph(loaded, calls("slow", message="x"))
        assert told == sorted(set(told)) and len(told) >= 2

    async def test_an_error_is_something_to_act_upon(self, tools: Gateway) -> None:
        def other(results: list[ToolMessage]) -> AIMessage:
            assert results[0].status == "error" and "upstream_error: " in str(results[0].content)
            return calls("echo", message="then this one")(results)

        failed, said = await run_graph(await self.load(tools), calls("broken", message="x"), other)
        assert failed.tool_call_id == "call-0" and said.content[0]["text"] == "then this one"

    async def test_a_timeout_frees_the_bot(self, tools: Gateway) -> None:
        with pytest.raises(McpError, match="Timed out"):
            await run_graph(await self.load(tools, patience=LITTLE), calls("slow", message="x"))
        await idle(tools)


class Steps(Model):
    """The same for openai-agents: what is called in turn, given the outputs so
    far."""

    def __init__(self, *steps: Any) -> None:
        self.steps = steps

    async def get_response(self, system_instructions: Any, input: Any, *_: Any, **__: Any) -> ModelResponse:
        items = [] if isinstance(input, str) else input
        outputs = [item["output"] for item in items if item.get("type") == "function_call_output"]
        if len(outputs) < len(self.steps):
            name, arguments = self.steps[len(outputs)](outputs)
            call_id = f"call-{len(outputs)}"
            step: Any = ResponseFunctionToolCall(
                name=name, arguments=json.dumps(arguments), call_id=call_id, type="function_call"
            )
        else:
            text = ResponseOutputText(text=json.dumps(outputs), type="output_text", annotations=[])
            step = ResponseOutputMessage(
                id="m", content=[text], role="assistant", status="completed", type="message"
            )
        return ModelResponse(output=[step], usage=Usage(), response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        raise NotImplementedError("this agent is not streamed")


class TestOpenaiAgents:
    @asynccontextmanager
    async def server(
        self, gateway: Gateway, key: str = TEAM_KEY, patience: float = PATIENCE, **more: Any
    ) -> AsyncIterator[MCPServerStreamableHttp]:
        params: Any = {"url": f"{gateway.address}/mcp", "headers": headers(key)}
        settings = {"client_session_timeout_seconds": patience, "use_structured_content": True} | more
        async with MCPServerStreamableHttp(params, **settings) as server:
            yield server

    async def run(self, server: MCPServerStreamableHttp, *steps: Any) -> list[Any]:
        """What the tools gave the agent."""
        set_tracing_disabled(True)
        agent = Agent(name="assistant", model=Steps(*steps), mcp_servers=[server])
        return json.loads((await Runner.run(agent, "begin")).final_output)

    async def test_it_lists_the_tools_of_its_key(self, tools: Gateway) -> None:
        async with self.server(tools, FEW_KEY) as few, self.server(tools) as team:
            assert [tool.name for tool in await few.list_tools()] == ["echo", "slow"]
            assert {"echo", "poem", "trip"} <= {tool.name for tool in await team.list_tools()}
            poem = lambda _: ("poem", {"message": "tea"})  # noqa: E731
            assert "tea" in json.loads((await self.run(team, poem))[0])["answer"]
            with pytest.raises(Exception, match="poem not found"):
                await self.run(few, poem)

    async def test_it_calls_and_goes_on(self, tools: Gateway) -> None:
        def again(outputs: list[Any]) -> Any:
            return "context", {"message": "two", "conversation": json.loads(outputs[0])["conversation"]}

        async with self.server(tools) as server:
            first, second = await self.run(server, lambda _: ("context", {"message": "one"}), again)
        assert json.loads(first)["answer"] == "user: one"
        assert json.loads(second)["answer"].startswith("user: one\n")

    async def test_it_can_be_told_of_progress(self, tools: Gateway) -> None:
        told: list[float] = []

        async def heard(message: Any) -> None:
            if isinstance(message, ServerNotification) and isinstance(message.root, ProgressNotification):
                assert message.root.params.progressToken == "p"
                told.append(message.root.params.progress)

        meta = {"tool_meta_resolver": lambda _: {"progressToken": "p"}, "message_handler": heard}
        async with self.server(tools, **meta) as server:
            await self.run(server, lambda _: ("slow", {"message": "x"}))
        assert told == sorted(set(told)) and len(told) >= 2

    async def test_an_error_is_something_to_act_upon(self, tools: Gateway) -> None:
        def other(outputs: list[Any]) -> Any:
            assert "upstream_error: " in str(outputs[0])
            return "echo", {"message": "then this one"}

        async with self.server(tools) as server:
            _, said = await self.run(server, lambda _: ("broken", {"message": "x"}), other)
        assert json.loads(said)["answer"] == "then this one"

    async def test_a_timeout_is_told_and_frees_the_bot(self, tools: Gateway) -> None:
        told = {"failure_error_function": lambda _, error: str(error)}
        async with self.server(tools, patience=LITTLE, **told) as server:
            (late,) = await self.run(server, lambda _: ("slow", {"message": "x"}))
            assert "imed out" in late
        await idle(tools)


class TestOpenapi:
    """LangChain's toolkit. A call over plain HTTP tells of no progress: what
    keeps a client patient is its own timeout."""

    async def load(self, gateway: Gateway, key: str = TEAM_KEY) -> tuple[dict[str, str], list[BaseTool]]:
        """The addresses of the tools that the key sees, and what calls them."""
        async with httpx2.AsyncClient(headers=headers(key), trust_env=False) as client:
            answer = (await client.get(f"{gateway.address}/tools/openapi.json")).raise_for_status()
        spec = reduce_openapi_spec(answer.json())
        base = spec.servers[0]["url"]
        urls = {path.removeprefix("POST /"): base + path.removeprefix("POST ") for path, _, _ in spec.endpoints}
        wrapper = TextRequestsWrapper(headers=headers(key))
        return urls, RequestsToolkit(requests_wrapper=wrapper, allow_dangerous_requests=True).get_tools()

    def post(self, url: str, **arguments: str) -> Any:
        return calls("requests_post", text=json.dumps({"url": url, "data": arguments}))

    async def test_it_lists_the_tools_of_its_key(self, tools: Gateway) -> None:
        few, few_tools = await self.load(tools, FEW_KEY)
        team, team_tools = await self.load(tools)
        assert set(few) == {"echo", "slow"} and {"echo", "poem", "trip"} <= set(team)
        (refused,) = await run_graph(few_tools, self.post(team["poem"], message="tea"))
        assert json.loads(str(refused.content))["error"]["code"] == "model_not_allowed"
        (said,) = await run_graph(team_tools, self.post(team["poem"], message="tea"))
        assert "tea" in json.loads(str(said.content))["answer"]

    async def test_it_calls_and_goes_on(self, tools: Gateway) -> None:
        urls, loaded = await self.load(tools)

        def again(results: list[ToolMessage]) -> AIMessage:
            name = json.loads(str(results[0].content))["conversation"]
            return self.post(urls["context"], message="two", conversation=name)(results)

        first, second = await run_graph(loaded, self.post(urls["context"], message="one"), again)
        assert json.loads(str(first.content))["answer"] == "user: one"
        assert json.loads(str(second.content))["answer"].startswith("user: one\n")

    async def test_it_waits_for_a_slow_bot(self, tools: Gateway) -> None:
        urls, loaded = await self.load(tools)
        (said,) = await run_graph(loaded, self.post(urls["slow"], message="x"))
        assert json.loads(str(said.content))["answer"]

    async def test_an_error_is_something_to_act_upon(self, tools: Gateway) -> None:
        urls, loaded = await self.load(tools)

        def other(results: list[ToolMessage]) -> AIMessage:
            assert json.loads(str(results[0].content))["error"]["code"] == "upstream_error"
            return self.post(urls["echo"], message="then this one")(results)

        _, said = await run_graph(loaded, self.post(urls["broken"], message="x"), other)
        assert json.loads(str(said.content))["answer"] == "then this one"

    async def test_a_timeout_frees_the_bot(self, tools: Gateway) -> None:
        urls, loaded = await self.load(tools)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(LITTLE):
                await run_graph(loaded, self.post(urls["slow"], message="x"))
        await idle(tools)
