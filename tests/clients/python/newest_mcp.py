"""What the newest SDK of the Model Context Protocol sees of a gateway, as
JSON. Run by `test_newest_mcp.py`, with a Python of its own."""

import asyncio
import json
import os
import time
from typing import Any

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

URL = os.environ["COZEWAY_URL"]
KEY = os.environ["COZEWAY_KEY"]
#: One that may use few tools.
FEW_KEY = os.environ["COZEWAY_FEW_KEY"]


async def look() -> dict[str, Any]:
    seen: dict[str, Any] = {"progress": []}

    async def told(step: float, *_: Any) -> None:
        seen["progress"].append(step)

    headers = {"authorization": f"Bearer {KEY}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as http,
        Client(streamable_http_client(f"{URL}/mcp", http_client=http)) as client,
    ):
        seen["version"] = client.protocol_version
        seen["tools"] = [tool.name for tool in (await client.list_tools()).tools]
        first = await client.call_tool("context", {"message": "one"}, progress_callback=told)
        again = {"message": "two", "conversation": first.structured_content["conversation"]}
        seen["second"] = (await client.call_tool("context", again)).structured_content["answer"]
        failed = await client.call_tool("broken", {"message": "x"})
        seen["failed"] = [failed.is_error, failed.structured_content["error"]["code"]]
        try:
            await client.call_tool("nothing", {"message": "x"})
        except MCPError as error:
            seen["unknown"] = error.error.code
        begun = time.monotonic()
        try:
            async with asyncio.timeout(0.5):
                await client.call_tool("slow", {"message": "x"})
        except TimeoutError:
            seen["late"] = time.monotonic() - begun
        streams = [1]
        while any(streams) and time.monotonic() - begun < 1.8:
            lines = (await http.get(f"{URL}/metrics")).text.splitlines()
            streams = [int(line.split()[-1]) for line in lines if line.startswith("cozeway_upstream_open_streams")]
        # Freed before the bot said anything, and not because it did.
        seen["freed"] = streams == [0]
        few = {"authorization": f"Bearer {FEW_KEY}"}
        async with (
            httpx2.AsyncClient(headers=few, timeout=30, trust_env=False) as other,
            Client(streamable_http_client(f"{URL}/mcp", http_client=other)) as client_of_few,
        ):
            seen["few"] = [tool.name for tool in (await client_of_few.list_tools()).tools]
        seen["after"] = (await client.call_tool("echo", {"message": "y"})).structured_content["answer"]
    return seen


print(json.dumps(asyncio.run(look())))
