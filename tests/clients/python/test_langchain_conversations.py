"""Chats by LangChain's ChatOpenAI: a list of messages, a history that is kept
by session, several chats in one batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any

import openai
import pytest
from chats import MEMORY, NAME, TEAM_KEY, shown
from coze import Coze, Transcript
from gateway import Gateway
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, convert_to_openai_messages
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import Runnable
from langchain_openai import ChatOpenAI
from test_conversations import TEN
from wire import Exchange, Wire

Maker = Callable[..., ChatOpenAI]
Ask = Callable[[Runnable[Any, Any], Any], Any]


def by_invoke(model: Runnable[Any, Any], messages: Any) -> Any:
    return model.invoke(messages)


def by_stream(model: Runnable[Any, Any], messages: Any) -> Any:
    """What a client that streams keeps: the chunks' sum."""
    return reduce(add, model.stream(messages))


both_forms = pytest.mark.parametrize("ask", [by_invoke, by_stream])


def memory(exchange: Exchange) -> str:
    """What became of a request's conversation."""
    return exchange.headers[MEMORY]


def place(exchange: Exchange) -> str:
    """What Coze calls it."""
    answer = exchange.chunks[-1] if exchange.is_stream else exchange.json
    return answer["coze"]["conversation_id"]


def said(messages: list[BaseMessage]) -> Transcript:
    """What of a list of messages the bot is to see."""
    return [("assistant" if isinstance(m, AIMessage) else "user", str(m.content)) for m in messages]


@both_forms
@pytest.mark.parametrize("system", [None, "Be brief."], ids=["bare", "system"])
def test_a_list_of_messages(
    team_langchain: Maker, coze: Coze, wire: Wire, topic: str, ask: Ask, system: str | None
) -> None:
    before = coze.conversations("context")
    model = team_langchain("context")
    messages: list[BaseMessage] = [SystemMessage(system)] if system else []
    for n in TEN:
        messages.append(HumanMessage(f"{topic}, {n}"))
        answer = ask(model, messages)
        assert answer.content == shown(convert_to_openai_messages(messages))
        messages.append(answer)
    assert [memory(exchange) for exchange in wire.exchanges] == ["new"] + ["continued"] * 9
    (only,) = {place(exchange) for exchange in wire.exchanges}
    assert coze.conversations("context") == [*before, only]
    assert coze.stored(only) == said(messages)


@both_forms
def test_an_edit(team_langchain: Maker, coze: Coze, wire: Wire, topic: str, ask: Ask) -> None:
    model = team_langchain("context")
    messages: list[BaseMessage] = []
    for n in TEN:
        messages += [HumanMessage(f"{topic}, {n}")]
        messages += [ask(model, messages)]
    del messages[8:]
    for n in range(5, 11):
        messages += [HumanMessage(f"{topic}, {n}, edited")]
        messages += [ask(model, messages)]
    expected = ["new", *["continued"] * 9, "replayed; reason=edited", *["continued"] * 5]
    assert [memory(exchange) for exchange in wire.exchanges] == expected
    assert coze.stored(place(wire.last)) == said(messages)


def test_a_model_that_says_its_headers(team_langchain: Maker, topic: str) -> None:
    model = team_langchain("echo", include_response_headers=True)
    answer = model.invoke(topic)
    assert answer.response_metadata["headers"][MEMORY] == "new"
    again = model.invoke([HumanMessage(topic), answer, HumanMessage("and?")])
    headers = again.response_metadata["headers"]
    assert headers[MEMORY] == "continued"
    assert headers[NAME] == answer.response_metadata["headers"][NAME]


@pytest.mark.filterwarnings("ignore:RunnableWithMessageHistory is deprecated")
@pytest.mark.filterwarnings("ignore:The class `InMemoryChatMessageHistory` was deprecated")
@both_forms
def test_a_history_that_is_kept_by_session(
    team_langchain: Maker, coze: Coze, wire: Wire, topic: str, ask: Ask
) -> None:
    from langchain_core.runnables.history import RunnableWithMessageHistory

    histories = {session: InMemoryChatMessageHistory() for session in ("ann", "ben")}
    prompt = ChatPromptTemplate.from_messages(
        [("system", "You are {role}."), MessagesPlaceholder("history"), ("user", "{text}")]
    )
    chain = RunnableWithMessageHistory(
        prompt | team_langchain("context"),
        lambda session: histories[session],
        input_messages_key="text",
        history_messages_key="history",
    )
    for n in TEN:
        for session, history in histories.items():
            kept = [SystemMessage("You are kind."), *history.messages, HumanMessage(f"{topic}, {session}, {n}")]
            of_session = chain.with_config(configurable={"session_id": session})
            answer = ask(of_session, {"text": f"{topic}, {session}, {n}", "role": "kind"})
            assert answer.content == shown(convert_to_openai_messages(kept))
            assert memory(wire.last) == ("new" if n == 1 else "continued")
    for at, history in enumerate(histories.values()):
        (only,) = {place(exchange) for exchange in wire.exchanges[at::2]}
        assert coze.stored(only) == [("user", "You are kind."), *said(history.messages)]


