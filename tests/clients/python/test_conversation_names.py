"""Chats with a name, by the OpenAI SDK: whole transcripts or just what is
new, and what becomes of a name that nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

import openai
import pytest
from chats import MEMORY, NAME, OTHER_KEY, Chat, Message, said, shown
from coze import Coze
from gateway import Gateway
from test_conversations import TEN, both_forms
from wire import Wire

Maker = Callable[..., Chat]

#: How a client of the SDK may name a conversation.
WAYS: dict[str, Callable[[str], dict[str, Any]]] = {
    "header": lambda name: {"extra_headers": {NAME: quote(name)}},
    "body": lambda name: {"extra_body": {"conversation_id": name}},
    "metadata": lambda name: {"metadata": {"conversation_id": name}},
}

every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


def only_the_new(talk: Chat, text: str) -> Any:
    """The next turn of a client that leaves it to the gateway to remember."""
    leading = [message for message in talk.messages if message["role"] == "system"]
    new = {"role": "user", "content": text}
    turn = talk.send([*leading, new])
    talk.messages += [new, {"role": "assistant", "content": turn.text}]
    return turn


@both_forms
@every_way
def test_transcripts_under_a_name(
    chat: Maker, coze: Coze, topic: str, stream: bool, way: Callable[[str], dict[str, Any]]
) -> None:
    name = f"{topic} 你好 100%"
    talk = chat("context", stream=stream, **way(name))
    for n in TEN:
        turn = talk.ask(f"{topic}, {n}")
        assert turn.memory == ("new" if n == 1 else "continued")
        assert unquote(turn.name or "") == name
        assert turn.text == shown(talk.messages[:-1])
    assert coze.stored(turn.place) == said(talk.messages)


@both_forms
@every_way
@pytest.mark.parametrize("system", [None, "Be brief."], ids=["bare", "system"])
def test_deltas_under_a_name(
    chat: Maker, coze: Coze, topic: str, stream: bool, way: Callable[[str], dict[str, Any]], system: str | None
) -> None:
    talk = chat("context", stream=stream, system=system, **way(f"deltas {topic} {stream} {system}"))
    for n in TEN:
        turn = only_the_new(talk, f"{topic}, {n}")
        assert turn.memory == ("new" if n == 1 else "continued")
        assert turn.text == shown(talk.messages[:-1])
    assert coze.stored(turn.place) == said(talk.messages)


def test_deltas_and_transcripts_in_turns(chat: Maker, coze: Coze, topic: str) -> None:
    talk = chat("context", **WAYS["header"](topic))
    places = set()
    for n in TEN:
        turn = only_the_new(talk, f"{topic}, {n}") if n % 3 == 0 else talk.ask(f"{topic}, {n}")
        assert turn.memory == ("new" if n == 1 else "continued")
        assert turn.text == shown(talk.messages[:-1])
        places.add(turn.place)
    assert len(places) == 1


def test_a_name_goes_along_with_an_edit(chat: Maker, coze: Coze, topic: str) -> None:
    talk = chat("context", **WAYS["metadata"](topic))
    for n in TEN:
        old = talk.ask(f"{topic}, {n}")
    edited = talk.branch(turns=4)
    turns = [edited.ask(f"{topic}, {n}, edited") for n in range(5, 11)]
    assert [turn.memory for turn in turns] == ["replayed; reason=edited"] + ["continued"] * 5
    assert {turn.name for turn in turns} == {quote(topic)} and turns[0].place != old.place
    assert turns[-1].text == shown(edited.messages[:-1])
    # A delta goes on from the edit, and so does every client of that name.
    turn = only_the_new(edited, "and then?")
    assert (turn.memory, turn.place) == ("continued", turns[0].place)
    assert turn.text == shown(edited.messages[:-1])


def test_a_regeneration_under_a_name(chat: Maker, topic: str) -> None:
    talk = chat("context", **WAYS["header"](topic))
    for n in range(1, 4):
        first = talk.ask(f"{topic}, {n}")
    again = talk.send(talk.messages[:-1])
    assert (again.memory, again.text) == ("replayed; reason=edited", first.text)
    turn = talk.ask("and?")
    assert (turn.memory, turn.place) == ("continued", again.place)


def test_a_first_question_can_be_asked_again_under_a_name(chat: Maker, topic: str) -> None:
    headers = {NAME: quote(topic), "x-conversation-mode": "transcript"}
    talk = chat("context", extra_headers=headers)
    first = talk.ask(topic)
    again = talk.send(talk.messages[:1])
    assert again.memory == "replayed; reason=edited" and again.place != first.place
    assert again.text == first.text


@both_forms
def test_the_name_in_an_answer_names_the_conversation(
    chat: Maker, coze: Coze, topic: str, stream: bool
) -> None:
    talk = chat("context", stream=stream)
    first = talk.ask(topic)
    assert first.name is not None and first.name.startswith("conv_")
    talk.settings = WAYS["header"](first.name)
    for n in TEN:
        turn = only_the_new(talk, f"{topic}, {n}")
        assert (turn.memory, turn.place, turn.name) == ("continued", first.place, first.name)
        assert turn.text == shown(talk.messages[:-1])
    assert coze.stored(first.place) == said(talk.messages)


def test_a_question_of_the_bots_is_answered_under_a_name(chat: Maker, topic: str) -> None:
    talk = chat("ask", **WAYS["body"](topic))
    asked = only_the_new(talk, "The weather?")
    assert (asked.memory, "Which city" in asked.text) == ("new", True)
    answered = only_the_new(talk, "Paris")
    assert (answered.memory, answered.place) == ("resumed", asked.place)
    assert answered.text == "The weather in Paris will be sunny."


@both_forms
@pytest.mark.parametrize("name", ["conv_nobody", "conv_" + "0" * 32, "conv_" + "f" * 32, "conv_"])
def test_an_id_that_was_never_given_is_not_found(
    chat: Maker, coze: Coze, wire: Wire, stream: bool, name: str
) -> None:
    before = coze.conversations("echo")
    for settings in (way(name) for way in WAYS.values()):
        with pytest.raises(openai.NotFoundError) as raised:
            chat("echo", stream=stream, **settings).ask("hi")
        assert raised.value.code == "conversation_not_found"
    assert len(wire.exchanges) == len(WAYS), "a 404 is not tried again"
    assert coze.conversations("echo") == before


def test_the_id_of_another_keys_conversation_is_not_found(
    chat: Maker, remembering: Gateway, wire: Wire, topic: str
) -> None:
    talk = chat("echo", **WAYS["header"](topic))
    named = talk.ask("hi")
    talk = chat("echo")
    unnamed = talk.ask(topic)
    with openai.OpenAI(
        base_url=remembering.base_url, api_key=OTHER_KEY, http_client=wire.client()
    ) as stranger:
        assert unnamed.name is not None
        with pytest.raises(openai.NotFoundError) as raised:
            Chat(stranger, "echo", settings=WAYS["body"](unnamed.name)).ask("hi")
        assert raised.value.code == "conversation_not_found"
        # The same name is another conversation there.
        theirs = Chat(stranger, "echo", settings=WAYS["header"](topic)).ask("hi")
        assert theirs.memory == "new" and theirs.place != named.place
    assert talk.ask("and?").memory == "continued"


def test_names_that_differ_are_refused(chat: Maker, wire: Wire) -> None:
    settings = {"metadata": {"conversation_id": "one"}, "extra_headers": {NAME: "other"}}
    with pytest.raises(openai.BadRequestError) as raised:
        chat("echo", **settings).ask("hi")
    assert (raised.value.code, raised.value.param) == ("invalid_value", "metadata.conversation_id")
    with pytest.raises(openai.BadRequestError):
        chat("echo", n=2, metadata={"conversation_id": "one"}).ask("hi")
    assert len(wire.exchanges) == 2


def test_a_conversation_that_is_busy_is_locked(chat: Maker, wire: Wire, coze: Coze, topic: str) -> None:
    talk = chat("slow", **WAYS["header"](topic))
    messages: list[Message] = [{"role": "user", "content": topic}]
    create = talk.client.chat.completions.with_raw_response.create
    # The bot is silent for a while, the head of the answer is there before.
    first = create(model="slow", messages=messages, stream=True, **talk.settings)  # type: ignore[call-overload]
    assert first.headers[MEMORY] == "new"
    impatient = Chat(talk.client.with_options(max_retries=0), "slow", settings=talk.settings)
    with pytest.raises(openai.ConflictError) as raised:
        impatient.ask("and?")
    assert raised.value.code == "conversation_locked"
    assert int(raised.value.response.headers["retry-after"]) >= 1
    # The SDK tries again by itself, until the turn before is over.
    patient = Chat(talk.client.with_options(max_retries=20), "slow", settings=talk.settings)
    second = patient.ask("and?")
    assert second.memory == "continued"
    assert {exchange.status for exchange in wire.exchanges[2:-1]} == {409}
    text = "".join(chunk.choices[0].delta.content or "" for chunk in first.parse())
    messages += [{"role": "assistant", "content": text}, *patient.messages]
    assert coze.stored(second.place) == said(messages)


def test_a_client_that_left_goes_on_with_what_coze_has_said(
    chat: Maker, coze: Coze, topic: str
) -> None:
    talk = chat("slow", **WAYS["header"](topic))
    create = talk.client.chat.completions.with_raw_response.create
    messages: list[Message] = [{"role": "user", "content": topic}]
    left = create(model="slow", messages=messages, stream=True, **talk.settings)  # type: ignore[call-overload]
    left.parse().close()
    patient = Chat(talk.client.with_options(max_retries=20), "slow", settings=talk.settings)
    turn = patient.ask("and?")
    assert turn.memory == "continued"
    expected = [("user", topic), ("assistant", turn.text), ("user", "and?"), ("assistant", turn.text)]
    assert coze.stored(turn.place) == expected
