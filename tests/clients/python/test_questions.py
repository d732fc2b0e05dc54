"""Chats through questions in the middle, by the OpenAI SDK and LangChain: ten
turns of a chatflow and of a workflow, over restarts, and through two gateways
with one state."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import openai
import pytest
from chats import MEMORY, TEAM_KEY, Chat, write_config
from coze import Coze
from gateway import Gateway
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_openai import ChatOpenAI
from test_conversations import both_forms
from test_restart import End, either_end, stopped
from wire import Wire

#: What a user says, what is said to it, and what became of the conversation.
Script = list[tuple[str, str, str]]

CITY = "Which city would you like to know the weather of?"


def guide() -> Script:
    """A chatflow that asks back each time."""
    script: Script = []
    for city in ("Paris", "Rome", "Oslo", "Bern", "Graz"):
        script += [
            (f"The weather, please. {uuid.uuid4()}", CITY, "continued" if script else "new"),
            (city, f"The weather in {city} will be sunny.", "resumed"),
        ]
    return script


def trip() -> Script:
    """A workflow that asks three times, the last time for a form."""
    script: Script = []
    for name, place, form in (
        ("Ann", "Oslo", "days: 3\nname: Ann"),
        ("Ben", "Rome", '{"days": 3, "name": "Ben"}'),
        ("Cem", "Bern", ""),
    ):
        script += [
            (f"A trip, please. {uuid.uuid4()}", "Where would you like to go?", "new"),
            (place, "When?\nsummer\nwinter", "resumed"),
            ("winter", "days (integer)\nname (string)", "resumed"),
            (form, f"{name}: 3 days in {place}, winter.", "resumed"),
        ]
    return script[:10]


SCRIPTS = {"guide": guide, "trip": trip}

both_kinds = pytest.mark.parametrize("model", SCRIPTS)


class Gateways:
    """Two gateways at a time, with one state."""

    def __init__(self, config: Path, wire: Wire) -> None:
        self._config = config
        self._wire = wire
        self._clients: list[openai.OpenAI] = []
        self.running = [Gateway.serving(config), Gateway.serving(config)]

    def client(self, which: int) -> openai.OpenAI:
        """A client of one of them."""
        client = openai.OpenAI(
            base_url=self.running[which].base_url, api_key=TEAM_KEY, http_client=self._wire.client()
        )
        self._clients.append(client)
        return client

    def langchain(self, which: int, model: str) -> ChatOpenAI:
        """The same by LangChain."""
        return ChatOpenAI(
            model=model,
            base_url=self.running[which].base_url,
            api_key=TEAM_KEY,
            http_client=self._wire.client(),
            max_retries=0,
        )

    def restart(self, which: int, end: End) -> None:
        end(self.running[which])
        self.running[which] = Gateway.serving(self._config)

    def close(self) -> None:
        for client in self._clients:
            client.close()
        for gateway in self.running:
            stopped(gateway)


@pytest.fixture(params=["file", "redis"])
def gateways(request: pytest.FixtureRequest, coze: Coze, wire: Wire, tmp_path: Path) -> Iterator[Gateways]:
    state = "sqlite:state.db"
    if request.param == "redis":
        state = os.environ.get("COZEWAY_TEST_REDIS", "")
        if not state:
            pytest.skip("COZEWAY_TEST_REDIS names no server")
    gateways = Gateways(write_config(tmp_path / "cozeway.toml", coze, state), wire)
    try:
        yield gateways
    finally:
        gateways.close()


@both_forms
@both_kinds
@either_end
def test_ten_turns(gateways: Gateways, model: str, stream: bool, end: End) -> None:
    talk = Chat(gateways.client(0), model, stream)
    for n, (says, hears, memory) in enumerate(SCRIPTS[model]()):
        which = n % 2
        if n in (3, 6):
            gateways.restart(which, end)
        talk.client = gateways.client(which)
        turn = talk.ask(says)
        assert (turn.text, turn.memory) == (hears, memory), n


@both_kinds
def test_ten_turns_of_deltas(gateways: Gateways, model: str) -> None:
    name = f"chat-{uuid.uuid4()}"
    for n, (says, hears, memory) in enumerate(SCRIPTS[model]()):
        if n in (3, 6):
            gateways.restart(n % 2, Gateway.kill)
        talk = Chat(gateways.client(n % 2), model, settings={"extra_body": {"conversation_id": name}})
        turn = talk.ask(says)
        assert (turn.text, turn.memory, turn.name) == (hears, memory, name), n


@pytest.mark.parametrize("streams", [False, True], ids=["invoke", "stream"])
@both_kinds
def test_ten_turns_by_langchain(gateways: Gateways, wire: Wire, model: str, streams: bool) -> None:
    messages: list[BaseMessage] = []
    for n, (says, hears, memory) in enumerate(SCRIPTS[model]()):
        if n in (3, 6):
            gateways.restart(n % 2, stopped)
        messages.append(HumanMessage(says))
        chat = gateways.langchain(n % 2, model)
        answer: Any = reduce(add, chat.stream(messages)) if streams else chat.invoke(messages)
        assert (answer.content, wire.last.headers[MEMORY]) == (hears, memory), n
        messages.append(answer)


def test_what_a_question_wants_is_told(gateways: Gateways) -> None:
    messages = []
    wants = []
    for says, hears, _ in trip()[:4]:
        messages.append({"role": "user", "content": says})
        answer = gateways.client(0).chat.completions.create(model="trip", messages=messages)
        assert answer.choices[0].finish_reason == "stop"
        messages.append({"role": "assistant", "content": hears})
        wants.append(answer.coze.get("interrupt"))
    fields = [
        {"name": "days", "type": "integer", "required": True},
        {"name": "name", "type": "string", "required": True},
    ]
    assert wants == [
        {"kind": "question"},
        {"kind": "choice", "options": ["summer", "winter"]},
        {"kind": "form", "fields": fields},
        None,
    ]


def test_a_question_is_answered_once(gateways: Gateways) -> None:
    talk = Chat(gateways.client(0), "trip")
    script = trip()
    talk.ask(script[0][0])
    before = list(talk.messages)
    assert talk.ask("Oslo").memory == "resumed"
    for which in (0, 1):
        with pytest.raises(openai.ConflictError) as raised:
            Chat(gateways.client(which), "trip", messages=list(before)).ask("Rome")
        assert raised.value.code == "conversation_lost"
    # The question that waits is still there.
    assert talk.ask("winter").text == "days (integer)\nname (string)"
