"""SIGTERM, as a client sees it."""

from __future__ import annotations

import openai
import pytest
from gateway import Gateway
from wire import DONE, Wire


def test_a_stream_in_flight_is_finished_and_nobody_else_let_in(wire: Wire) -> None:
    gateway = Gateway.demo()
    stopped = False
    try:
        with openai.OpenAI(
            base_url=gateway.base_url, api_key=gateway.printed_key(), http_client=wire.client(), max_retries=0
        ) as client:
            stream = client.chat.completions.create(
                model="storyteller", messages=[{"role": "user", "content": "A story"}], stream=True
            )
            next(stream)
            gateway.terminate()
            gateway.log.find(lambda line: "SIGTERM" in line, "the signal")
            with openai.OpenAI(
                base_url=gateway.base_url, api_key=gateway.printed_key(), max_retries=0
            ) as newcomer, pytest.raises((openai.APIConnectionError, openai.InternalServerError)):
                newcomer.models.list()
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            assert text.endswith("in turn.")
            assert wire.last.events[-1] == DONE
        stopped = True
        assert gateway.wait() == 0
    finally:
        if not stopped:
            gateway.stop()


def test_an_idle_kept_connection_does_not_hold_up_the_end(wire: Wire) -> None:
    gateway = Gateway.demo()
    with openai.OpenAI(
        base_url=gateway.base_url, api_key=gateway.printed_key(), http_client=wire.client()
    ) as client:
        client.models.list()
        assert gateway.stop() == 0
