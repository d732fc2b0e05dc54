"""Chats that outlive the gateway: their conversations are in a file."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest
from chats import NAME, TEAM_KEY, Chat, said, shown, write_config
from coze import Coze
from gateway import Gateway
from test_conversation_names import only_the_new
from test_conversations import TEN, both_forms
from wire import Wire

#: Ends a gateway.
End = Callable[[Gateway], None]


def stopped(gateway: Gateway) -> None:
    assert gateway.stop() == 0, "\n".join(gateway.log.all()[-20:])


either_end = pytest.mark.parametrize("end", [stopped, Gateway.kill], ids=["stopped", "killed"])


class Place:
    """Where one gateway at a time runs, with one file."""

    def __init__(self, config: Path, wire: Wire) -> None:
        self._config = config
        self._wire = wire
        self._clients: list[openai.OpenAI] = []
        self.gateway = Gateway.serving(config)

    def client(self) -> openai.OpenAI:
        """A client of the gateway that runs now."""
        base_url = self.gateway.base_url
        client = openai.OpenAI(base_url=base_url, api_key=TEAM_KEY, http_client=self._wire.client())
        self._clients.append(client)
        return client

    def restart(self, end: End) -> openai.OpenAI:
        """Another gateway in the place of the one that runs; a client of its."""
        if end is Gateway.kill:
            self._await_the_first_row()
        end(self.gateway)
        self.gateway = Gateway.serving(self._config)
        return self.client()

    def _await_the_first_row(self) -> None:
        """A new conversation is written a moment after its answer; what goes on is waited for."""
        file = f"file:{self._config.with_name('state.db')}?mode=ro"
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.closing(sqlite3.connect(file, uri=True)) as state:
                if state.execute("SELECT count(*) FROM entry").fetchone()[0] > 0:
                    return
            time.sleep(0.01)
        pytest.fail("no conversation was written")

    def close(self) -> None:
        for client in self._clients:
            client.close()
        stopped(self.gateway)


@pytest.fixture
def place(coze: Coze, wire: Wire, tmp_path: Path) -> Iterator[Place]:
    place = Place(write_config(tmp_path / "cozeway.toml", coze, "sqlite:state.db"), wire)
    try:
        yield place
    finally:
        place.close()


@both_forms
@either_end
def test_a_chat_goes_on(place: Place, coze: Coze, topic: str, stream: bool, end: End) -> None:
    talk = Chat(place.client(), "context", stream)
    places, names = set(), set()
    for n in TEN:
        if n in (2, 5, 9):
            talk.client = place.restart(end)
        turn = talk.ask(f"{topic}, {n}")
        assert turn.memory == ("new" if n == 1 else "continued"), n
        assert turn.text == shown(talk.messages[:-1])
        places.add(turn.place)
        names.add(turn.name)
    assert len(places) == len(names) == 1
    assert coze.stored(turn.place) == said(talk.messages)


@either_end
def test_deltas_go_on(place: Place, coze: Coze, topic: str, end: End) -> None:
    talk = Chat(place.client(), "context", settings={"extra_headers": {NAME: "chat-1"}})
    unnamed = Chat(talk.client, "context")
    first = unnamed.ask(f"{topic}, 0")
    assert first.name is not None
    unnamed.settings = {"extra_body": {"conversation_id": first.name}}
    for n in TEN:
        if n in (2, 6):
            talk.client = unnamed.client = place.restart(end)
        turns = [only_the_new(chat, f"{topic}, {n}") for chat in (talk, unnamed)]
        assert [turn.memory for turn in turns] == ["new" if n == 1 else "continued", "continued"]
        assert turns[0].text == shown(talk.messages[:-1])
        assert turns[1].text == shown(unnamed.messages[:-1])
    assert turns[1].place == first.place
    assert coze.stored(turns[0].place) == said(talk.messages)
    assert coze.stored(turns[1].place) == said(unnamed.messages)


@either_end
def test_a_question_of_the_bots_is_answered(place: Place, topic: str, end: End) -> None:
    talk = Chat(place.client(), "ask")
    asked = talk.ask(f"{topic}: the weather?")
    talk.client = place.restart(end)
    answered = talk.ask("Paris")
    assert (answered.memory, answered.place) == ("resumed", asked.place)
    assert answered.text == "The weather in Paris will be sunny."


def test_a_turn_that_died_with_the_gateway_is_asked_again(place: Place, coze: Coze, topic: str) -> None:
    talk = Chat(place.client(), "slow")
    first = talk.ask(topic)
    messages = [*talk.messages, {"role": "user", "content": "and?"}]
    # The bot is silent for a while, the head of the answer is there before.
    talk.client.chat.completions.create(model="slow", messages=messages, stream=True)  # type: ignore[call-overload]
    talk.client = place.restart(Gateway.kill)
    # Nobody knows how far the turn came: the client's words go elsewhere.
    again = talk.ask("and?")
    assert again.memory is not None and again.memory.startswith("replayed; reason=")
    assert again.place != first.place
    assert coze.stored(again.place) == said(talk.messages)
    assert talk.ask("and then?").memory == "continued"
