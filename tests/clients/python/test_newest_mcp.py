"""Bots as tools by the newest SDK of the Model Context Protocol, which speaks
the revision without sessions. It needs packages that the other clients do not
go with: `COZEWAY_TEST_MCP_PYTHON` is a Python that has them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from chats import TEAM_KEY
from coze import Coze
from gateway import PATIENCE, Gateway
from test_tools import FEW_KEY, serve_tools


@pytest.fixture(scope="module")
def tools(coze: Coze, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    yield from serve_tools(coze, tmp_path_factory)


def test_the_newest_sdk_needs_no_session(tools: Gateway) -> None:
    python = os.environ.get("COZEWAY_TEST_MCP_PYTHON")
    if not python:
        pytest.skip("COZEWAY_TEST_MCP_PYTHON names no Python")
    done = subprocess.run(
        [python, "-B", str(Path(__file__).with_name("newest_mcp.py"))],
        env=os.environ | {"COZEWAY_URL": tools.address, "COZEWAY_KEY": TEAM_KEY, "COZEWAY_FEW_KEY": FEW_KEY},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=2 * PATIENCE,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["version"] == "2026-07-28"
    assert {"echo", "poem", "trip"} <= set(seen["tools"])
    assert seen["few"] == ["echo", "slow"]
    assert seen["progress"][0] == 1.0
    assert seen["second"].startswith("user: one\n")
    assert seen["failed"] == [True, "upstream_error"]
    assert seen["unknown"] == -32602
    assert 0.4 < seen["late"] < 1.5 and seen["freed"], seen
    assert seen["after"] == "y"
