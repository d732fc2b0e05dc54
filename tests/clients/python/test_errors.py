"""Errors as the SDK's classes, and what the SDK tries again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from fake_coze import FakeCoze
from gateway import PATIENCE, Gateway, binary
from wire import Wire

HI: Any = [{"role": "user", "content": "hi"}]


def test_a_wrong_key(client: openai.OpenAI) -> None:
    stranger = client.with_options(api_key="sk-nobody-knows-me")
    for call in (
        lambda: stranger.chat.completions.create(model="echo", messages=HI),
        lambda: stranger.chat.completions.create(model="echo", messages=HI, stream=True),
        stranger.models.list,
        lambda: stranger.models.retrieve("echo"),
    ):
        with pytest.raises(openai.AuthenticationError) as raised:
            call()
        assert raised.value.code == "invalid_api_key"
        assert raised.value.request_id
        assert "sk-nobody-knows-me" not in raised.value.message


def test_no_key(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as raised:
        client.models.list(extra_headers={"Authorization": openai.Omit()})
    assert raised.value.code == "missing_api_key"
    assert raised.value.response.headers["www-authenticate"].startswith("Bearer")


def test_an_unknown_model(client: openai.OpenAI, wire: Wire) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="nobody", messages=HI)
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")
    assert "nobody" in raised.value.message
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("nobody")
    assert raised.value.code == "model_not_found"
    assert len(wire.exchanges) == 2, "a 404 is not tried again"


def test_an_unknown_route(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.embeddings.create(model="echo", input="hi", encoding_format="float")
    assert raised.value.code == "unknown_url"


@pytest.mark.parametrize(
    ("parameters", "code", "param"),
    [
        ({"messages": []}, "empty_array", "messages"),
        ({"messages": [{"role": "user", "content": "  \n "}]}, "invalid_value", "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, "invalid_value", "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "invalid_value", "messages[0].role"),
        ({"messages": [*HI, {"role": "user"}]}, "missing_required_parameter", "messages[1].content"),
        ({"messages": "hi"}, "invalid_type", "messages"),
        ({"temperature": "hot"}, "invalid_type", "temperature"),
        ({"n": 9}, "integer_above_max_value", "n"),
        ({"n": 0}, "integer_below_min_value", "n"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "invalid_value", "stop"),
        ({"stop": [""]}, "invalid_value", "stop"),
        ({"logprobs": True}, "unsupported_parameter", "logprobs"),
        ({"tool_choice": "required", "tools": []}, "unsupported_parameter", "tool_choice"),
        ({"modalities": ["text", "audio"]}, "unsupported_parameter", "modalities"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]}]},
            "unsupported_content",
            "messages[0].content[0]",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_bad_parameter_is_named(
    client: openai.OpenAI, wire: Wire, parameters: dict[str, Any], code: str, param: str, stream: bool
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(**({"model": "echo", "messages": HI, "stream": stream} | parameters))
    assert (raised.value.code, raised.value.param) == (code, param)
    assert raised.value.type == "invalid_request_error"
    assert raised.value.message
    assert len(wire.exchanges) == 1, "a 400 is not tried again"


def test_a_strict_schema_is_refused(client: openai.OpenAI) -> None:
    import pydantic

    class Answer(pydantic.BaseModel):
        text: str

    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.parse(model="echo", messages=HI, response_format=Answer)
    assert (raised.value.code, raised.value.param) == ("unsupported_parameter", "response_format")


def test_a_failing_bot_is_tried_again(client: openai.OpenAI, wire: Wire) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model="broken", messages=HI)
    assert (raised.value.status_code, raised.value.code) == (502, "upstream_error")
    counts = [exchange.request_headers["x-stainless-retry-count"] for exchange in wire.exchanges]
    assert counts == ["0", "1", "2"]


def test_a_failing_bot_is_asked_once_if_that_is_wanted(client: openai.OpenAI, wire: Wire) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        client.with_options(max_retries=0).chat.completions.create(model="broken", messages=HI, n=2)
    assert raised.value.status_code == 502
    assert len(wire.exchanges) == 1


@contextmanager
def gateway_before(url: str, directory: Path) -> Iterator[Gateway]:
    """A gateway of a config file, with one model `bot` and the key `sk-test`."""
    config = directory / "cozeway.toml"
    config.write_text(
        f"""
        [server]
        listen = "127.0.0.1:0"

        [coze.fake]
        base_url = "{url}"
        token = "pat_the_gateways_own"

        [models.bot]
        bot_id = "7530512345678900001"

        [keys.test]
        key = "sk-a-key-for-the-tests-only"
        """,
        encoding="utf-8",
    )
    running = Gateway.serving(config)
    try:
        yield running
    finally:
        code = running.stop()
    log = "\n".join(running.log.all())
    assert code == 0, log
    assert "pat_the_gateways_own" not in log and "sk-a-key-for-the-tests-only" not in log


REFUSALS = [
    # Coze's number, what the client gets, how often the SDK asks.
    (4100, openai.InternalServerError, 502, "upstream_auth_failed", 1),
    (4200, openai.InternalServerError, 502, "upstream_model_unavailable", 1),
    (4028, openai.RateLimitError, 429, "insufficient_quota", 1),
    (4009, openai.RateLimitError, 429, "upstream_rate_limited", 3),
    (4000, openai.BadRequestError, 400, "coze_4000", 1),
    (4010, openai.BadRequestError, 400, "context_length_exceeded", 1),
    (999_999, openai.InternalServerError, 502, "upstream_error", 3),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("number", "kind", "status", "code", "attempts"), REFUSALS)
def test_a_refusal_of_cozes_is_tried_again_only_where_that_helps(
    tmp_path: Path,
    wire: Wire,
    number: int,
    kind: type[openai.APIStatusError],
    status: int,
    code: str,
    attempts: int,
    stream: bool,
) -> None:
    with (
        FakeCoze(number, "something about it") as coze,
        gateway_before(coze.url, tmp_path) as gateway,
        openai.OpenAI(
            base_url=gateway.base_url, api_key="sk-a-key-for-the-tests-only", http_client=wire.client()
        ) as client,
    ):
        with pytest.raises(kind) as raised:
            client.chat.completions.create(model="bot", messages=HI, stream=stream)
        assert (raised.value.status_code, raised.value.code) == (status, code)
        assert len(wire.exchanges) == attempts
        assert coze.chats == attempts, "the gateway itself asks Coze once"
    should_retry = wire.last.headers.get("x-should-retry")
    assert should_retry == ("false" if status >= 429 and attempts == 1 else None)


def test_an_unreachable_coze_is_tried_again(tmp_path: Path, wire: Wire) -> None:
    with FakeCoze(0, "") as coze:
        url = coze.url
    # Nobody listens there any more.
    with (
        gateway_before(url, tmp_path) as gateway,
        openai.OpenAI(
            base_url=gateway.base_url, api_key="sk-a-key-for-the-tests-only", http_client=wire.client()
        ) as client,
    ):
        with pytest.raises(openai.InternalServerError) as raised:
            client.chat.completions.create(model="bot", messages=HI)
        assert (raised.value.status_code, raised.value.code) == (503, "upstream_unreachable")
        assert url.removeprefix("http://") not in raised.value.message
    assert len(wire.exchanges) == 3


def test_a_taken_port_is_a_failure_that_says_so(gateway: Gateway) -> None:
    command = [str(binary()), "demo", "--listen", gateway.address.removeprefix("http://")]
    second = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE)
    assert second.returncode == 1
    assert gateway.address.removeprefix("http://") in second.stderr
    assert second.stdout == ""
