"""LangChain's ChatOpenAI."""

from __future__ import annotations

from collections.abc import Callable

import openai
import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from wire import Wire

Maker = Callable[..., ChatOpenAI]


def test_invoke(langchain: Maker) -> None:
    answer = langchain("echo").invoke("Hello, 世界")
    assert answer.content == "Hello, 世界"
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata is not None and answer.usage_metadata["total_tokens"] > 0


def test_system_message_and_history(langchain: Maker) -> None:
    answer = langchain("context").invoke(
        [SystemMessage("Be brief."), HumanMessage("first"), AIMessage("second"), HumanMessage("third")]
    )
    assert str(answer.content).split("\n") == [
        "user: Be brief.",
        "user: first",
        "assistant: second",
        "user: third",
    ]


def test_stream(langchain: Maker) -> None:
    chunks = list(langchain("echo").stream("Hello there, world"))
    assert "".join(str(chunk.content) for chunk in chunks) == "Hello there, world"
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.response_metadata["finish_reason"] == "stop"


def test_stream_usage_is_counted_once(langchain: Maker) -> None:
    model = langchain("echo", stream_usage=True)
    whole = None
    for chunk in model.stream("hi"):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    assert whole.usage_metadata == model.invoke("hi").usage_metadata


def test_batch(langchain: Maker) -> None:
    texts = [f"number {i}" for i in range(8)]
    assert [answer.content for answer in langchain("echo").batch(texts)] == texts


def test_stop(langchain: Maker) -> None:
    model = langchain("echo")
    assert model.invoke("one two STOP three", stop=["STOP"]).content == "one two "
    pieces = [str(chunk.content) for chunk in model.stream("one two STOP three", stop=["STOP"])]
    assert "".join(pieces) == "one two "


def test_the_usual_settings_are_taken(langchain: Maker, wire: Wire) -> None:
    model = langchain("echo", temperature=0.2, max_tokens=50, seed=1, top_p=0.9)
    assert model.invoke("hi").content == "hi"
    ignored = wire.last.headers["x-cozeway-ignored"].split(", ")
    assert ignored == ["max_completion_tokens", "seed", "temperature", "top_p"]


def test_bound_tools_are_no_failure(langchain: Maker, wire: Wire) -> None:
    @tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"{city}: rain"

    answer = langchain("echo").bind_tools([weather]).invoke("hi")
    assert isinstance(answer, AIMessage)
    assert answer.content == "hi" and answer.tool_calls == []
    assert "tools" in wire.last.headers["x-cozeway-ignored"]


def test_a_chain(langchain: Maker) -> None:
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate

    prompt = ChatPromptTemplate.from_messages([("system", "Speak {language}."), ("user", "{text}")])
    chain = prompt | langchain("context") | StrOutputParser()
    assert chain.invoke({"language": "French", "text": "hi"}) == "user: Speak French.\nuser: hi"
    assert "".join(chain.stream({"language": "French", "text": "hi"})) == "user: Speak French.\nuser: hi"


def test_too_long_a_context_is_recognised(langchain: Maker) -> None:
    with pytest.raises(ContextOverflowError):
        langchain("echo").invoke("x" * 70_000)
    with pytest.raises(ContextOverflowError):
        list(langchain("echo").stream("x" * 70_000))


def test_errors_are_raised(langchain: Maker) -> None:
    with pytest.raises(openai.NotFoundError):
        langchain("nobody").invoke("hi")
    with pytest.raises(openai.AuthenticationError):
        langchain("echo", api_key="sk-wrong").invoke("hi")
    with pytest.raises(openai.BadRequestError):
        langchain("echo").invoke(" ")
    with pytest.raises(openai.InternalServerError):
        langchain("broken").invoke("hi")


def test_a_failure_in_the_middle_is_raised(langchain: Maker) -> None:
    text = ""
    with pytest.raises(openai.APIError) as raised:
        for chunk in langchain("broken").stream("hi"):
            text += str(chunk.content)
    assert text.strip() == "Once upon a"
    assert raised.value.code == "upstream_error"


def test_strict_structured_output_is_refused_in_words(langchain: Maker) -> None:
    import pydantic

    class Answer(pydantic.BaseModel):
        text: str

    model = langchain("echo").with_structured_output(Answer, method="json_schema", strict=True)
    with pytest.raises(openai.BadRequestError) as raised:
        model.invoke("hi")
    assert raised.value.code == "unsupported_parameter"


@pytest.mark.anyio
async def test_ainvoke_and_abatch(langchain: Maker) -> None:
    model = langchain("echo")
    assert (await model.ainvoke("hi")).content == "hi"
    assert [answer.content for answer in await model.abatch(["a", "b"])] == ["a", "b"]


@pytest.mark.anyio
async def test_astream(langchain: Maker) -> None:
    pieces = [str(chunk.content) async for chunk in langchain("echo").astream("Hello there, world")]
    assert "".join(pieces) == "Hello there, world"
    assert len([piece for piece in pieces if piece]) > 1


@pytest.mark.anyio
async def test_a_failure_in_the_middle_of_astream_is_raised(langchain: Maker) -> None:
    text = ""
    with pytest.raises(openai.APIError) as raised:
        async for chunk in langchain("broken").astream("hi"):
            text += str(chunk.content)
    assert text.strip() == "Once upon a"
    assert raised.value.code == "upstream_error"
