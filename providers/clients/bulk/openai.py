"""OpenAI's batches: a file of lines, a batch that names it, files of answers and of errors.

OpenAI, API reference, "Batch" and "Files": at most 50,000 requests and 200 MB each, done within 24
hours or expired; output lines come in any order and are told apart by ``custom_id`` alone.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from providers.clients.bulk.wire import Wire, number_of
from providers.clients.openai_compatible import KEPT_AS, chat_body, read_chat
from providers.gateway.bulk import LineResult, RemoteBatch, Sought
from providers.gateway.errors import ErrorClass, Fault, classify_response
from providers.gateway.types import Deployment, WireChat

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})

PAGES = 20
"""Pages of a hundred batches that are looked through for one of ours, newest first."""


class FileBatches:
    """What APIs share that take a file of questions and give files of answers."""

    def __init__(self, wire: Wire | None = None) -> None:
        self._wire = wire or Wire()

    async def results(
        self, deployment: Deployment, batch: RemoteBatch
    ) -> AsyncIterator[LineResult]:
        """The lines of its two files."""
        for file in batch.outputs:
            async for line in self._wire.lines(deployment, f"/files/{file}/content"):
                found = read_line(line, self._wire.now())
                if found is not None:
                    yield found

    async def aclose(self) -> None:
        """Close every connection."""
        await self._wire.aclose()


class OpenAIBatches(FileBatches):
    """Implements :class:`providers.gateway.bulk.BulkApi`."""

    def encode(self, deployment: Deployment, custom_id: str, wire: WireChat) -> bytes:
        """One line of the input file."""
        body = chat_body(deployment.model, replace(wire, keep_as=""))
        line = {
            "custom_id": custom_id,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": body,
        }
        return json.dumps(line).encode()

    async def submit(self, deployment: Deployment, uid: str, lines: Sequence[bytes]) -> str:
        """Upload the file, then create the batch; only the latter makes anything that is paid."""
        file = await uploaded(self._wire, deployment, lines)
        said = await self._wire.post(
            deployment,
            "/batches",
            {
                "input_file_id": file,
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
                "metadata": {KEPT_AS: uid},
            },
        )
        return number_of(said.get("id"))

    async def find(self, deployment: Deployment, sought: Sought) -> str | None:
        """The batch whose metadata carries the uid."""
        query = {"limit": "100"}
        for _ in range(PAGES):
            page = await self._wire.get(deployment, "/batches", **query)
            rows = objects(page.get("data"))
            for row in rows:
                if marked(row, sought.uid):
                    return number_of(row.get("id"))
            if not rows or not page.get("has_more"):
                return None
            if earlier(rows[-1].get("created_at"), sought.since):
                return None
            query["after"] = number_of(rows[-1].get("id"))
        return None

    async def status(self, deployment: Deployment, number: str) -> RemoteBatch:
        """Where it stands."""
        said = await self._wire.get(deployment, f"/batches/{number}")
        state = str(said.get("status") or "")[:40]
        files = [said.get("output_file_id"), said.get("error_file_id")]
        counts = said.get("request_counts")
        return RemoteBatch(
            number,
            state,
            ended=state in ENDED,
            done=count_of(counts, "completed") + count_of(counts, "failed"),
            expired=state == "expired",
            outputs=tuple(number_of(file) for file in files if file),
        )

    async def cancel(self, deployment: Deployment, number: str) -> None:
        """Ask for its end; what is answered by then is paid and kept."""
        await self._wire.post(deployment, f"/batches/{number}/cancel")


async def uploaded(wire: Wire, deployment: Deployment, lines: Sequence[bytes]) -> str:
    """The input file's name. Whatever goes wrong here, no batch exists yet."""
    try:
        return await wire.upload(deployment, lines)
    except Fault as fault:
        raise Fault(
            fault.error_class,
            fault.detail,
            status=fault.status if (fault.status or 0) < 500 else None,
            sent=False,
            retry_after=fault.retry_after,
            unsure=fault.unsure,
        ) from None


def read_line(line: Mapping[str, Any], now: datetime) -> LineResult | None:
    """One line of OpenAI's or Mistral's results, ``None`` when it names no call."""
    name = line.get("custom_id")
    if not isinstance(name, str):
        return None
    try:
        return LineResult(name, answer=read_chat(_body(line, now), now))
    except Fault as fault:
        return LineResult(name, fault=fault)


def _body(line: Mapping[str, Any], now: datetime) -> Mapping[str, Any]:
    """The answer in a line; raises :class:`Fault` when there is none."""
    response = line.get("response")
    if not isinstance(response, Mapping):
        error = line.get("error")
        code = str(error.get("code") if isinstance(error, Mapping) else "")[:40]
        raise Fault(ErrorClass.TIMEOUT, f"not answered in the batch ({code})", sent=False)
    body, status = response.get("body"), response.get("status_code")
    body = body if isinstance(body, Mapping) else {}
    if isinstance(status, int) and status != 200:
        raise classify_response(status, {}, body, now)
    return body


def marked(row: Mapping[str, Any], uid: str) -> bool:
    """Whether a listed batch carries the uid."""
    metadata = row.get("metadata")
    return isinstance(metadata, Mapping) and metadata.get(KEPT_AS) == uid


def objects(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list, whatever else is in it."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def earlier(stamp: Any, since: datetime) -> bool:
    """Whether a Unix time is more than an hour before ``since``: clocks differ."""
    return isinstance(stamp, int | float) and stamp < since.timestamp() - 3600


def count_of(counts: Any, key: str) -> int:
    """A count of a description, 0 where there is none."""
    value = counts.get(key) if isinstance(counts, Mapping) else None
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0
