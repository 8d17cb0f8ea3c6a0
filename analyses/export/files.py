"""Exports as jobs: written piece by piece, so that a killed worker's file is continued."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from pydantic import field_validator
from typing_extensions import override

from accounts.models import Role
from analyses.export.rows import Rows, as_text, clusters_json, report_json
from analyses.models import AnalysisItem, AnalysisSession
from analyses.selectors import chosen
from analyses.services.jobs.deleting import session_of
from core import disks
from core.errors import AppError
from core.figures import count_of
from projects.models import ItemState, Job, JobItem
from projects.services import files
from projects.services.kinds import Field, Kind, Run, Settings, Wanted, settings_for

Format = Literal["conversations.csv", "conversations.jsonl", "clusters.json", "report.json"]

LABELS: dict[str, str] = {
    "conversations.csv": "Conversations, for a spreadsheet (CSV)",
    "conversations.jsonl": "Conversations, for programs (JSON Lines)",
    "clusters.json": "Clusters (JSON)",
    "report.json": "Report card (JSON)",
}
LINES = ("conversations.csv", "conversations.jsonl")
WHOLE = {"clusters.json": clusters_json, "report.json": report_json}


class ExportSettings(Settings):
    """``analysis`` is its number; ``formats`` the files wanted, one or several."""

    analysis: int
    formats: tuple[Format, ...] = ("conversations.csv", "clusters.json")

    @field_validator("formats", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        given = value.split(",") if isinstance(value, str) else value
        return tuple(dict.fromkeys(given)) if isinstance(given, list | tuple) else given

    @field_validator("formats")
    @classmethod
    def _some(cls, value: tuple[Format, ...]) -> tuple[Format, ...]:
        if not value:
            raise ValueError("Choose at least one file.")
        return value


class Export(Kind):
    """Files of an analysis, over all its conversations, some of them, or a filter of Explore."""

    key = "export"
    role = Role.VIEWER
    settings: ClassVar[type[Settings]] = ExportSettings
    size = 2000

    def __init__(self) -> None:
        self._rows: Rows | None = None
        self._written: dict[str, int] = {}

    @override
    def select(self, wanted: Wanted) -> QuerySet[Any, Any]:
        """By position, or by the filter; without one all conversations of the analysis."""
        session = session_of(wanted, wanted.settings.analysis)
        rows = chosen.items(session, wanted.ids, wanted.filter)
        return rows.values_list("pk", "conversation__external_id")

    @override
    def title(self, wanted: Wanted, count: int) -> str:
        """Words for the list of jobs."""
        return f"Export {count_of(count, 'conversation')}"

    @override
    def says(self, wanted: Wanted, count: int) -> list[str]:
        """What is in it and how long it stays."""
        return [
            "The files hold ids, clusters and answers, not what was written.",
            "They stay for seven days, for everybody who may see this project.",
        ]

    @override
    def fields(self, wanted: Wanted) -> list[Field]:
        """The files."""
        return [Field("s.formats", label, "check", key) for key, label in LABELS.items()]

    @override
    def begin(self, job: Job) -> None:
        """Nothing begins on a full disk."""
        if not disks.has_room(files.folder()):
            raise AppError("plain", status=507, why="The disk is full. Free some room first.")

    @override
    def chunk(self, run: Run, items: Sequence[JobItem]) -> None:
        """Append the lines of some conversations; how far that got is saved with the items."""
        given = settings_for(self, run.job)
        lines = [name for name in given.formats if name in LINES]
        if lines:
            self._continue(run.job, lines)
            self._append(run.job, lines, [item.ref for item in items])
        with transaction.atomic():
            run.note(fence=run.job.fence, written=self._written)
            run.settle(items, ItemState.DONE)

    def _continue(self, job: Job, lines: Sequence[str]) -> None:
        """Open this worker's own files, beginning with what was saved before.

        Their names hold the fence: a worker that lost its lease writes into files of its own.
        """
        if self._rows is not None:
            return
        self._rows = Rows(_session(job))
        before = int(job.result.get("fence", 0))
        for name in lines:
            part = _part(job, name, job.fence)
            if before:
                _copy(_part(job, name, before), part, int(job.result["written"][name]))
            else:
                part.write_text(self._rows.head if name.endswith(".csv") else "", "utf-8")

    def _append(self, job: Job, lines: Sequence[str], refs: list[int]) -> None:
        assert self._rows is not None
        found = AnalysisItem.objects.filter(pk__in=refs).order_by("position")
        fields = ("position", "conversation__external_id", "conversation__deleted_at")
        wanted = [(at, name, gone is not None) for at, name, gone in found.values_list(*fields)]
        rows = list(self._rows.of(wanted))
        for name in lines:
            line = self._rows.csv if name.endswith(".csv") else self._rows.json
            with _part(job, name, job.fence).open("ab") as out:
                out.write("".join(map(line, rows)).encode())
                out.flush()
                os.fsync(out.fileno())
                self._written[name] = out.tell()

    @override
    def finish(self, run: Run) -> None:
        """The other files, then one file or a ZIP of all, moved to its place when complete."""
        job = run.job
        session = _session(job)
        given = settings_for(self, job)
        stem = f"{job.project.slug}-{session.number}"
        parts = {}
        for name in given.formats:
            before = int(job.result.get("fence", job.fence))
            part = _part(job, name, before if name in LINES else job.fence)
            if name in WHOLE:
                part.write_text(as_text(WHOLE[name](session)), "utf-8")
            parts[name] = part
        single = len(parts) == 1
        kind = given.formats[0].rpartition(".")[2] if single else "zip"
        filename = f"{stem}-{given.formats[0]}" if single else f"{stem}.zip"
        target = files.folder() / f"{job.uid}.{kind}"
        draft = _part(job, "all", job.fence)
        if single:
            _copy(next(iter(parts.values())), draft, None)
        else:
            _zip(parts, draft)
        draft.replace(target)
        with transaction.atomic():
            run.note(
                file=f"jobs/{target.name}",
                file_until=timezone.now() + files.KEPT_FOR,
                filename=filename,
                bytes=target.stat().st_size,
            )
        remove_parts(job)

    @override
    def sweep(self) -> None:
        """Files go after their week; what killed or stopped exports left goes as well."""
        files.remove_old()
        files.remove_left_over()


def _session(job: Job) -> AnalysisSession:
    number = job.params["settings"]["analysis"]
    return session_of(Wanted(job.project, None), int(number))


def _part(job: Job, name: str, fence: int) -> Path:
    return files.folder() / f"{job.uid}-{fence}-{name}{files.PART}"


def _copy(source: Path, target: Path, size: int | None) -> None:
    """Copy a file, or its first ``size`` bytes. Raises ``AppError`` when it is gone."""
    if not source.exists():
        raise AppError("plain", why="The unfinished file is gone. Start the export again.")
    shutil.copyfile(source, target)
    if size is not None:
        os.truncate(target, size)


def _zip(parts: dict[str, Path], target: Path) -> None:
    with target.open("wb") as out:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, part in parts.items():
                archive.write(part, name)
        out.flush()
        os.fsync(out.fileno())


def remove_parts(job: Job) -> None:
    """Remove what was written on the way."""
    for part in files.folder().glob(f"{job.uid}-*{files.PART}"):
        part.unlink(missing_ok=True)
