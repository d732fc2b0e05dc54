"""Streamed answers, by the OpenAI SDK."""

from __future__ import annotations

from collections import defaultdict

import openai
import pytest
from gateway import Gateway
from test_answers import UNICODE
from wire import DONE, Wire


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_an_answer_comes_in_pieces(client: openai.OpenAI, wire: Wire) -> None:
    stream = client.chat.completions.create(model="echo", messages=user("Hello there, world"), stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "".join(pieces) == "Hello there, world"
    assert len([piece for piece in pieces if piece]) > 1
    assert wire.last.events[-1] == DONE


def test_a_stream_says_no_word_of_usage_unasked(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="echo", messages=user("hi"), stream=True)
    assert all(chunk.usage is None and chunk.choices for chunk in stream)


def test_the_body_ends_with_the_answer(client: openai.OpenAI, wire: Wire) -> None:
    with client.chat.completions.with_streaming_response.create(
        model="echo", messages=user("hi"), stream=True
    ) as response:
        lines = list(response.iter_lines())
    assert [line for line in lines if line][-1] == f"data: {DONE}"
    assert wire.last.complete


def test_usage_comes_last_where_it_is_asked_for(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="echo", messages=user("hi"))
    chunks = list(
        client.chat.completions.create(
            model="echo", messages=user("hi"), stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None and whole.usage is not None
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens > 0


def test_the_usage_of_several_choices_is_their_sum(client: openai.OpenAI) -> None:
    usages = {}
    for n in (1, 2):
        *_, last = client.chat.completions.create(
            model="echo", messages=user("hi"), n=n, stream=True, stream_options={"include_usage": True}
        )
        assert last.usage is not None
        usages[n] = last.usage.total_tokens
    assert usages[2] == 2 * usages[1]


def test_a_cut_answer_ends_as_any_other(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="echo",
        messages=user("one two STOP three"),  # type: ignore[arg-type]
        stop="STOP",
        n=2,
        stream_options={"include_usage": True},
    ) as stream:
        final = stream.get_final_completion()
    assert [choice.message.content for choice in final.choices] == ["one two ", "one two "]
    assert [choice.finish_reason for choice in final.choices] == ["stop", "stop"]


def test_thinking_comes_before_the_words_and_apart_from_them(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="storyteller", messages=user("A story"), stream=True)
    kinds, thinking, text, coze = [], "", "", None
    for chunk in stream:
        delta = chunk.choices[0].delta
        thought = getattr(delta, "reasoning_content", None)
        assert not (thought and delta.content)
        if thought:
            kinds.append("thinking")
            thinking += thought
        if delta.content:
            kinds.append("text")
            text += delta.content
        coze = getattr(chunk, "coze", None) or coze
    assert kinds == sorted(kinds, reverse=True)
    assert "want a story" in thinking and "lighthouse" in text
    assert coze is not None and len(coze["follow_ups"]) == 3


def test_the_stream_helper(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="echo", messages=user("Hello there, world")) as stream:  # type: ignore[arg-type]
        text = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion()
    assert text == "Hello there, world"
    message = final.choices[0].message
    assert (message.role, message.content, final.choices[0].finish_reason) == ("assistant", text, "stop")


def test_whole_and_stream_agree(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="storyteller", messages=user("A story"))
    with client.chat.completions.stream(model="storyteller", messages=user("A story")) as stream:  # type: ignore[arg-type]
        streamed = stream.get_final_completion()
    one, other = whole.choices[0].message, streamed.choices[0].message
    assert one.content == other.content
    assert one.reasoning_content == other.reasoning_content  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", UNICODE)
def test_any_text_comes_back_as_it_went(client: openai.OpenAI, text: str) -> None:
    stream = client.chat.completions.create(model="echo", messages=user(text), stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == text


@pytest.mark.parametrize(
    ("stop", "expected"),
    [("STOP", "one two "), ("o STOP th", "one tw"), (["never", "two"], "one "), ("one", ""), ("!", "one two STOP three")],
)
def test_stop_cuts_also_across_chunks(client: openai.OpenAI, stop: str | list[str], expected: str) -> None:
    stream = client.chat.completions.create(
        model="echo", messages=user("one two STOP three"), stream=True, stop=stop
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == expected
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("n", [2, 3])
def test_each_of_several_choices_is_whole(client: openai.OpenAI, n: int) -> None:
    texts: dict[int, str] = defaultdict(str)
    finished = []
    for chunk in client.chat.completions.create(model="echo", messages=user("all the same"), stream=True, n=n):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                finished.append(choice.index)
    assert texts == {index: "all the same" for index in range(n)}
    assert finished == list(range(n))


@pytest.mark.parametrize("n", [2, 3])
def test_the_stream_helper_with_several_choices(client: openai.OpenAI, wire: Wire, n: int) -> None:
    with client.chat.completions.stream(model="echo", messages=user("all the same"), n=n) as stream:  # type: ignore[arg-type]
        final = stream.get_final_completion()
    assert [choice.message.content for choice in final.choices] == ["all the same"] * n
    # The helper drops what it does not know: the chunk has it.
    assert len({chat["chat_id"] for chat in wire.last.chunks[-1]["coze"]["chats"]}) == n


def test_a_failure_in_the_middle_is_raised_after_the_words_so_far(client: openai.OpenAI, wire: Wire) -> None:
    stream = client.chat.completions.create(model="broken", messages=user("hi"), stream=True)
    text = ""
    with pytest.raises(openai.APIError) as raised:
        for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    assert text.strip() == "Once upon a"
    assert raised.value.code == "upstream_error"
    assert raised.value.type == "server_error"
    assert raised.value.message
    assert DONE not in wire.last.events
    assert len(wire.exchanges) == 1


def test_a_failure_in_the_middle_is_raised_by_the_stream_helper(client: openai.OpenAI) -> None:
    text = ""
    with (
        pytest.raises(openai.APIError) as raised,
        client.chat.completions.stream(model="broken", messages=user("hi")) as stream,  # type: ignore[arg-type]
    ):
        for event in stream:
            if event.type == "content.delta":
                text += event.delta
    assert text.strip() == "Once upon a"
    assert raised.value.code == "upstream_error"


def test_one_failed_choice_fails_the_stream(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError) as raised:
        list(client.chat.completions.create(model="broken", messages=user("hi"), stream=True, n=2))
    assert raised.value.code == "upstream_error"


def test_a_client_that_leaves_a_stream_ends_it(gateway: Gateway, client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="storyteller", messages=user("A story"), stream=True
    )
    with raw.parse() as stream:
        next(stream)
    entry = gateway.logged(raw.headers["x-request-id"])
    assert entry["outcome"] == "client_left"


def test_a_client_that_gives_up_on_silence_ends_the_turn(gateway: Gateway, client: openai.OpenAI) -> None:
    impatient = client.with_options(timeout=0.4, max_retries=0)
    for stream in (False, True):
        with pytest.raises(openai.APITimeoutError):
            impatient.chat.completions.create(
                model="slow",
                messages=user("hi"),
                stream=stream,
                extra_headers={"x-request-id": f"gives-up-{stream}"},
            )
        assert gateway.logged(f"gives-up-{stream}")["outcome"] == "client_left"


def test_an_error_ahead_of_the_first_word_is_a_status(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="nobody", messages=user("hi"), stream=True)
    assert raised.value.code == "model_not_found"
