"""Chats in Open WebUI: told apart by its chat ids, with titles, tags and
follow-up questions asked for in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from chats import Turn, said, shown
from coze import Coze
from gateway import Gateway
from test_conversations import TEN, details
from webui import TASKS, WebUIChat
from wire import Wire

Maker = Callable[..., WebUIChat]


@pytest.fixture
def webui(remembering: Gateway, wire: Wire) -> Iterator[Maker]:
    """Makes a chat of a user's."""
    with wire.client() as http:
        yield lambda model, user="ann", **settings: WebUIChat(http, remembering, model, user, **settings)


def check_turn(chat: WebUIChat, turn: Turn, first: bool) -> None:
    assert turn.memory == ("new" if first else "continued")
    assert turn.text == shown(chat.messages[:-1])


def test_a_chat_with_its_tasks(webui: Maker, coze: Coze, topic: str) -> None:
    chat = webui("context")
    places, aside = set(), set()
    for n in TEN:
        turn = chat.ask(f"{topic}, {n}")
        check_turn(chat, turn, first=n == 1)
        places.add(turn.place)
        for kind in ["follow_ups", "query"] if n > 1 else ["follow_ups", "title", "tags", "query"]:
            task = chat.task(kind)
            assert task.memory == "new"
            assert task.text == shown([{"role": "user", "content": TASKS[kind](chat.messages)}])
            aside.add(task.place)
    (place,) = places
    assert place not in aside and len(aside) == 22
    assert coze.stored(place) == said(chat.messages)


def test_tasks_that_come_while_the_chat_goes_on(webui: Maker, coze: Coze, topic: str) -> None:
    chat = webui("echo")
    chat.ask(f"{topic}, 1")
    with ThreadPoolExecutor(len(TASKS)) as pool:
        for n in range(2, 11):
            as_it_is = replace(chat, messages=list(chat.messages))
            tasks = [pool.submit(as_it_is.task, kind) for kind in TASKS]
            turn = chat.ask(f"{topic}, {n}")
            assert turn.memory == "continued"
            assert {task.result().memory for task in tasks} == {"new"}
            assert turn.place not in {task.result().place for task in tasks}
    assert coze.stored(turn.place) == said(chat.messages)


def test_two_chats_that_begin_with_the_same_words(webui: Maker, coze: Coze, topic: str) -> None:
    chats = [webui("context"), webui("context")]
    places: list[set[str]] = [set(), set()]
    for n in TEN:
        for chat, of_chat in zip(chats, places, strict=True):
            turn = chat.ask(f"{topic}, {n}")
            check_turn(chat, turn, first=n == 1)
            of_chat.add(turn.place)
            if n == 1:
                assert {chat.task(kind).memory for kind in TASKS} == {"new"}
    assert [len(of_chat) for of_chat in places] == [1, 1] and places[0] != places[1]
    for chat, of_chat in zip(chats, places, strict=True):
        assert coze.stored(of_chat.pop()) == said(chat.messages)


def test_two_users_in_chats_that_begin_with_the_same_words(webui: Maker, coze: Coze, topic: str) -> None:
    # The same chat id, too: a shared chat that each goes on with alone.
    chats = [webui("echo", user) for user in ("ann", "ben")]
    chats[1].id = chats[0].id
    turns = [chat.ask(topic) for chat in chats]
    assert turns[0].place != turns[1].place
    for chat, first in zip(chats, turns, strict=True):
        turn = chat.ask("and?")
        assert (turn.memory, turn.place) == ("continued", first.place)
        assert coze.stored(turn.place) == said(chat.messages)


def test_a_chat_with_two_models(webui: Maker, topic: str) -> None:
    chats = [webui("echo"), webui("context")]
    chats[1].id = chats[0].id
    places: list[set[str]] = [set(), set()]
    for n in TEN:
        for chat, of_chat in zip(chats, places, strict=True):
            turn = chat.ask(f"{topic}, {n}")
            assert turn.memory == ("new" if n == 1 else "continued")
            of_chat.add(turn.place)
    assert [len(of_chat) for of_chat in places] == [1, 1]
    # One model's turn, asked of the other: it has seen nothing of it yet.
    other = webui("context", id=chats[0].id, messages=list(chats[0].messages))
    turn = other.ask("and you?")
    assert turn.memory is not None and turn.memory.startswith("replayed")
    assert turn.text == shown(other.messages[:-1])


def test_an_edit_and_a_regeneration(webui: Maker, coze: Coze, topic: str) -> None:
    chat = webui("context")
    for n in TEN:
        first = chat.ask(f"{topic}, {n}")
    edited = webui("context", id=chat.id, messages=chat.messages[:8])
    for n in range(5, 11):
        turn = edited.ask(f"{topic}, {n}, edited")
        assert turn.memory == ("replayed; reason=edited" if n == 5 else "continued")
        edited.task("follow_ups")
    assert turn.text == shown(edited.messages[:-1])
    assert coze.stored(turn.place) == said(edited.messages)
    again = edited.send(edited.messages[:-1])
    assert (again.memory, again.text) == ("replayed; reason=edited", turn.text)
    # Back on the first branch.
    back = chat.ask("and?")
    assert (back.memory, back.place) == ("continued", first.place)


def test_thinking_that_is_shown_and_kept(webui: Maker, coze: Coze, topic: str, wire: Wire) -> None:
    chat = webui("storyteller")
    expected = []
    for n in range(1, 5):
        turn = chat.ask(f"{topic}, {n}")
        assert turn.memory == ("new" if n == 1 else "continued")
        expected += [("user", f"{topic}, {n}"), ("assistant", turn.text)]
        deltas = [chunk["choices"][0]["delta"] for chunk in wire.last.chunks]
        thinking = "".join(delta.get("reasoning_content") or "" for delta in deltas)
        assert thinking
        chat.messages[-1]["content"] = details(thinking, turn.text)
    assert coze.stored(turn.place) == expected


def test_a_question_of_the_bots_is_answered(webui: Maker, topic: str) -> None:
    chat = webui("ask")
    asked = chat.ask(f"{topic}: the weather?")
    assert "Which city" in asked.text
    # The bot takes the tasks for questions of their own.
    assert all(chat.task(kind).place != asked.place for kind in TASKS)
    answered = chat.ask("Paris")
    assert (answered.memory, answered.place) == ("resumed", asked.place)
    assert answered.text == "The weather in Paris will be sunny."
