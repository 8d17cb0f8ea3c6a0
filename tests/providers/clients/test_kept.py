"""Answers that a provider keeps: stored under our name, found again over HTTP."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import aiohttp
import pytest

from providers.clients.openai_compatible import (
    OpenAICompatibleClient,
    chat_body,
    read_kept,
    utc_now,
)
from providers.clients.scripted import Act, Scenario
from providers.clients.scripted_server import ScriptedServer
from providers.gateway.errors import ErrorClass, Fault
from tests.providers.clients.test_openai_compatible import (
    GOOD,
    WIRE,
    at,
    client,
    raw,
    response,
    scripted,
)
from tests.providers.support import scenario

__all__ = ["client"]

NAME = "f" * 64
KEPT = replace(WIRE, keep_as=NAME)


def test_nothing_is_stored_unasked() -> None:
    assert not {"store", "metadata"} & chat_body("m", WIRE).keys()
    body = chat_body("m", KEPT)
    assert (body["store"], body["metadata"]) == (True, {"openclio": NAME})


async def test_a_kept_answer_is_found_with_its_usage(client: OpenAICompatibleClient) -> None:
    async with scripted(Scenario()) as url:
        assert await client.find(at(url), NAME) is None
        sent = await client.chat(at(url), KEPT)
        await client.chat(at(url), replace(WIRE, keep_as="0" * 64))
        await client.chat(at(url), WIRE)
        found = await client.find(at(url), NAME)
        assert found == sent
        assert await client.find(at(url), "e" * 64) is None


async def test_an_answer_nobody_waited_for_is_kept(client: OpenAICompatibleClient) -> None:
    """The asker dies while the provider works on it."""
    async with scripted(Scenario(latency=0.3)) as url:
        task = asyncio.create_task(client.chat(at(url), KEPT))
        await asyncio.sleep(0.15)
        task.cancel()
        await asyncio.wait([task])
        for _ in range(50):
            found = await client.find(at(url), NAME)
            if found:
                break
            await asyncio.sleep(0.05)
        assert found is not None


async def test_a_refused_or_cut_off_call_keeps_nothing(client: OpenAICompatibleClient) -> None:
    async with scripted(scenario(Act.SERVER_ERROR, Act.DROPPED)) as url:
        for _ in range(2):
            with pytest.raises(Fault):
                await client.chat(at(url), KEPT)
        assert await client.find(at(url), NAME) is None


@pytest.mark.parametrize("status", ["404 Not Found", "405 Method Not Allowed", "400 Bad Request"])
async def test_a_server_without_stored_answers_has_none(
    client: OpenAICompatibleClient, status: str
) -> None:
    async with raw(response(b'{"error": {"message": "no"}}', status)) as url:
        assert await client.find(at(url), NAME) is None


async def test_a_server_that_cannot_be_asked_is_a_fault(client: OpenAICompatibleClient) -> None:
    async with raw(response(b"{}", "503 Service Unavailable")) as url:
        with pytest.raises(Fault) as caught:
            await client.find(at(url), NAME)
        assert caught.value.error_class is ErrorClass.SERVER


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": None},
        {"data": []},
        {"data": ["x"]},
        {"data": {"0": GOOD}},
        {"data": [GOOD]},
        {"data": [{**GOOD, "metadata": {"openclio": "another"}}]},
        {"data": [{**GOOD, "metadata": "openclio"}]},
    ],
)
def test_what_is_not_ours_is_not_taken(body: dict[str, object]) -> None:
    """A server that ignores the filter would otherwise give one conversation's answer to another."""
    assert read_kept(body, NAME, utc_now()) is None


async def test_a_spoiled_kept_answer_is_a_fault(client: OpenAICompatibleClient) -> None:
    body = json.dumps({"data": [{"metadata": {"openclio": NAME}, "choices": 5}]}).encode()
    async with raw(response(body)) as url:
        with pytest.raises(Fault):
            await client.find(at(url), NAME)


async def test_the_server_tells_the_messages_of_a_kept_answer(
    client: OpenAICompatibleClient,
) -> None:
    server = ScriptedServer(Scenario())
    url = await server.start()
    try:
        answer = await client.chat(at(url), KEPT)
        (key,) = server.script.kept
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{url}/chat/completions/{key}/messages") as reply:
                told = await reply.json()
            assert told["data"][0]["content"] == answer.text
            async with http.get(f"{url}/chat/completions/nothing/messages") as reply:
                assert reply.status == 404
    finally:
        await server.stop()
