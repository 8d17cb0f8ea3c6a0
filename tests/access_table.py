"""Who may do what: address x method x role -> status. A missing address fails the suite.

Keys are routes as the resolver spells them. ``pk``, ``number`` and the like are filled from the
:class:`World` of ``tests/test_access.py``; the project, data set and analysis belong to the
workspace of ``viewer``, ``analyst`` and ``owner``. ``outsider`` belongs to no workspace, ``other``
owns another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

ROLES = ("anonymous", "outsider", "other", "viewer", "analyst", "owner")
LOGIN = "sign in"  # a redirect to the sign-in page

Status = int | str


@dataclass(frozen=True)
class Access:
    """One row of the table. ``statuses`` are in the order of :data:`ROLES`.

    ``form`` is sent as a form, ``body`` as JSON; ``fill`` gives values for the route that differ
    from the world's own, both looked up in the world when they are functions.
    """

    method: str
    statuses: tuple[Status, ...]
    form: dict[str, Any] = field(default_factory=dict)
    body: dict[str, Any] | None = None
    fill: dict[str, Callable[[Any], Any]] = field(default_factory=dict)


def reads(**extra: Any) -> Access:
    """A page of a project: members read, strangers learn nothing."""
    return Access("GET", (LOGIN, 404, 404, 200, 200, 200), **extra)


def changes(done: int = 302, **extra: Any) -> Access:
    """A change in a project: analysts and owners only."""
    return Access("POST", (LOGIN, 404, 404, 403, done, done), **extra)


def everybody(method: str = "GET", status: int = 200, **extra: Any) -> Access:
    """Something that needs no role."""
    return Access(method, (status,) * len(ROLES), **extra)


def signed_in(method: str = "GET", status: int = 200, **extra: Any) -> Access:
    """Something that needs no workspace."""
    return Access(method, (LOGIN, *(status,) * 5), **extra)


def api_reads(**extra: Any) -> Access:
    """A read of the API."""
    return Access("GET", (401, 404, 404, 200, 200, 200), **extra)


def api_changes(done: int = 202, **extra: Any) -> Access:
    """A change through the API."""
    return Access("POST", (401, 404, 404, 403, done, done), **extra)


ONE = "p/<slug:slug>/analyses/<int:number>/"
API_ONE = "api/v1/projects/<slug:slug>/sessions/<int:number>"
PROVIDER = {
    "name": "vLLM",
    "base_url": "https://models.example.org/v1",
    "chat_model": "qwen",
    "concurrency": "4",
    "connect_timeout": "1",
    "first_byte_timeout": "1",
    "total_timeout": "1",
}
ONE_JOB = "p/<slug:slug>/jobs/<uuid:uid>/"
API_JOBS = "api/v1/projects/<slug:slug>/jobs"
JOB = {"uid": lambda world: world.job.uid}
SCRIPTED = {"pk": lambda world: world.provider.pk}
MODEL = "providers/<int:pk>/models/<int:model>/"
FACETS = {"purpose": lambda _: "facets"}
UID = {"uid": lambda world: world.provider.uid}
MODEL_PK = {"model": lambda world: world.provider.deployments.get().pk}
API_PROVIDER = "api/v1/providers/<uuidstr:uid>"
API_MODEL = API_PROVIDER + "/models/<int:model>"
ONE_MODEL = {**SCRIPTED, "model": lambda world: world.provider.deployments.get().pk}
ANALYSIS = {"number": lambda world: world.session.number}
RUNNING = {"number": lambda world: world.running.number}

TABLE: dict[str, list[Access]] = {
    # Health and the API's own description.
    "live": [everybody()],
    "ready": [everybody(status=503)],
    "api/v1/": [everybody(status=404)],
    "api/v1/openapi.json": [everybody()],
    "api/v1/docs": [everybody()],
    # People.
    "sign-in/": [Access("GET", (200, 302, 302, 302, 302, 302))],
    "sign-out/": [everybody("GET", 405), everybody("POST", 302)],
    "welcome/<str:token>/": [everybody(status=404), everybody("POST", 404)],
    "invitation/<str:uid>/<str:token>/": [everybody(status=404), everybody("POST", 404)],
    "me/": [signed_in(), signed_in("POST", 302, form={"name": "New name"})],
    "me/theme/": [everybody("GET", 405), everybody("POST", 302, form={"theme": "dark"})],
    "me/keys/": [
        Access(
            "POST",
            (LOGIN, 404, 200, 403, 200, 200),
            form={"key_name": "Nightly", "role": "analyst"},
        )
    ],
    "me/keys/<int:pk>/revoke/": [
        # The key is the analyst's; nobody else may even learn that it exists.
        Access("POST", (LOGIN, 404, 404, 404, 302, 404), fill={"pk": lambda world: world.key.pk})
    ],
    "members/": [Access("GET", (LOGIN, 404, 200, 403, 403, 200))],
    "members/add/": [
        Access(
            "POST",
            (LOGIN, 404, 200, 403, 403, 200),
            form={"email": "new@example.org", "role": "viewer"},
        )
    ],
    "members/<int:pk>/": [
        Access(
            "POST",
            (LOGIN, 404, 404, 403, 403, 302),
            form={"role": "analyst"},
            fill={"pk": lambda world: world.membership.pk},
        )
    ],
    # Providers.
    "providers/": [Access("GET", (LOGIN, 404, 200, 403, 200, 200))],
    "providers/fragments/": [Access("GET", (LOGIN, 404, 200, 403, 200, 200))],
    "providers/spend/": [Access("GET", (LOGIN, 404, 302, 403, 302, 302))],
    "providers/events/": [Access("GET", (LOGIN, 404, 200, 403, 200, 200))],
    "providers/test/": [Access("POST", (LOGIN, 404, 302, 403, 302, 302))],
    "providers/routes/<slug:purpose>/": [
        Access("GET", (LOGIN, 404, 302, 403, 302, 302), fill=FACETS)
    ],
    "providers/routes/<slug:purpose>/change/": [
        Access("POST", (LOGIN, 404, 302, 403, 403, 302), form={"strategy": "priority"}, fill=FACETS)
    ],
    "providers/routes/<slug:purpose>/try/": [
        Access("GET", (LOGIN, 404, 200, 403, 200, 200), fill=FACETS),
        Access("POST", (LOGIN, 404, 422, 403, 422, 422), form={"text": ""}, fill=FACETS),
    ],
    "providers/new/": [
        Access("GET", (LOGIN, 404, 200, 403, 403, 200)),
        Access("POST", (LOGIN, 404, 422, 403, 403, 422), form={"name": ""}),
    ],
    "providers/new/models/": [
        Access("POST", (LOGIN, 404, 200, 403, 403, 200), form={"preset": "scripted"})
    ],
    "providers/<int:pk>/": [Access("GET", (LOGIN, 404, 404, 403, 200, 200), fill=SCRIPTED)],
    "providers/<int:pk>/settings/": [
        Access("GET", (LOGIN, 404, 404, 403, 302, 200), fill=SCRIPTED),
        Access("POST", (LOGIN, 404, 404, 403, 403, 422), form={"name": ""}, fill=SCRIPTED),
    ],
    "providers/<int:pk>/key/": [
        Access("POST", (LOGIN, 404, 404, 403, 403, 422), form={"key": ""}, fill=SCRIPTED)
    ],
    "providers/<int:pk>/key/spare/": [
        # It has one key at most.
        Access("POST", (LOGIN, 404, 404, 403, 403, 409), fill=SCRIPTED)
    ],
    "providers/<int:pk>/try/": [
        Access("POST", (LOGIN, 404, 404, 403, 422, 422), form={"text": ""}, fill=SCRIPTED)
    ],
    MODEL + "prices/": [
        Access("GET", (LOGIN, 404, 404, 403, 200, 200), fill=ONE_MODEL),
        Access("POST", (LOGIN, 404, 404, 403, 403, 422), form={"price_in": "x"}, fill=ONE_MODEL),
    ],
    MODEL + "prices/<int:price>/drop/": [
        Access("POST", (LOGIN, 404, 404, 403, 403, 404), fill={**ONE_MODEL, "price": lambda _: 1})
    ],
    MODEL + "reprice/": [Access("POST", (LOGIN, 404, 404, 403, 403, 302), fill=ONE_MODEL)],
    MODEL + "<slug:act>/": [
        Access(
            "POST", (LOGIN, 404, 404, 403, 403, 302), fill={**ONE_MODEL, "act": lambda _: "rest"}
        )
    ],
    "providers/<int:pk>/test/": [Access("POST", (LOGIN, 404, 404, 403, 302, 302), fill=SCRIPTED)],
    "providers/<int:pk>/rest/": [Access("POST", (LOGIN, 404, 404, 403, 403, 302), fill=SCRIPTED)],
    "providers/<int:pk>/return/": [Access("POST", (LOGIN, 404, 404, 403, 403, 302), fill=SCRIPTED)],
    "providers/<int:pk>/switch/": [
        Access("POST", (LOGIN, 404, 404, 403, 403, 302), form={"enabled": "0"}, fill=SCRIPTED)
    ],
    "settings/limits/": [
        Access("GET", (LOGIN, 404, 200, 403, 403, 200)),
        Access("POST", (LOGIN, 404, 422, 403, 403, 422), form={"scope": "", "day": "x"}),
    ],
    "settings/limits/use/": [
        Access("POST", (LOGIN, 404, 422, 403, 403, 422), form={"scope": "x"}),
    ],
    "settings/answers/": [Access("GET", (LOGIN, 404, 200, 403, 403, 200))],
    "settings/answers/forget/": [
        Access("POST", (LOGIN, 404, 302, 403, 403, 302), form={"purpose": "facets"})
    ],
    "settings/answers/<slug:purpose>/": [
        Access(
            "POST",
            (LOGIN, 404, 302, 403, 403, 302),
            form={"semantic": "shadow"},
            fill={"purpose": lambda _: "facets"},
        )
    ],
    "settings/books/": [Access("GET", (LOGIN, 404, 200, 403, 403, 200))],
    "settings/books/books.csv": [Access("GET", (LOGIN, 404, 200, 403, 403, 200))],
    # Projects and their data.
    "": [signed_in()],
    # 286 tells htmx to stop asking.
    "running/": [Access("GET", (286, 200, 200, 200, 200, 200))],
    "projects/": [signed_in()],
    "projects/new/": [
        Access("GET", (LOGIN, 404, 200, 403, 200, 200)),
        Access("POST", (LOGIN, 404, 302, 403, 302, 302), form={"name": "Sales"}),
    ],
    "p/<slug:slug>/": [reads()],
    "p/<slug:slug>/data/": [reads()],
    "p/<slug:slug>/data/upload/": [
        Access("GET", (LOGIN, 404, 404, 403, 200, 200)),
        changes(form={"file": lambda world: world.upload()}),
    ],
    "p/<slug:slug>/data/<int:number>/": [reads()],
    "p/<slug:slug>/data/<int:number>/conversations/<int:position>/": [
        Access("GET", (LOGIN, 404, 404, 403, 200, 200))
    ],
    # Jobs and the trash.
    "jobs/": [signed_in()],
    "jobs/short/": [Access("GET", (286, 200, 200, 200, 200, 200))],
    "p/<slug:slug>/jobs/": [reads()],
    "p/<slug:slug>/jobs/start/": [
        changes(form={"kind": "delete_datasets", "id": "1"}),
        changes(200, form={"kind": "delete_datasets", "all": "1"}),
        Access(
            "POST",
            (LOGIN, 404, 404, 403, 403, 200),
            form={"kind": "purge", "s.what": "datasets", "all": "1"},
        ),
    ],
    ONE_JOB: [reads(fill=JOB)],
    # It made no file.
    ONE_JOB + "file/": [Access("GET", (LOGIN, 404, 404, 404, 404, 404), fill=JOB)],
    ONE_JOB + "<str:action>/": [changes(fill={**JOB, "action": lambda world: "undo"})],
    "p/<slug:slug>/imports/<int:pk>/<str:action>/": [
        # It is already read.
        changes(409, fill={"pk": lambda world: world.import_pk, "action": lambda world: "cancel"})
    ],
    "p/<slug:slug>/trash/": [reads()],
    "p/<slug:slug>/trash/restore/": [
        changes(form={"what": "analyses", "number": lambda world: world.trashed.number})
    ],
    # Analyses.
    "p/<slug:slug>/analyses/": [reads()],
    "p/<slug:slug>/analyses/new/": [
        Access("GET", (LOGIN, 404, 404, 403, 200, 200)),
        changes(422, form={"dataset": ""}),
    ],
    ONE: [reads(fill=ANALYSIS)],
    ONE + "live/": [reads(fill=ANALYSIS)],
    ONE + "live/fragments/": [reads(fill=ANALYSIS)],
    ONE + "explore/": [reads(fill=ANALYSIS)],
    ONE + "clusters/<int:key>/": [reads(fill=ANALYSIS)],
    ONE + "conversations/<int:position>/": [reads(fill=ANALYSIS)],
    ONE + "conversations/<int:position>/reveal/": [
        Access("POST", (LOGIN, 404, 404, 403, 200, 200), fill=ANALYSIS)
    ],
    ONE + "conversations/<int:position>/card.json": [reads(fill=ANALYSIS)],
    ONE + "insights/": [reads(fill=ANALYSIS)],
    ONE + "batches/": [reads(fill=ANALYSIS)],
    ONE + "map.bin": [reads(fill=ANALYSIS)],
    ONE + "map.json": [reads(fill=ANALYSIS)],
    ONE + "export/clusters.json": [reads(fill=ANALYSIS)],
    ONE + "export/conversations.csv": [reads(fill=ANALYSIS)],
    ONE + "batches/failed/": [reads(fill=ANALYSIS)],
    ONE + "recovery/": [Access("GET", (LOGIN, 404, 404, 302, 302, 302), fill=RUNNING)],
    ONE + "dismiss/": [
        Access("POST", (LOGIN, 404, 404, 302, 302, 302), form={"told": "x"}, fill=RUNNING)
    ],
    ONE + "limit/": [
        # The local engine spends nothing: the page leads back, a limit may be set all the same.
        Access("GET", (LOGIN, 404, 404, 403, 302, 302), fill=RUNNING),
        changes(form={"kind": "analysis", "period": "all", "amount": "5"}, fill=RUNNING),
    ],
    ONE + "providers/": [
        Access("GET", (LOGIN, 404, 404, 403, 302, 302), fill=RUNNING),
        changes(422, form={"chat": ""}, fill=RUNNING),
    ],
    ONE + "compare/": [reads(fill=ANALYSIS)],
    ONE + "<str:action>/": [changes(fill={**RUNNING, "action": lambda world: "stop"})],
    # The API.
    "api/v1/projects": [
        Access("GET", (401, 200, 200, 200, 200, 200)),
        Access("POST", (401, 404, 201, 403, 201, 201), body={"name": "Sales"}),
    ],
    "api/v1/projects/<slug:slug>": [api_reads()],
    "api/v1/projects/<slug:slug>/datasets": [
        api_reads(),
        api_changes(form={"file": lambda world: world.upload()}),
    ],
    "api/v1/projects/<slug:slug>/datasets/<int:number>": [api_reads()],
    API_JOBS: [
        api_reads(),
        api_changes(body={"kind": "delete_datasets", "ids": [1]}),
        api_changes(200, body={"kind": "delete_datasets", "filter": {}, "dry_run": True}),
        Access(
            "POST",
            (401, 404, 404, 403, 403, 202),
            body={"kind": "purge", "filter": {}, "settings": {"what": "analyses"}},
        ),
    ],
    API_JOBS + "/<uuidstr:uid>": [api_reads(fill=JOB)],
    API_JOBS + "/<uuidstr:uid>/<action>": [
        api_changes(fill={**JOB, "action": lambda world: "undo"}, body={})
    ],
    "api/v1/limits": [
        Access("GET", (401, 404, 200, 403, 403, 200)),
        Access("PUT", (401, 404, 200, 403, 403, 200), body={"period": "day", "amount": "5"}),
    ],
    "api/v1/limits/use": [
        Access("GET", (401, 404, 200, 403, 403, 200)),
        # There is no such project.
        Access(
            "PUT", (401, 404, 422, 403, 403, 422), body={"scope": "project:0", "tokens_per_day": 5}
        ),
    ],
    "api/v1/providers": [
        Access("GET", (401, 404, 200, 403, 200, 200)),
        Access("POST", (401, 404, 201, 403, 403, 201), body={"name": "S", "preset": "scripted"}),
    ],
    "api/v1/providers/models": [
        Access("POST", (401, 404, 200, 403, 403, 200), body={"name": "S", "preset": "scripted"})
    ],
    API_PROVIDER: [
        Access("GET", (401, 404, 404, 403, 200, 200), fill=UID),
        Access("PATCH", (401, 404, 404, 403, 403, 200), body={"concurrency": 2}, fill=UID),
    ],
    API_PROVIDER + "/test": [Access("POST", (401, 404, 404, 403, 200, 200), body={}, fill=UID)],
    API_PROVIDER + "/models": [Access("GET", (401, 404, 404, 403, 200, 200), fill=UID)],
    API_PROVIDER + "/key": [
        Access("PUT", (401, 404, 404, 403, 403, 200), body={"key": "sk-1"}, fill=UID)
    ],
    API_PROVIDER + "/key/spare": [Access("DELETE", (401, 404, 404, 403, 403, 409), fill=UID)],
    API_MODEL + "/rest": [
        Access("POST", (401, 404, 404, 403, 403, 200), body={}, fill={**UID, **MODEL_PK})
    ],
    API_MODEL + "/return": [
        # It is in use.
        Access("POST", (401, 404, 404, 403, 403, 409), fill={**UID, **MODEL_PK})
    ],
    API_MODEL + "/prices": [
        Access(
            "POST",
            (401, 404, 404, 403, 403, 201),
            body={"price_in": "0.15"},
            fill={**UID, **MODEL_PK},
        )
    ],
    API_MODEL + "/reprice": [
        Access("POST", (401, 404, 404, 403, 403, 200), fill={**UID, **MODEL_PK})
    ],
    "api/v1/routes": [Access("GET", (401, 404, 200, 403, 200, 200))],
    "api/v1/routes/<slug:purpose>": [
        Access("GET", (401, 404, 200, 403, 200, 200), fill=FACETS),
        Access("PUT", (401, 404, 200, 403, 403, 200), body={"cache_days": 7}, fill=FACETS),
    ],
    "api/v1/routes/<slug:purpose>/try": [
        Access("POST", (401, 404, 422, 403, 422, 422), body={"text": ""}, fill=FACETS)
    ],
    "api/v1/answers": [Access("GET", (401, 404, 200, 403, 403, 200))],
    "api/v1/answers/forget": [
        Access("POST", (401, 404, 200, 403, 403, 200), body={"purpose": "facets"})
    ],
    "api/v1/templates": [Access("GET", (401, 200, 200, 200, 200, 200))],
    "api/v1/projects/<slug:slug>/sessions": [
        api_reads(),
        api_changes(body={"dataset": 1, "template": "general"}),
    ],
    "api/v1/projects/<slug:slug>/estimate": [
        Access("GET", (401, 404, 404, 403, 200, 200), form={"dataset": 1, "template": "general"})
    ],
    API_ONE: [api_reads(fill=ANALYSIS)],
    API_ONE + "/wishes": [api_changes(body={"action": "cancel"}, fill=RUNNING)],
    API_ONE + "/limit": [api_changes(body={"amount": "5"}, fill=RUNNING)],
    API_ONE + "/providers": [
        api_changes(422, body={"chat": "00000000-0000-0000-0000-000000000000"}, fill=RUNNING)
    ],
    API_ONE + "/comparisons": [
        api_reads(fill=ANALYSIS),
        api_changes(422, body={"chat": "00000000-0000-0000-0000-000000000000"}, fill=RUNNING),
    ],
    API_ONE + "/results": [api_reads(fill=ANALYSIS)],
    API_ONE + "/conversations": [api_reads(fill=ANALYSIS)],
    API_ONE + "/events": [api_reads(fill=ANALYSIS)],
    API_ONE + "/conversations.csv": [api_reads(fill=ANALYSIS)],
}
