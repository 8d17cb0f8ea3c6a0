"""Mistral's batch jobs: OpenAI's files and lines below other addresses.

Mistral, "Batch inference" and API reference, "Batch jobs" (``/v1/batch/jobs``): a job names its
model once, ``timeout_hours`` is how long it may work, and jobs are listed by page.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from providers.clients.bulk.openai import FileBatches, count_of, marked, objects, uploaded
from providers.clients.bulk.wire import number_of
from providers.clients.openai_compatible import KEPT_AS, chat_body
from providers.gateway.bulk import RemoteBatch, Sought
from providers.gateway.types import Deployment, WireChat

ENDED = frozenset({"SUCCESS", "FAILED", "TIMEOUT_EXCEEDED", "CANCELLED"})

PAGES = 20
"""Pages of a hundred jobs that are looked through for one of ours."""


class MistralBatches(FileBatches):
    """Implements :class:`providers.gateway.bulk.BulkApi`."""

    def encode(self, deployment: Deployment, custom_id: str, wire: WireChat) -> bytes:
        """One line of the input file; the model is the job's."""
        body = chat_body(deployment.model, replace(wire, keep_as=""))
        del body["model"]
        return json.dumps({"custom_id": custom_id, "body": body}).encode()

    async def submit(self, deployment: Deployment, uid: str, lines: Sequence[bytes]) -> str:
        """Upload the file, then create the job."""
        file = await uploaded(self._wire, deployment, lines)
        said = await self._wire.post(
            deployment,
            "/batch/jobs",
            {
                "input_files": [file],
                "model": deployment.model,
                "endpoint": "/v1/chat/completions",
                "metadata": {KEPT_AS: uid},
                "timeout_hours": 24,
            },
        )
        return number_of(said.get("id"))

    async def find(self, deployment: Deployment, sought: Sought) -> str | None:
        """The job whose metadata carries the uid."""
        since = sought.since.isoformat()
        for page in range(PAGES):
            said = await self._wire.get(
                deployment,
                "/batch/jobs",
                page=str(page),
                page_size="100",
                created_after=since,
            )
            rows = objects(said.get("data"))
            for row in rows:
                if marked(row, sought.uid):
                    return number_of(row.get("id"))
            if len(rows) < 100:
                return None
        return None

    async def status(self, deployment: Deployment, number: str) -> RemoteBatch:
        """Where it stands."""
        said = await self._wire.get(deployment, f"/batch/jobs/{number}")
        state = str(said.get("status") or "")[:40]
        files = [said.get("output_file"), said.get("error_file")]
        return RemoteBatch(
            number,
            state,
            ended=state in ENDED,
            done=count_of(said, "completed_requests"),
            expired=state == "TIMEOUT_EXCEEDED",
            outputs=tuple(number_of(file) for file in files if file),
        )

    async def cancel(self, deployment: Deployment, number: str) -> None:
        """Ask for its end."""
        await self._wire.post(deployment, f"/batch/jobs/{number}/cancel")
