"""Turns that are not just a question and its answer: what clients resend
beside plain text, answers that were cut or failed, chats that are long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest
from chats import MEMORY, NAME, Chat, Message, said, shown
from coze import Coze
from test_conversation_names import WAYS, only_the_new
from test_conversations import TEN, both_forms

Maker = Callable[..., Chat]


def test_the_sdks_own_message_is_resent(team: openai.OpenAI, coze: Coze, topic: str) -> None:
    messages: list[Any] = []
    expected = []
    for n in TEN:
        messages.append({"role": "user", "content": f"{topic}, {n}"})
        raw = team.chat.completions.with_raw_response.create(model="storyteller", messages=messages)
        answer = raw.parse()
        assert raw.headers[MEMORY] == ("new" if n == 1 else "continued")
        message = answer.choices[0].message
        expected += [("user", f"{topic}, {n}"), ("assistant", message.content)]
        messages.append(message if n % 2 else message.model_dump())
    assert coze.stored(answer.coze["conversation_id"]) == expected  # type: ignore[attr-defined]


def test_text_is_resent_in_parts(chat: Maker, coze: Coze, topic: str) -> None:
    talk = chat("echo")
    for n in range(1, 5):
        turn = talk.ask(f"{topic}, {n}")
        assert turn.memory == ("new" if n == 1 else "continued")
    plain = said(talk.messages)
    for message in talk.messages:
        message["content"] = [{"type": "text", "text": message["content"]}]
    assert talk.ask("and?").memory == "continued"
    assert coze.stored(turn.place) == [*plain, ("user", "and?"), ("assistant", "and?")]


def test_an_image_stays_in_its_turn(team: openai.OpenAI, topic: str) -> None:
    picture = "https://example.org/cat.png"
    content = [{"type": "text", "text": topic}, {"type": "image_url", "image_url": {"url": picture}}]
    talk = Chat(team, "context", messages=[{"role": "user", "content": content}])
    first = talk.send(talk.messages)
    assert first.text == f"user: {topic} {picture}"
    talk.messages.append({"role": "assistant", "content": first.text})
    for n in range(2, 6):
        turn = talk.ask(f"{n}")
        assert (turn.memory, turn.place) == ("continued", first.place)
    assert turn.text.endswith("\nuser: 5") and turn.text.startswith(first.text)
    # Another image is another chat.
    content[1] = {"type": "image_url", "image_url": {"url": "https://example.org/dog.png"}}
    other = talk.ask("and?")
    assert other.memory is not None and other.memory.startswith("replayed")
    assert other.text.startswith(f"user: {topic} https://example.org/dog.png")


@both_forms
def test_a_history_of_the_clients_own(chat: Maker, coze: Coze, topic: str, stream: bool) -> None:
    talk = chat("context", stream=stream, system="Be brief.")
    talk.messages += [
        {"role": "user", "content": f"{topic}: 1 + 1"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "2 + 2"},
        {"role": "assistant", "content": "4"},
    ]
    turns = []
    for n in TEN:
        turns.append(talk.ask(f"{n} + {n}"))
        assert turns[-1].text == shown(talk.messages[:-1])
    assert [turn.memory for turn in turns] == ["replayed; reason=unknown"] + ["continued"] * 9
    assert coze.stored(turns[0].place) == said(talk.messages)


def test_a_tool_of_the_clients(chat: Maker, topic: str) -> None:
    talk = chat("context")
    first = talk.ask(f"{topic}: the weather?")
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    talk.messages[-1:] = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]
    turn = talk.send(talk.messages)
    talk.messages.append({"role": "assistant", "content": turn.text})
    assert turn.place != first.place
    lines = turn.text.split("\n")
    assert lines[:2] == [f"user: {topic}: the weather?", "assistant: [called weather({})]"]
    assert len(lines) == 3 and "rain" in lines[2]
    after = talk.ask("and tomorrow?")
    assert (after.memory, after.place) == ("continued", turn.place)


@both_forms
def test_a_chat_that_is_more_than_coze_takes_at_once(
    chat: Maker, coze: Coze, topic: str, stream: bool
) -> None:
    talk = chat("echo", stream=stream)
    long = "word " * 1_000
    for n in TEN:
        turn = talk.ask(f"{topic}, {n}: {long}.")
        assert turn.memory == ("new" if n == 1 else "continued")
    assert coze.stored(turn.place) == said(talk.messages)
    # Edited at its end it is too long to be replayed as a whole.
    edited = talk.branch(turns=9)
    replayed = edited.ask(f"edited: {long}.")
    assert replayed.memory == "replayed; reason=edited"
    kept = coze.stored(replayed.place)
    assert 2 < len(kept) < 20 and kept == said(edited.messages)[-len(kept) :]
    after = edited.ask("and?")
    assert (after.memory, after.place) == ("continued", replayed.place)


def words(talk: Chat, messages: list[Message], count: int) -> str:
    """The first words of an answer; then the client leaves."""
    text = ""
    with talk.client.chat.completions.create(
        model=talk.model,
        messages=messages,  # type: ignore[arg-type]
        stream=True,
        **talk.settings,
    ) as stream:
        for chunk in stream:
            text += chunk.choices[0].delta.content or ""
            count -= bool(chunk.choices[0].delta.content)
            if count == 0:
                break
    return text


@pytest.mark.parametrize("name", [False, True], ids=["unnamed", "named"])
def test_an_answer_that_the_user_stopped(chat: Maker, coze: Coze, topic: str, name: bool) -> None:
    talk = chat("steady", stream=True, **(WAYS["header"](topic) if name else {}))
    first = talk.ask(topic)
    talk.messages.append({"role": "user", "content": "again"})
    part = words(talk, talk.messages, 5)
    assert part and len(part.split()) == 5
    talk.messages.append({"role": "assistant", "content": part})
    patient = Chat(talk.client.with_options(max_retries=20), talk.model, True, talk.messages, talk.settings)
    turn = patient.ask("and?")
    assert turn.memory == f"replayed; reason={'cut' if name else 'unknown'}"
    assert turn.place != first.place
    stored = [(role, text.strip()) for role, text in coze.stored(turn.place)]
    assert stored == [(role, text.strip()) for role, text in said(talk.messages)]
    assert patient.ask("and then?").memory == "continued"


def test_a_client_that_sends_what_is_new_after_it_has_stopped(chat: Maker, coze: Coze, topic: str) -> None:
    talk = chat("steady", stream=True, **WAYS["header"](topic))
    first = only_the_new(talk, topic)
    assert words(talk, [{"role": "user", "content": "again"}], 5)
    patient = Chat(talk.client.with_options(max_retries=20), talk.model, True, talk.messages, talk.settings)
    turn = only_the_new(patient, "and?")
    assert (turn.memory, turn.place) == ("continued", first.place)
    story = ("assistant", first.text)
    assert coze.stored(turn.place) == [("user", topic), story, ("user", "again"), story, ("user", "and?"), story]


@both_forms
@pytest.mark.parametrize("name", [False, True], ids=["unnamed", "named"])
def test_an_answer_that_a_stop_string_cut(
    chat: Maker, coze: Coze, topic: str, stream: bool, name: bool
) -> None:
    talk = chat("echo", stream=stream, stop="STOP", **(WAYS["header"](topic) if name else {}))
    first = talk.ask(topic)
    create = talk.client.chat.completions.with_raw_response.create
    talk.messages.append({"role": "user", "content": "one two STOP three"})
    raw = create(model="echo", messages=talk.messages, stream=stream, **talk.settings)  # type: ignore[call-overload]
    assert raw.headers[MEMORY] == "continued"
    parsed = raw.parse()
    text = (
        "".join(chunk.choices[0].delta.content or "" for chunk in parsed)
        if stream
        else parsed.choices[0].message.content
    )
    assert text == "one two "
    talk.messages.append({"role": "assistant", "content": text})
    patient = Chat(talk.client.with_options(max_retries=20), "echo", stream, talk.messages, talk.settings)
    turn = patient.ask("and?")
    assert turn.memory == f"replayed; reason={'cut' if name else 'unknown'}"
    assert turn.place != first.place
    stored = [(role, text.strip()) for role, text in coze.stored(turn.place)]
    assert stored == [(role, text.strip()) for role, text in said(talk.messages)]


@both_forms
def test_a_question_that_failed_is_asked_again(
    team: openai.OpenAI, coze: Coze, topic: str, stream: bool
) -> None:
    impatient = team.with_options(max_retries=0)
    before = coze.conversations("broken")
    messages: list[Message] = [{"role": "user", "content": topic}]
    places = []
    for _ in range(3):
        with pytest.raises(openai.APIError):
            answer = impatient.chat.completions.create(model="broken", messages=messages, stream=stream)  # type: ignore[call-overload]
            assert list(answer)
        places.append(coze.conversations("broken")[-1])
    assert len({*places} - {*before}) == 3, "what failed is never gone on with"
    for place in places:
        assert [line for line in coze.stored(place) if line[0] == "user"] == [("user", topic)]


@both_forms
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_question_that_failed_is_asked_again_under_a_name(
    team: openai.OpenAI, coze: Coze, topic: str, stream: bool, way: Callable[[str], dict[str, Any]]
) -> None:
    impatient = team.with_options(max_retries=0)
    for _ in range(3):
        with pytest.raises(openai.APIError) as raised:
            answer = impatient.chat.completions.create(
                model="broken",
                messages=[{"role": "user", "content": topic}],
                stream=stream,
                **way(f"failed {topic} {stream}"),
            )
            assert list(answer)
        assert raised.value.code == "upstream_error"
        place = coze.conversations("broken")[-1]
        asked = [text for role, text in coze.stored(place) if role == "user"]
        assert asked == [topic], "a question that failed is not asked twice"


def test_the_header_of_an_answer_can_be_sent_back_as_it_is(chat: Maker, topic: str) -> None:
    talk = chat("context", **WAYS["body"](f"{topic} 你好 50% \"x\""))
    first = talk.ask(topic)
    assert first.name is not None
    talk.settings = {"extra_headers": {NAME: first.name}}
    turn = only_the_new(talk, "and?")
    assert (turn.memory, turn.place, turn.name) == ("continued", first.place, first.name)
