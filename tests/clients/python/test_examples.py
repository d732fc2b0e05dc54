"""The scripts of `examples/agents`, as a newcomer runs them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from gateway import PATIENCE, ROOT, Gateway

EXAMPLES = ROOT / "examples" / "agents"


def run(script: str, gateway: Gateway, key: str) -> list[str]:
    """What a script prints."""
    environment = os.environ | {"COZEWAY_URL": gateway.address, "COZEWAY_KEY": key}
    done = subprocess.run(
        [sys.executable, "-B", str(EXAMPLES / script)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=2 * PATIENCE,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="session")
def lines(gateway: Gateway, key: str) -> dict[str, list[str]]:
    return {script.name: run(script.name, gateway, key) for script in EXAMPLES.glob("*.py")}


def test_every_example_is_known(lines: dict[str, list[str]]) -> None:
    assert set(lines) == {"mcp_client.py", "langgraph_agent.py", "openai_agent.py", "openapi_tools.py"}


def test_mcp_client(lines: dict[str, list[str]]) -> None:
    printed = lines["mcp_client.py"]
    assert "tool: echo: Says what you said." in printed
    said = [line for line in printed if not line.startswith("tool: ")]
    assert said[:3] == ["progress: 1 The bot is at work.", "answer: hello", "answer: and again"]
    assert said[3].startswith("question: ") and "Hangzhou" in said[4]
    assert said[5] == "error: upstream_error"
    assert said[6].startswith("timeout: Timed out") and len(said) == 7


def test_langgraph_agent(lines: dict[str, list[str]]) -> None:
    tools, said = lines["langgraph_agent.py"]
    assert "echo" in tools.removeprefix("tools: ").split(", ")
    assert said == "The bot said: hello, and again"


def test_openai_agent(lines: dict[str, list[str]]) -> None:
    (said,) = lines["openai_agent.py"]
    assert said.startswith('The bot said: {"answer": "hello", "conversation": "conv_')


def test_openapi_tools(lines: dict[str, list[str]]) -> None:
    printed = lines["openapi_tools.py"]
    assert "tool: POST /echo: Says what you said." in printed
    assert printed[-3:] == ["answer: hello", "answer: and again", "error: upstream_error"]


def test_the_pinned_packages_are_those_of_the_tests() -> None:
    pinned = (EXAMPLES / "requirements.txt").read_text(encoding="utf-8").split()
    tested = (ROOT / "tests/clients/python/requirements.txt").read_text(encoding="utf-8").split()
    assert set(pinned) <= set(tested)
