"""How the scripted server's answers go out: whole, bit by bit, or broken as the step says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from providers.clients.scripted import Act, Step


def cut(request: web.Request) -> web.Response:
    """Drop the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def send_whole(
    request: web.Request, step: Step, answer: Mapping[str, Any], headers: Mapping[str, str]
) -> web.StreamResponse:
    """The answer in one piece, or what the step makes of it."""
    if step.act is Act.HANG:
        await asyncio.Event().wait()
    if step.act is Act.NOT_JSON:
        return web.Response(text="<html>not an API</html>", content_type="text/html")
    content = json.dumps(answer).encode()
    if step.act in (Act.HANG_MIDWAY, Act.DROP_MIDWAY):
        return await _half(request, content, step)
    return web.Response(body=content, content_type="application/json", headers=headers)


async def send_stream(
    request: web.Request,
    step: Step,
    chunks: Iterable[Mapping[str, Any]],
    headers: Mapping[str, str],
    pace: float,
) -> web.StreamResponse:
    """The answer as server-sent events, ``pace`` seconds apart, or cut as the step says."""
    if step.act in (Act.HANG, Act.NOT_JSON):
        return await send_whole(request, step, {}, headers)
    response = web.StreamResponse(headers={**headers, "Content-Type": "text/event-stream"})
    await response.prepare(request)
    for place, chunk in enumerate(chunks):
        if place == step.tokens and step.act is Act.DROP_MIDWAY:
            return cut(request)
        if place == step.tokens and step.act is Act.HANG_MIDWAY:
            await asyncio.Event().wait()
        await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        await asyncio.sleep(pace)
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


async def _half(request: web.Request, content: bytes, step: Step) -> web.StreamResponse:
    """Send half of the answer, then nothing more or the end of the connection."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(content)
    await response.prepare(request)
    await response.write(content[: len(content) // 2])
    if step.act is Act.DROP_MIDWAY:
        return cut(request)
    await asyncio.Event().wait()
    return response
