"""How a request travels: keys in their header, certificates, proxies, limits, what is left."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from providers.clients.openai_compatible import OpenAICompatibleClient
from providers.gateway.errors import ErrorClass, Fault
from providers.gateway.types import Quota, Secret, Timeouts
from tests.providers.clients.certificate import write_self_signed
from tests.providers.clients.test_openai_compatible import (
    GOOD,
    KEY,
    WIRE,
    at,
    fault_of,
    raw,
    response,
)

OK = response(json.dumps(GOOD).encode())


@pytest.fixture
async def client() -> AsyncIterator[OpenAICompatibleClient]:
    made = OpenAICompatibleClient()
    yield made
    await made.aclose()


@pytest.mark.parametrize(
    ("auth", "line"),
    [
        ("bearer", f"authorization: bearer {KEY}"),
        ("api-key", f"api-key: {KEY}"),
        ("x-api-key", f"x-api-key: {KEY}"),
    ],
)
async def test_the_key_goes_into_one_header(
    client: OpenAICompatibleClient, auth: str, line: str
) -> None:
    heads: list[bytes] = []
    async with raw(OK, heads) as url:
        await client.chat(at(url, auth=auth), WIRE)
    head = heads[0].lower().decode()
    assert head.count(KEY) == 1
    assert line.lower() in head.split("\r\n")


@pytest.mark.parametrize("auth", ["bearer", "api-key", "x-api-key"])
async def test_no_key_means_no_header(client: OpenAICompatibleClient, auth: str) -> None:
    heads: list[bytes] = []
    async with raw(OK, heads) as url:
        await client.chat(replace(at(url, auth=auth), api_key=Secret()), WIRE)
    head = heads[0].lower()
    assert b"authorization" not in head
    assert b"api-key" not in head


async def test_a_call_may_wait_less_for_the_first_byte(client: OpenAICompatibleClient) -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with raw(silent) as url:
        started = time.monotonic()
        with pytest.raises(Fault) as caught:
            await client.chat(at(url, timeouts=Timeouts(30, 30, 60)), replace(WIRE, first_byte=0.2))
    assert caught.value.error_class is ErrorClass.TIMEOUT
    assert caught.value.sent
    assert time.monotonic() - started < 25


async def test_an_answer_that_drips_ends_with_the_whole_call(
    client: OpenAICompatibleClient,
) -> None:
    async def drips(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with raw(drips) as url:
        with pytest.raises(Fault) as caught:
            await client.chat(at(url, timeouts=Timeouts(30, 30, 60)), replace(WIRE, timeout=0.5))
    assert caught.value.detail == "no complete answer in time"


async def test_what_is_left_of_the_limits_comes_with_the_answer(
    client: OpenAICompatibleClient,
) -> None:
    told = "X-RateLimit-Limit-Requests: 60\r\nX-RateLimit-Remaining-Requests: 59\r\n"
    async with raw(response(json.dumps(GOOD).encode(), headers=told)) as url:
        answer = await client.chat(at(url), WIRE)
    assert answer.quota == Quota(requests_limit=60, requests_left=59)


async def test_certificates_entered_for_a_provider_are_trusted(
    client: OpenAICompatibleClient, tmp_path: Path
) -> None:
    path = write_self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    pem = path.read_text().partition("-----BEGIN CERTIFICATE")
    pem = pem[1] + pem[2].partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/v1"
    times = Timeouts(10, 10, 20)
    try:
        assert "certificate" in (await fault_of(client, url, timeouts=times)).detail
        answer = await client.chat(at(url, certificates=pem, timeouts=times), WIRE)
        assert answer.text == "hello"
    finally:
        server.close()


async def test_what_are_no_certificates_is_said_and_not_sent(
    client: OpenAICompatibleClient,
) -> None:
    for bad in ("secret words", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        fault = await fault_of(client, "http://127.0.0.1:9/v1", certificates=bad)
        assert "certificates" in fault.detail
        assert not fault.sent
        assert "secret" not in f"{fault!r}"


async def test_goes_through_the_proxy_with_its_name_and_password(
    client: OpenAICompatibleClient,
) -> None:
    heads: list[bytes] = []
    async with raw(OK, heads) as url:
        proxy = url.removesuffix("/v1").replace("http://", "http://someone:passw0rd@")
        target = at("http://models.example.com/v1", proxy=proxy, allow_private=False)
        assert (await client.chat(target, WIRE)).text == "hello"
    assert heads[0].startswith(b"POST http://models.example.com/v1/chat/completions ")
    name = heads[0].lower().index(b"proxy-authorization: ")
    assert heads[0][name:].split(b"\r\n")[0].endswith(b"Basic c29tZW9uZTpwYXNzdzByZA==")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("407 Proxy Authentication Required", "the proxy asks for a name and password"),
        ("502 Bad Gateway", "the proxy refused, HTTP 502"),
    ],
)
async def test_a_proxy_that_refuses_is_named(
    client: OpenAICompatibleClient, status: str, words: str
) -> None:
    async with raw(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()) as url:
        proxy = url.removesuffix("/v1").replace("http://", "http://someone:passw0rd@")
        fault = await fault_of(client, "https://models.example.com/v1", proxy=proxy)
    assert fault.detail == words
    assert not fault.sent
    assert "passw0rd" not in f"{fault!r}{fault}"


async def test_a_proxy_that_is_not_there_is_named(client: OpenAICompatibleClient) -> None:
    for url in ("https://models.example.com/v1", "http://models.example.com/v1"):
        fault = await fault_of(client, url, proxy="http://someone:passw0rd@127.0.0.1:9")
        assert (fault.detail, fault.sent) == ("the proxy could not be reached", False)


def usage(**details: Any) -> dict[str, Any]:
    return {**GOOD, "usage": {"prompt_tokens": 10, "completion_tokens": 9, **details}}


@pytest.mark.parametrize(
    ("body", "cached", "reasoning"),
    [
        (
            usage(
                prompt_tokens_details={"cached_tokens": 4},
                completion_tokens_details={"reasoning_tokens": 6},
            ),
            4,
            6,
        ),
        (usage(prompt_cache_hit_tokens=5), 5, 0),
        (usage(prompt_tokens_details=None, completion_tokens_details=None), 0, 0),
        (usage(prompt_tokens_details={"cached_tokens": 400}), 10, 0),
        (usage(completion_tokens_details={"reasoning_tokens": -1}), 0, 0),
    ],
)
async def test_tokens_by_sort(
    client: OpenAICompatibleClient, body: dict[str, Any], cached: int, reasoning: int
) -> None:
    async with raw(response(json.dumps(body).encode())) as url:
        answer = await client.chat(at(url), WIRE)
    assert (answer.tokens_in, answer.tokens_cached) == (10, cached)
    assert (answer.tokens_out, answer.tokens_reasoning) == (9, reasoning)
