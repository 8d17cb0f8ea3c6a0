"""JSON door of projects and data sets."""

from __future__ import annotations

from typing import Any

from ninja import File, Form, Router, Status
from ninja.files import UploadedFile

from accounts.schemas import ApiRequest
from accounts.selectors import api_workspace
from core.paging import page
from projects import selectors, services
from projects.schemas import (
    DatasetDetail,
    DatasetOut,
    DatasetPage,
    ProjectIn,
    ProjectOut,
    ProjectPage,
)

router = Router(tags=["Projects and data sets"])


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
