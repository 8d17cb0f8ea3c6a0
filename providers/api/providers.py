"""JSON door of providers. Keys, proxies and header values go in and never come out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from django.utils import timezone
from ninja import Router, Status

from accounts.models import Role, User
from accounts.schemas import ApiRequest
from accounts.selectors import api_workspace
from accounts.services import require
from core.errors import Invalid, NotFound
from providers import selectors, services
from providers.clients.presets import preset
from providers.models import Provider
from providers.schemas import (
    KeyIn,
    ListedModel,
    ModelOut,
    PriceIn,
    PriceOut,
    ProviderChange,
    ProviderIn,
    ProviderOut,
    Repriced,
    RestIn,
    TestIn,
    TestOut,
)
from providers.selectors import detail as reads
from providers.selectors.health import ProviderHealth, provider_health
from providers.services import ModelInput, ProviderInput
from providers.services.adding import add_provider_once, stored_models
from providers.services.health import rest_deployment, return_deployment

router = Router(tags=["Providers"])

ONE = "/{uuid:uid}"
MODEL = ONE + "/models/{int:model}"
KEPT = (
    "name",
    "kind",
    "preset",
    "base_url",
    "concurrency",
    "connect_timeout",
    "first_byte_timeout",
    "total_timeout",
    "requests_per_minute",
    "tokens_per_minute",
    "enabled",
    "reconciles",
)


def uid_of(key: str, user: User) -> UUID | None:
    """The number of the one provider that a key of a person stands for; ``None`` without one."""
    return uuid5(NAMESPACE_URL, f"openclio:provider:{user.pk}:{key}") if key else None


@router.get("", response=list[ProviderOut])
def list_providers(request: ApiRequest) -> Any:
    """Every provider with its state and models. Analysts and owners."""
    workspace = api_workspace(request.auth)
    require(request.auth, workspace, Role.ANALYST)
    every = provider_health(workspace)
    return [shown(row, every[row.pk]) for row in selectors.providers(workspace)]


@router.post("", response={201: ProviderOut})
def add_provider(request: ApiRequest, body: ProviderIn) -> Any:
    """Add a provider; with an ``Idempotency-Key`` the same call adds it once. Owners."""
    workspace = api_workspace(request.auth)
    require(request.auth, workspace, Role.OWNER)
    row = add_provider_once(
        actor=request.auth,
        workspace=workspace,
        given=entered(body),
        uid=uid_of(request.headers.get("Idempotency-Key", ""), request.auth),
    )
    return Status(201, shown(row))


@router.post("/models", response=list[ListedModel])
def list_models(request: ApiRequest, body: ProviderIn) -> Any:
    """The models a provider lists now; nothing is stored. Owners."""
    workspace = api_workspace(request.auth)
    return services.fetch_models(actor=request.auth, workspace=workspace, given=entered(body))


@router.get(ONE, response=ProviderOut)
def get_provider(request: ApiRequest, uid: UUID) -> Any:
    """One provider. Analysts and owners."""
    return shown(_row(request, uid, Role.ANALYST))


@router.patch(ONE, response=ProviderOut)
def change_provider(request: ApiRequest, uid: UUID, body: ProviderChange) -> Any:
    """Change what is given; the rest stays. Owners."""
    row = _row(request, uid, Role.OWNER)
    given = changed(row, body)
    services.save_provider(actor=request.auth, workspace=row.workspace, given=given, provider=row)
    return shown(_row(request, uid, Role.OWNER))


@router.post(ONE + "/test", response=TestOut)
def test_provider(request: ApiRequest, uid: UUID, body: TestIn) -> Any:
    """Make one small call of each sort, or of one model, and say what happened. Analysts."""
    row = _row(request, uid, Role.ANALYST)
    one = {} if body.model is None else {"deployment": reads.model_of(row, body.model)}
    report = services.test_provider(actor=request.auth, provider=row, **one)
    return {
        "ok": report.ok,
        "text": report.text,
        "latency_ms": report.latency_ms,
        "takes_schema": report.json_schema,
        "dimensions": report.dimensions,
        "error_class": report.error_class.value if report.error_class else None,
    }


@router.get(ONE + "/models", response=list[ModelOut])
def models_of(request: ApiRequest, uid: UUID) -> Any:
    """The provider's models, those no longer offered last. Analysts and owners."""
    row = _row(request, uid, Role.ANALYST)
    offered, retired = reads.model_rows(row, reads.health_of(row))
    return [*offered, *retired]


@router.put(ONE + "/key", response=ProviderOut)
def replace_key(request: ApiRequest, uid: UUID, body: KeyIn) -> Any:
    """Use another key from the next call on. Owners."""
    row = _row(request, uid, Role.OWNER)
    services.replace_key(
        actor=request.auth,
        provider=row,
        key=body.key.get_secret_value(),
        keep_old=body.keep_old,
    )
    return shown(_row(request, uid, Role.OWNER))


