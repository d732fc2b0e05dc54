"""What the bot sees: each message of the client's, once and in order."""

from __future__ import annotations

import openai
import pytest
from wire import Wire


def seen(client: openai.OpenAI, messages: list[dict[str, str]]) -> list[str]:
    answer = client.chat.completions.create(model="context", messages=messages)  # type: ignore[arg-type]
    return (answer.choices[0].message.content or "").split("\n")


def test_a_single_question(client: openai.OpenAI) -> None:
    assert seen(client, [{"role": "user", "content": "hi"}]) == ["user: hi"]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_system_text_and_history(client: openai.OpenAI, role: str) -> None:
    lines = seen(
        client,
        [
            {"role": role, "content": "Be brief."},
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "second"},
            {"role": "user", "content": "third"},
        ],
    )
    assert lines == ["user: Be brief.", "user: first", "assistant: second", "user: third"]


def test_a_chat_of_several_turns(client: openai.OpenAI) -> None:
    messages: list[dict[str, str]] = [{"role": "system", "content": "Be brief."}]
    expected = ["user: Be brief."]
    for turn in range(3):
        messages.append({"role": "user", "content": f"question {turn}"})
        expected.append(f"user: question {turn}")
        assert seen(client, messages) == expected
        # What a person edits is what the bot shall see.
        messages.append({"role": "assistant", "content": f"answer {turn}"})
        expected.append(f"assistant: answer {turn}")


def test_the_same_words_again_are_not_lost(client: openai.OpenAI) -> None:
    messages = [
        {"role": "user", "content": "yes"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "yes"},
    ]
    assert seen(client, messages) == ["user: yes", "assistant: yes", "user: yes"]


def test_a_message_of_another_script(client: openai.OpenAI) -> None:
    messages = [
        {"role": "user", "content": "你是谁？"},
        {"role": "assistant", "content": "我是机器人 🤖"},
        {"role": "user", "content": "שלום"},
    ]
    assert seen(client, messages) == ["user: 你是谁？", "assistant: 我是机器人 🤖", "user: שלום"]


def test_tool_messages_are_told_in_words(client: openai.OpenAI) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
    messages = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]
    lines = seen(client, messages)  # type: ignore[arg-type]
    assert lines[:2] == ["user: weather?", 'assistant: [called weather({"city":"Oslo"})]']
    assert len(lines) == 3 and lines[2].startswith("user: ") and "weather" in lines[2] and "rain" in lines[2]


def test_a_history_of_300_messages(client: openai.OpenAI, wire: Wire) -> None:
    messages = [{"role": "assistant" if at % 2 else "user", "content": f"m{at}"} for at in range(299)]
    lines = seen(client, messages)
    assert "x-cozeway-trimmed" not in wire.last.headers
    assert lines == [f"{message['role']}: {message['content']}" for message in messages]


def test_a_history_that_coze_cannot_store_loses_its_oldest_and_says_so(client: openai.OpenAI, wire: Wire) -> None:
    history = [
        {"role": "assistant" if at % 2 else "user", "content": f"{at} " + "word " * 60} for at in range(299)
    ]
    lines = seen(client, [{"role": "system", "content": "Be brief."}, *history])
    trimmed = int(wire.last.headers["x-cozeway-trimmed"])
    assert 0 < trimmed < 299
    expected = [f"{message['role']}: {message['content']}".strip() for message in history[trimmed:]]
    assert lines[0] == "user: Be brief."
    assert [line.strip() for line in lines[1:]] == expected


def test_what_cannot_be_trimmed_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        seen(client, [{"role": "user", "content": "x" * 70_000}])
    assert raised.value.code == "context_length_exceeded"
    assert raised.value.param == "messages"
    assert "context_length_exceeded" in raised.value.message


def test_two_users_share_nothing(client: openai.OpenAI) -> None:
    for user in ("ann", "ben"):
        answer = client.chat.completions.create(
            model="context", messages=[{"role": "user", "content": f"I am {user}"}], user=user
        )
        assert answer.choices[0].message.content == f"user: I am {user}"
