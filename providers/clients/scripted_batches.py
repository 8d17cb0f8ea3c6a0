"""The scripted provider's batch endpoints in the shapes of OpenAI, Anthropic and Mistral.

A batch is worked off in one go, ``seconds`` after it was taken; what becomes of a line is decided
by the seed, its own name and how often that name came before. A line is billed when it is
answered, whether or not anybody collects the answer.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from providers.clients.openai_compatible import KEPT_AS
from providers.clients.scripted import BatchScript, Script, Step
from providers.clients.scripted_anthropic import as_chat, as_message

MOST_FILES = 1_000

Billed = Callable[[Mapping[str, Any], Mapping[str, int]], None]
"""Takes a request and its usage; the request's metadata carry the name of its line."""


@dataclass(slots=True)
class _Line:
    """One request of a batch and what became of it: an answer, or a word."""

    name: str
    body: dict[str, Any]
    answer: dict[str, Any] | None = None
    word: str = ""


@dataclass(slots=True)
class _Batch:
    number: str
    created: float
    lines: list[_Line]
    metadata: Any = None
    state: str = "working"
    files: dict[str, str] = field(default_factory=dict)


class ScriptedBatches:
    """Batches of one scripted server; ``allowed`` refuses requests without the right key."""

    def __init__(
        self, script: Script, bill: Billed, allowed: Callable[[web.Request], bool]
    ) -> None:
        self._script = script
        self._plan: BatchScript = script.scenario.batches
        self._bill = bill
        self._allowed = allowed
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, _Batch] = {}
        self._named: Counter[str] = Counter()
        self._timers: set[asyncio.TimerHandle] = set()

    def add_routes(self, app: web.Application) -> None:
        """Offer every endpoint of the three shapes."""
        routes = (
            ("POST", "/v1/files", self._upload),
            ("GET", "/v1/files/{id}/content", self._content),
            ("POST", "/v1/batches", self._create),
            ("GET", "/v1/batches", self._list),
            ("GET", "/v1/batches/{id}", self._show),
            ("POST", "/v1/batches/{id}/cancel", self._cancel),
            ("POST", "/v1/batch/jobs", self._create_job),
            ("GET", "/v1/batch/jobs", self._list_jobs),
            ("GET", "/v1/batch/jobs/{id}", self._show_job),
            ("POST", "/v1/batch/jobs/{id}/cancel", self._cancel_job),
            ("POST", "/v1/messages/batches", self._create_messages),
            ("GET", "/v1/messages/batches", self._list_messages),
            ("GET", "/v1/messages/batches/{id}", self._show_messages),
            ("GET", "/v1/messages/batches/{id}/results", self._message_results),
            ("POST", "/v1/messages/batches/{id}/cancel", self._cancel_messages),
        )
        for method, path, handler in routes:
            app.router.add_route(method, path, self._guarded(handler))

    def _guarded(self, handler: Any) -> Any:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if not self._allowed(request):
                return _refused(401, "invalid_api_key")
            try:
                answer: web.StreamResponse = await handler(request)
            except (ValueError, KeyError, TypeError, AttributeError):
                return _refused(400, "invalid_request_error")
            return answer

        return guarded

    # Files

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        file = form["file"]
        if form.get("purpose") != "batch" or not isinstance(file, web.FileField):
            return _refused(400, "invalid_request_error")
        number = f"file-{len(self._files) + 1}"
        if len(self._files) < MOST_FILES:
            self._files[number] = file.file.read()
        return web.json_response({"id": number, "object": "file", "purpose": "batch"})

    async def _content(self, request: web.Request) -> web.Response:
        content = self._files.get(request.match_info["id"])
        if content is None:
            return _refused(404, "not_found")
        return web.Response(body=content, content_type="application/octet-stream")

    # OpenAI

    async def _create(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        lines = [
            _Line(line["custom_id"], line["body"])
            for line in _lines(self._files[asked["input_file_id"]])
        ]
        return await self._taken(request, "batch_", lines, asked.get("metadata"), _openai)

    async def _list(self, request: web.Request) -> web.Response:
        rows, more = self._page(request.query.get("after"), request.query.get("limit"))
        data = [_openai(row) for row in rows]
        return web.json_response({"object": "list", "data": data, "has_more": more})

    async def _show(self, request: web.Request) -> web.Response:
        return self._shown(request, _openai)

    async def _cancel(self, request: web.Request) -> web.Response:
        return self._cancelled(request, _openai)

    # Mistral

    async def _create_job(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        lines = [
            _Line(line["custom_id"], {**line["body"], "model": asked["model"]})
            for file in asked["input_files"]
            for line in _lines(self._files[file])
        ]
        return await self._taken(request, "job-", lines, asked.get("metadata"), _mistral)

    async def _list_jobs(self, request: web.Request) -> web.Response:
        size = int(request.query.get("page_size", "100"))
        first = size * int(request.query.get("page", "0"))
        rows = self._newest()[first : first + size]
        return web.json_response({"object": "list", "data": [_mistral(row) for row in rows]})

    async def _show_job(self, request: web.Request) -> web.Response:
        return self._shown(request, _mistral)

    async def _cancel_job(self, request: web.Request) -> web.Response:
        return self._cancelled(request, _mistral)

    # Anthropic

    async def _create_messages(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        lines = [_Line(one["custom_id"], one["params"]) for one in asked["requests"]]
        return await self._taken(request, "msgbatch_", lines, None, _anthropic)

    async def _list_messages(self, request: web.Request) -> web.Response:
        rows, more = self._page(request.query.get("after_id"), request.query.get("limit"))
        data = [_anthropic(row) for row in rows]
        return web.json_response({"data": data, "has_more": more})

    async def _show_messages(self, request: web.Request) -> web.Response:
        return self._shown(request, _anthropic)

    async def _cancel_messages(self, request: web.Request) -> web.Response:
        return self._cancelled(request, _anthropic)

    async def _message_results(self, request: web.Request) -> web.Response:
        batch = self._batches.get(request.match_info["id"])
        if batch is None or batch.state == "working":
            return _refused(404, "not_found")
        text = "".join(
            json.dumps({"custom_id": line.name, "result": _message_result(line)}) + "\n"
            for line in batch.lines
            if line.word != "missing"
        )
        return web.Response(text=text, content_type="application/x-jsonl")

    # All

    async def _taken(
        self,
        request: web.Request,
        prefix: str,
        lines: list[_Line],
        metadata: Any,
        show: Callable[[_Batch], dict[str, Any]],
    ) -> web.StreamResponse:
        number = f"{prefix}{len(self._batches) + 1}"
        batch = _Batch(number, time.time(), lines, metadata)
        self._batches[number] = batch
        if len(self._batches) <= self._plan.refused:
            batch.state = "refused"
        else:
            loop = asyncio.get_running_loop()
            self._timers.add(loop.call_later(self._plan.seconds, self._work, batch))
        if len(self._batches) <= self._plan.dropped:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        return web.json_response(show(batch))

    def stop(self) -> None:
        """Work off nothing more."""
        for timer in self._timers:
            timer.cancel()

    def _work(self, batch: _Batch) -> None:
        """Answer all lines; they come out in an order of their own."""
        if batch.state != "working":
            return
        draw = random.Random(f"{self._script.scenario.seed}:{batch.number}")  # noqa: S311
        if self._plan.shuffled:
            draw.shuffle(batch.lines)
        for line in batch.lines:
            self._answer(line)
        batch.state = "ended"
        self._publish(batch)

    def _answer(self, line: _Line) -> None:
        seen = self._named[line.name]
        self._named[line.name] += 1
        draw = random.Random(f"{self._script.scenario.seed}:{line.name}:{seen}")  # noqa: S311
        plan = self._plan
        sound = max(0.0, 1.0 - plan.missing - plan.expired - plan.failed)
        words = ("", "missing", "expired", "failed")
        weights = (sound, plan.missing, plan.expired, plan.failed)
        line.word = "" if seen >= plan.bad_times else draw.choices(words, weights)[0]
        if not line.word:
            line.answer = self._script.chat(Step(), as_chat(line.body))
            named = {**line.body, "metadata": {KEPT_AS: line.name}}
            self._bill(named, line.answer.get("usage") or {})

    def _publish(self, batch: _Batch) -> None:
        """Write its two files."""
        out = [_output(line) for line in batch.lines if not line.word]
        errors = [_output(line) for line in batch.lines if line.word in ("expired", "failed")]
        for kind, rows in (("output", out), ("error", errors)):
            if rows:
                name = f"file-{kind}-{batch.number}"
                self._files[name] = "".join(json.dumps(row) + "\n" for row in rows).encode()
                batch.files[kind] = name

    def _newest(self) -> list[_Batch]:
        return list(reversed(self._batches.values()))

    def _page(self, after: str | None, limit: str | None) -> tuple[list[_Batch], bool]:
        rows = self._newest()
        numbers = [row.number for row in rows]
        rows = rows[numbers.index(after) + 1 :] if after else rows
        most = int(limit or 20)
        return rows[:most], len(rows) > most

    def _shown(
        self, request: web.Request, show: Callable[[_Batch], dict[str, Any]]
    ) -> web.Response:
        batch = self._batches.get(request.match_info["id"])
        return _refused(404, "not_found") if batch is None else web.json_response(show(batch))

    def _cancelled(
        self, request: web.Request, show: Callable[[_Batch], dict[str, Any]]
    ) -> web.Response:
        batch = self._batches.get(request.match_info["id"])
        if batch is not None and batch.state == "working":
            for line in batch.lines:
                line.word = "cancelled"
            batch.state = "cancelled"
        return self._shown(request, show)


def _lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines() if line.strip()]


def _refused(status: int, code: str) -> web.Response:
    return web.json_response({"error": {"type": code, "code": code}}, status=status)


def _done(batch: _Batch, word: str = "") -> int:
    return sum(line.word == word for line in batch.lines) if batch.state == "ended" else 0


def _openai(batch: _Batch) -> dict[str, Any]:
    words = {"working": "in_progress", "ended": "completed", "refused": "failed"}
    ended = "expired" if _done(batch, "expired") else "completed"
    return {
        "id": batch.number,
        "object": "batch",
        "status": ended if batch.state == "ended" else words.get(batch.state, batch.state),
        "created_at": int(batch.created),
        "metadata": batch.metadata,
        "request_counts": {
            "total": len(batch.lines),
            "completed": _done(batch),
            "failed": _done(batch, "failed"),
        },
        "output_file_id": batch.files.get("output"),
        "error_file_id": batch.files.get("error"),
    }


def _mistral(batch: _Batch) -> dict[str, Any]:
    words = {"working": "RUNNING", "ended": "SUCCESS", "refused": "FAILED"}
    state = "TIMEOUT_EXCEEDED" if _done(batch, "expired") else words.get(batch.state, "CANCELLED")
    return {
        "id": batch.number,
        "object": "batch",
        "status": state,
        "created_at": int(batch.created),
        "metadata": batch.metadata,
        "total_requests": len(batch.lines),
        "completed_requests": _done(batch),
        "output_file": batch.files.get("output"),
        "error_file": batch.files.get("error"),
    }


def _anthropic(batch: _Batch) -> dict[str, Any]:
    working = batch.state == "working"
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(batch.created))
    return {
        "id": batch.number,
        "type": "message_batch",
        "processing_status": "in_progress" if working else "ended",
        "created_at": created,
        "request_counts": {
            "processing": len(batch.lines) if working else 0,
            "succeeded": _done(batch),
            "errored": _done(batch, "failed") + _done(batch, "missing"),
            "expired": _done(batch, "expired"),
            "canceled": len(batch.lines) if batch.state in ("cancelled", "refused") else 0,
        },
    }


def _output(line: _Line) -> dict[str, Any]:
    """A line of OpenAI's or Mistral's files."""
    shown: dict[str, Any] = {"id": f"out-{line.name[:8]}", "custom_id": line.name, "error": None}
    if line.word == "expired":
        error = {"code": "batch_expired", "message": "This request was not executed in time."}
        return {**shown, "response": None, "error": error}
    if line.word == "failed":
        body = {"error": {"message": "The server had an error", "code": "server_error"}}
        return {**shown, "response": {"status_code": 500, "body": body}}
    return {**shown, "response": {"status_code": 200, "body": line.answer}}


def _message_result(line: _Line) -> dict[str, Any]:
    """What became of a line, as Anthropic's results tell it."""
    if line.answer is not None:
        return {"type": "succeeded", "message": as_message(line.body, line.answer)}
    if line.word == "failed":
        error = {"type": "api_error", "message": "The server had an error"}
        return {"type": "errored", "error": {"type": "error", "error": error}}
    return {"type": "expired" if line.word == "expired" else "canceled"}
