"""One analysis in each state, as rows: run inside an installation by ``manage.py shell``."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from accounts.models import Membership, Role, User
from accounts.services import ensure_workspace
from analyses import plan
from analyses.models import AnalysisSession, Outcome
from core.models import WorkStatus
from projects.models import Conversation, Dataset, DatasetStatus, Import, Project
from providers.models import (
    CallState,
    LlmCall,
    ModelDeployment,
    Period,
    Provider,
    ProviderKind,
    SpendBook,
    SpendLimit,
)
from tests.analyses import builders

EMAIL, PASSWORD = "mara@example.org", "a long enough password"
SIZE = 500
CUT = timedelta(minutes=3)

BLOCKS = {
    "budget": {"reason": "budget"},
    "quota": {"reason": "quota", "retry": 9},
    "key": {"reason": "key"},
    "provider": {"reason": "provider", "retry": 1},
    "disk": {"reason": "disk", "retry": 1},
    "errors": {"reason": "too_many_errors"},
    "upgrade": {"reason": "upgrade", "retry": 2},
}


def build() -> None:
    """Make everything and print ``{state: number of the analysis}``."""
    workspace = ensure_workspace()
    user = User.objects.create_user(EMAIL, PASSWORD, name="Mara Okafor")
    Membership.objects.create(user=user, workspace=workspace, role=Role.OWNER)
    project = Project.objects.create(
        workspace=workspace, name="Northwind Support", slug="northwind", created_by=user
    )
    provider = Provider.objects.create(
        workspace=workspace,
        name="Anthropic",
        kind=ProviderKind.OPENAI,
        base_url="https://models.example.org/v1",
    )
    second = Provider.objects.create(
        workspace=workspace, name="Local vLLM", kind=ProviderKind.OPENAI
    )
    chat = ModelDeployment.objects.create(
        provider=provider, model="claude-haiku", price_in=1, price_out=5
    )
    ModelDeployment.objects.create(provider=second, model="qwen-8b", price_in=0, price_out=0)
    dataset = conversations(project)
    found = {}
    for name, values in STATES.items():
        session = builders.halfway(dataset, user)
        found[name] = session.number
        fill(session, chat)
        STATE_OF[name.partition("-")[0]](session, **values)
    sys.stdout.write(json.dumps(found) + "\n")


def conversations(project: Project) -> Dataset:
    """A ready data set."""
    start = datetime(2026, 6, 1, 9, tzinfo=UTC)
    dataset = Dataset.objects.create(
        project=project,
        number=1,
        name="June chats",
        status=DatasetStatus.READY,
        conversation_count=SIZE,
        message_count=2 * SIZE,
        token_count=20 * SIZE,
        user_count=SIZE,
        first_at=start,
        last_at=start,
        languages={"en": SIZE},
    )
    record = Import.objects.create(
        dataset=dataset, file="x", filename="june.jsonl", status=WorkStatus.DONE
    )
    Conversation.objects.bulk_create(
        Conversation(
            dataset=dataset,
            record=record,
            position=position,
            external_id=f"ticket-{40_000 + position}",
            message_count=1,
            token_count=20,
            content_hash=f"{position:064x}",
            messages=[{"role": "user", "content": f"Please help me with case {position}."}],
        )
        for position in range(SIZE)
    )
    return dataset


def fill(session: AnalysisSession, chat: ModelDeployment) -> None:
    """A provider that was paid, and workers that hold batches."""
    change(session, name="June chats, second pass", chat=chat, cost=Decimal("3.82"),
           tokens_in=1_204_000, tokens_out=310_000)  # fmt: skip
    for number, (provider, model, cost) in enumerate(
        [("Anthropic", "claude-haiku", "2.94"), ("Local vLLM", "qwen-8b", "0.88")]
    ):
        LlmCall.objects.create(
            workspace=session.project.workspace, analysis_id=session.pk, purpose="facets",
            fingerprint=f"{session.pk}-{number}", provider=provider, model=model,
            state=CallState.OK, cost=Decimal(cost), sent_at=timezone.now(),
        )  # fmt: skip
    session.batches.exclude(status=WorkStatus.PENDING).update(owner="worker-1:4711:99")
    limit(session, "10", "3.82")


def change(session: AnalysisSession, **values: Any) -> None:
    """Columns of the analysis."""
    AnalysisSession.objects.filter(pk=session.pk).update(**values)
    session.refresh_from_db()


def limit(session: AnalysisSession, amount: str, spent: str, doubt: str = "0") -> None:
    """A limit for the analysis and what is used of it."""
    scope = f"analysis:{session.pk}"
    SpendLimit.objects.update_or_create(
        scope=scope,
        period=Period.ALL,
        defaults={"workspace": session.project.workspace, "amount": Decimal(amount)},
    )
    SpendBook.objects.update_or_create(
        scope=scope, key="all", defaults={"spent": Decimal(spent), "doubt": Decimal(doubt)}
    )


def fail(session: AnalysisSession, count: int) -> None:
    """Conversations that failed for three reasons, and one batch that was set aside."""
    classes = ["timeout"] * 5 + ["bad_answer"] * 3 + ["content_filter"]
    spots = list(session.items.values_list("position", flat=True)[: count * 2 : 2])
    for place, position in enumerate(spots):
        session.items.filter(position=position).update(
            outcome=Outcome.FAILED, error_class=classes[place % len(classes)], error=""
        )
    failed = session.items.filter(outcome=Outcome.FAILED)
    for batch in session.batches.filter(stage="facets", status=WorkStatus.DONE):
        inside = failed.filter(position__gte=batch.first, position__lt=batch.last).count()
        batch.failed_items = inside
        batch.save(update_fields=["failed_items"])
    change(session, failed_count=count, read_count=session.read_count - count)


def set_aside(session: AnalysisSession) -> None:
    """A batch that stopped its worker three times."""
    session.batches.filter(stage="facets", seq=5).update(
        status=WorkStatus.QUARANTINED, attempt=3, failed_items=1,
        error="Its worker stopped three times while it was read.", finished_at=None,
    )  # fmt: skip


def at_rest(session: AnalysisSession) -> None:
    """Nobody holds a batch any more."""
    session.batches.filter(status=WorkStatus.LEASED).update(status=WorkStatus.PENDING, owner="")


# --- The states -----------------------------------------------------------------------------------


def plain(session: AnalysisSession, **values: Any) -> None:
    """A status without more."""
    if values.get("status") not in (None, "running", "pausing", "cancelling"):
        at_rest(session)
    change(session, **values)


def queued(session: AnalysisSession) -> None:
    session.batches.update(status=WorkStatus.PENDING, attempt=0, finished_at=None, retried=False)
    session.items.all().delete()
    session.clusters.all().delete()
    session.stages.update(items_done=0, started_at=None, finished_at=None)
    SpendBook.objects.filter(scope=f"analysis:{session.pk}").update(spent=0)
    LlmCall.objects.filter(analysis_id=session.pk).delete()
    change(session, status="queued", read_count=0, previewed=0, cost=0, started_at=None,
           tokens_in=0, tokens_out=0, retry_count=0, first_preview_at=None)  # fmt: skip


def blocked(session: AnalysisSession, reason: str, retry: int = 0) -> None:
    at_rest(session)
    if reason == "budget":
        limit(session, "4", "3.98", "0.03")
        change(session, in_doubt=Decimal("0.03"), doubt_count=2)
    if reason == "too_many_errors":
        fail(session, 42)
    at = timezone.now() + timedelta(minutes=retry) if retry else None
    change(session, status="blocked", reason=reason, detail="It waits.", retry_at=at)


def recovered(session: AnalysisSession, **values: Any) -> None:
    session.batches.filter(seq=12).update(retried=True, attempt=2)
    change(
        session,
        recoveries=1,
        recovery={
            "at": (timezone.now() - CUT).isoformat(),
            "kept_batches": 12,
            "kept_conversations": session.read_count,
            "repeated_batches": 1,
            "repeated_conversations": 25,
            "doubt_calls": 0,
            "doubt_cost": "0",
            "text": "A worker stopped.",
            **values,
        },
    )


def near(session: AnalysisSession) -> None:
    limit(session, "4.70", "3.82")


def doubt(session: AnalysisSession) -> None:
    limit(session, "10", "3.82", "0.02")
    change(session, in_doubt=Decimal("0.02"), doubt_count=3)


def ended(session: AnalysisSession) -> None:
    """Every stage is over."""
    now = timezone.now()
    session.batches.exclude(status=WorkStatus.DONE).update(
        status=WorkStatus.DONE, attempt=1, finished_at=now
    )
    for stage in session.stages.all():
        stage.batches_total = stage.batches_done = session.batches.filter(stage=stage.key).count()
        builders.finish(stage, stage.items_total)
    change(session, read_count=session.total, finished_at=now)


def partial(session: AnalysisSession) -> None:
    ended(session)
    fail(session, 23)
    set_aside(session)
    change(session, status="completed_partial", reason="skipped")


def failed(session: AnalysisSession) -> None:
    at_rest(session)
    label = plan.BY_KEY["cluster"].label
    change(
        session,
        status="failed",
        reason="stage",
        detail=f"{label}: the worker stopped three times.",
        finished_at=timezone.now(),
    )


def complete(session: AnalysisSession) -> None:
    ended(session)
    change(session, status="completed")


STATES: dict[str, dict[str, Any]] = {
    "queued": {},
    "plain-running": {},
    "plain-pausing": {"status": "pausing", "desired": "pause"},
    "plain-paused": {"status": "paused", "desired": "pause"},
    **{f"blocked-{name}": values for name, values in BLOCKS.items()},
    "recovered": {},
    "recovered-doubt": {"doubt_calls": 4, "doubt_cost": "0.03"},
    "near": {},
    "doubt": {},
    "plain-cancelling": {"status": "cancelling", "desired": "cancel"},
    "plain-cancelled": {"status": "cancelled", "desired": "cancel"},
    "partial": {},
    "failed": {},
    "complete": {},
    # For tests that press something.
    "blocked-budget-spare": {"reason": "budget"},
    "plain-running-spare": {},
    "partial-spare": {},
}
STATE_OF: dict[str, Any] = {
    "queued": queued,
    "plain": plain,
    "blocked": blocked,
    "recovered": recovered,
    "near": near,
    "doubt": doubt,
    "partial": partial,
    "failed": failed,
    "complete": complete,
}