@pytest.mark.anyio
@pytest.mark.parametrize("together", ["batch", "abatch"])
async def test_a_batch_of_chats(
    team_langchain: Maker, coze: Coze, wire: Wire, topic: str, together: str
) -> None:
    model = team_langchain("echo")
    chats: list[list[BaseMessage]] = [[] for _ in range(8)]
    for n in TEN:
        for at, messages in enumerate(chats):
            messages.append(HumanMessage(f"{topic}, chat {at}, {n}"))
        del wire.exchanges[:]
        answers = model.batch(list(chats)) if together == "batch" else await model.abatch(list(chats))
        for messages, answer in zip(chats, answers, strict=True):
            messages.append(answer)
        assert {memory(exchange) for exchange in wire.exchanges} == {"new" if n == 1 else "continued"}
    assert len(wire.exchanges) == len(chats)
    stored = [coze.stored(place(exchange)) for exchange in wire.exchanges]
    assert sorted(stored) == sorted(said(messages) for messages in chats)


def test_a_batch_of_the_same_words(team_langchain: Maker, coze: Coze, wire: Wire, topic: str) -> None:
    model = team_langchain("context")
    messages: list[BaseMessage] = []
    for n in range(1, 4):
        messages.append(HumanMessage(f"{topic}, {n}"))
        before = len(wire.exchanges)
        answers = model.batch([messages] * 4)
        assert {answer.content for answer in answers} == {shown(convert_to_openai_messages(messages))}
        exchanges = wire.exchanges[before:]
        messages.append(answers[0])
        # Four chats that nobody can tell apart: not one of them goes on in
        # another's conversation.
        assert len({place(exchange) for exchange in exchanges}) == 4
        assert all(coze.stored(place(exchange)) == said(messages) for exchange in exchanges)


@pytest.mark.parametrize(
    "named",
    [
        lambda make, name: make("context", extra_body={"conversation_id": name}),
        lambda make, name: make("context", default_headers={NAME: name}),
        lambda make, name: make("context", extra_body={"metadata": {"conversation_id": name}}),
        lambda make, name: make("context").bind(extra_headers={NAME: name}),
    ],
    ids=["extra_body", "default_headers", "metadata", "bind"],
)
@both_forms
def test_deltas_under_a_name(
    team_langchain: Maker, coze: Coze, wire: Wire, topic: str, named: Callable[[Maker, str], Any], ask: Ask
) -> None:
    model = named(team_langchain, topic.replace(" ", "-"))
    messages: list[BaseMessage] = []
    for n in TEN:
        new = HumanMessage(f"{topic}, {n}")
        answer = ask(model, [new])
        messages.append(new)
        assert answer.content == shown(convert_to_openai_messages(messages))
        assert memory(wire.last) == ("new" if n == 1 else "continued")
        messages.append(answer)
    assert coze.stored(place(wire.last)) == said(messages)


@both_forms
def test_a_question_of_the_bots_is_answered(
    team_langchain: Maker, wire: Wire, topic: str, ask: Ask
) -> None:
    model = team_langchain("ask")
    messages: list[BaseMessage] = [HumanMessage(f"{topic}: the weather?")]
    messages += [ask(model, messages), HumanMessage("Paris")]
    assert ask(model, messages).content == "The weather in Paris will be sunny."
    assert [memory(exchange) for exchange in wire.exchanges] == ["new", "resumed"]


def test_an_unknown_conversation_is_not_found(team_langchain: Maker, wire: Wire) -> None:
    for ask in (by_invoke, by_stream):
        with pytest.raises(openai.NotFoundError) as raised:
            ask(team_langchain("echo", extra_body={"conversation_id": "conv_nobody"}), "hi")
        assert raised.value.code == "conversation_not_found"
    assert len(wire.exchanges) == 2


def test_a_busy_conversation_is_locked(
    team_langchain: Maker, remembering: Gateway, wire: Wire, topic: str
) -> None:
    name = topic.replace(" ", "-")
    with openai.OpenAI(
        base_url=remembering.base_url, api_key=TEAM_KEY, http_client=wire.client()
    ) as client:
        first = client.chat.completions.create(
            model="slow", messages=[{"role": "user", "content": "hi"}], stream=True, extra_headers={NAME: name}
        )
        with pytest.raises(openai.ConflictError) as raised:
            team_langchain("slow", default_headers={NAME: name}, max_retries=0).invoke("and?")
        assert raised.value.code == "conversation_locked"
        assert list(first)
    assert isinstance(team_langchain("slow", default_headers={NAME: name}).invoke("and?"), AIMessage)
    assert memory(wire.last) == "continued"
