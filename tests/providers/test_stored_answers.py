"""Stored answers: their age, their room, who may forget them, and what they saved."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent, User, Workspace
from core.errors import AppError, Invalid
from providers import services, tasks
from providers.gateway.types import CallScope, Route
from providers.models import CacheDay, LlmCall, ModelDeployment, Provider, ProviderKind
from providers.runner import DatabaseJournal, open_gateway
from providers.selectors import cache
from providers.services import answers
from tests.providers.support import chat_call
from tests.providers.test_journal import answered, sent


@pytest.fixture
def journal(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> DatabaseJournal:
    monkeypatch.setattr("providers.runner.journal.close_old_connections", lambda: None)
    return DatabaseJournal(workspace.pk)


def bought(journal: DatabaseJournal, key: str, **changes: Any) -> LlmCall:
    """A call that was asked and answered."""
    row = sent(key, **changes)
    journal.write([row])
    journal.write([answered(row)])
    return LlmCall.objects.get(fingerprint=key * 64)


def aged(call: LlmCall, **ago: float) -> None:
    LlmCall.objects.filter(pk=call.pk).update(settled_at=timezone.now() - timedelta(**ago))


def test_an_old_answer_of_another_analysis_is_bought_again(journal: DatabaseJournal) -> None:
    aged(bought(journal, "a"), hours=2)
    asked = sent("a", session=10, max_age=3600.0, ticket=5)
    assert 5 not in journal.write([asked])  # go
    assert LlmCall.objects.filter(analysis_id=10, state="sent").count() == 1
    assert LlmCall.objects.filter(analysis_id=9, state="ok").count() == 1  # its books stay


def test_a_young_one_serves_every_analysis(journal: DatabaseJournal) -> None:
    bought(journal, "a")
    verdict = journal.write([sent("a", session=10, max_age=3600.0, ticket=5)])[5]
    assert verdict.word == "answered"


def test_an_analysis_never_pays_for_its_own_answer_twice(journal: DatabaseJournal) -> None:
    aged(bought(journal, "a"), days=40)
    verdict = journal.write([sent("a", session=9, max_age=1.0, ticket=5)])[5]
    assert verdict.word == "answered"


def test_answers_that_served_are_counted_with_what_they_saved(
    journal: DatabaseJournal, workspace: Workspace
) -> None:
    keys = ["a" * 64, "b" * 64]
    bought(journal, "a", project=4)
    bought(journal, "b", project=4)
    for _ in range(3):
        for answer in journal.read([*keys, "c" * 64]).values():
            journal.spared(answer, "facets", 4)
    journal._reads.flush()
    day = CacheDay.objects.get(workspace=workspace, project_id=4, purpose="facets")
    assert (day.hits, day.tokens_saved, day.saved) == (6, 90, Decimal("0.00007404"))
    assert LlmCall.objects.filter(used_at__isnull=False).count() == 2
    row = cache.served(workspace)[0]
    assert (row.hits, row.calls, row.rate) == (6, 2, 0.75)
    assert cache.total([row, row]).hits == 12


def test_what_was_only_read_is_used_and_saves_nothing(
    journal: DatabaseJournal, workspace: Workspace
) -> None:
    """Whether an answer served, and whom, the gateway knows."""
    bought(journal, "a", project=4)
    journal.read(["a" * 64])
    journal._reads.flush()
    assert not CacheDay.objects.exists()
    assert LlmCall.objects.filter(used_at__isnull=False).count() == 1


@pytest.mark.django_db(transaction=True)
def test_an_analysis_that_reads_its_own_answers_again_saves_nothing(workspace: Workspace) -> None:
    """A worker that goes on after a crash, and a batch that was collected, replay what the same
    analysis paid for; another analysis spares a call."""
    provider = Provider.objects.create(workspace=workspace, name="S", kind=ProviderKind.SCRIPTED)
    chat = ModelDeployment.objects.create(provider=provider, model="m")
    route = Route((services.deployment_config(chat),))

    async def ask(session: int) -> bool:
        gateway = open_gateway(workspace.pk)
        scope = CallScope(workspace=workspace.pk, session=session)
        found = await gateway.chat(chat_call(), route, scope)
        await gateway.aclose()
        return found.replayed

    replayed = [asyncio.run(ask(session)) for session in (7, 7, 7)]
    assert (replayed, CacheDay.objects.count()) == ([False, True, True], 0)
    assert asyncio.run(ask(8))
    day = CacheDay.objects.get(purpose="facets")
    call = LlmCall.objects.get()
    assert (day.hits, day.tokens_saved) == (1, call.tokens_in + call.tokens_out)


def test_reads_are_written_down_now_and_then_alone(
    journal: DatabaseJournal, django_assert_num_queries: Any
) -> None:
    bought(journal, "a")
    with django_assert_num_queries(1):
        for answer in journal.read(["a" * 64]).values():
            journal.spared(answer, "facets", None)


def test_the_least_recently_used_go_first(journal: DatabaseJournal, workspace: Workspace) -> None:
    calls = [bought(journal, key) for key in "abc"]
    for number, call in enumerate(calls):
        LlmCall.objects.filter(pk=call.pk).update(
            response="x" * 600_000, settled_at=timezone.now() - timedelta(days=9 - number)
        )
    LlmCall.objects.filter(pk=calls[0].pk).update(used_at=timezone.now() - timedelta(days=3))
    assert services.bound_answers(workspace=workspace.pk, megabytes=1) == 2
    assert _kept() == {"a"}


def test_what_was_used_lately_stays_above_the_bound(
    journal: DatabaseJournal, workspace: Workspace
) -> None:
    call = bought(journal, "a")
    LlmCall.objects.filter(pk=call.pk).update(response="x" * 3_000_000)
    assert services.bound_answers(workspace=workspace.pk, megabytes=1) == 0
    assert _kept() == {"a"}


def test_a_worker_looks_a_few_times_a_day(
    journal: DatabaseJournal, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[str] = []
    monkeypatch.setattr("core.q2.wake", woken.append)
    monkeypatch.setattr(answers, "_looked_at", [])
    settings.ANSWERS_MB = 0
    answers.keep_within_bounds()
    assert woken == []
    settings.ANSWERS_MB = 1
    answers.keep_within_bounds()
    answers.keep_within_bounds()
    assert woken == [answers.BOUND]
    call = bought(journal, "a")
    LlmCall.objects.filter(pk=call.pk).update(response="x" * 3_000_000)
    aged(call, days=5)
    tasks.bound_answers()
    assert _kept() == set()


def test_an_owner_forgets_answers_of_a_project(
    journal: DatabaseJournal, workspace: Workspace, owner: User, analyst: User
) -> None:
    bought(journal, "a", project=4)
    bought(journal, "b", project=5)
    with pytest.raises(AppError):
        services.forget_answers(actor=analyst, workspace=workspace, project=4)
    with pytest.raises(Invalid):
        services.forget_answers(actor=owner, workspace=workspace)
    assert services.forget_answers(actor=owner, workspace=workspace, project=4) == 1
    assert _kept() == {"b"}
    assert LlmCall.objects.get(fingerprint="a" * 64).cost == Decimal("0.00001234")
    assert AuditEvent.objects.get(action="answers.forgotten").data["count"] == 1


def test_an_empty_prompt_version_is_one_of_its_own(
    journal: DatabaseJournal, workspace: Workspace, owner: User, owner_client: Client
) -> None:
    for key, version in (("a", ""), ("b", "facets-1"), ("c", ""), ("d", "facets-1")):
        bought(journal, key, prompt_version=version, purpose="facets" if key in "ab" else "names")
    form = {"model": "m", "prompt_version": "", "purpose": "facets"}
    owner_client.post(reverse("providers:answers-forget"), form)
    assert _kept() == {"b", "c", "d"}
    asked = {"prompt_version": ""}
    answer = owner_client.post("/api/v1/answers/forget", asked, content_type="application/json")
    assert answer.json() == {"forgotten": 1}
    assert _kept() == {"b", "d"}
    assert services.forget_answers(actor=owner, workspace=workspace, purpose="names") == 1
    assert _kept() == {"b"}


def test_stored_answers_are_listed_by_model_and_prompt(
    journal: DatabaseJournal, workspace: Workspace
) -> None:
    bought(journal, "a")
    bought(journal, "b")
    bought(journal, "c", model="other", prompt_version="facets-2")
    first, second = cache.stock(workspace)
    assert (first.model, first.prompt_version, first.count) == ("m", "facets-1", 2)
    assert (second.model, second.count) == ("other", 1)


def _kept() -> set[str]:
    kept = LlmCall.objects.exclude(response="").values_list("fingerprint", flat=True)
    return {fingerprint[0] for fingerprint in kept}
