"""The client over real sockets: against the scripted server and against servers that misbehave."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import ssl
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from providers.clients import openai_compatible as client_module
from providers.clients.openai_compatible import OpenAICompatibleClient, read_chat, read_vectors
from providers.clients.scripted import Act, Scenario, Step
from providers.clients.scripted_server import ScriptedServer
from providers.gateway.errors import ErrorClass, Fault
from providers.gateway.probe import probe
from providers.gateway.types import ChatMessage, Deployment, Secret, Timeouts, WireAnswer, WireChat
from tests.providers.clients.certificate import write_self_signed
from tests.providers.support import SCHEMA, deployment, scenario

WIRE = WireChat((ChatMessage("user", "user: I cannot sign in"),), 100, schema=SCHEMA)
KEY = "sk-very-secret-key-1234"
GOOD = {
    "choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}


def at(url: str, **changes: Any) -> Deployment:
    return deployment(kind="openai", base_url=url, api_key=Secret(KEY), **changes)


@pytest.fixture
async def client() -> AsyncIterator[OpenAICompatibleClient]:
    made = OpenAICompatibleClient()
    yield made
    await made.aclose()


@asynccontextmanager
async def scripted(one: Scenario) -> AsyncIterator[str]:
    server = ScriptedServer(one)
    try:
        yield await server.start()
    finally:
        await server.stop()


@asynccontextmanager
async def raw(
    reply: bytes | Callable[[asyncio.StreamWriter], Coroutine[Any, Any, None]],
    heads: list[bytes] | None = None,
) -> AsyncIterator[str]:
    """A server that reads a request and writes whatever it was given."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if heads is not None:
                heads.append(head)
            if isinstance(reply, bytes):
                writer.write(reply)
                await writer.drain()
            else:
                await reply(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


def response(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


async def fault_of(client: OpenAICompatibleClient, url: str, **changes: Any) -> Fault:
    with pytest.raises(Fault) as caught:
        await client.chat(at(url, **changes), WIRE)
    return caught.value


async def test_asks_and_reads(client: OpenAICompatibleClient) -> None:
    async with scripted(Scenario(key=KEY)) as url:
        answer = await client.chat(at(url), WIRE)
        assert json.loads(answer.text)["request"].startswith("I cannot sign in")
        assert answer.tokens_in > 0
        for base64 in (True, False):
            texts = ["alpha beta", "gamma", "alpha"]
            reply = await client.embed(at(url), texts, base64=base64, timeout=10)
            assert reply.vectors.shape == (3, 256)


@pytest.mark.parametrize(
    ("act", "error_class"),
    [
        (Act.RATE_LIMIT, ErrorClass.RATE_LIMIT),
        (Act.QUOTA, ErrorClass.QUOTA),
        (Act.UNAUTHORIZED, ErrorClass.AUTH),
        (Act.NOT_FOUND, ErrorClass.NOT_FOUND),
        (Act.CONTEXT_LENGTH, ErrorClass.CONTEXT_LENGTH),
        (Act.CONTENT_FILTER, ErrorClass.CONTENT_FILTER),
        (Act.SERVER_ERROR, ErrorClass.SERVER),
        (Act.DROPPED, ErrorClass.NETWORK),
        (Act.HANG, ErrorClass.TIMEOUT),
        (Act.HANG_MIDWAY, ErrorClass.TIMEOUT),
        (Act.NOT_JSON, ErrorClass.SERVER),
    ],
)
async def test_every_fault_over_http(
    client: OpenAICompatibleClient, act: Act, error_class: ErrorClass
) -> None:
    async with scripted(scenario(Step(act=act, retry_after=3))) as url:
        fault = await fault_of(client, url)
        assert fault.error_class is error_class
        assert (fault.retry_after == 3) == (act is Act.RATE_LIMIT)
        assert (await client.chat(at(url), WIRE)).text


async def test_a_connection_dropped_after_the_request_counts_as_sent(
    client: OpenAICompatibleClient,
) -> None:
    async with scripted(scenario(Act.DROPPED)) as url:
        assert (await fault_of(client, url)).sent


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9/v1", "refused"),
        ("http://no-such-host.invalid/v1", "name could not be found"),
    ],
)
async def test_what_was_never_sent_is_told_apart(
    client: OpenAICompatibleClient, url: str, said: str
) -> None:
    fault = await fault_of(client, url)
    assert said in fault.detail
    assert not fault.sent