@router.delete(ONE + "/key/spare", response=ProviderOut)
def drop_spare_key(request: ApiRequest, uid: UUID) -> Any:
    """Remove the old key of two. Owners."""
    row = _row(request, uid, Role.OWNER)
    services.drop_spare_key(actor=request.auth, provider=row)
    return shown(_row(request, uid, Role.OWNER))


@router.post(MODEL + "/rest", response=ModelOut)
def rest_model(request: ApiRequest, uid: UUID, model: int, body: RestIn) -> Any:
    """Take a model out of use until it is returned. Owners."""
    row = _row(request, uid, Role.OWNER)
    rest_deployment(actor=request.auth, deployment=reads.model_of(row, model), note=body.note)
    return _model(row, model)


@router.post(MODEL + "/return", response=ModelOut)
def return_model(request: ApiRequest, uid: UUID, model: int) -> Any:
    """Put a model that rests back into use. Owners."""
    row = _row(request, uid, Role.OWNER)
    return_deployment(actor=request.auth, deployment=reads.model_of(row, model))
    return _model(row, model)


@router.post(MODEL + "/prices", response={201: PriceOut})
def set_price(request: ApiRequest, uid: UUID, model: int, body: PriceIn) -> Any:
    """Say what a model costs from a moment on; one of the same moment is replaced. Owners."""
    row = _row(request, uid, Role.OWNER)
    price = services.set_price(
        actor=request.auth, deployment=reads.model_of(row, model), **body.model_dump()
    )
    return Status(201, price)


@router.post(MODEL + "/reprice", response=Repriced)
def reprice(request: ApiRequest, uid: UUID, model: int) -> Any:
    """Price the answers of a year that have no price. Owners."""
    row = _row(request, uid, Role.OWNER)
    since = timezone.now() - reads.PRICED_FOR
    return services.reprice(actor=request.auth, deployment=reads.model_of(row, model), since=since)


def _row(request: ApiRequest, uid: UUID, role: Role) -> Provider:
    """The provider of the program's workspace; raises :class:`NotFound` and ``Forbidden``."""
    workspace = api_workspace(request.auth)
    row = selectors.providers(workspace).select_related("workspace").filter(uid=uid).first()
    require(request.auth, workspace, role)
    if row is None:
        raise NotFound
    return row


def _model(row: Provider, pk: int) -> Any:
    offered, retired = reads.model_rows(row, reads.health_of(row))
    return next(one for one in (*offered, *retired) if one.deployment.pk == pk)


def shown(row: Provider, health: ProviderHealth | None = None) -> dict[str, Any]:
    """A provider as programs see it: of its secrets only that they are there."""
    health = health or reads.health_of(row)
    offered, retired = reads.model_rows(row, health)
    return {
        **{name: getattr(row, name) for name in KEPT},
        "id": row.uid,
        "key": {"stored": bool(row.key_encrypted), "ending": row.key_hint},
        "spare_key": {"stored": bool(row.spare_key_encrypted), "ending": row.spare_key_hint},
        "key_changed_at": row.key_changed_at,
        "proxy": bool(row.proxy_encrypted),
        "headers": sorted(row.extra_headers),
        "ca_certificates": bool(row.ca_certificates),
        "state": health.state,
        "reason": health.reason,
        "since": health.since,
        "next_probe": health.next_probe,
        "checked_at": row.checked_at,
        "check_ok": row.check_ok,
        "check_text": row.check_text,
        "models": [*offered, *retired],
    }


def revealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Write-only values as the services take them."""
    found = dict(values)
    for name in ("key", "proxy"):
        if found.get(name) is not None:
            found[name] = found[name].get_secret_value()
    if found.get("headers") is not None:
        found["headers"] = {
            name: None if value is None else value.get_secret_value()
            for name, value in found["headers"].items()
        }
    return found


def entered(body: ProviderIn) -> ProviderInput:
    """What a program says of a new provider, with what its preset fills in."""
    given = revealed(body.model_dump())
    chosen = preset(given["preset"])
    if chosen is None:
        raise Invalid(fields={"preset": "There is no such preset."})
    blanks = given.pop("blanks")
    if given["base_url"] is None:
        missing = [one.label for one in chosen.blanks if not blanks.get(one.name)]
        if missing:
            raise Invalid(fields={"blanks": f"Missing: {', '.join(missing)}."})
        given["base_url"] = chosen.url(blanks)
    given["models"] = [ModelInput(**one) for one in given["models"]]
    return ProviderInput(**given, kind=chosen.kind)


def changed(row: Provider, body: ProviderChange) -> ProviderInput:
    """What is stored, with what a program changes of it."""
    said = body.model_dump(exclude_unset=True)
    nullable = ("requests_per_minute", "tokens_per_minute")
    given = {
        name: value
        for name, value in revealed(said).items()
        if value is not None or name in nullable
    }
    models = given.pop("models", None)
    values = {**{name: getattr(row, name) for name in KEPT}, **given}
    values["models"] = (
        list(stored_models(row, retired=False).values())
        if models is None
        else [ModelInput(**one) for one in models]
    )
    return ProviderInput(**values)
