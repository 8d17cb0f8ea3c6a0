"""JSON door of projects and data sets: sign-in, errors, pages, uploads."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client
from django_q.models import OrmQ

from accounts.models import ApiKey, Membership, Role, User, Workspace
from accounts.services import create_api_key
from projects.models import Dataset, Import, Project
from projects.runner import run_import
from tests.conftest import SIGN_IN_BACKEND

BASE = "/api/v1/projects"


@pytest.fixture
def keyed() -> Callable[..., Client]:
    """``keyed(user, workspace, role)``: a client that sends an API key and nothing else."""

    def make(user: User, workspace: Workspace, role: Role = Role.ANALYST) -> Client:
        _, secret = create_api_key(actor=user, workspace=workspace, name="Nightly", role=role)
        return Client(headers={"authorization": f"Bearer {secret}"}, enforce_csrf_checks=True)

    return make


@pytest.fixture
def program(analyst: User, workspace: Workspace, keyed: Callable[..., Client]) -> Client:
    return keyed(analyst, workspace)


def problem(answer: HttpResponse, status: int, code: str) -> dict[str, Any]:
    """The answer as problem details (RFC 9457)."""
    assert answer.status_code == status, answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(answer.content)
    assert (body["status"], body["code"], body["type"]) == (status, code, f"urn:openclio:{code}")
    assert body["title"]
    assert isinstance(body["retryable"], bool)
    return body


def post(client: Client, url: str, body: object, **extra: Any) -> HttpResponse:
    return client.post(url, json.dumps(body), content_type="application/json", **extra)


def lines(count: int) -> bytes:
    rows = [
        {
            "id": f"c{number}",
            "messages": [{"role": "user", "content": f"Please help me with order {number}"}],
            "metadata": {"user": f"u{number}"},
        }
        for number in range(count)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


# --- who ----------------------------------------------------------------------------------------


def test_nobody_is_told_to_sign_in(client: Client, project: Project) -> None:
    problem(client.get(BASE), 401, "unauthorized")
    problem(client.get(f"{BASE}/{project.slug}"), 401, "unauthorized")
    problem(post(client, BASE, {"name": "x"}), 401, "unauthorized")


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer oc_wrong",
        "Bearer \x00",
        "Bearer " + "x" * 5000,
        "Basic b3duZXI6cGFzcw==",
        "Token abc",
    ],
)
def test_a_wrong_key_is_not_made_good_by_a_cookie(
    owner_client: Client, project: Project, header: str
) -> None:
    answer = owner_client.get(BASE, headers={"authorization": header})
    problem(answer, 401, "unauthorized")
    problem(Client().get(BASE, headers={"authorization": header}), 401, "unauthorized")


def test_cookies_need_the_csrf_token_to_change_things(owner: User, project: Project) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner, backend=SIGN_IN_BACKEND)
    assert client.get(BASE).status_code == 200
    problem(post(client, BASE, {"name": "x"}), 403, "forbidden")
    upload = {"file": SimpleUploadedFile("a.jsonl", lines(1))}
    problem(client.post(f"{BASE}/{project.slug}/datasets", upload), 403, "forbidden")
    assert Project.objects.count() == 1
    assert not Dataset.objects.exists()
    client.get("/me/")
    token = client.cookies[settings.CSRF_COOKIE_NAME].value
    answer = post(client, BASE, {"name": "x"}, headers={"x-csrftoken": token})
    assert answer.status_code == 201


def test_keys_need_no_csrf_token(program: Client) -> None:
    assert post(program, BASE, {"name": "x"}).status_code == 201


def test_closed_keys_and_closed_accounts_are_nobody(
    program: Client, analyst: User, project: Project
) -> None:
    assert program.get(BASE).status_code == 200
    User.objects.filter(pk=analyst.pk).update(is_active=False)
    problem(program.get(BASE), 401, "unauthorized")
    User.objects.filter(pk=analyst.pk).update(is_active=True)
    ApiKey.objects.update(revoked_at="2026-01-01T00:00:00Z")
    problem(program.get(BASE), 401, "unauthorized")


def test_a_key_sees_its_workspace_alone(
    analyst: User,
    workspace: Workspace,
    other_workspace: Workspace,
    project: Project,
    other_project: Project,
    keyed: Callable[..., Client],
    signed_in: Callable[[User], Client],
) -> None:
    Membership.objects.create(workspace=other_workspace, user=analyst, role=Role.OWNER)
    both = [row["slug"] for row in signed_in(analyst).get(BASE).json()["items"]]
    assert both == ["secret", "support"]
    key = keyed(analyst, workspace)
    assert [row["slug"] for row in key.get(BASE).json()["items"]] == ["support"]
    problem(key.get(f"{BASE}/secret"), 404, "not_found")
    problem(post(key, BASE, {"name": "x", "workspace": str(other_workspace.uid)}), 404, "not_found")
    made = post(key, BASE, {"name": "Mine"}).json()
    assert Project.objects.get(slug=made["slug"]).workspace == workspace


def test_templates_of_another_workspace_stay_there(
    analyst: User,
    workspace: Workspace,
    other_workspace: Workspace,
    keyed: Callable[..., Client],
    signed_in: Callable[[User], Client],
) -> None:
    from templates_app.models import AnalysisTemplate, TemplateVersion

    for owner in (None, workspace, other_workspace):
        name = owner.name if owner else "Shipped"
        template = AnalysisTemplate.objects.create(workspace=owner, key="t", name=name)
        TemplateVersion.objects.create(template=template, number=1)
    AnalysisTemplate.objects.create(workspace=workspace, key="u", name="Without a version")

    def names(client: Client) -> set[str]:
        return {row["name"] for row in client.get("/api/v1/templates").json()}

    assert names(signed_in(analyst)) == {"Shipped", "Northwind"}
    Membership.objects.create(workspace=other_workspace, user=analyst, role=Role.OWNER)
    assert names(signed_in(analyst)) == {"Shipped", "Northwind", "Elsewhere"}
    assert names(keyed(analyst, workspace)) == {"Shipped", "Northwind"}


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body.name"),
        ({"name": "x" * 121}, "body.name"),
        ({"name": 7}, "body.name"),
        ({"name": "x", "workspace": "not-a-uuid"}, "body.workspace"),
        ({"name": "x", "description": "d" * 2001}, "body.description"),
        ({"name": "\ud800"}, "body.name"),
        ({"name": "   "}, "name"),
    ],
)
def test_wrong_fields_are_named(program: Client, body: dict[str, Any], field: str) -> None:
    found = problem(post(program, BASE, body), 422, "invalid")
    assert field.removeprefix("body.") in {key.split(".")[-1] for key in found["fields"]}
    assert not Project.objects.exists()


@pytest.mark.parametrize("raw", ["", "{", "[]", "null", '"x"', "\xff", "[" * 100_000])
def test_a_body_of_another_shape(program: Client, raw: str) -> None:
    answer = program.post(BASE, raw.encode("latin-1"), content_type="application/json")
    assert answer.status_code in (400, 422), answer.content
    problem(answer, answer.status_code, "invalid")


def test_what_is_decided_here_cannot_be_set(program: Client, workspace: Workspace) -> None:
    body = {"name": "Mine", "slug": "chosen", "is_sample": True, "uid": "x", "created_by": 1}
    made = post(program, BASE, body).json()
    row = Project.objects.get(slug=made["slug"])
    assert (row.slug, row.is_sample, row.workspace) == ("mine", False, workspace)


def test_control_characters_reach_no_column(program: Client) -> None:
    answer = post(program, BASE, {"name": "a\x00b", "description": "c\x00d"})
    if answer.status_code == 201:
        row = Project.objects.get()
        assert (row.name, row.description) == ("ab", "cd")
    else:
        problem(answer, 422, "invalid")


@pytest.mark.parametrize(
    "slug", ["nothing", "a%00b", "%F0%9F%92%A9", "..%2f", "'; DROP", "x" * 300]
)
def test_strange_addresses_are_not_found(program: Client, project: Project, slug: str) -> None:
    for tail in ("", "/datasets", "/datasets/1", "/sessions", "/sessions/1", "/sessions/1/results"):
        assert program.get(f"{BASE}/{slug}{tail}").status_code == 404


@pytest.mark.parametrize("number", ["0", "99999999999999999999", "9" * 4000])
def test_strange_numbers_are_not_found(program: Client, project: Project, number: str) -> None:
    for tail in (f"datasets/{number}", f"sessions/{number}", f"sessions/{number}/events"):
        problem(program.get(f"{BASE}/{project.slug}/{tail}"), 404, "not_found")


def test_wrong_methods(program: Client, project: Project) -> None:
    assert program.delete(f"{BASE}/{project.slug}").status_code == 405
    assert program.put(BASE).status_code == 405


def test_equal_names_get_addresses_of_their_own(program: Client) -> None:
    slugs = [post(program, BASE, {"name": "Süß & Co"}).json()["slug"] for _ in range(3)]
    slugs += [post(program, BASE, {"name": "客服"}).json()["slug"] for _ in range(2)]
    assert len(set(slugs)) == 5
    assert all(program.get(f"{BASE}/{slug}").status_code == 200 for slug in slugs)


# --- pages --------------------------------------------------------------------------------------


def test_pages(program: Client, workspace: Workspace) -> None:
    for number in range(5):
        Project.objects.create(workspace=workspace, name=f"P{number}", slug=f"p{number}")
    seen, cursor = [], ""
    while True:
        body = program.get(f"{BASE}?limit=2{cursor}").json()
        seen.append([row["name"] for row in body["items"]])
        if body["next"] is None:
            break
        cursor = f"&cursor={body['next']}"
    assert seen == [["P4", "P3"], ["P2", "P1"], ["P0"]]
    problem(program.get(f"{BASE}?cursor=x"), 422, "invalid")
    problem(program.get(f"{BASE}?cursor=%C2%B2"), 422, "invalid")
    problem(program.get(f"{BASE}?limit=many"), 422, "invalid")


# --- uploads ------------------------------------------------------------------------------------


def test_upload_read_look(program: Client, project: Project, analyst: User) -> None:
    file = SimpleUploadedFile("../../etc/my chats.jsonl", lines(3))
    answer = program.post(f"{BASE}/{project.slug}/datasets", {"file": file, "name": "June"})
    assert answer.status_code == 202, answer.content
    made = answer.json()
    assert (made["number"], made["name"], made["status"]) == (1, "June", "importing")
    assert OrmQ.objects.count() == 1
    record = Import.objects.get()
    assert record.filename == "my chats.jsonl"
    assert Path(settings.MEDIA_ROOT, record.file).read_bytes() == lines(3)
    assert run_import(record.pk)
    body = program.get(f"{BASE}/{project.slug}/datasets/1").json()
    assert body["dataset"]["status"] == "ready"
    assert (body["dataset"]["conversation_count"], body["dataset"]["user_count"]) == (3, 3)
    assert (body["reading"]["accepted"], body["reading"]["rejected"]) == (3, 0)
    listed = program.get(f"{BASE}/{project.slug}/datasets").json()
    assert [row["number"] for row in listed["items"]] == [1]


def test_compressed_files_are_read(program: Client, project: Project) -> None:
    file = SimpleUploadedFile("a.jsonl.gz", gzip.compress(lines(4)))
    program.post(f"{BASE}/{project.slug}/datasets", {"file": file})
    run_import(Import.objects.get().pk)
    assert Dataset.objects.get().conversation_count == 4


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("page.jsonl", b"<html><body>Hello</body></html>", "failed"),
        ("program.jsonl", b"MZ\x90\x00\x03" + b"\x00" * 200, "failed"),
        ("cut.jsonl.gz", gzip.compress(lines(50))[:-20], "failed"),
        ("nothing.jsonl", b"\n\n\n", "failed"),
        ("other.json", b'{"a": 1}', "failed"),
    ],
)
def test_a_file_of_another_kind_says_so(
    program: Client, project: Project, name: str, content: bytes, status: str
) -> None:
    answer = program.post(
        f"{BASE}/{project.slug}/datasets", {"file": SimpleUploadedFile(name, content)}
    )
    assert answer.status_code == 202
    run_import(Import.objects.get().pk)
    body = program.get(f"{BASE}/{project.slug}/datasets/1").json()
    assert body["dataset"]["status"] == status
    assert body["reading"]["error"]


def test_empty_large_and_missing_files_are_refused(
    program: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{BASE}/{project.slug}/datasets"
    before = set(Path(settings.MEDIA_ROOT, "uploads").glob("*"))
    problem(program.post(url, {"file": SimpleUploadedFile("a.jsonl", b"")}), 422, "empty_file")
    problem(program.post(url, {}), 422, "invalid")
    monkeypatch.setattr("projects.services.imports.UPLOAD_LIMIT", 10)
    problem(program.post(url, {"file": SimpleUploadedFile("a.jsonl", lines(2))}), 413, "too_large")
    assert not Dataset.objects.exists()
    assert set(Path(settings.MEDIA_ROOT, "uploads").glob("*")) == before


def test_a_viewer_uploads_nothing(
    viewer: User, workspace: Workspace, project: Project, keyed: Callable[..., Client]
) -> None:
    before = set(Path(settings.MEDIA_ROOT, "uploads").glob("*"))
    client = keyed(viewer, workspace, Role.VIEWER)
    file = SimpleUploadedFile("a.jsonl", lines(1))
    problem(client.post(f"{BASE}/{project.slug}/datasets", {"file": file}), 403, "forbidden")
    problem(post(client, BASE, {"name": "x"}), 403, "forbidden")
    assert set(Path(settings.MEDIA_ROOT, "uploads").glob("*")) == before


def test_imports_of_dead_workers_end(project: Project, program: Client) -> None:
    """After three workers died over a file, its data set says so instead of waiting for ever."""
    from datetime import timedelta

    from django.utils import timezone

    from core import work
    from projects.services import tick

    program.post(
        f"{BASE}/{project.slug}/datasets", {"file": SimpleUploadedFile("a.jsonl", lines(1))}
    )
    for _ in range(3):
        assert work.claim(Import.objects.all(), owner="elsewhere:1:1")
        Import.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        tick()
    body = program.get(f"{BASE}/{project.slug}/datasets/1").json()
    assert body["dataset"]["status"] == "failed"
    assert body["reading"]["error"]


def test_an_import_that_breaks_is_tried_again_and_then_ends(
    project: Project, program: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(path: Path) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr("projects.runner.imports.recognise", breaks)
    program.post(
        f"{BASE}/{project.slug}/datasets", {"file": SimpleUploadedFile("a.jsonl", lines(1))}
    )
    record = Import.objects.get()
    for _ in range(3):
        assert run_import(record.pk)
        Import.objects.update(not_before=None)
    assert not run_import(record.pk)
    assert Dataset.objects.get().status == "failed"
