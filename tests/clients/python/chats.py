"""Chats as clients hold them, and a gateway that remembers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
from coze import Coze, Transcript
from gateway import Gateway

#: The keys of the gateway.
TEAM_KEY = "sk-the-teams-key-for-the-tests-only"
OTHER_KEY = "sk-another-key-for-the-tests-only"
WEBUI_KEY = "sk-the-web-uis-key-for-the-tests-only"

#: Where the gateway says what it calls a conversation, and what became of it.
NAME = "x-conversation-id"
MEMORY = "x-cozeway-conversation"

#: The longest text that the `context` bot repeats.
LONGEST = 4_000

Message = dict[str, Any]


def write_config(file: Path, coze: Coze, state: str) -> Path:
    """The config of a gateway with three keys before the simulated Coze."""
    file.write_text(
        f"""
        [server]
        listen = "127.0.0.1:0"
        keepalive = "300ms"
        conversation_wait = "300ms"

        [state]
        url = "{state}"

        [keys.team]
        key = "{TEAM_KEY}"

        [keys.other]
        key = "{OTHER_KEY}"

        [keys.webui]
        key = "{WEBUI_KEY}"
        user_headers = ["x-openwebui-user-id"]

        """
        + coze.config(),
        encoding="utf-8",
    )
    return file


@contextmanager
def serving(config: Path) -> Iterator[Gateway]:
    """A gateway of this config; ended by SIGTERM, it exits with 0."""
    running = Gateway.serving(config)
    try:
        yield running
    finally:
        code = running.stop()
    assert code == 0, "\n".join(running.log.all()[-20:])


def said(messages: list[Message]) -> Transcript:
    """What of a client's messages the bot is to see."""
    return [("assistant" if m["role"] == "assistant" else "user", m["content"]) for m in messages]


def shown(messages: list[Message]) -> str:
    """What the `context` bot says when it was shown just these."""
    lines = []
    for role, text in said(messages):
        lines.append(f"{role}: {text[:LONGEST]}{'…' if len(text) > LONGEST else ''}")
    return "\n".join(lines)


@dataclass
class Turn:
    """An answer, and what is told beside it."""

    text: str
    #: What became of the conversation.
    memory: str | None
    #: What the gateway calls it.
    name: str | None
    #: What Coze calls it; empty where it keeps none.
    place: str


@dataclass
class Chat:
    """A client that resends its whole transcript each turn."""

    client: openai.OpenAI
    model: str
    stream: bool = False
    messages: list[Message] = field(default_factory=list)
    #: What goes with each request.
    settings: dict[str, Any] = field(default_factory=dict)

    def ask(self, text: str) -> Turn:
        """The next turn."""
        self.messages.append({"role": "user", "content": text})
        turn = self.send(self.messages)
        self.messages.append({"role": "assistant", "content": turn.text})
        return turn

    def send(self, messages: list[Message]) -> Turn:
        """A request of just these messages; nothing is kept of it."""
        create = self.client.chat.completions.with_raw_response.create
        raw = create(model=self.model, messages=messages, stream=self.stream, **self.settings)
        text, about = "", None
        if self.stream:
            for chunk in raw.parse():
                text += chunk.choices[0].delta.content or ""
                about = getattr(chunk, "coze", None) or about
        else:
            answer = raw.parse()
            text, about = answer.choices[0].message.content, answer.coze
        assert about is not None, "no word of Coze's in the answer"
        return Turn(text, raw.headers.get(MEMORY), raw.headers.get(NAME), about.get("conversation_id", ""))

    def branch(self, turns: int) -> Chat:
        """The same chat after its first turns, to go on otherwise."""
        ends = [at for at, message in enumerate(self.messages) if message["role"] == "assistant"]
        kept = self.messages[: ends[turns - 1] + 1]
        return Chat(self.client, self.model, self.stream, list(kept), self.settings)
