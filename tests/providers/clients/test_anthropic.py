"""The Messages API over real sockets, with answers in the shapes its reference shows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from providers.clients.anthropic import AnthropicClient, message_body
from providers.gateway.errors import ErrorClass, Fault, maybe_billed
from providers.gateway.types import (
    CallScope,
    ChatMessage,
    Deployment,
    Quota,
    Route,
    Secret,
    Timeouts,
    WireAnswer,
    WireChat,
)
from tests.providers.support import SCHEMA, Bench, chat_call, deployment

KEY = "sk-ant-very-secret"
DATA = {"request": "wants to sign in", "sentiment": "neutral", "concern": 2}
MESSAGE = {
    "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "tool_use", "id": "toolu_01", "name": "facets", "input": DATA}],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 20,
        "cache_creation_input_tokens": 5,
        "cache_read_input_tokens": 100,
        "output_tokens": 50,
    },
}
PLAIN = {**MESSAGE, "content": [{"type": "text", "text": "Hi."}], "stop_reason": "end_turn"}
WIRE = WireChat((ChatMessage("user", "user: I cannot sign in"),), 100, schema=SCHEMA)


class Server:
    """Answers every request alike and keeps what it was asked."""

    def __init__(self, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.body, self.status, self.headers = body, status, headers or {}
        self.asked: list[tuple[dict[str, str], Any]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        lower = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append((lower, await request.json()))
        if isinstance(self.body, bytes):
            return web.Response(body=self.body, status=self.status, headers=self.headers)
        return web.json_response(self.body, status=self.status, headers=self.headers)


@asynccontextmanager
async def serving(one: Server) -> AsyncIterator[Deployment]:
    app = web.Application()
    app.router.add_post("/v1/messages", one.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield deployment(
            kind="anthropic",
            base_url=url,
            api_key=Secret(KEY),
            embedding_model="",
            model="claude-x",
            timeouts=Timeouts(10, 10, 20),
        )
    finally:
        await runner.cleanup()


@pytest.fixture
async def client() -> AsyncIterator[AnthropicClient]:
    made = AnthropicClient()
    yield made
    await made.aclose()


async def fault_of(client: AnthropicClient, server: Server) -> Fault:
    async with serving(server) as target:
        with pytest.raises(Fault) as caught:
            await client.chat(target, WIRE)
    return caught.value


async def test_asks_by_a_forced_tool_and_reads_its_input(client: AnthropicClient) -> None:
    told = {"anthropic-ratelimit-requests-limit": "50"}
    server = Server(MESSAGE, headers=told)
    async with serving(server) as target:
        answer = await client.chat(target, WIRE)
    assert json.loads(answer.text) == DATA
    assert answer.finish_reason == "stop"
    assert (answer.tokens_in, answer.tokens_cached, answer.tokens_out) == (125, 100, 50)
    assert answer.quota == Quota(requests_limit=50)
    headers, body = server.asked[0]
    assert headers["x-api-key"] == KEY
    assert headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in headers
    assert body["tool_choice"] == {"type": "tool", "name": "answer"}
    assert body["tools"][0]["input_schema"] == SCHEMA
    assert "response_format" not in body


def test_what_the_system_says_stands_apart() -> None:
    turns = (
        ChatMessage("system", "rules"),
        ChatMessage("user", "data \ud800"),
        ChatMessage("assistant", "wrong"),
        ChatMessage("system", "more rules"),
        ChatMessage("user", "again"),
    )
    wire = WireChat(turns, 9, temperature=1.7, purpose="name cluster/2")
    body = message_body("claude-x", wire)
    assert body == {
        "model": "claude-x",
        "max_tokens": 9,
        "system": "rules\n\nmore rules",
        "messages": [
            {"role": "user", "content": "data ?"},
            {"role": "assistant", "content": "wrong"},
            {"role": "user", "content": "again"},
        ],
        "temperature": 1.0,
    }
    alone = WireChat((ChatMessage("system", "rules"),), 9, temperature=None, schema=SCHEMA)
    body = message_body("claude-x", alone)
    assert body["messages"] == [{"role": "user", "content": "rules"}]
    assert "system" not in body
    assert "temperature" not in body
    named = message_body("x", WireChat(turns, 9, schema=SCHEMA, purpose="name cluster/2"))
    assert named["tools"][0]["name"] == "name_cluster_2"


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("end_turn", "stop"), ("max_tokens", "length"), ("a_new_one", "stop"), (None, "stop")],
)
async def test_why_an_answer_ended(
    client: AnthropicClient, reason: str | None, finish: str
) -> None:
    async with serving(Server({**PLAIN, "stop_reason": reason})) as target:
        answer = await client.chat(target, WIRE)
    assert (answer.text, answer.finish_reason) == ("Hi.", finish)


async def test_a_refusal_is_the_content_filter_s(client: AnthropicClient) -> None:
    fault = await fault_of(client, Server({**PLAIN, "content": [], "stop_reason": "refusal"}))
    assert fault.error_class is ErrorClass.CONTENT_FILTER
    assert maybe_billed(fault)


def error(kind: str, message: str = "Something") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("status", "headers", "body", "error_class"),
    [
        (400, {}, error("invalid_request_error", "messages: required"), ErrorClass.BAD_REQUEST),
        (
            400,
            {},
            error("invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum"),
            ErrorClass.CONTEXT_LENGTH,
        ),
        (
            400,
            {},
            error("invalid_request_error", "Your credit balance is too low to access the API."),
            ErrorClass.QUOTA,
        ),
        (401, {}, error("authentication_error", "invalid x-api-key"), ErrorClass.AUTH),
        (402, {}, error("billing_error"), ErrorClass.QUOTA),
        (403, {}, error("permission_error"), ErrorClass.PERMISSION),
        (404, {}, error("not_found_error", "model: claude-9"), ErrorClass.NOT_FOUND),
        (413, {}, error("request_too_large"), ErrorClass.CONTEXT_LENGTH),
        (429, {"retry-after": "7"}, error("rate_limit_error"), ErrorClass.RATE_LIMIT),
        (500, {}, error("api_error"), ErrorClass.SERVER),
        (529, {}, error("overloaded_error", "Overloaded"), ErrorClass.SERVER),
        (200, {}, b"<html>not an API</html>", ErrorClass.SERVER),
        (200, {}, {"choices": []}, ErrorClass.SERVER),
        (200, {}, {"content": 7}, ErrorClass.SERVER),
    ],
)
async def test_errors(
    client: AnthropicClient,
    status: int,
    headers: dict[str, str],
    body: Any,
    error_class: ErrorClass,
) -> None:
    fault = await fault_of(client, Server(body, status, headers))
    assert fault.error_class is error_class
    assert fault.retry_after == (7 if headers else None)
    assert KEY not in f"{fault!r}"


def events(*given: dict[str, Any]) -> bytes:
    return b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in given)


START = {
    "type": "message_start",
    "message": {**MESSAGE, "content": [], "stop_reason": None},
}
PING = {"type": "ping"}
STOP = {"type": "message_stop"}


def delta(**value: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": value}


def ending(reason: str) -> dict[str, Any]:
    said = {"stop_reason": reason, "stop_sequence": None}
    return {"type": "message_delta", "delta": said, "usage": {"output_tokens": 15}}


async def streamed(client: AnthropicClient, body: bytes) -> tuple[str, WireAnswer | Fault | None]:
    text = ""
    async with serving(Server(body, headers={"Content-Type": "text/event-stream"})) as target:
        try:
            async for piece in client.stream(target, WIRE):
                text += piece.text
                if piece.end:
                    return text, piece.end
        except Fault as fault:
            return text, fault
    return text, None


async def test_streams_text_and_the_tool_s_input(client: AnthropicClient) -> None:
    thinking = delta(type="thinking_delta", thinking="hm")
    body = events(
        START,
        PING,
        thinking,
        delta(type="input_json_delta", partial_json='{"a"'),
        delta(type="input_json_delta", partial_json=": 1}"),
        ending("max_tokens"),
        STOP,
    )
    text, end = await streamed(client, body)
    assert text == '{"a": 1}'
    assert end == WireAnswer("", "length", 125, 15, 100, "claude-sonnet-4-5-20250929")
    text, end = await streamed(
        client, events(START, delta(type="text_delta", text="Hi"), ending("end_turn"))
    )
    assert text == "Hi"
    assert isinstance(end, WireAnswer)


@pytest.mark.parametrize(
    ("body", "error_class"),
    [
        (events(START, delta(type="text_delta", text="Hi")), ErrorClass.NETWORK),
        (
            events(START, delta(type="text_delta", text="Hi"), error("overloaded_error")),
            ErrorClass.SERVER,
        ),
        (events(START, delta(type="text_delta", text="Hi"), ending("refusal")), "content_filter"),
    ],
)
async def test_streams_that_break(
    client: AnthropicClient, body: bytes, error_class: ErrorClass
) -> None:
    text, fault = await streamed(client, body)
    assert text == "Hi"
    assert isinstance(fault, Fault)
    assert fault.error_class == error_class
    assert maybe_billed(fault)


@pytest.mark.parametrize("body", [b"", b"<html></html>", b"data: [1]\n\n", b"data: {\n\n"])
async def test_streams_that_are_none(client: AnthropicClient, body: bytes) -> None:
    _, fault = await streamed(client, body)
    assert isinstance(fault, Fault)
    assert fault.error_class is ErrorClass.SERVER


async def test_has_no_embeddings_and_keeps_nothing(client: AnthropicClient) -> None:
    target = deployment(kind="anthropic")
    assert await client.find(target, "name") is None
    with pytest.raises(Fault) as caught:
        await client.embed(target, ["a"], base64=False, timeout=1)
    assert not caught.value.sent


async def test_the_gateway_speaks_it(client: AnthropicClient) -> None:
    """A server that refuses tools is asked for JSON in text, by what it refused."""

    class NoTools(Server):
        async def answer(self, request: web.Request) -> web.StreamResponse:
            asked = await request.json()
            self.asked.append(({}, asked))
            if "tools" in asked:
                said = error("invalid_request_error", "tool_choice: not supported by this model")
                return web.json_response(said, status=400)
            text = f"Here you are: {json.dumps(DATA)}"
            return web.json_response({**PLAIN, "content": [{"type": "text", "text": text}]})

    server = NoTools(None)
    async with serving(server) as target, asyncio.timeout(30):
        bench = Bench(clients={"anthropic": client})
        route = Route((target,))
        result = await bench.gateway.chat(chat_call(), route, CallScope(workspace=1))
    assert result.data == DATA
    assert (result.tokens_in, result.tokens_cached) == (125, 100)
    assert len(server.asked) == 2
    assert "JSON Schema" in server.asked[1][1]["system"]