async def test_tls_against_a_plain_server(client: OpenAICompatibleClient) -> None:
    async with raw(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        times = Timeouts(connect=0.5, first_byte=0.5, total=1)
        fault = await fault_of(client, url.replace("http:", "https:"), timeouts=times)
        assert fault.error_class in (ErrorClass.NETWORK, ErrorClass.TIMEOUT)
        assert not fault.sent


async def test_redirects_are_not_followed(client: OpenAICompatibleClient) -> None:
    heads: list[bytes] = []
    async with raw(response(json.dumps(GOOD).encode()), heads) as goal:
        moved = response(b"", "302 Found", f"Location: {goal}/chat/completions\r\n")
        async with raw(moved) as url:
            fault = await fault_of(client, url)
    assert fault.error_class is ErrorClass.NOT_FOUND
    assert "redirect" in fault.detail
    assert heads == []


async def test_private_addresses_are_refused_at_the_call(client: OpenAICompatibleClient) -> None:
    async with scripted(Scenario()) as url:
        for one in (url, url.replace("127.0.0.1", "localhost")):
            fault = await fault_of(client, one, allow_private=False)
            assert "operator" in fault.detail


async def test_an_endless_answer_is_cut_off(client: OpenAICompatibleClient) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
            await writer.drain()

    async with raw(endless) as url:
        times = Timeouts(connect=1, first_byte=5, total=10)
        fault = await fault_of(client, url, timeouts=times)
    assert "4 MB" in fault.detail


@pytest.mark.parametrize("status", ["200 OK", "500 Internal Server Error"])
async def test_a_packed_bomb_is_not_unpacked(client: OpenAICompatibleClient, status: str) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    async with raw(response(bomb, status, "Content-Encoding: gzip\r\n")) as url:
        fault = await fault_of(client, url)
    assert fault.error_class is ErrorClass.SERVER


async def test_reads_a_packed_answer(client: OpenAICompatibleClient) -> None:
    packed = gzip.compress(json.dumps(GOOD).encode())
    async with raw(response(packed, headers="Content-Encoding: gzip\r\n")) as url:
        assert (await client.chat(at(url), WIRE)).text == "hello"


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
        response(b"[]"),
        response(b"{}"),
        response(b'{"choices": []}'),
        response(b'{"choices": [{"message": null}]}'),
        response(b"\xff\xfe\x00"),
        response(b"[" * 100_000),
        response(b"<html>intranet wiki</html>"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    ],
)
async def test_anything_else_is_a_fault_and_not_repeated(
    client: OpenAICompatibleClient, reply: bytes
) -> None:
    async with raw(reply) as url:
        fault = await fault_of(client, url)
    assert fault.error_class in (ErrorClass.SERVER, ErrorClass.NETWORK)
    assert "intranet" not in f"{fault}"


async def test_the_key_is_nowhere_but_in_the_header(
    client: OpenAICompatibleClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    heads: list[bytes] = []
    said = json.dumps({"error": {"message": f"Incorrect API key: {KEY}", "code": "invalid"}})
    async with raw(response(said.encode(), "401 Unauthorized"), heads) as url:
        fault = await fault_of(client, url)
    shown = "".join(traceback.format_exception(fault))
    assert fault.__context__ is None
    assert KEY.encode() in heads[0]
    assert KEY not in shown
    assert KEY not in caplog.text


async def test_text_that_no_encoding_can_carry_is_sent_all_the_same(
    client: OpenAICompatibleClient,
) -> None:
    wire = WireChat((ChatMessage("user", "user: a \ud800 b\x00"),), 100, schema=SCHEMA)
    async with scripted(Scenario()) as url:
        assert (await client.chat(at(url), wire)).text
        await client.embed(at(url), ["a \udfff"], base64=True, timeout=10)


async def test_without_a_key_no_authorization_is_sent(client: OpenAICompatibleClient) -> None:
    heads: list[bytes] = []
    async with raw(response(json.dumps(GOOD).encode()), heads) as url:
        target = deployment(kind="openai", base_url=url, headers=(("X-Team", "blue"),))
        await client.chat(target, WIRE)
    assert b"authorization" not in heads[0].lower()
    assert b"x-team: blue" in heads[0].lower()


async def test_environment_is_not_read(
    client: OpenAICompatibleClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-from-outside")
    heads: list[bytes] = []
    async with raw(response(json.dumps(GOOD).encode()), heads) as url:
        assert (await client.chat(at(url), WIRE)).text == "hello"
    assert b"org-from-outside" not in heads[0]


NOW = client_module.utc_now()


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (GOOD, WireAnswer("hello", "stop", 3, 2)),
        ({**GOOD, "usage": None}, WireAnswer("hello")),
        ({"choices": [{"message": {"content": None}}]}, WireAnswer("")),
        (
            {"choices": [{"message": {"content": [{"type": "text", "text": "a"}]}}]},
            WireAnswer("a"),
        ),
        (
            {
                **GOOD,
                "model": "x",
                "usage": {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}},
            },
            WireAnswer("hello", "stop", 9, 0, 4, "x"),
        ),
        ({**GOOD, "usage": {"prompt_tokens": -5, "completion_tokens": "7"}}, WireAnswer("hello")),
    ],
)
def test_reads_what_servers_really_send(body: dict[str, Any], answer: WireAnswer) -> None:
    assert read_chat(body, NOW) == answer


