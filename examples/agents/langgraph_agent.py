"""A LangGraph agent whose tools are bots, by langchain-mcp-adapters."""

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_mcp_adapters.client import MultiServerMCPClient
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

URL = os.environ.get("COZEWAY_URL", "http://127.0.0.1:8787")
KEY = os.environ.get("COZEWAY_KEY", "sk-cozeway-demo-key")


class Scripted(BaseChatModel):
    """In place of a model: asks the bot, asks it again in the same
    conversation, and repeats what it said. Use ChatOpenAI or any other."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> "Scripted":
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        results = [message for message in messages if isinstance(message, ToolMessage)]
        if not results:
            step = call("echo", message=messages[-1].text)
        elif len(results) == 1:
            # What an answer holds beside its text is the artifact.
            answer = results[0].artifact["structured_content"]
            step = call("echo", message="and again", conversation=answer["conversation"])
        else:
            answers = [result.artifact["structured_content"]["answer"] for result in results]
            step = AIMessage(f"The bot said: {', '.join(answers)}")
        return ChatResult(generations=[ChatGeneration(message=step)])


def call(name: str, **arguments: str) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": f"call-{len(arguments)}"}])


async def main() -> None:
    client = MultiServerMCPClient(
        {
            "coze": {
                "transport": "streamable_http",
                "url": f"{URL}/mcp",
                "headers": {"Authorization": f"Bearer {KEY}"},
            }
        }
    )
    tools = await client.get_tools()
    print(f"tools: {', '.join(sorted(tool.name for tool in tools))}")
    model = Scripted().bind_tools(tools)

    async def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("think", think)
    graph.add_node("tools", ToolNode(tools))
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", tools_condition)
    graph.add_edge("tools", "think")
    state = await graph.compile().ainvoke({"messages": [HumanMessage("hello")]})
    print(state["messages"][-1].text)


asyncio.run(main())
