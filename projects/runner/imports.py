"""Worker-time shell of imports: claim, read the file, write conversations in chunks."""

from __future__ import annotations

import json
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice

from django.db import transaction

from accounts.services import ensure_workspace
from core import work
from core.errors import AppError
from core.events import publish
from core.heartbeat import Heartbeat
from core.models import LeasedWork
from projects import sample
from projects.events import ImportEnded, ImportMoved
from projects.models import (
    Conversation,
    Dataset,
    DatasetStatus,
    Import,
    ImportProblem,
    Project,
)
from projects.readers import recognise
from projects.readers.base import Parsed, Problem
from projects.services.imports import free_slug, set_aside, stored, uploads
from projects.services.trash import recount

log = logging.getLogger("openclio.imports")

CHUNK = 500
"""Conversations written in one transaction."""

MAX_PROBLEMS = 1000
"""Problems kept with their place; the rest is counted."""

SAMPLE_NAME = "Sample: support conversations"

Progress = Callable[[int, int], None]


def run_import(record_id: int, progress: Progress | None = None) -> bool:
    """Claim and run one import; returns whether this call ran it.

    Starts from the beginning whenever it is claimed: rows of an earlier try were never visible.
    A file that cannot be read fails the data set with the reason, and is not tried again.
    """
    owner = work.owner_name()
    record = work.claim(Import.objects.filter(pk=record_id), owner=owner)
    if record is None:
        return False
    run = _Run(record, progress)
    heart = Heartbeat(run.lost)
    heart.start()
    heart.hold(record)
    try:
        run.perform()
    except work.LeaseLost:
        log.warning("Import %s was taken by another worker.", record.pk)
    except AppError as error:
        run.refuse(error.text)
    except Exception as error:
        log.exception("Import %s broke.", record.pk)
        run.broke(type(error).__name__)
    finally:
        heart.stop()
    return True


class _Run:
    """One try of one import."""

    def __init__(self, record: Import, progress: Progress | None) -> None:
        self.record = record
        self.dataset = Dataset.objects.select_related("project").get(pk=record.dataset_id)
        self.progress = progress or (lambda accepted, rejected: None)
        self.accepted = 0
        self.rejected = 0
        self.kinds: Counter[str] = Counter()
        self._lost = False

    def lost(self, item: LeasedWork) -> None:
        """Heartbeat's thread: stop before the next chunk."""
        self._lost = True

    def perform(self) -> None:
        """Read everything, then make the data set visible."""
        path = stored(self.record)
        if not path.exists():
            raise AppError("conflict", why="The uploaded file is gone. Upload it again.")
        reader, _ = recognise(path)
        with transaction.atomic():
            self._still_ours()
            self.record.conversations.all().delete()
            self.record.problems.all().delete()
        rows = iter(reader.read(path))
        while chunk := list(islice(rows, CHUNK)):
            self._write(chunk)
        self._finish(reader.key)

    def _still_ours(self) -> None:
        held = Import.objects.select_for_update().filter(
            pk=self.record.pk, fence=self.record.fence, status="leased"
        )
        if self._lost or not held.exists():
            raise work.LeaseLost(f"Import {self.record.pk}")

    def _write(self, chunk: list[Parsed | Problem]) -> None:
        problems = [item for item in chunk if isinstance(item, Problem)]
        parsed = [item for item in chunk if isinstance(item, Parsed)]
        with transaction.atomic():
            self._still_ours()
            Conversation.objects.bulk_create(self._rows(parsed))
            room = max(0, MAX_PROBLEMS - self.rejected)
            ImportProblem.objects.bulk_create(
                ImportProblem(
                    record=self.record,
                    line=item.line,
                    kind=item.kind,
                    reason=item.reason[:300],
                    excerpt=item.excerpt[:300],
                )
                for item in problems[:room]
            )
            self.accepted += len(parsed)
            self.rejected += len(problems)
            Import.objects.filter(pk=self.record.pk).update(
                accepted=self.accepted, rejected=self.rejected
            )
            publish(
                f"dataset:{self.dataset.pk}",
                ImportMoved(accepted=self.accepted, rejected=self.rejected),
            )
        self.progress(self.accepted, self.rejected)

    def _rows(self, parsed: list[Parsed]) -> Iterator[Conversation]:
        for position, item in enumerate(parsed, start=self.accepted):
            document = item.document
            first, last = document.times
            yield Conversation(
                dataset=self.dataset,
                record=self.record,
                position=position,
                external_id=document.id or f"line-{item.line}",
                end_user=document.end_user,
                language=document.language,
                started_at=first,
                ended_at=last,
                message_count=len(document.messages),
                token_count=document.rough_tokens(),
                content_hash=document.content_hash(),
                messages=document.stored_messages(),
                metadata=document.stored_metadata(),
            )

    def _finish(self, key: str) -> None:
        if not self.accepted:
            first = self.record.problems.first()
            why = f"Line {first.line}: {first.reason}" if first else "It holds no conversation."
            raise AppError("unknown_format", why=why)
        with transaction.atomic():
            work.finish(self.record, format=key)
            recount(self.dataset)
            self.dataset.status = DatasetStatus.READY
            self.dataset.save(update_fields=["status"])
            publish(f"dataset:{self.dataset.pk}", ImportEnded(accepted=self.accepted))

    def refuse(self, reason: str) -> None:
        """The file cannot be read: say why, keep nothing half; trying again would not help."""
        with transaction.atomic():
            try:
                work.finish(self.record, accepted=0)
            except work.LeaseLost:
                return
            self.record.conversations.all().delete()
            Import.objects.filter(pk=self.record.pk).update(error=reason[:2000])
            set_aside(self.record, reason)

    def broke(self, error: str) -> None:
        """A fault of ours or of the machine: it is tried again, three times in all."""
        reason = f"Reading the file failed three times: {error}."
        with transaction.atomic():
            try:
                spent = work.fail(self.record, reason)
            except work.LeaseLost:
                return
            if spent:
                set_aside(self.record, reason)


def ensure_sample() -> Dataset:
    """The sample project with its data set, made once. Dates end today."""
    project = Project.objects.filter(is_sample=True).order_by("pk").first()
    dataset = project.datasets.order_by("pk").first() if project else None
    if dataset is not None:
        return dataset
    rows = sample.generate(end=datetime.now(UTC).date())
    target = uploads() / f"sample-{secrets.token_hex(8)}"
    with target.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with transaction.atomic():
        project = project or Project.objects.create(
            workspace=ensure_workspace(),
            name="Sample project",
            slug=free_slug("sample"),
            description="Invented support conversations, to see what an analysis looks like.",
            is_sample=True,
        )
        dataset = Dataset.objects.create(project=project, number=1, name=SAMPLE_NAME)
        record = Import.objects.create(
            dataset=dataset,
            file=f"uploads/{target.name}",
            filename="support-sample.jsonl",
            size=target.stat().st_size,
        )
    run_import(record.pk)
    dataset.refresh_from_db()
    return dataset
