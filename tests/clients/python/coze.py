"""The simulated Coze as a process of its own, which outlives the gateways
before it, and what it has stored, by its own API."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import httpx2
from gateway import PATIENCE, ROOT, Lines, binary

#: A conversation as lines of `(role, text)`.
Transcript = list[tuple[str, str]]


class Coze:
    """A running server."""

    def __init__(self) -> None:
        program = binary().parent / "examples" / "simulator"
        if not program.is_file():
            raise FileNotFoundError(f"{program} is not there: build it with `cargo build --examples`")
        self._process = subprocess.Popen(
            [str(program)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            encoding="utf-8",
        )
        self._output = Lines(self._process.stdout, "simulator")
        self._about: dict[str, Any] = self._output.find(json.loads, "the address")
        self._http = httpx2.Client(
            base_url=self._about["base_url"],
            headers={"authorization": f"Bearer {self._about['token']}"},
            trust_env=False,
            timeout=PATIENCE,
        )

    @property
    def bots(self) -> dict[str, str]:
        """The bots' ids by name."""
        return self._about["bots"]

    def config(self) -> str:
        """The deployment and its bots, for a gateway's config."""
        models = (f'[models.{name}]\nbot_id = "{bot_id}"\n' for name, bot_id in self.bots.items())
        return (
            f'[coze.local]\nbase_url = "{self._about["base_url"]}"\ntoken = "{self._about["token"]}"\n'
            + "".join(models)
            + "".join(f"[models.{name}]\n{entry}" for name, entry in self._about["flows"].items())
        )

    def conversations(self, bot: str) -> list[str]:
        """A bot's conversations, oldest first."""
        query = {"bot_id": self.bots[bot], "page_size": 100_000, "sort_order": "ASC"}
        answer = self._http.get("/v1/conversations", params=query).raise_for_status().json()
        assert not answer["data"]["has_more"]
        return [conversation["id"] for conversation in answer["data"]["conversations"] or []]

    def stored(self, conversation: str) -> Transcript:
        """What was said in a conversation, oldest first."""
        answer = self._http.post(
            "/v1/conversation/message/list",
            params={"conversation_id": conversation},
            json={"limit": 100_000},
        )
        listed = answer.raise_for_status().json()
        assert listed["code"] == 0 and not listed["has_more"], listed
        return [(message["role"], message["content"]) for message in reversed(listed.get("data", []))]

    def stop(self) -> None:
        self._http.close()
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._output.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
