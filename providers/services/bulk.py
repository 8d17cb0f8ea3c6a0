"""Batch mode as the database knows it: which calls wait at which provider, and who looks.

Calls of a batch are owned by the batch and not by a process (:data:`providers.services.lost.AT_PROVIDER`), from before it
is handed over until it is collected. So whoever dies, no call is doubted or sent a second time
that a provider may still answer, and none waits that no provider has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet
from django.utils import timezone

from core import q2
from core.work import owner_is_dead
from providers.clients.presets import preset
from providers.gateway.types import Deployment, Timeouts
from providers.models import BulkState, LlmCall, ModelDeployment, ProviderBatch
from providers.services.deployments import deployment_config
from providers.services.lost import AT_PROVIDER

PRICE_FACTOR = 0.5
"""What a call costs in a batch, of its price (OpenAI, Anthropic and Mistral, "Batch": 50 %)."""

EXPIRES = timedelta(hours=25)
"""When we cancel a batch that still works and take what there is: its time and an hour more."""

FORGOTTEN = timedelta(hours=72)
"""When calls of a batch that cannot be asked about are in doubt."""

UPLOAD_SECONDS = 1800.0
"""The longest that handing over one batch may take."""

EARLY = timedelta(minutes=30)
LOOKS = (timedelta(seconds=60), timedelta(minutes=5))
"""Between two looks at a batch: while it is younger than :data:`EARLY`, and later."""

LISTED = timedelta(minutes=2)
"""A batch that a provider took longer ago is in its list."""

COLLECT = "providers.tasks.collect_batches"

UNWANTED = "unwanted"
"""State of a batch that shall be cancelled at the provider."""


def batched_config(deployment: ModelDeployment) -> Deployment:
    """The gateway's view of a model that is asked in batches."""
    provider = deployment.provider
    known = preset(provider.preset)
    shape = "anthropic" if provider.kind == "anthropic" else "openai"
    plain = deployment_config(deployment, concurrency=MOST_WAITING)
    return replace(
        plain,
        batched=True,
        batch_api="mistral" if known is not None and known.key == "mistral" else shape,
        price_factor=PRICE_FACTOR,
        reconciles=True,
        requests_per_minute=None,
        tokens_per_minute=None,
        timeouts=Timeouts(plain.timeouts.connect, plain.timeouts.first_byte, UPLOAD_SECONDS),
    )


MOST_WAITING = 2_000
"""Calls of one process that wait to be handed over: as many as go into one batch."""


def open_batches() -> QuerySet[ProviderBatch]:
    """Batches that were not collected yet."""
    return ProviderBatch.objects.filter(state__in=(BulkState.PREPARING, BulkState.WORKING))


def wake_collector() -> None:
    """Have batches looked at whose turn it is."""
    if due().exists():
        q2.wake(COLLECT)


def due(now: datetime | None = None) -> QuerySet[ProviderBatch]:
    """Batches whose turn it is: none of them is looked at by a process that prepares it."""
    now = now or timezone.now()
    often, seldom = LOOKS
    waited = Q(polled_at__isnull=True) | Q(polled_at__lte=now - seldom)
    waited |= Q(created_at__gte=now - EARLY, polled_at__lte=now - often)
    rows = open_batches().filter(waited)
    preparing = rows.filter(state=BulkState.PREPARING).values_list("owner", flat=True)
    owners = set(preparing.order_by().distinct())
    dead = [owner for owner in owners if not owner or owner_is_dead(owner)]
    left = Q(owner__in=dead) | Q(created_at__lte=now - timedelta(seconds=UPLOAD_SECONDS + 60))
    return rows.filter(Q(state=BulkState.WORKING) | left)


def take_turn(pk: int, now: datetime | None = None) -> ProviderBatch | None:
    """Claim the next look at a batch; ``None`` when somebody else had it."""
    now = now or timezone.now()
    if not due(now).filter(pk=pk).update(polled_at=now):
        return None
    return ProviderBatch.objects.select_related("deployment__provider").get(pk=pk)


def hand_to(uid: str, calls: Iterable[int], until: datetime) -> None:
    """Have calls wait for a batch instead of a process, until then."""
    LlmCall.objects.filter(pk__in=list(calls)).update(owner=f"{AT_PROVIDER}{uid}", sent_until=until)


def refuse_batches(analysis_ids: Iterable[int | None]) -> int:
    """Have the open batches of analyses cancelled at their providers; returns how many.

    What was answered by then is paid, collected and kept like any answer.
    """
    rows = open_batches().filter(analysis_id__in=list(analysis_ids))
    return rows.exclude(remote_state=UNWANTED).update(remote_state=UNWANTED, polled_at=None)


def expiry(created: datetime) -> datetime:
    """When a batch is over in any case."""
    return created + EXPIRES
