"""Stored answers, and the books."""

from __future__ import annotations

import csv
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Workspace
from providers.models import (
    CacheDay,
    CallState,
    LlmCall,
    Route,
)
from tests.providers.pages import page


def answered(workspace: Workspace, number: int, **more: Any) -> LlmCall:
    values: dict[str, Any] = {
        "purpose": "facets",
        "provider": "Script",
        "model": "qwen",
        "prompt_version": "facets-1",
        "cost": Decimal("0.10"),
        **more,
    }
    return LlmCall.objects.create(
        workspace=workspace,
        fingerprint=f"{number:064d}",
        state=CallState.OK,
        response="{}",
        tokens_in=10,
        sends=1,
        sent_at=timezone.now(),
        settled_at=timezone.now(),
        **values,
    )


@pytest.mark.django_db
def test_stored_answers_are_shown_and_forgotten_by_group(
    owner_client: Client, workspace: Workspace
) -> None:
    for number in range(3):
        answered(workspace, number)
    kept = answered(workspace, 9, prompt_version="facets-2")
    CacheDay.objects.create(
        workspace=workspace,
        purpose="facets",
        day=timezone.now().date(),
        hits=12,
        saved=Decimal("3.5"),
    )
    html = page(owner_client, "answers")
    for text in ("$3.50", "facets-1", "facets-2", "75%"):
        assert text in html
    group = {"model": "qwen", "prompt_version": "facets-1", "purpose": "facets"}
    html = owner_client.post(
        reverse("providers:answers-forget"), group, follow=True
    ).content.decode()
    assert "3 answers forgotten." in html
    assert list(LlmCall.objects.exclude(response="")) == [kept]
    assert LlmCall.objects.count() == 4


@pytest.mark.django_db
def test_near_questions_are_switched_by_purpose(owner_client: Client, workspace: Workspace) -> None:
    url = reverse("providers:answers-rules", args=["facets"])
    owner_client.post(url, {"semantic": "shadow", "cache": "1", "cache_days": "30"})
    route = Route.objects.get()
    assert (route.semantic, route.cache_days, route.targets.count()) == ("shadow", 30, 0)
    Route.objects.update(shadow_compared=20, shadow_agreed=19)
    assert "20 of 50 comparisons, it agreed in 19" in page(owner_client, "answers")
    owner_client.post(url, {"semantic": "off", "cache": "1", "cache_days": ""})
    route.refresh_from_db()
    assert (route.semantic, route.cache_days) == ("off", None)
    html = owner_client.post(url, {"cache": "1", "cache_days": "0"}, follow=True).content.decode()
    assert "Enter 1 to 3,650 days" in html


@pytest.mark.django_db
def test_the_books_are_shown_and_downloaded(owner_client: Client, workspace: Workspace) -> None:
    answered(workspace, 1, model="=cmd()", provider="Script")
    html = page(owner_client, "books")
    assert "$0.10" in html
    assert "The books and the journal differ." in html  # this row did not go through the ledger
    answer = owner_client.get(reverse("providers:books-csv"))
    text = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    rows = list(csv.DictReader(text.splitlines()))
    assert [(row["model"], Decimal(row["settled"])) for row in rows] == [
        ("'=cmd()", Decimal("0.1"))
    ]
    none = page(owner_client, "books", since="2020-01-01", until="2020-01-31")
    assert "No calls in this time" in none
    assert page(owner_client, "books", since="x", until="9999-99-99")


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["limits", "answers", "books"])
def test_limits_are_lit_in_the_sidebar_on_each_of_their_pages(
    owner_client: Client, name: str
) -> None:
    html = page(owner_client, name)
    assert f'href="{reverse("providers:limits")}" title="Limits" aria-current="page"' in html
