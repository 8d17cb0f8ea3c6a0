"""The batch endpoints of three providers against a scripted server, and hostile answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from providers.clients.bulk import AnthropicBatches, MistralBatches, OpenAIBatches
from providers.clients.bulk.wire import number_of
from providers.clients.scripted import Scenario
from providers.clients.scripted_server import ScriptedServer
from providers.gateway.bulk import BulkApi, LineResult, RemoteBatch, Sought
from providers.gateway.errors import ErrorClass, Fault
from providers.gateway.types import ChatMessage, Deployment, Secret, WireChat

KEY = "sk-of-the-test"

APIS: dict[str, Callable[[], BulkApi]] = {
    "openai": OpenAIBatches,
    "anthropic": AnthropicBatches,
    "mistral": MistralBatches,
}

SCHEMA = {
    "type": "object",
    "properties": {"request": {"type": "string"}},
    "required": ["request"],
}
UID = "01a1fc40-b2e8-7c4d-b2bb-997d97981f5f"
OUT = RemoteBatch("batch_1", "completed", ended=True, outputs=("file-1",))


def at(url: str, key: str = KEY, **changes: Any) -> Deployment:
    return Deployment(
        id="1",
        provider="Acme",
        kind="openai",
        model="m-1",
        base_url=url,
        api_key=Secret(key),
        allow_private=True,
        batched=True,
        **changes,
    )


def wire(text: str) -> WireChat:
    messages = (ChatMessage("system", "Be brief."), ChatMessage("user", text))
    return WireChat(messages, 100, schema=SCHEMA, purpose="facets", keep_as="x")


@pytest.fixture(params=APIS)
async def api(request: pytest.FixtureRequest) -> AsyncIterator[BulkApi]:
    made = APIS[request.param]()
    yield made
    await made.aclose()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    server = ScriptedServer(Scenario(key=KEY))
    yield await server.start()
    await server.stop()


async def served(handler: Any) -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"


async def lines_of(api: BulkApi, target: Deployment, batch: RemoteBatch) -> list[LineResult]:
    return [line async for line in api.results(target, batch)]


async def test_a_batch_goes_there_and_back(api: BulkApi, url: str) -> None:
    target = at(url)
    names = [f"{n:064x}" for n in range(7)]
    lines = [api.encode(target, name, wire(f"Number {name[-1]}, ünïcode")) for name in names]

    number = await api.submit(target, UID, lines)
    batch = await api.status(target, number)
    assert batch.ended
    found = await lines_of(api, target, batch)

    assert {line.custom_id for line in found} == set(names)
    assert [line.custom_id for line in found] != names, "in an order of its own"
    for line in found:
        assert line.answer is not None
        assert json.loads(line.answer.text)["request"] is not None
        assert line.answer.tokens_in > 0 < line.answer.tokens_out


async def test_a_batch_is_found_by_what_it_carries(api: BulkApi, url: str) -> None:
    target = at(url)
    since = datetime.now(UTC)
    line = [api.encode(target, "a" * 64, wire("hello"))]
    assert await api.find(target, Sought(UID, since, 1)) is None
    number = await api.submit(target, UID, line)
    other = await api.submit(target, "another", line)

    known = frozenset({other})
    assert await api.find(target, Sought(UID, since, 1, known)) == number
    assert await api.find(target, Sought("unknown", since, 9, known)) is None


async def test_a_refused_key_is_no_batch(api: BulkApi, url: str) -> None:
    target = at(url, key="wrong")
    with pytest.raises(Fault) as failed:
        await api.submit(target, UID, [api.encode(target, "a", wire("hello"))])
    assert failed.value.error_class is ErrorClass.AUTH
    assert KEY not in str(failed.value)
    spared = at(url, key="wrong", spare_key=Secret(KEY))
    assert await api.submit(spared, UID, [api.encode(spared, "a", wire("hello"))])


@pytest.mark.parametrize(
    "name", ["", "../files/1", "a/b", "a?b", "http://x", "a b", "-a", "a..b", "x" * 200, 7, None]
)
def test_no_answer_chooses_where_we_ask(name: Any) -> None:
    with pytest.raises(Fault):
        number_of(name)


async def test_redirects_are_not_followed(api: BulkApi) -> None:
    asked: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": "/v1/secret"})

    runner, url = await served(elsewhere)
    with pytest.raises(Fault):
        await api.status(at(url), "batch_1")
    with pytest.raises(Fault):
        await lines_of(api, at(url), OUT)
    await runner.cleanup()
    assert not any("secret" in path for path in asked)


@pytest.mark.parametrize(
    "text",
    [b"", b"<html>", b"\xff\xfe\n\n", b"[1]\n7\nnull\n", b'{"custom_id": 5}\n', b"[" * 5000],
)
async def test_what_is_no_line_is_left_out(api: BulkApi, text: bytes) -> None:
    async def nonsense(request: web.Request) -> web.Response:
        return web.Response(body=text)

    runner, url = await served(nonsense)
    found = await lines_of(api, at(url), OUT)
    await runner.cleanup()
    assert found == []


async def test_a_line_without_end_is_not_read(api: BulkApi) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(200):
            await response.write(b"x" * 65_536)
        return response

    runner, url = await served(endless)
    with pytest.raises(Fault, match="far too large"):
        await lines_of(api, at(url), OUT)
    await runner.cleanup()


async def test_results_that_break_off_are_a_fault(api: BulkApi) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 1_000_000
        await response.prepare(request)
        await response.write(b'{"custom_id": "a", "response"')
        assert request.transport is not None
        request.transport.abort()
        return response

    runner, url = await served(broken)
    with pytest.raises(Fault) as failed:
        await lines_of(api, at(url), OUT)
    await runner.cleanup()
    assert failed.value.error_class in (ErrorClass.NETWORK, ErrorClass.SERVER)


@pytest.mark.parametrize("body", [{}, {"id": 5}, {"id": "../x"}, {"status": ["x"]}])
async def test_a_description_that_is_none_is_a_fault_or_harmless(
    api: BulkApi, body: dict[str, Any]
) -> None:
    async def odd(request: web.Request) -> web.Response:
        return web.json_response(body)

    runner, url = await served(odd)
    with pytest.raises(Fault):
        await api.submit(at(url), UID, [b"{}"])
    assert not (await api.status(at(url), "batch_1")).ended
    assert await api.find(at(url), Sought(UID, datetime.now(UTC) - timedelta(1), 1)) is None
    await runner.cleanup()


def test_lines_of_every_kind_are_told_apart() -> None:
    from providers.clients.bulk.anthropic import read_line as read_message
    from providers.clients.bulk.openai import read_line

    now = datetime.now(UTC)
    expired = {"custom_id": "a", "response": None, "error": {"code": "batch_expired"}}
    refused = {
        "custom_id": "a",
        "response": {"status_code": 400, "body": {"error": {"code": "context_length_exceeded"}}},
    }
    over = {"type": "errored", "error": {"type": "error", "error": {"type": "overloaded_error"}}}
    bad = {
        "type": "errored",
        "error": {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}},
    }
    found = [
        read_line(expired, now),
        read_line(refused, now),
        read_message({"custom_id": "a", "result": {"type": "expired"}}, now),
        read_message({"custom_id": "a", "result": over}, now),
        read_message({"custom_id": "a", "result": bad}, now),
    ]
    classes = [one.fault.error_class for one in found if one is not None and one.fault is not None]
    assert classes == [
        ErrorClass.TIMEOUT,
        ErrorClass.CONTEXT_LENGTH,
        ErrorClass.TIMEOUT,
        ErrorClass.SERVER,
        ErrorClass.BAD_REQUEST,
    ]
