"""Anthropic's message batches: one request with all lines, results as a stream of lines.

Anthropic, API reference, "Message Batches": at most 100,000 requests and 256 MB each, ended within
24 hours. A batch carries nothing of ours besides its lines, so one whose number was lost is known
by its size and time, among those that no other of our batches has.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from providers.clients.anthropic import (
    VERSION_HEADERS,
    keyed,
    message_body,
    read_error,
    read_message,
)
from providers.clients.bulk.openai import count_of, objects
from providers.clients.bulk.wire import Wire, number_of
from providers.gateway.bulk import LineResult, RemoteBatch, Sought
from providers.gateway.errors import ErrorClass, Fault
from providers.gateway.types import Deployment, WireAnswer, WireChat

PAGES = 20
"""Pages of a hundred batches that are looked through, newest first."""

CLOCKS = 300.0
"""Seconds by which the provider's clock may be behind ours."""

BATCHES = "/messages/batches"

COUNTS = ("processing", "succeeded", "errored", "canceled", "expired")


class AnthropicBatches:
    """Implements :class:`providers.gateway.bulk.BulkApi`."""

    def __init__(self, wire: Wire | None = None) -> None:
        self._wire = wire or Wire(VERSION_HEADERS)

    def encode(self, deployment: Deployment, custom_id: str, wire: WireChat) -> bytes:
        """One of the batch's requests; names are letters, digits, ``_`` and ``-``, at most 64."""
        params = message_body(deployment.model, wire)
        return json.dumps({"custom_id": custom_id, "params": params}).encode()

    async def submit(self, deployment: Deployment, uid: str, lines: Sequence[bytes]) -> str:
        """Create the batch with all lines."""
        parts = [b'{"requests":[']
        for place, line in enumerate(lines):
            parts.append(b"," + line if place else line)
        parts.append(b"]}")
        said = await self._wire.send(keyed(deployment), BATCHES, parts, "application/json")
        return number_of(said.get("id"))

    async def find(self, deployment: Deployment, sought: Sought) -> str | None:
        """The batch that was created then, has as many lines, and is no other of ours.

        Should it be somebody else's after all, none of its lines bears one of our names, and ours
        are asked again.
        """
        query = {"limit": "100"}
        found: str | None = None
        for _ in range(PAGES):
            page = await self._wire.get(keyed(deployment), BATCHES, **query)
            rows = objects(page.get("data"))
            for row in rows:
                if _seconds_after(row, sought.since) < -CLOCKS:
                    return found
                if _fits(row, sought):
                    found = number_of(row.get("id"))  # the oldest that fits is nearest
            if not rows or not page.get("has_more"):
                return found
            query["after_id"] = number_of(rows[-1].get("id"))
        return found

    async def status(self, deployment: Deployment, number: str) -> RemoteBatch:
        """Where it stands."""
        said = await self._wire.get(keyed(deployment), f"{BATCHES}/{number}")
        counts = said.get("request_counts")
        state = str(said.get("processing_status") or "")[:40]
        return RemoteBatch(
            number,
            state,
            ended=state == "ended",
            done=count_of(counts, "succeeded") + count_of(counts, "errored"),
            expired=count_of(counts, "expired") > 0,
            outputs=(number,),
        )

    async def results(
        self, deployment: Deployment, batch: RemoteBatch
    ) -> AsyncIterator[LineResult]:
        """The lines, from the batch's own address: none that an answer names is followed."""
        path = f"{BATCHES}/{batch.id}/results"
        async for line in self._wire.lines(keyed(deployment), path):
            found = read_line(line, self._wire.now())
            if found is not None:
                yield found

    async def cancel(self, deployment: Deployment, number: str) -> None:
        """Ask for its end."""
        await self._wire.post(keyed(deployment), f"{BATCHES}/{number}/cancel")

    async def aclose(self) -> None:
        """Close every connection."""
        await self._wire.aclose()


def read_line(line: Mapping[str, Any], now: datetime) -> LineResult | None:
    """One line of the results, ``None`` when it names no call."""
    name, result = line.get("custom_id"), line.get("result")
    if not isinstance(name, str) or not isinstance(result, Mapping):
        return None
    try:
        return LineResult(name, answer=_answer(result, now))
    except Fault as fault:
        return LineResult(name, fault=fault)


def _answer(result: Mapping[str, Any], now: datetime) -> WireAnswer:
    kind = result.get("type")
    message = result.get("message")
    if kind == "succeeded" and isinstance(message, Mapping):
        return read_message(message, now)
    error = result.get("error")
    fault = read_error(error, now) if isinstance(error, Mapping) else None
    if kind == "errored" and fault is not None:
        raise fault
    raise Fault(ErrorClass.TIMEOUT, f"not answered in the batch ({str(kind)[:20]})", sent=False)


def _fits(row: Mapping[str, Any], sought: Sought) -> bool:
    counts = row.get("request_counts")
    return (
        row.get("id") not in sought.known
        and sum(count_of(counts, name) for name in COUNTS) == sought.size
    )


def _seconds_after(row: Mapping[str, Any], since: datetime) -> float:
    """How long after ``since`` a batch was created by the provider's clock."""
    try:
        created = datetime.fromisoformat(str(row.get("created_at")).replace("Z", "+00:00"))
        return (created - since).total_seconds()
    except (ValueError, TypeError):
        return 0.0
