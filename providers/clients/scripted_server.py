"""The scripted provider over HTTP: ``python -m providers.clients.scripted_server --port 0``."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from providers.clients.openai_compatible import KEPT_AS
from providers.clients.scripted import Act, Scenario, Script, Step, load_scenario
from providers.clients.scripted_anthropic import as_chat, as_message
from providers.clients.scripted_batches import ScriptedBatches
from providers.clients.scripted_delivery import cut, send_stream, send_whole

MAX_REQUEST_BYTES = 64 * 1024 * 1024


class Bill:
    """What the provider would charge for: a file with a line of JSON for every request it began
    to answer, whether or not the answer arrived. It only grows, and several may write to it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def add(self, body: Mapping[str, Any], usage: Mapping[str, int]) -> None:
        """One request. ``key`` is the caller's own, where it named one in ``metadata``."""
        text = json.dumps(body, sort_keys=True).encode()
        line = {
            "time": time.time(),
            "sha256": hashlib.sha256(text).hexdigest(),
            "model": str(body.get("model", "")),
            "tokens_in": usage.get("prompt_tokens", usage.get("input_tokens", 0)),
            "tokens_out": usage.get("completion_tokens", usage.get("output_tokens", 0)),
            "key": str((body.get("metadata") or {}).get(KEPT_AS, "")),
        }
        os.write(self._file, json.dumps(line).encode() + b"\n")


class ScriptedServer:
    """An OpenAI-compatible server that follows a script; counts at ``GET /stats``."""

    def __init__(self, scenario: Scenario, bill: Bill | None = None) -> None:
        self.script = Script(scenario)
        self._bill = bill
        self._batches = ScriptedBatches(self.script, self._billed, self._allowed)
        self._runner: web.AppRunner | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen; gives back the base URL, which ends in ``/v1``. Port 0 takes a free one."""
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/chat/completions", self._stored)
        app.router.add_get("/v1/chat/completions/{id}/messages", self._messages)
        app.router.add_post("/v1/messages", self._anthropic)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/stats", self._stats)
        self._batches.add_routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, backlog=512)
        await site.start()
        bound = self._runner.addresses[0][1]
        return f"http://{host}:{bound}/v1"

    async def stop(self) -> None:
        """Stop listening and drop what is open."""
        self._batches.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._play(request, self.script.chat)

    async def _anthropic(self, request: web.Request) -> web.StreamResponse:
        """Anthropic's "Create a Message"."""
        return await self._play(
            request,
            lambda step, body: as_message(body, self.script.chat(step, as_chat(body))),
        )

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        return await self._play(request, lambda _, body: self.script.embeddings(body))

    async def _stored(self, request: web.Request) -> web.Response:
        """OpenAI's "List Chat Completions": stored ones, by metadata."""
        wanted = {
            key.removeprefix("metadata[").removesuffix("]"): value
            for key, value in request.query.items()
            if key.startswith("metadata[")
        }
        limit = request.query.get("limit", "20")
        found = self.script.find(wanted, int(limit) if limit.isdecimal() else 20)
        return web.json_response({"object": "list", "data": found, "has_more": False})

    async def _messages(self, request: web.Request) -> web.Response:
        """The messages of a stored completion: here its answer alone."""
        kept = self.script.kept.get(request.match_info["id"])
        if kept is None:
            return web.json_response({"error": {"code": "not_found"}}, status=404)
        messages = [{"id": f"{kept['id']}-0", **kept["choices"][0]["message"]}]
        return web.json_response({"object": "list", "data": messages, "has_more": False})

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response(self.script.models())

    async def _stats(self, request: web.Request) -> web.Response:
        script = self.script
        repeated = sum(count - 1 for count in script.seen.values())
        return web.json_response(
            {"requests": script.requests, "repeated": repeated, "acts": dict(script.acts)}
        )

    def _allowed(self, request: web.Request) -> bool:
        key = self.script.scenario.key
        given = request.headers.get("Authorization"), request.headers.get("x-api-key")
        return not key or given in ((f"Bearer {key}", None), (None, key))

    def _billed(self, body: Mapping[str, Any], usage: Mapping[str, int]) -> None:
        if self._bill is not None:
            self._bill.add(body, usage)

    async def _play(
        self, request: web.Request, make: Callable[[Step, dict[str, Any]], dict[str, Any]]
    ) -> web.StreamResponse:
        if not self._allowed(request):
            return web.json_response({"error": {"code": "invalid_api_key"}}, status=401)
        try:
            body = await request.json()
        except ValueError:
            return web.json_response({"error": {"message": "not JSON"}}, status=400)
        step = self.script.next_step(body)
        if step.act in (Act.DROPPED, Act.REFUSED):
            return cut(request)
        refusal = self.script.refusal(step, body)
        answer = {} if refusal else make(step, body)
        if refusal is None:
            self._billed(body, answer.get("usage") or {})
        await asyncio.sleep(step.seconds)
        if refusal is not None:
            status, headers, said = refusal
            return web.json_response(said, status=status, headers=headers)
        left = self.script.meter.headers()
        if not body.get("stream") or "choices" not in answer:
            return await send_whole(request, step, answer, left)
        usage = (body.get("stream_options") or {}).get("include_usage") is True
        chunks = self.script.chunks(answer, usage)
        return await send_stream(request, step, chunks, left, self.script.scenario.pace)


async def serve(host: str, port: int, scenario: Scenario, bill: Bill | None = None) -> None:
    """Serve until cancelled; the base URL is the first line on standard output."""
    server = ScriptedServer(scenario, bill)
    try:
        url = await server.start(host, port)
        sys.stdout.write(url + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()
    finally:
        await server.stop()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="An OpenAI-compatible server that plays a script")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--scenario", help="JSON file or a name that ships; without it every call succeeds"
    )
    parser.add_argument("--bill", type=Path, help="file that gets a line for every billed request")
    options = parser.parse_args()
    try:
        scenario = load_scenario(options.scenario) if options.scenario else Scenario()
        bill = Bill(options.bill) if options.bill else None
    except (OSError, ValueError) as error:
        parser.error(str(error))
    try:
        asyncio.run(serve(options.host, options.port, scenario, bill))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
