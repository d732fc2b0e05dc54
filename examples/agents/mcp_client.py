"""Bots as tools, by the Python SDK of the Model Context Protocol."""

import asyncio
import os
from datetime import timedelta

import httpx
from mcp import ClientSession, McpError
from mcp.client.streamable_http import streamable_http_client

URL = os.environ.get("COZEWAY_URL", "http://127.0.0.1:8787")
KEY = os.environ.get("COZEWAY_KEY", "sk-cozeway-demo-key")


async def told(progress: float, total: float | None, message: str | None) -> None:
    print(f"progress: {progress:g} {message}")


async def main() -> None:
    # Bots may think for minutes: give them time.
    timeout = httpx.Timeout(30, read=600)
    async with (
        httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, timeout=timeout) as http,
        streamable_http_client(f"{URL}/mcp", http_client=http) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        for tool in (await session.list_tools()).tools:
            print(f"tool: {tool.name}: {tool.description}")

        patience = timedelta(minutes=10)
        first = await session.call_tool("echo", {"message": "hello"}, patience, told)
        print(f"answer: {first.structuredContent['answer']}")

        # The answer says what its conversation is called.
        conversation = first.structuredContent["conversation"]
        second = await session.call_tool("echo", {"message": "and again", "conversation": conversation}, patience)
        print(f"answer: {second.structuredContent['answer']}")

        # A bot that asks back is answered in the same way.
        asked = await session.call_tool("ask", {"message": "How is the weather?"}, patience)
        print(f"question: {asked.structuredContent['answer']}")
        answer = {"message": "Hangzhou", "conversation": asked.structuredContent["conversation"]}
        done = await session.call_tool("ask", answer, patience)
        print(f"answer: {done.structuredContent['answer']}")

        # A failure is a result too, with a code to act upon.
        failed = await session.call_tool("broken", {"message": "hello"}, patience)
        print(f"error: {failed.structuredContent['error']['code']}")

        # A client that waits no longer says so, and the bot is freed.
        try:
            await session.call_tool("slow", {"message": "hello"}, timedelta(seconds=0.5))
        except McpError as error:
            print(f"timeout: {error.error.message}")


asyncio.run(main())
