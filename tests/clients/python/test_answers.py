"""Whole answers, by the OpenAI SDK."""

from __future__ import annotations

import openai
import pytest
from wire import Wire

UNICODE = [
    "你好，世界！再见。",
    "👩‍👩‍👧‍👦 e\u0301 \u202eabc\u202c \ufeff ﷺ",
    'quotes " and \\ and </script> and & and \u2028\u2029',
    "data: [DONE]\n\ndata: {}\n\n: comment",
    "tab\there\r\nand a line",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \U0010fffd",
]


def ask(client: openai.OpenAI, model: str, text: str, **parameters: object) -> openai.types.chat.ChatCompletion:
    messages = [{"role": "user", "content": text}]
    return client.chat.completions.create(model=model, messages=messages, **parameters)  # type: ignore[call-overload]


def test_an_answer(client: openai.OpenAI) -> None:
    answer = ask(client, "echo", "Hello there")
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "echo"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content == "Hello there"
    assert answer.choices[0].finish_reason == "stop"


def test_usage_is_there_and_adds_up(client: openai.OpenAI) -> None:
    usage = ask(client, "echo", "Hello there").usage
    assert usage is not None and usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@pytest.mark.parametrize("text", UNICODE)
def test_any_text_comes_back_as_it_went(client: openai.OpenAI, text: str) -> None:
    assert ask(client, "echo", text).choices[0].message.content == text


def test_text_parts_are_one_text(client: openai.OpenAI) -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    answer = client.chat.completions.create(model="echo", messages=[{"role": "user", "content": parts}])  # type: ignore[arg-type,list-item]
    content = answer.choices[0].message.content
    assert content is not None and content.split() == ["one", "two"]


def test_thinking_and_follow_ups_are_visible(client: openai.OpenAI) -> None:
    answer = ask(client, "storyteller", "Tell me a story")
    message = answer.choices[0].message
    assert message.content and "lighthouse" in message.content
    assert "want a story" in message.reasoning_content  # type: ignore[attr-defined]
    assert "want a story" not in message.content
    coze = answer.coze  # type: ignore[attr-defined]
    assert coze["conversation_id"].isdigit() and coze["chat_id"].isdigit()
    assert len(coze["follow_ups"]) == 3


@pytest.mark.parametrize(
    ("stop", "expected"),
    [("STOP", "one two "), (["never", "two"], "one "), ("one", ""), ("never", "one two STOP three")],
)
def test_stop_cuts(client: openai.OpenAI, stop: str | list[str], expected: str) -> None:
    choice = ask(client, "echo", "one two STOP three", stop=stop).choices[0]
    assert choice.message.content == expected
    assert choice.finish_reason == "stop"


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_each_of_several_choices_is_whole(client: openai.OpenAI, n: int) -> None:
    answer = ask(client, "echo", "all the same", n=n)
    assert [choice.index for choice in answer.choices] == list(range(n))
    assert all(choice.message.content == "all the same" for choice in answer.choices)
    coze = answer.coze  # type: ignore[attr-defined]
    chats = [coze] if n == 1 else coze["chats"]
    assert len({chat["chat_id"] for chat in chats}) == n


def test_the_usage_of_several_choices_is_their_sum(client: openai.OpenAI) -> None:
    one = ask(client, "echo", "all the same").usage
    three = ask(client, "echo", "all the same", n=3).usage
    assert one is not None and three is not None
    assert three.total_tokens == 3 * one.total_tokens


def test_what_a_bot_cannot_honour_is_ignored_and_named(client: openai.OpenAI) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    raw = client.chat.completions.with_raw_response.create(
        model="echo",
        messages=[{"role": "user", "content": "hi"}],
        temperature=0,
        top_p=1,
        max_tokens=5,
        seed=7,
        tools=[tool],  # type: ignore[list-item]
        tool_choice="auto",
        response_format={"type": "json_object"},
        extra_body={"include_reasoning": True},
    )
    ignored = raw.headers["x-cozeway-ignored"].split(", ")
    assert ignored == ["max_tokens", "response_format", "seed", "temperature", "tool_choice", "tools", "top_p"]
    assert raw.parse().choices[0].message.content == "hi"


def test_nothing_ignored_is_no_header(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="echo", messages=[{"role": "user", "content": "hi"}]
    )
    assert "x-cozeway-ignored" not in raw.headers


def test_the_request_id_is_the_clients_own(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="echo",
        messages=[{"role": "user", "content": "hi"}],
        extra_headers={"x-request-id": "trace:1.a-b_c"},
    )
    assert raw.headers["x-request-id"] == "trace:1.a-b_c"
    assert raw.parse()._request_id == "trace:1.a-b_c"


def test_each_request_without_an_id_gets_one(client: openai.OpenAI) -> None:
    ids = {ask(client, "echo", "hi")._request_id for _ in range(2)}
    assert len(ids) == 2 and all(ids)


def test_a_question_back_is_an_answer(client: openai.OpenAI) -> None:
    answer = ask(client, "ask", "How is the weather?")
    assert answer.choices[0].message.content == "Which city would you like to know the weather of?"


def test_the_base_url_may_lack_v1_and_end_in_a_slash(client: openai.OpenAI) -> None:
    for base_url in (str(client.base_url).removesuffix("v1/"), f"{client.base_url}/"):
        other = client.with_options(base_url=base_url)
        assert ask(other, "echo", "hi").choices[0].message.content == "hi"


def test_models_are_listed(client: openai.OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert set(models) >= {"echo", "storyteller", "context", "broken", "slow", "ask"}
    assert all(model.object == "model" for model in models.values())


def test_one_model_is_shown(client: openai.OpenAI) -> None:
    model = client.models.retrieve("echo")
    assert model.id == "echo" and model.object == "model" and model.owned_by


def test_many_at_once_each_get_their_own(client: openai.OpenAI, wire: Wire) -> None:
    from concurrent.futures import ThreadPoolExecutor

    texts = [f"message {i}" for i in range(32)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda text: ask(client, "echo", text), texts))
    assert [answer.choices[0].message.content for answer in answers] == texts
    assert len({answer.id for answer in answers}) == len(wire.exchanges) == len(texts)
