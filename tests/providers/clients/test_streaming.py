"""Streamed answers over real sockets, whole and broken in every way a server breaks them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import pytest

from providers.clients import wire as wire_module
from providers.clients.openai_compatible import OpenAICompatibleClient
from providers.clients.streaming import ChunkReader
from providers.gateway.errors import ErrorClass, Fault, maybe_billed
from providers.gateway.types import Quota, StreamPiece, Timeouts, WireAnswer
from tests.providers.clients.test_openai_compatible import GOOD, WIRE, at, raw, response

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
    b"x-ratelimit-remaining-requests: 7\r\n\r\n"
)


def chunk(text: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    delta = {} if text is None else {"content": text}
    body = {
        "id": "c1",
        "object": "chat.completion.chunk",
        "model": "m-1",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}}
WHOLE = (
    b": OPENROUTER PROCESSING\n\n"
    + chunk("", role="assistant")
    + chunk("Hello")
    + chunk("\u2028 wörld")
    + chunk(finish="stop")
    + chunk(choices=[], usage=USAGE)
    + b"data: [DONE]\n\n"
)


@pytest.fixture
async def client() -> AsyncIterator[OpenAICompatibleClient]:
    made = OpenAICompatibleClient()
    yield made
    await made.aclose()


async def streamed(
    client: OpenAICompatibleClient, url: str, **changes: Any
) -> tuple[str, WireAnswer | None]:
    text, end = "", None
    async for piece in client.stream(at(url, **changes), WIRE):
        assert end is None
        text, end = text + piece.text, piece.end
    return text, end


async def broken(client: OpenAICompatibleClient, url: str, **changes: Any) -> tuple[str, Fault]:
    """The text that came before the fault, and the fault."""
    text = ""
    try:
        async for piece in client.stream(at(url, **changes), WIRE):
            text += piece.text
            assert piece.end is None
    except Fault as fault:
        return text, fault
    pytest.fail("the stream ended without a fault")


async def test_pieces_then_the_end(client: OpenAICompatibleClient) -> None:
    heads: list[bytes] = []
    async with raw(HEAD + WHOLE, heads) as url:
        text, end = await streamed(client, url)
    assert text == "Hello\u2028 wörld"
    assert end == WireAnswer("", "stop", 9, 4, 3, "m-1", quota=Quota(requests_left=7))


async def test_a_stream_cut_into_single_bytes(client: OpenAICompatibleClient) -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        for byte in WHOLE.replace(b"\n", b"\r\n"):
            writer.write(bytes([byte]))
        await writer.drain()

    async with raw(slowly) as url:
        text, end = await streamed(client, url)
    assert text == "Hello\u2028 wörld"
    assert end is not None


async def test_without_usage_nothing_is_made_up(client: OpenAICompatibleClient) -> None:
    async with raw(HEAD + chunk("Hi") + chunk(finish="length") + b"data: [DONE]\n\n") as url:
        text, end = await streamed(client, url)
    assert (text, end) == ("Hi", WireAnswer("", "length", model="m-1", quota=end and end.quota))


async def test_a_server_that_does_not_stream_gives_one_piece(
    client: OpenAICompatibleClient,
) -> None:
    async with raw(response(json.dumps(GOOD, indent=1).encode())) as url:
        text, end = await streamed(client, url)
    assert text == "hello"
    assert end == WireAnswer("", "stop", 3, 2)


@pytest.mark.parametrize(
    ("reply", "text", "error_class"),
    [
        (HEAD + chunk("Hel"), "Hel", ErrorClass.NETWORK),
        (HEAD + chunk("Hel") + b'data: {"choi', "Hel", ErrorClass.SERVER),
        (HEAD + chunk("Hel") + b"data: <html>\n\n", "Hel", ErrorClass.SERVER),
        (HEAD + chunk("Hel") + b'data: {"choices": 7}\n\n', "Hel", ErrorClass.SERVER),
        (HEAD + chunk("A") + chunk(finish="content_filter"), "A", ErrorClass.CONTENT_FILTER),
        (
            HEAD + chunk("A") + b'data: {"error": {"code": 429, "message": "try again in 2s"}}\n\n',
            "A",
            ErrorClass.RATE_LIMIT,
        ),
        (HEAD + b"", "", ErrorClass.SERVER),
        (response(b"<html>wiki</html>"), "", ErrorClass.SERVER),
        (response(b"{}", "503 Busy"), "", ErrorClass.SERVER),
        (response(b"", "302 Found", "Location: http://x\r\n"), "", ErrorClass.NOT_FOUND),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + chunk("Hel"),
            "Hel",
            ErrorClass.NETWORK,
        ),
    ],
)
async def test_what_breaks_is_told_and_what_came_is_kept(
    client: OpenAICompatibleClient, reply: bytes, text: str, error_class: ErrorClass
) -> None:
    async with raw(reply) as url:
        came, fault = await broken(client, url)
    assert (came, fault.error_class) == (text, error_class)
    assert "wiki" not in f"{fault!r}"
    assert maybe_billed(fault) or not text


async def test_silence_in_the_middle_is_a_cut(
    client: OpenAICompatibleClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire_module, "IDLE_SECONDS", 0.3)

    async def silent(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + chunk("Hel"))
        await writer.drain()
        await asyncio.sleep(30)

    async with raw(silent) as url:
        came, fault = await broken(client, url, timeouts=Timeouts(5, 5, 60))
    assert came == "Hel"
    assert (fault.error_class, fault.detail) == (ErrorClass.TIMEOUT, "the answer stopped")


async def test_silence_before_the_first_byte_has_its_own_limit(
    client: OpenAICompatibleClient,
) -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with raw(silent) as url:
        came, fault = await broken(client, url, timeouts=Timeouts(0.2, 0.2, 60))
    assert (came, fault.error_class) == ("", ErrorClass.TIMEOUT)


async def test_an_endless_stream_ends(client: OpenAICompatibleClient) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        while True:
            writer.write(b": x" * 20_000)
            await writer.drain()

    async with raw(endless) as url:
        _, fault = await broken(client, url, timeouts=Timeouts(5, 5, 60))
    assert "4 MB" in fault.detail


async def test_asks_again_where_usage_cannot_be_asked_for(client: OpenAICompatibleClient) -> None:
    said = {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]}
    refused = response(json.dumps(said).encode(), "422 Unprocessable", "Connection: close\r\n")
    replies = [refused, HEAD + WHOLE]

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(replies.pop(0))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        text, _ = await streamed(client, f"http://127.0.0.1:{port}/v1")
    finally:
        server.close()
    assert text.startswith("Hello")
    assert replies == []


async def test_a_reader_who_leaves_closes_the_connection(client: OpenAICompatibleClient) -> None:
    gone = asyncio.Event()

    async def forever(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        try:
            while True:
                writer.write(chunk("more "))
                await writer.drain()
                await asyncio.sleep(0.005)
        except ConnectionError:
            gone.set()
            raise

    async with raw(forever) as url:
        async with aclosing(client.stream(at(url), WIRE)) as pieces:
            assert (await anext(pieces)).text == "more "
        async with asyncio.timeout(20):
            await gone.wait()


def test_half_a_character_is_put_together_again() -> None:
    reader = ChunkReader(NOW)
    line = chunk("wörld").split(b"\n")[0]
    assert reader.read(line, {}) == [StreamPiece("wörld")]
    assert reader.read(b"data: [DONE]", {}) == []
    assert reader.end()[-1].end == WireAnswer("", "stop", model="m-1")