@pytest.mark.parametrize(
    ("body", "error_class"),
    [
        ({"error": {"code": 429, "message": "rate limit"}}, ErrorClass.QUOTA),
        (
            {"error": {"code": 429, "message": "rate limit, try again in 2s"}},
            ErrorClass.RATE_LIMIT,
        ),
        ({"error": {"message": "Provider returned error"}}, ErrorClass.SERVER),
        (
            {"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]},
            ErrorClass.CONTENT_FILTER,
        ),
        (
            {"choices": [{"message": {"content": None, "refusal": "no"}}]},
            ErrorClass.CONTENT_FILTER,
        ),
    ],
)
def test_faults_inside_a_200(body: dict[str, Any], error_class: ErrorClass) -> None:
    with pytest.raises(Fault) as caught:
        read_chat(body, NOW)
    assert caught.value.error_class is error_class


def test_vectors_are_put_in_order_and_must_match() -> None:
    data = [{"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": [1, 0]}]
    assert read_vectors({"data": data}, 2).vectors.tolist() == [[1, 0], [3, 4]]
    for broken in (
        [data[0]],
        [{"embedding": "%%"}] * 2,
        [{"embedding": [1]}, {"embedding": [1, 2]}],
    ):
        with pytest.raises(Fault):
            read_vectors({"data": broken}, 2)


async def test_probe_reports_what_it_saw(client: OpenAICompatibleClient) -> None:
    async with scripted(Scenario(json_schema=False, width=64)) as url:
        report = await probe(client, at(url))
    assert (report.ok, report.json_schema, report.dimensions) == (True, False, 64)
    assert "64 dimensions" in report.text


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (Act.UNAUTHORIZED, "Enter it again"),
        (Act.QUOTA, "no quota"),
        (Act.NOT_FOUND, "test-model is not in its list"),
        (Act.NOT_JSON, "usually ending in /v1"),
        (Act.HANG, "allow more time"),
        (Act.SERVER_ERROR, "Try again later"),
        (Act.DROPPED, "dropped"),
    ],
)
async def test_probe_says_what_to_do(client: OpenAICompatibleClient, act: Act, words: str) -> None:
    async with scripted(Scenario(mix=(Step(act=act),))) as url:
        report = await probe(client, at(url))
    assert not report.ok
    assert words in report.text


async def test_probe_of_addresses_that_lead_nowhere(client: OpenAICompatibleClient) -> None:
    for url, words in (
        ("http://127.0.0.1:9/v1", "refused"),
        ("http://no-such-host.invalid/v1", "name could not be found"),
        ("http://169.254.169.254/v1", "never called"),
        ("ftp://example.com", "http://"),
    ):
        report = await probe(client, at(url))
        assert words in report.text, report.text
        assert KEY not in report.text


async def test_an_untrusted_certificate_is_named(
    client: OpenAICompatibleClient, tmp_path: Any
) -> None:
    path = write_self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(json.dumps(GOOD).encode()))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/v1"
    try:
        fault = await fault_of(client, url)
        assert "certificate" in fault.detail
        trusted = at(url, ca_bundle=str(path))
        assert (await client.chat(trusted, WIRE)).text == "hello"
    finally:
        server.close()
