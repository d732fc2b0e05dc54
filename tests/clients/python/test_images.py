"""Images and files, by URL and by their bytes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import openai
import pytest
from chats import MEMORY
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI
from wire import Wire

URL = "https://example.com/cat.png?a=1&b=2"
PDF_URL = "https://example.org/report.pdf"


def png(name: str) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + name.encode()


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def place(content: bytes) -> str:
    """What the address of an upload says of its bytes."""
    return f"/bot_files/{hashlib.sha256(content).hexdigest()[:32]}/"


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def inline(content: bytes) -> dict[str, Any]:
    return image(f"data:image/png;base64,{encoded(content)}")


@pytest.mark.parametrize("stream", [False, True])
def test_by_url_and_inline(client: openai.OpenAI, stream: bool) -> None:
    first, second = png("first"), png("second")
    parts = [text("look"), image(URL), inline(first), inline(second), inline(first)]
    answer = client.chat.completions.create(
        model="context", messages=[{"role": "user", "content": parts}], stream=stream
    )
    said = (
        "".join(chunk.choices[0].delta.content or "" for chunk in answer)
        if stream
        else answer.choices[0].message.content
    )
    start, *seen = said.split(" http")
    assert start == "user: look"
    assert seen[0] == URL.removeprefix("http")
    assert [place(content) in url for content, url in zip([first, second, first], seen[1:], strict=True)] == [True] * 3


def test_a_file(client: openai.OpenAI) -> None:
    pdf = b"%PDF-1.7 of a test"
    file = {"filename": "report.pdf", "file_data": f"data:application/pdf;base64,{encoded(pdf)}"}
    answer = client.chat.completions.create(
        model="echo", messages=[{"role": "user", "content": [text("read"), {"type": "file", "file": file}]}]
    )
    said = answer.choices[0].message.content
    assert said is not None and said.startswith("read  this is a file:") and f"{place(pdf)}report.pdf" in said


def test_a_file_by_url(client: openai.OpenAI, langchain: Callable[..., ChatOpenAI]) -> None:
    part: Any = {"type": "file", "file": {"file_url": PDF_URL}}
    answer = client.chat.completions.create(
        model="echo", messages=[{"role": "user", "content": [text("read"), part]}]
    )
    said = answer.choices[0].message.content
    assert said is not None and said.startswith("read") and PDF_URL in said
    assert PDF_URL in str(langchain("echo").invoke([HumanMessage(content=[text("read"), part])]).content)


def test_a_chat_with_images_goes_on(team: openai.OpenAI, wire: Wire, topic: str) -> None:
    messages: list[Any] = []
    for number in range(4):
        content = png(f"{topic} {number}")
        messages.append({"role": "user", "content": [text(f"{topic}, {number}"), inline(content)]})
        answer = team.chat.completions.create(model="context", messages=messages)
        said = answer.choices[0].message.content
        assert said is not None and place(content) in said
        assert wire.last.headers[MEMORY] == ("continued" if number else "new")
        messages.append({"role": "assistant", "content": said})


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,iVBORw0KGgo="}}, "image/png"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}, "no image"),
        ({"type": "file", "file": {"file_id": "file-abc"}}, "file_data"),
        ({"type": "input_audio", "input_audio": {"data": "SUQzBA==", "format": "mp3"}}, "audio"),
    ],
)
def test_what_cannot_be_taken(client: openai.OpenAI, part: Any, says: str) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="echo", messages=[{"role": "user", "content": [text("x"), part]}])
    assert raised.value.code == "unsupported_content"
    assert raised.value.param == "messages[0].content[1]"
    assert says in raised.value.message


def test_langchain(langchain: Callable[..., ChatOpenAI]) -> None:
    content = png("langchain")
    for part in (
        inline(content),
        {"type": "image", "base64": encoded(content), "mime_type": "image/png"},
        {"type": "image", "source_type": "base64", "data": encoded(content), "mime_type": "image/png"},
    ):
        answer = langchain("context").invoke([HumanMessage(content=[text("look"), part])])
        assert place(content) in str(answer.content)
    for part in (image(URL), {"type": "image", "url": URL}):
        answer = langchain("context").invoke([HumanMessage(content=[text("look"), part])])
        assert str(answer.content) == f"user: look {URL}"
    pdf = b"%PDF-1.7 of langchain"
    part = {"type": "file", "base64": encoded(pdf), "mime_type": "application/pdf", "filename": "a.pdf"}
    answer = langchain("echo").invoke([HumanMessage(content=[text("read"), part])])
    assert f"{place(pdf)}a.pdf" in str(answer.content)


def test_langchain_goes_on(team_langchain: Callable[..., ChatOpenAI], wire: Wire, topic: str) -> None:
    model = team_langchain("echo")
    messages: list[HumanMessage | AIMessage] = [HumanMessage(content=[text(topic), inline(png(topic))])]
    answer = model.invoke(messages)
    messages += [AIMessage(str(answer.content)), HumanMessage(content=[text("and?"), inline(png(f"{topic} 2"))])]
    model.invoke(messages)
    assert wire.last.headers[MEMORY] == "continued"
