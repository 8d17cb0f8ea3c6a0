"""JSON door of projects and data sets."""

from __future__ import annotations

from typing import Any, Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from ninja import File, Form, Router, Status
from ninja.files import UploadedFile

from accounts.models import User
from accounts.schemas import ApiRequest
from accounts.selectors import api_workspace
from core.paging import page
from projects import selectors, services
from projects.schemas import (
    DatasetDetail,
    DatasetOut,
    DatasetPage,
    JobDetail,
    JobIn,
    JobOut,
    JobPage,
    JobPlan,
    ProjectIn,
    ProjectOut,
    ProjectPage,
)
from projects.selectors import jobs as reads
from projects.services import jobs

router = Router(tags=["Projects and data sets"])

JOBS = "/{slug:slug}/jobs"
CHANGES = {"cancel": jobs.cancel_job, "retry": jobs.retry_failed, "undo": jobs.undo_job}


def uid_of(key: str, user: User) -> UUID | None:
    """The number of the one job that a key of a person stands for; ``None`` without a key."""
    return uuid5(NAMESPACE_URL, f"openclio:job:{user.pk}:{key}") if key else None


@router.get("", response=ProjectPage)
def list_projects(request: ApiRequest, cursor: str | None = None, limit: int = 50) -> Any:
    """The projects you may see."""
    return page(selectors.projects(request.auth), cursor, limit)


@router.post("", response={201: ProjectOut})
def create_project(request: ApiRequest, body: ProjectIn) -> Any:
    """A new project. Analysts and owners."""
    workspace = api_workspace(request.auth, body.workspace)
    made = services.create_project(
        actor=request.auth, workspace=workspace, name=body.name, description=body.description
    )
    return Status(201, made)


@router.get("/{slug:slug}", response=ProjectOut)
def get_project(request: ApiRequest, slug: str) -> Any:
    """One project."""
    return selectors.project(request.auth, slug)


@router.get("/{slug:slug}/datasets", response=DatasetPage)
def list_datasets(
    request: ApiRequest, slug: str, cursor: str | None = None, limit: int = 50
) -> Any:
    """The data sets of a project."""
    return page(selectors.datasets(selectors.project(request.auth, slug)), cursor, limit)


@router.post("/{slug:slug}/datasets", response={202: DatasetOut})
def upload_dataset(
    request: ApiRequest, slug: str, file: File[UploadedFile], name: Form[str] = ""
) -> Any:
    """Upload a file. It is read in the background; follow it at the data set's address."""
    project = selectors.project(request.auth, slug)
    record = services.upload(actor=request.auth, project=project, file=file, name=name)
    return Status(202, record.dataset)


@router.get("/{slug:slug}/datasets/{int:number}", response=DatasetDetail)
def get_dataset(request: ApiRequest, slug: str, number: int) -> Any:
    """One data set, with how its reading stands and the first problems."""
    dataset = selectors.dataset(request.auth, slug, number)
    record = dataset.imports.first()
    reading = None
    if record is not None:
        reading = {
            "status": record.status,
            "format": record.format,
            "accepted": record.accepted,
            "rejected": record.rejected,
            "error": record.error,
            "problems": list(record.problems.all()[:100]),
        }
    return {"dataset": dataset, "reading": reading}


@router.get(JOBS, response=JobPage)
def list_jobs(request: ApiRequest, slug: str, cursor: str | None = None, limit: int = 50) -> Any:
    """The jobs of a project."""
    return page(selectors.project(request.auth, slug).jobs.all(), cursor, limit)


@router.post(JOBS, response={202: JobOut, 200: JobPlan})
def start_job(request: ApiRequest, slug: str, body: JobIn) -> Any:
    """Start a job over ``ids``, or over everything that matches ``filter``.

    ``dry_run`` only counts. A job sent twice with the same ``uid`` or ``Idempotency-Key`` starts
    once. Viewers may export, analysts everything but deleting for good.
    """
    project = selectors.project(request.auth, slug)
    wish: dict[str, Any] = {
        "kind": body.kind,
        "settings": body.settings,
        "ids": body.ids,
        "matching": body.filter,
    }
    if body.dry_run:
        kind, wanted = jobs.wanted_of(actor=request.auth, project=project, **wish)
        count = kind.count(wanted)
        return Status(200, {"total": count, "says": kind.says(wanted, count) if count else []})
    uid = body.uid or uid_of(request.headers.get("Idempotency-Key", ""), request.auth)
    return Status(202, jobs.start_job(actor=request.auth, project=project, uid=uid, **wish))


@router.get(JOBS + "/{uuid:uid}", response=JobDetail)
def get_job(
    request: ApiRequest,
    slug: str,
    uid: UUID,
    state: str = "",
    cursor: str | None = None,
    limit: int = 50,
) -> Any:
    """How a job stands, with a page of its items; ``state`` keeps only such items."""
    job = reads.job_for(request.auth, slug, uid)
    items = job.items.filter(state=state) if state else job.items.all()
    return {"job": job, "items": page(items, cursor, limit, newest_first=False)}


@router.post(JOBS + "/{uuid:uid}/{action}", response={202: JobOut})
def change_job(
    request: ApiRequest, slug: str, uid: UUID, action: Literal["cancel", "retry", "undo"]
) -> Any:
    """Stop a job, try again what failed, or take back a deletion."""
    job = reads.job_for(request.auth, slug, uid)
    return Status(202, CHANGES[action](actor=request.auth, job=job))
