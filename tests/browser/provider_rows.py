"""A workspace's providers in every state, as rows: run in an installation by ``manage.py shell``."""

from __future__ import annotations

import json
import random
import sys
from datetime import timedelta
from decimal import Decimal

from django.utils import timezone

from accounts.models import AuditEvent, Membership, Role, User, Workspace
from accounts.services import ensure_workspace
from projects.models import Project
from providers.models import (
    BreakerState,
    DeploymentHealth,
    HealthChange,
    HealthSlot,
    LlmCall,
    ModelDeployment,
    Provider,
    ProviderKind,
    SpendBook,
    SpendLimit,
)

EMAIL, PASSWORD = "mara@example.org", "a long enough password"
SLOTS = 288
"""Five minutes each: a day."""

# Name, model, another model, US$ a day, typical bucket, what goes wrong.
MODELS = (
    ("Anthropic", "claude-haiku", "claude-sonnet", 1.9, 5, "once"),
    ("OpenAI", "gpt-mini", "text-embedding-small", 0.9, 8, "slow"),
    ("Local vLLM", "Qwen 8B on gpu-2", "", 0.0, 3, ""),
    ("Ollama", "llama 3.1 8B on mac-studio", "", 0.0, 4, "down"),
    ("OpenRouter", "backup only", "", 0.0, 4, "off"),
)
PRICES = {"Anthropic": ("1", "5"), "OpenAI": ("0.4", "1.6"), "Local vLLM": ("0", "0")}


def build() -> None:
    """Make everything and print the ids of the providers by name."""
    workspace = ensure_workspace()
    user = User.objects.create_user(EMAIL, PASSWORD, name="Mara Okafor")
    Membership.objects.create(user=user, workspace=workspace, role=Role.OWNER)
    project = Project.objects.create(
        workspace=workspace, name="Northwind Support", slug="northwind", created_by=user
    )
    rng = random.Random(7)
    found = {}
    for name, model, other, daily, bucket, trouble in MODELS:
        row = _provider(workspace, name, trouble)
        first = _model(row, model)
        if other:
            _model(row, other, embeds=other.startswith("text-"))
        found[name] = row.pk
        _history(first, bucket, trouble, rng)
        _spending(workspace, project, row, model, daily, rng)
    _limits(workspace)
    _changes(workspace, user)
    sys.stdout.write(json.dumps(found) + "\n")


def _provider(workspace: Workspace, name: str, trouble: str) -> Provider:
    return Provider.objects.create(
        workspace=workspace,
        name=name,
        kind=ProviderKind.OPENAI,
        base_url="https://models.example.org/v1",
        enabled=trouble != "off",
        check_ok=trouble != "down",
        checked_at=timezone.now() - timedelta(hours=5),
        tokens_per_minute=400_000 if name == "Anthropic" else None,
    )


def _model(row: Provider, model: str, *, embeds: bool = False) -> ModelDeployment:
    price = PRICES.get(row.name)
    return ModelDeployment.objects.create(
        provider=row,
        model=model,
        embeds=embeds,
        price_in=Decimal(price[0]) if price else None,
        price_out=Decimal(price[1]) if price else None,
        supports_schema=row.name != "Local vLLM",
        context_tokens=32_000 if row.name == "Local vLLM" else 200_000,
    )


def _history(model: ModelDeployment, bucket: int, trouble: str, rng: random.Random) -> None:
    if trouble == "off":
        return
    now = timezone.now()
    rows = []
    for back in range(SLOTS):
        bad = trouble == "down" and back < 60
        slow = (trouble == "slow" and back < 24) or (trouble == "once" and 216 <= back < 220)
        latencies = [0] * 17
        latencies[bucket + 2 * slow] = 0 if bad else 24
        latencies[bucket + 1] += 0 if bad else 5
        rows.append(
            HealthSlot(
                deployment=model,
                start=now - timedelta(minutes=5 * back),
                owner="web",
                answered=0 if bad else 29,
                failed=2 if bad else int(rng.random() < 0.02),
                recovered=0 if bad else int(rng.random() < 0.4),
                slow=20 if slow else 0,
                tokens=60_000 if bad is False and model.provider.name == "Anthropic" else 0,
                errors={"network": 2} if bad else {},
                latencies=latencies,
            )
        )
    HealthSlot.objects.bulk_create(rows)
    if trouble == "down":
        DeploymentHealth.objects.create(
            deployment=model,
            state=BreakerState.OPEN,
            reason="network",
            detail="mac-studio refuses connections on port 11434",
            opens=9,
            retry_at=now + timedelta(minutes=2),
            changed_at=now - timedelta(hours=5),
        )


def _spending(
    workspace: Workspace,
    project: Project,
    row: Provider,
    model: str,
    daily: float,
    rng: random.Random,
) -> None:
    now = timezone.now()
    calls = [
        LlmCall(
            workspace=workspace,
            project_id=project.pk if day % 3 else None,
            fingerprint=f"{row.pk:08d}{day:056d}",
            purpose="names",
            provider=row.name,
            model=model,
            state="ok",
            tokens_in=1_340_000 if day else 20_000_000,
            tokens_out=190_000 if day else 1_900_000,
            cost=None if row.name == "Ollama" else Decimal(f"{daily * rng.uniform(0.3, 1.6):.4f}"),
            sent_at=now - timedelta(days=day, minutes=3),
        )
        for day in range(now.day)
        if row.enabled
    ]
    LlmCall.objects.bulk_create(calls)


def _limits(workspace: Workspace) -> None:
    now = timezone.now()
    scope = f"workspace:{workspace.pk}"
    spent = sum((one.cost for one in LlmCall.objects.all() if one.cost), Decimal(0))
    SpendLimit.objects.create(workspace=workspace, scope=scope, period="month", amount=100)
    SpendBook.objects.create(scope=scope, key=f"{now:%Y-%m}", spent=spent)


def _changes(workspace: Workspace, user: User) -> None:
    now = timezone.now()
    openai, ollama, anthropic = (
        ModelDeployment.objects.filter(provider__name=name).earliest("pk")
        for name in ("OpenAI", "Ollama", "Anthropic")
    )
    opened = {"state": BreakerState.OPEN, "went_to": "Anthropic · claude-haiku"}
    rows = (
        (openai, timedelta(minutes=25), {**opened, "reason": "timeout", "switch_ms": 1200}),
        (ollama, timedelta(hours=5), {"state": BreakerState.OPEN, "reason": "network"}),
        (anthropic, timedelta(hours=20), {"state": BreakerState.CLOSED}),
        (openai, timedelta(hours=40), {**opened, "reason": "server", "switch_ms": 1700}),
    )
    for model, ago, values in rows:
        HealthChange.objects.create(deployment=model, created_at=now - ago, **values)
    AuditEvent.objects.create(
        workspace=workspace,
        actor=user,
        action="provider.key_replaced",
        object_type="providers.provider",
        object_id=str(openai.provider_id),
        data={"name": "OpenAI"},
    )
