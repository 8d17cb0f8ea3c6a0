"""Servers on one's own machine, answering as recorded, through the client, gateway and trial."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from providers.clients.openai_compatible import OpenAICompatibleClient
from providers.gateway.catalogue import ModelInfo
from providers.gateway.errors import CallError, ErrorClass, Fault
from providers.gateway.probe import ProbeReport, probe
from providers.gateway.types import Deployment, Route, Timeouts
from tests.providers.clients.test_openai_compatible import WIRE
from tests.providers.support import SCOPE, Bench, chat_call, deployment

RECORDED: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "recorded" / "servers.json").read_text("utf-8")
)
DATA = {"request": "sign in", "sentiment": "neutral", "concern": 2}


class Recorded:
    """Answers with recorded bodies; ``refuses`` gives a refusal for what a request holds."""

    def __init__(self, name: str, refuses: dict[str, tuple[int, Any]] | None = None) -> None:
        self.answers = dict(RECORDED[name])
        self.refuses = refuses or {}
        self.asked: list[dict[str, Any]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.method == "POST" else {}
        self.asked.append({"path": request.path, **body})
        for field, (status, said) in self.refuses.items():
            if field in body:
                return web.json_response(said, status=status)
        key = f"{request.method} {request.path}"
        streamed = self.answers.get(f"{key} stream") if body.get("stream") else None
        if streamed:
            text = "\n\n".join(streamed) + "\n\n"
            return web.Response(text=text, content_type="text/event-stream")
        if key not in self.answers:
            return web.Response(status=404, text="404 page not found")
        return web.json_response(self.answers[key])


@asynccontextmanager
async def serving(one: Recorded, **changes: Any) -> AsyncIterator[Deployment]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", one.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    model = one.answers["GET /v1/models"]["data"][0]["id"]
    values = {
        "kind": "openai",
        "base_url": f"http://127.0.0.1:{runner.addresses[0][1]}/v1",
        "model": model,
        "timeouts": Timeouts(20, 20, 40),
        **changes,
    }
    try:
        yield deployment(**values)
    finally:
        await runner.cleanup()


@pytest.fixture
async def client() -> AsyncIterator[OpenAICompatibleClient]:
    made = OpenAICompatibleClient()
    yield made
    await made.aclose()


async def asked_by_the_gateway(client: OpenAICompatibleClient, target: Deployment) -> Any:
    bench = Bench(clients={"openai": client})
    return await bench.gateway.chat(chat_call(), Route((target,)), SCOPE)


@pytest.mark.parametrize("name", RECORDED)
async def test_a_question_is_answered_through_the_gateway(
    client: OpenAICompatibleClient, name: str
) -> None:
    server = Recorded(name)
    async with serving(server) as target:
        result = await asked_by_the_gateway(client, target)
    assert result.data == DATA
    assert result.tokens_in >= 40
    assert result.tokens_out >= 20
    assert not result.repaired
    assert len(server.asked) == 1
    assert server.asked[0]["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize("name", ["vllm", "ollama"])
async def test_an_answer_is_streamed(client: OpenAICompatibleClient, name: str) -> None:
    async with serving(Recorded(name)) as target:
        pieces = [piece async for piece in client.stream(target, WIRE)]
    assert "".join(piece.text for piece in pieces) == "one two"
    end = pieces[-1].end
    assert end is not None
    assert (end.finish_reason, end.tokens_in, end.tokens_out) == ("stop", 20, 4)


@pytest.mark.parametrize("name", RECORDED)
async def test_vectors_are_read(client: OpenAICompatibleClient, name: str) -> None:
    async with serving(Recorded(name)) as target:
        reply = await client.embed(target, ["trial"], base64=True, timeout=20)
    assert reply.vectors.tolist() == [pytest.approx([0.6, 0.8, 0.0])]


@pytest.mark.parametrize(
    ("name", "models"),
    [
        ("vllm", [ModelInfo("Qwen/Qwen3-8B", 40960)]),
        (
            "ollama",
            [
                ModelInfo("llama3.2:latest", 131072, embeds=False, tools=True),
                ModelInfo("nomic-embed-text:latest", 131072, embeds=False, tools=True),
            ],
        ),
        (
            "lmstudio",
            [
                ModelInfo("qwen3-8b", 32768, embeds=False),
                ModelInfo("text-embedding-nomic", 2048, embeds=True),
            ],
        ),
        ("llama.cpp", [ModelInfo("qwen.gguf", 8192)]),
    ],
)
async def test_models_are_listed_with_what_the_server_s_own_address_adds(
    client: OpenAICompatibleClient, name: str, models: list[ModelInfo]
) -> None:
    async with serving(Recorded(name)) as target:
        assert await client.models(target) == models


async def test_an_old_ollama_is_asked_for_its_tags(client: OpenAICompatibleClient) -> None:
    server = Recorded("ollama")
    server.answers["GET /api/tags"] = {"models": [{"name": "llama3.2:latest"}]}
    async with serving_without_list(server) as target:
        assert await client.models(target) == [ModelInfo("llama3.2:latest")]


@asynccontextmanager
async def serving_without_list(server: Recorded) -> AsyncIterator[Deployment]:
    async with serving(server) as target:
        del server.answers["GET /v1/models"]
        yield target


async def test_what_is_no_list_of_models_is_a_fault(client: OpenAICompatibleClient) -> None:
    server = Recorded("vllm")
    async with serving_without_list(server) as target:
        with pytest.raises(Fault) as caught:
            await client.models(target)
        assert caught.value.error_class is ErrorClass.NOT_FOUND
        server.answers = {"GET /v1/models": {"hello": "wiki"}}
        with pytest.raises(Fault) as caught:
            await client.models(target)
        assert caught.value.error_class is ErrorClass.SERVER


def states(report: ProbeReport) -> dict[str, str]:
    return {line.name: line.state for line in report.lines}


async def test_a_trial_of_vllm_says_what_it_can_do(client: OpenAICompatibleClient) -> None:
    async with serving(Recorded("vllm")) as target:
        report = await probe(client, target)
    assert report.ok
    assert states(report) == {
        "Chat": "yes",
        "JSON schema": "yes",
        "Tools": "no",
        "Streaming": "yes",
        "Context": "yes",
        "Embeddings": "yes",
    }
    assert (report.context_tokens, report.dimensions, report.tools) == (40960, 3, False)
    assert any("40,960 tokens" in line.text for line in report.lines)


POOR = {
    "response_format": (400, {"error": "'response_format' is not supported"}),
    "tools": (400, {"error": {"message": "this model does not support tools", "code": None}}),
    "stream": (400, {"error": {"message": "streaming is not supported"}}),
    "temperature": (400, {"error": {"message": "temperature is fixed"}}),
}


async def test_a_server_with_neither_schema_nor_tools_is_used_all_the_same(
    client: OpenAICompatibleClient,
) -> None:
    server = Recorded("llama.cpp", POOR)
    async with serving(server) as target:
        result = await asked_by_the_gateway(client, target)
        assert result.data == DATA
        last = server.asked[-1]
        assert not {"response_format", "tools", "temperature"} & set(last)
        assert "JSON Schema" in last["messages"][0]["content"]
        report = await probe(client, target)
    assert report.ok
    assert (report.json_schema, report.tools, report.streaming) == (False, False, False)
    assert "without a schema" in report.text
    assert {"JSON schema": "no", "Tools": "no", "Streaming": "no"}.items() <= states(report).items()


@pytest.mark.parametrize(
    ("refuses", "words"),
    [
        (
            {"model": (404, {"error": {"message": "model not found", "type": "api_error"}})},
            "is not in its list of models (1)",
        ),
        ({"model": (401, {"error": "unauthorized"})}, "Enter it again"),
        ({"model": (503, {"error": {"message": "Loading model"}})}, "fault of its own"),
    ],
)
async def test_a_trial_names_the_exact_cause(
    client: OpenAICompatibleClient, refuses: dict[str, tuple[int, Any]], words: str
) -> None:
    async with serving(Recorded("vllm", refuses), model="acme/unknown") as target:
        report = await probe(client, target)
    assert not report.ok
    assert words in report.text
    assert [line.state for line in report.lines] == ["failed"]


async def test_an_error_of_the_server_ends_the_call_with_its_class(
    client: OpenAICompatibleClient,
) -> None:
    said = {"error": {"message": "maximum context length is 4096", "code": 400}}
    async with serving(Recorded("vllm", {"model": (400, said)})) as target:
        with pytest.raises(CallError) as caught:
            await asked_by_the_gateway(client, target)
    assert caught.value.error_class is ErrorClass.CONTEXT_LENGTH
