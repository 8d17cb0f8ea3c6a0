"""The breakers of models that all processes share: changes, the right to try, and rests by hand.

A change names the version it was decided on and takes effect only if that still stands. All times
are the database's own clock inside the statement.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts.models import Role, User, Workspace
from accounts.services import audit, require
from core.errors import Conflict
from core.events import publish
from core.work import from_now
from providers.events import HealthChanged, topic_of
from providers.gateway.breaker import DISABLING
from providers.gateway.health import BY_HAND, Change, Health, State
from providers.models import (
    BreakerState,
    DeploymentHealth,
    HealthChange,
    ModelDeployment,
    Provider,
)

LONGEST_DETAIL = 300
LONGEST_REASON = 20


@dataclass(frozen=True, slots=True)
class Known:
    """A breaker as the tables have it, the workspace of its model, and the database's time."""

    workspace: int
    health: Health
    exists: bool
    now: datetime


def known(ids: Collection[int]) -> dict[int, Known]:
    """The breakers of those of the models that exist. One query."""
    rows = ModelDeployment.objects.filter(pk__in=ids).order_by()
    found = rows.values_list(
        "pk",
        "provider__workspace_id",
        "health__state",
        "health__version",
        "health__reason",
        "health__detail",
        "health__opens",
        "health__retry_at",
        "health__probe_until",
        Now(),
    )
    return {row[0]: _known(row[1], row[2:9], row[9]) for row in found}


def _known(workspace: int, row: tuple[object, ...], now: datetime) -> Known:
    state, version, reason, detail, opens, retry_at, probe_until = row
    if state is None:
        return Known(workspace, Health(), exists=False, now=now)
    until = retry_at if state == BreakerState.OPEN else None
    until = probe_until if state == BreakerState.HALF_OPEN else until
    wait = (until - now).total_seconds() if isinstance(until, datetime) else 0.0
    health = Health(
        state=_state(state),
        version=_number(version),
        reason=str(reason),
        detail=str(detail),
        opens=_number(opens),
        wait=max(0.0, wait),
    )
    return Known(workspace, health, exists=True, now=now)


def _state(value: object) -> State:
    names: Mapping[object, State] = {
        BreakerState.OPEN: "open",
        BreakerState.HALF_OPEN: "half_open",
        BreakerState.RESTED: "rested",
    }
    return names.get(value, "closed")


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def apply_change(pk: int, workspace: int, change: Change, *, exists: bool) -> bool:
    """Make a change take effect unless somebody changed the breaker since; whether it did.

    Belongs into a transaction: the change's row and the news for open pages are of it.
    """
    if not exists and change.version == 0:
        DeploymentHealth.objects.bulk_create(
            [DeploymentHealth(deployment_id=pk)], ignore_conflicts=True
        )
    detail, reason = change.detail[:LONGEST_DETAIL], change.reason[:LONGEST_REASON]
    resting = change.state == "open"
    updated = DeploymentHealth.objects.filter(deployment=pk, version=change.version).update(
        state=change.state,
        version=F("version") + 1,
        reason=reason,
        detail=detail,
        opens=max(0, change.opens),
        retry_at=from_now(timedelta(seconds=max(0.0, change.wait))) if resting else None,
        probe_owner="",
        probe_until=None,
        changed_at=Now(),
    )
    if not updated:
        return False
    HealthChange.objects.create(
        deployment_id=pk,
        state=change.state,
        reason=reason,
        detail=detail,
        analysis_id=change.session,
        went_to=change.went_to[:200],
        switch_ms=change.switch_ms,
    )
    publish(topic_of(workspace), HealthChanged(deployment=pk, state=change.state, reason=reason))
    return True


@transaction.atomic
def take_right(owner: str, pk: int, seconds: float) -> bool:
    """Take the right to try a model whose rest is over, for so many seconds; whether it was free.

    A right that ran out, because its holder died or hangs, is free again.
    """
    over = Q(state=BreakerState.OPEN) & (Q(retry_at=None) | Q(retry_at__lte=Now()))
    lapsed = Q(state=BreakerState.HALF_OPEN) & (Q(probe_until=None) | Q(probe_until__lte=Now()))
    taken = DeploymentHealth.objects.filter(over | lapsed, deployment=pk).update(
        state=BreakerState.HALF_OPEN,
        version=F("version") + 1,
        probe_owner=owner[:120],
        probe_until=from_now(timedelta(seconds=seconds)),
    )
    if not taken:
        return False
    workspace = ModelDeployment.objects.values_list("provider__workspace_id", flat=True).get(pk=pk)
    publish(topic_of(workspace), HealthChanged(deployment=pk, state="half_open"))
    return True


@transaction.atomic
def rest_deployment(*, actor: User, deployment: ModelDeployment, note: str = "") -> None:
    """Take a model out of use until it is returned by hand. Owners only.

    Calls under way end as they would. Raises :class:`Conflict` when it rests by hand already.
    """
    _by_hand(actor, deployment, "rested", note, "deployment.rested")


@transaction.atomic
def return_deployment(*, actor: User, deployment: ModelDeployment) -> None:
    """Put a model that rests, for whatever reason, back into use. Owners only.

    Raises :class:`Conflict` when it is in use.
    """
    _by_hand(actor, deployment, "closed", "", "deployment.returned")


def _by_hand(
    actor: User, deployment: ModelDeployment, state: State, detail: str, action: str
) -> None:
    workspace = deployment.provider.workspace
    require(actor, workspace, Role.OWNER)
    DeploymentHealth.objects.get_or_create(deployment=deployment)
    row = DeploymentHealth.objects.select_for_update().get(deployment=deployment)
    if row.state == state:
        word = "is in use" if state == "closed" else "rests"
        raise Conflict(why=f"{deployment.model} {word} already.")
    change = Change(str(deployment.pk), row.version, state, reason=BY_HAND, detail=detail)
    apply_change(deployment.pk, workspace.pk, change, exists=True)
    audit(
        workspace=workspace,
        actor=actor,
        action=action,
        obj=deployment,
        model=deployment.model,
        provider=deployment.provider.name,
    )


@transaction.atomic
def reopen_after_change(provider: Provider, *, answered: bool = False) -> int:
    """Use models again that rest for a cause that only a person could mend; returns how many.

    To be called when that may have happened: a key was entered, a limit raised, the address
    changed. ``answered``: it was tried by hand and answered, which ends a rest of any other cause
    as well. What a person took out of use stays out of use.
    """
    resting = (BreakerState.OPEN, BreakerState.HALF_OPEN)
    rows = DeploymentHealth.objects.select_for_update().filter(
        deployment__provider=provider, state__in=resting
    )
    if not answered:
        rows = rows.filter(reason__in=[one.value for one in DISABLING])
    changed = 0
    for row in rows:
        change = Change(str(row.deployment_id), row.version, "closed")
        changed += apply_change(row.deployment_id, provider.workspace_id, change, exists=True)
    return changed


@transaction.atomic
def end_rests(workspace: Workspace) -> int:
    """Have the next call of each resting model try it; returns how many rest.

    To be called when a person has work go on that a model held up: whatever they mended, here or
    at the provider, one call finds out. What was taken out of use by hand stays out of use.
    """
    return DeploymentHealth.objects.filter(
        deployment__provider__workspace=workspace, state=BreakerState.OPEN
    ).update(version=F("version") + 1, retry_at=Now())
