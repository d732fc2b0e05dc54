"""An agent of openai-agents whose tools are bots, by an MCP server."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any

from agents import Agent, Runner, set_tracing_disabled
from agents.items import ModelResponse
from agents.mcp import MCPServerStreamableHttp
from agents.models.interface import Model
from agents.usage import Usage
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

URL = os.environ.get("COZEWAY_URL", "http://127.0.0.1:8787")
KEY = os.environ.get("COZEWAY_KEY", "sk-cozeway-demo-key")


class Scripted(Model):
    """In place of a model: asks the bot, then repeats what it said. Leave it
    out, and the agent takes the usual one."""

    async def get_response(self, system_instructions: Any, input: Any, *_: Any, **__: Any) -> ModelResponse:
        items = [{"content": input}] if isinstance(input, str) else input
        outputs = [item["output"] for item in items if item.get("type") == "function_call_output"]
        if not outputs:
            arguments = json.dumps({"message": items[-1]["content"]})
            step: Any = ResponseFunctionToolCall(
                name="echo", arguments=arguments, call_id="call-1", type="function_call"
            )
        else:
            text = ResponseOutputText(text=f"The bot said: {outputs[0]}", type="output_text", annotations=[])
            step = ResponseOutputMessage(
                id="m", content=[text], role="assistant", status="completed", type="message"
            )
        return ModelResponse(output=[step], usage=Usage(), response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        raise NotImplementedError("this agent is not streamed")


async def main() -> None:
    set_tracing_disabled(True)
    async with MCPServerStreamableHttp(
        name="coze",
        params={"url": f"{URL}/mcp", "headers": {"Authorization": f"Bearer {KEY}"}, "timeout": 30},
        # Without this it waits for a bot for 5 s.
        client_session_timeout_seconds=600,
        cache_tools_list=True,
        # The answer with its conversation, as one object.
        use_structured_content=True,
    ) as server:
        agent = Agent(name="assistant", model=Scripted(), mcp_servers=[server])
        result = await Runner.run(agent, "hello")
        print(result.final_output)


asyncio.run(main())
