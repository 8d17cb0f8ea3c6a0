"""Changes to projects and their data sets."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.db.models import F, Max
from django.db.models.functions import Now
from django.utils.text import slugify

from accounts.models import Role, User, Workspace
from accounts.services import audit, require
from core import disks, q2, work
from core.errors import AppError, Conflict, Invalid
from core.events import publish
from core.models import WorkStatus
from core.text import clean
from projects.events import ImportEnded
from projects.models import Conversation, Dataset, DatasetStatus, Import, Project

UPLOAD_LIMIT = 2 * 1000**3
"""Largest file accepted, in bytes."""

CHUNK = 1024 * 1024
RUN_IMPORT = "projects.tasks.run_import"

PART = ".part"
"""How names of uploads end that are still being taken."""

PART_KEPT_FOR = 24 * 3600
"""Seconds after the last byte for which a part of an upload is left alone."""

CLEARED = 1000
"""Conversations removed with one statement."""

STOPPED = "Reading was stopped. Nothing of the file was kept."


def create_project(
    *, actor: User, workspace: Workspace, name: str, description: str = ""
) -> Project:
    """A new project. Raises ``Forbidden`` below Analyst, ``Invalid`` for an empty name."""
    require(actor, workspace, Role.ANALYST)
    name = clean(name).strip()
    if not name:
        raise Invalid(fields={"name": "Give the project a name."})
    with transaction.atomic():
        project = Project.objects.create(
            workspace=workspace,
            name=name[:120],
            slug=free_slug(name),
            description=clean(description).strip()[:2000],
            created_by=actor,
        )
        audit(workspace=workspace, actor=actor, action="project.created", obj=project)
    return project


def free_slug(name: str) -> str:
    """An address for a name; a few random letters are added when it is taken."""
    base = slugify(name)[:50] or "project"
    if not Project.objects.filter(slug=base).exists():
        return base
    return f"{base}-{secrets.token_hex(3)}"


def upload(
    *,
    actor: User,
    project: Project,
    file: UploadedFile[Any] | Path,
    name: str = "",
    wake: bool = True,
) -> Import:
    """Keep an uploaded file and queue its reading. Nothing is parsed here.

    Raises ``Forbidden``, and ``AppError`` for an empty or too large file. ``wake=False`` leaves
    the reading to the caller.
    """
    require(actor, project.workspace, Role.ANALYST)
    filename = clean(Path(str(file.name)).name)[:200]
    path, size, digest = _keep(file)
    with transaction.atomic():
        Project.objects.select_for_update().get(pk=project.pk)
        highest = project.datasets.aggregate(top=Max("number"))["top"] or 0
        dataset = Dataset.objects.create(
            project=project,
            number=highest + 1,
            name=clean(name).strip()[:160] or filename[:160],
            created_by=actor,
        )
        record = Import.objects.create(
            dataset=dataset, file=path, filename=filename, size=size, sha256=digest
        )
        audit(
            workspace=project.workspace,
            actor=actor,
            action="dataset.uploaded",
            obj=dataset,
            size=size,
            sha256=digest,
        )
        if wake:
            q2.wake(RUN_IMPORT, record.pk)
    return record


def stored(record: Import) -> Path:
    """Where the uploaded file lies."""
    return Path(settings.MEDIA_ROOT) / record.file


def uploads() -> Path:
    """The folder of uploaded files."""
    folder = Path(settings.MEDIA_ROOT) / "uploads"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _keep(file: UploadedFile[Any] | Path) -> tuple[str, int, str]:
    """Copy into the data folder under a name of ours; returns relative path, size, SHA-256.

    The name appears with the last byte, so that no part of a file is ever taken for a whole one.
    """
    target = uploads() / secrets.token_hex(16)
    draft = target.with_suffix(PART)
    given = file.stat().st_size if isinstance(file, Path) else file.size or 0
    if not disks.has_room(target.parent, ahead=given):
        raise AppError("disk_full", status=507, retryable=True)
    try:
        if isinstance(file, Path):
            with file.open("rb") as source:
                size, digest = _copy(iter(lambda: source.read(CHUNK), b""), draft)
        else:
            size, digest = _copy(file.chunks(CHUNK), draft)
        draft.replace(target)
    except OSError as error:
        if disks.is_full(error):
            raise AppError("disk_full", status=507, retryable=True) from error
        raise
    finally:
        draft.unlink(missing_ok=True)
    return f"uploads/{target.name}", size, digest


def remove_unfinished() -> int:
    """Remove uploads that nobody wrote to for a day; returns how many.

    A process that is killed while it takes an upload leaves the part it had.
    """
    count = 0
    for part in uploads().glob(f"*{PART}"):
        with contextlib.suppress(FileNotFoundError):  # it ended, or another supervisor was faster
            if time.time() - part.stat().st_mtime > PART_KEPT_FOR:
                part.unlink()
                count += 1
    return count


def _copy(chunks: Iterable[bytes], target: Path) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    with target.open("wb") as out:
        for chunk in chunks:
            size += len(chunk)
            if size > UPLOAD_LIMIT:
                raise AppError("too_large", status=413, limit="2 GB")
            digest.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    if not size:
        raise AppError("empty_file", status=422)
    return size, digest.hexdigest()


def record_opening(*, actor: User, conversation: Conversation) -> None:
    """Opening raw text is on purpose, and written down."""
    audit(
        workspace=conversation.dataset.project.workspace,
        actor=actor,
        action="conversation.opened",
        obj=conversation,
    )


def set_aside(record: Import, reason: str) -> None:
    """Fail the data set of an import that will not be tried again, inside a transaction."""
    Dataset.objects.filter(pk=record.dataset_id).update(status=DatasetStatus.FAILED)
    publish(f"dataset:{record.dataset_id}", ImportEnded(accepted=0, error=reason[:300]))


def stop_imports(dataset: Dataset) -> int:
    """Stop what is still being read into a data set, inside a transaction; how many were stopped.

    A reader at work finds its fence outgrown before it writes again. The data set is then failed;
    rows that were read of the file are removed by :func:`clear_unfinished`.
    """
    stopped = 0
    for record in dataset.imports.filter(status__in=(WorkStatus.PENDING, WorkStatus.LEASED)):
        rows = Import.objects.filter(pk=record.pk)
        back = {"fence": F("fence") + 1, "owner": "", "lease_until": None}
        work.shift(rows, WorkStatus.LEASED, WorkStatus.PENDING, **back)
        stopped += work.shift(
            rows,
            WorkStatus.PENDING,
            WorkStatus.CANCELLED,
            finished_at=Now(),
            accepted=0,
            error=STOPPED,
        )
        set_aside(record, STOPPED)
    return stopped


def clear_unfinished(dataset: Dataset) -> None:
    """Remove what a stopped import had read, some rows at a time."""
    left = Conversation.objects.filter(dataset=dataset, record__status=WorkStatus.CANCELLED)
    while some := list(left.values_list("pk", flat=True)[:CLEARED]):
        Conversation.objects.filter(pk__in=some).delete()


def cancel_import(*, actor: User, record: Import) -> Import:
    """Stop reading a file; nothing of it stays. Raises ``Conflict`` when it has ended."""
    project = record.dataset.project
    require(actor, project.workspace, Role.ANALYST)
    with transaction.atomic():
        dataset = Dataset.objects.select_for_update().get(pk=record.dataset_id)
        if not stop_imports(dataset):
            raise Conflict(why="The file is already read.")
        audit(workspace=project.workspace, actor=actor, action="import.stopped", obj=record)
    clear_unfinished(dataset)
    record.refresh_from_db()
    return record


def retry_import(*, actor: User, record: Import, wake: bool = True) -> Import:
    """Read a file again that could not be read or was stopped. Raises ``Conflict`` otherwise."""
    project = record.dataset.project
    require(actor, project.workspace, Role.ANALYST)
    with transaction.atomic():
        dataset = Dataset.objects.select_for_update().get(pk=record.dataset_id)
        if dataset.status != DatasetStatus.FAILED:
            raise Conflict(why="The file was read. There is nothing to repeat.")
        if not stored(record).exists():
            raise Conflict(why="The uploaded file is gone. Upload it again.")
        again = Import.objects.create(
            dataset=dataset,
            file=record.file,
            filename=record.filename,
            size=record.size,
            sha256=record.sha256,
        )
        dataset.status = DatasetStatus.IMPORTING
        dataset.save(update_fields=["status"])
        audit(workspace=project.workspace, actor=actor, action="import.repeated", obj=again)
        if wake:
            q2.wake(RUN_IMPORT, again.pk)
    return again
