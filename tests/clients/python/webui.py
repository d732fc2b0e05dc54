"""Open WebUI's way to talk to a server: its headers, the transcript that it
resends, and the tasks that it does beside a chat."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

import httpx2
from chats import MEMORY, NAME, WEBUI_KEY, Message, Turn
from gateway import Gateway


def quoted(messages: list[Message], last: int) -> str:
    """A chat as the tasks' prompts quote it."""
    lines = [f"{message['role'].upper()}: {message['content']}" for message in messages[-last:]]
    return "<chat_history>\n" + "\n".join(lines) + "\n</chat_history>"


#: What a task asks of the bot, in one user message.
TASKS: dict[str, Callable[[list[Message]], str]] = {
    "title": lambda chat: "### Task:\nA short title for this chat, as JSON.\n" + quoted(chat, 2),
    "tags": lambda chat: "### Task:\nOne to three tags for this chat, as JSON.\n" + quoted(chat, 6),
    "follow_ups": lambda chat: "### Task:\nThree questions to go on with, as JSON.\n" + quoted(chat, 6),
    "query": lambda chat: "### Task:\nWhat to search the web for, as JSON.\n" + quoted(chat, 6),
}


@dataclass
class WebUIChat:
    """A chat of one user's."""

    http: httpx2.Client
    gateway: Gateway
    model: str
    user: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    messages: list[Message] = field(default_factory=list)

    def ask(self, text: str) -> Turn:
        """The next turn, streamed."""
        self.messages.append({"role": "user", "content": text})
        turn = self.send(self.messages)
        self.messages.append({"role": "assistant", "content": turn.text})
        return turn

    def task(self, kind: str) -> Turn:
        """A task about the chat, which is no turn of it."""
        prompt = TASKS[kind](self.messages)
        return self._post({"messages": [{"role": "user", "content": prompt}], "stream": False})

    def send(self, messages: list[Message]) -> Turn:
        """A request of just these messages; nothing is kept of it."""
        return self._post({"messages": messages, "stream": True})

    def _post(self, body: dict[str, object]) -> Turn:
        headers = {
            "Authorization": f"Bearer {WEBUI_KEY}",
            "X-OpenWebUI-User-Name": quote(f"{self.user} 王", safe=" "),
            "X-OpenWebUI-User-Id": self.user,
            "X-OpenWebUI-User-Email": f"{self.user}@example.org",
            "X-OpenWebUI-User-Role": "user",
            "X-OpenWebUI-Chat-Id": self.id,
        }
        url = f"{self.gateway.base_url}/chat/completions"
        response = self.http.post(url, json={"model": self.model, **body}, headers=headers).raise_for_status()
        text, about = "", None
        if body["stream"]:
            for line in response.text.splitlines():
                if line.startswith("data: {"):
                    chunk = json.loads(line.removeprefix("data: "))
                    text += chunk["choices"][0]["delta"].get("content") or ""
                    about = chunk.get("coze") or about
        else:
            answer = response.json()
            text, about = answer["choices"][0]["message"]["content"], answer["coze"]
        assert about is not None, "no word of Coze's in the answer"
        return Turn(text, response.headers.get(MEMORY), response.headers.get(NAME), about["conversation_id"])
