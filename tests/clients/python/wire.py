"""What really went over the wire: every exchange of a client, byte by byte,
held against OpenAI's JSON Schemas and the rules of a stream."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import jsonschema
from gateway import ROOT

#: How a stream that went well ends.
DONE = "[DONE]"


@dataclass
class Exchange:
    """A request and what was answered."""

    method: str
    path: str
    request_headers: httpx2.Headers
    request: Any
    status: int = 0
    headers: httpx2.Headers = field(default_factory=httpx2.Headers)
    body: bytearray = field(default_factory=bytearray)
    #: Whether the body was read to its end.
    complete: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def events(self) -> list[str]:
        """The data of each event that arrived whole."""
        whole, _, _ = bytes(self.body).rpartition(b"\n\n")
        events = []
        for event in whole.decode().split("\n\n") if whole else []:
            if event.startswith(":"):
                continue
            assert event.startswith("data: ") and "\n" not in event, f"not one `data:` line: {event!r}"
            events.append(event.removeprefix("data: "))
        return events

    @property
    def chunks(self) -> list[Any]:
        return [json.loads(event) for event in self.events if event != DONE]


class _Body(httpx2.SyncByteStream):
    def __init__(self, inner: httpx2.SyncByteStream, exchange: Exchange) -> None:
        self._inner, self._exchange = inner, exchange

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._inner:
            self._exchange.body += piece
            yield piece
        self._exchange.complete = True

    def close(self) -> None:
        self._inner.close()


class _AsyncBody(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, exchange: Exchange) -> None:
        self._inner, self._exchange = inner, exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._inner:
            self._exchange.body += piece
            yield piece
        self._exchange.complete = True

    async def aclose(self) -> None:
        await self._inner.aclose()


class Wire:
    """Every exchange of the clients that were given its transports."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    @property
    def last(self) -> Exchange:
        return self.exchanges[-1]

    def client(self) -> httpx2.Client:
        return httpx2.Client(transport=_Transport(self), timeout=60)

    def async_client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=_AsyncTransport(self), timeout=60)

    def began(self, request: httpx2.Request) -> Exchange:
        content = request.content
        exchange = Exchange(
            method=request.method,
            path=request.url.path,
            request_headers=request.headers,
            request=json.loads(content) if content else None,
        )
        self.exchanges.append(exchange)
        return exchange

    def check(self) -> None:
        for exchange in self.exchanges:
            check(exchange)


class _Transport(httpx2.HTTPTransport):
    def __init__(self, wire: Wire) -> None:
        super().__init__(trust_env=False)
        self._wire = wire

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = self._wire.began(request)
        response = super().handle_request(request)
        exchange.status, exchange.headers = response.status_code, response.headers
        assert isinstance(response.stream, httpx2.SyncByteStream)
        response.stream = _Body(response.stream, exchange)
        return response


class _AsyncTransport(httpx2.AsyncHTTPTransport):
    def __init__(self, wire: Wire) -> None:
        super().__init__(trust_env=False)
        self._wire = wire

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = self._wire.began(request)
        response = await super().handle_async_request(request)
        exchange.status, exchange.headers = response.status_code, response.headers
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _AsyncBody(response.stream, exchange)
        return response


@functools.cache
def schema(name: str) -> jsonschema.Draft202012Validator:
    text = (ROOT / "tests" / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8")
    return jsonschema.Draft202012Validator(json.loads(text))


def assert_valid(name: str, value: Any) -> None:
    faults = [f"{fault.json_path}: {fault.message}" for fault in schema(name).iter_errors(value)]
    assert not faults, f"not a {name}: {faults}\n{value}"


def check(exchange: Exchange) -> None:
    """Holds an exchange against the schemas and the rules."""
    if exchange.status == 0:
        return  # The client left before there was an answer.
    assert exchange.headers.get("x-request-id"), "an answer without x-request-id"
    if exchange.is_stream:
        assert exchange.status == 200
        check_stream(exchange)
    elif exchange.complete:
        assert exchange.headers["content-type"] == "application/json"
        check_whole(exchange)


def check_whole(exchange: Exchange) -> None:
    body = exchange.json
    if exchange.status >= 400:
        assert_valid("error", body)
        assert set(body["error"]) == {"message", "type", "param", "code"}
        assert body["error"]["message"] and isinstance(body["error"]["code"], str)
    elif exchange.path.endswith("/chat/completions"):
        assert_valid("chat_completion", body)
        assert body["model"] == exchange.request["model"]
        assert [choice["index"] for choice in body["choices"]] == list(range(exchange.request.get("n") or 1))
        assert all(choice["message"]["role"] == "assistant" for choice in body["choices"])
    elif exchange.path.endswith("/models"):
        assert_valid("model_list", body)
    elif "/models/" in exchange.path:
        assert_valid("model", body)
    else:
        raise AssertionError(f"no schema for {exchange.method} {exchange.path}")


def check_stream(exchange: Exchange) -> None:
    """The rules that clients break on otherwise."""
    headers = exchange.headers
    assert "content-encoding" not in headers and headers["cache-control"] == "no-cache"
    wants_usage = (exchange.request.get("stream_options") or {}).get("include_usage", False)
    wanted = list(range(exchange.request.get("n") or 1))
    opened: list[int] = []
    finished: list[int] = []
    usages = 0
    same: set[tuple[Any, ...]] = set()
    events = exchange.events
    for at, event in enumerate(events):
        if event == DONE:
            assert at == len(events) - 1, "something after [DONE]"
            break
        chunk = json.loads(event)
        if "error" in chunk:
            assert_valid("error", chunk)
            assert set(chunk) == {"error"}, "an error beside choices is swallowed by one client"
            assert at == len(events) - 1, "something after an error"
            break
        assert_valid("chat_completion_chunk", chunk)
        same.add((chunk["id"], chunk["object"], chunk["created"], chunk["model"]))
        assert ("usage" in chunk) == wants_usage
        if not chunk["choices"]:
            usages += 1
            assert sorted(finished) == wanted, "usage ahead of the end"
            continue
        assert chunk.get("usage") is None
        for choice in chunk["choices"]:
            index = choice["index"]
            assert ("role" in choice["delta"]) == (index not in opened), "the role stands in the first chunk only"
            if index not in opened:
                opened.append(index)
            assert index not in finished, "a chunk after a choice's end"
            if choice["finish_reason"] is not None:
                assert choice["delta"] == {}
                finished.append(index)
    assert len(same) <= 1, f"one stream, several ids, times or models: {same}"
    assert all(model == exchange.request["model"] for *_, model in same)
    assert opened == wanted[: len(opened)], "choices open in the order of their indices"
    has_failed = bool(events) and events[-1] != DONE and "error" in json.loads(events[-1])
    if events and events[-1] == DONE:
        assert finished == wanted and usages == int(wants_usage)
    elif has_failed:
        assert not finished, "a choice that has ended, then an error"
    else:
        assert not exchange.complete, "a stream ends with [DONE] or an error"
    if exchange.complete:
        assert bytes(exchange.body).endswith(b"\n\n")
