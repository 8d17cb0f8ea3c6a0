"""The scripted provider over HTTP: ``python -m providers.clients.scripted_server --port 0``."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from providers.clients.scripted import Act, Scenario, Script, Step, load_scenario

MAX_REQUEST_BYTES = 32 * 1024 * 1024


class ScriptedServer:
    """An OpenAI-compatible server that follows a script; counts at ``GET /stats``."""

    def __init__(self, scenario: Scenario) -> None:
        self.script = Script(scenario)
        self._runner: web.AppRunner | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen; gives back the base URL, which ends in ``/v1``. Port 0 takes a free one."""
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/stats", self._stats)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, backlog=512)
        await site.start()
        bound = self._runner.addresses[0][1]
        return f"http://{host}:{bound}/v1"

    async def stop(self) -> None:
        """Stop listening and drop what is open."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._play(request, self.script.chat)

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        return await self._play(request, lambda _, body: self.script.embeddings(body))

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "scripted"}]})

    async def _stats(self, request: web.Request) -> web.Response:
        script = self.script
        repeated = sum(count - 1 for count in script.seen.values())
        return web.json_response(
            {"requests": script.requests, "repeated": repeated, "acts": dict(script.acts)}
        )

    async def _play(
        self, request: web.Request, make: Callable[[Step, dict[str, Any]], dict[str, Any]]
    ) -> web.StreamResponse:
        key = self.script.scenario.key
        if key and request.headers.get("Authorization") != f"Bearer {key}":
            return web.json_response({"error": {"code": "invalid_api_key"}}, status=401)
        try:
            body = await request.json()
        except ValueError:
            return web.json_response({"error": {"message": "not JSON"}}, status=400)
        step = self.script.next_step(body)
        if step.act in (Act.DROPPED, Act.REFUSED):
            return _cut(request)
        await asyncio.sleep(step.seconds)
        if step.act is Act.HANG:
            await asyncio.Event().wait()
        refusal = self.script.refusal(step, body)
        if refusal is not None:
            status, headers, said = refusal
            return web.json_response(said, status=status, headers=headers)
        if step.act is Act.NOT_JSON:
            return web.Response(text="<html>not an API</html>", content_type="text/html")
        content = json.dumps(make(step, body)).encode()
        if step.act is Act.HANG_MIDWAY:
            return await _half(request, content)
        return web.Response(body=content, content_type="application/json")


def _cut(request: web.Request) -> web.Response:
    """Drop the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _half(request: web.Request, content: bytes) -> web.StreamResponse:
    """Send half of the answer, then nothing more."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(content)
    await response.prepare(request)
    await response.write(content[: len(content) // 2])
    await asyncio.Event().wait()
    return response


async def serve(host: str, port: int, scenario: Scenario) -> None:
    """Serve until cancelled; the base URL is the first line on standard output."""
    server = ScriptedServer(scenario)
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
    parser.add_argument("--scenario", type=Path, help="JSON file; without it every call succeeds")
    options = parser.parse_args()
    try:
        scenario = load_scenario(options.scenario) if options.scenario else Scenario()
    except (OSError, ValueError) as error:
        parser.error(str(error))
    try:
        asyncio.run(serve(options.host, options.port, scenario))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
