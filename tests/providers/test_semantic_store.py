"""Near questions in the database: found where they belong, bounded, forgotten with their answer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from accounts.models import Workspace
from providers import services
from providers.gateway.semantic import Question, vector_of
from providers.models import CacheDay, LlmCall, Route, SemanticEntry
from providers.runner import DatabaseJournal, semantic
from providers.runner.semantic import DatabaseSemantic
from tests.providers.test_journal import answered, sent

QUESTION = Question("ask", "s" * 64, "g" * 64, "Where is my parcel?")


@pytest.fixture
def store(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> DatabaseSemantic:
    for name in ("journal", "semantic"):
        monkeypatch.setattr(f"providers.runner.{name}.close_old_connections", lambda: None)
    journal = DatabaseJournal(workspace.pk)
    for key in "abc":
        row = sent(key, purpose="ask", project=4, deployment="7")
        journal.write([row])
        journal.write([answered(row)])
    return DatabaseSemantic()


def test_a_question_is_found_with_its_answer(
    store: DatabaseSemantic, workspace: Workspace, django_assert_num_queries: Any
) -> None:
    vector = vector_of(QUESTION.text)
    store.add(workspace.pk, 4, QUESTION, vector, "a" * 64)
    with django_assert_num_queries(1):
        (kept,) = store.near(workspace.pk, 4, QUESTION)
    assert np.array_equal(kept.vector, vector)
    assert (kept.answer.text, kept.deployment, kept.fingerprint) == ('{"a": 1}', "7", "a" * 64)


def test_it_is_kept_once_and_only_with_a_call(
    store: DatabaseSemantic, workspace: Workspace
) -> None:
    for fingerprint in ("a" * 64, "a" * 64, "z" * 64):
        store.add(workspace.pk, 4, QUESTION, vector_of("x y z"), fingerprint)
    assert SemanticEntry.objects.count() == 1


def test_other_places_find_nothing(store: DatabaseSemantic, workspace: Workspace) -> None:
    store.add(workspace.pk, 4, QUESTION, vector_of(QUESTION.text), "a" * 64)
    assert not store.near(workspace.pk, 5, QUESTION)
    assert not store.near(workspace.pk + 1, 4, QUESTION)
    assert not store.near(workspace.pk, 4, Question("ask", "s" * 64, "h" * 64, QUESTION.text))


def test_a_forgotten_answer_serves_nobody(store: DatabaseSemantic, workspace: Workspace) -> None:
    store.add(workspace.pk, 4, QUESTION, vector_of(QUESTION.text), "a" * 64)
    LlmCall.objects.update(settled_at=timezone.now() - timedelta(days=9))
    services.purge_answers(days=1)
    assert not store.near(workspace.pk, 4, QUESTION)
    assert not SemanticEntry.objects.exists()


def test_the_oldest_questions_go_first(
    store: DatabaseSemantic, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(semantic, "MOST_KEPT", 2)
    for key in "abc":
        store.add(workspace.pk, 4, QUESTION, vector_of(QUESTION.text), key * 64)
    kept = SemanticEntry.objects.values_list("call__fingerprint", flat=True)
    assert set(kept) == {"b" * 64, "c" * 64}


def test_comparisons_and_uses_are_counted(store: DatabaseSemantic, workspace: Workspace) -> None:
    Route.objects.create(workspace=workspace, purpose="ask", semantic="shadow")
    store.compared(workspace.pk, "ask", True)
    store.compared(workspace.pk, "ask", False)
    assert store.agreement(workspace.pk, "ask") == (2, 1)
    assert store.agreement(workspace.pk, "facets") == (0, 0)
    store.add(workspace.pk, 4, QUESTION, vector_of(QUESTION.text), "a" * 64)
    (kept,) = store.near(workspace.pk, 4, QUESTION)
    store.used(workspace.pk, 4, "ask", kept.answer)
    day = CacheDay.objects.get(purpose="ask")
    assert (day.hits, day.semantic_hits, day.tokens_saved) == (1, 1, 15)
