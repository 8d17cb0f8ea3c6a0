"""What an analysis costs: counted, limited, settled by another model, shared by twins."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from analyses import services
from analyses.events import BudgetNear
from analyses.models import AnalysisSession, Batch, FacetValue, SessionStatus
from analyses.selectors.scopes import spend_scopes
from analyses.services.spending import count_spending
from core import work
from core.models import Event
from projects.models import Conversation, Dataset
from providers.clients.scripted import Act, Scenario, ScriptedClient, Step
from providers.models import (
    CallState,
    LlmAttempt,
    LlmCall,
    ModelDeployment,
    Provider,
    SpendBook,
    SpendLimit,
)
from providers.runner import DatabaseJournal
from providers.services import doubt_lost_calls, set_limit
from tests.analyses import builders
from tests.analyses.worker.conftest import model, start, talks, told
from tests.analyses.worker.support import Told, run
from tests.providers.books import intent
from tests.providers.test_journal import answered, failed

__all__ = ["model", "start", "talks", "told"]


@pytest.fixture
def session(talks: Callable[..., Dataset], analyst: User) -> AnalysisSession:
    return builders.session_for(talks(3), analyst)


@pytest.fixture
def journal(session: AnalysisSession, monkeypatch: pytest.MonkeyPatch) -> DatabaseJournal:
    monkeypatch.setattr("providers.runner.journal.close_old_connections", lambda: None)
    return DatabaseJournal(session.project.workspace_id)


def of(session: AnalysisSession, key: str, ticket: int, **changes: Any) -> Any:
    return intent(key, ticket, session=session.pk, project=session.project_id, **changes)


def counted(session: AnalysisSession) -> AnalysisSession:
    with transaction.atomic():
        count_spending(AnalysisSession.objects.select_for_update().get(pk=session.pk))
    session.refresh_from_db()
    return session


def test_settled_and_doubtful_spending_are_counted_apart(
    session: AnalysisSession, journal: DatabaseJournal
) -> None:
    one, two, three = (of(session, key, n) for n, key in enumerate("abc", 1))
    journal.write([one, two, three, intent("d", 9, session=session.pk + 1)])
    journal.write(
        [
            answered(one, cost=0.1),
            failed(two, in_doubt=True),
            failed(three, error_class="cancelled", unsent=True),
        ]
    )
    counted(session)
    assert (session.cost, session.in_doubt, session.doubt_count) == (
        Decimal("0.1"),
        Decimal("0.4"),
        1,
    )
    assert (session.tokens_in, session.retry_count, session.unpriced_calls) == (10, 1, 0)


def test_a_tick_shows_what_was_spent_within_a_stage(
    session: AnalysisSession, journal: DatabaseJournal, owner: User
) -> None:
    set_limit(
        actor=owner,
        workspace=session.project.workspace,
        scope=f"analysis:{session.pk}",
        period="all",
        amount=Decimal("0.6"),
    )
    one, two = (of(session, key, n) for n, key in enumerate("ab", 1))
    journal.write([one])
    journal.write([answered(one, cost=0.1)])
    journal.write([two])
    journal.write([failed(two, in_doubt=True)])
    for _ in range(2):
        services.tick()
        session.refresh_from_db()
        assert (session.cost, session.in_doubt) == (Decimal("0.1"), Decimal("0.4"))
        assert session.doubt_count == 1
        warned = Event.objects.filter(topic__name=session.topic, kind=BudgetNear.kind)
        assert warned.count() == 1


def test_a_call_found_lost_after_the_end_is_shown(
    session: AnalysisSession, journal: DatabaseJournal
) -> None:
    AnalysisSession.objects.filter(pk=session.pk).update(
        status=SessionStatus.CANCELLED, desired="cancel", finished_at=timezone.now()
    )
    journal.write([of(session, "a", 1)])
    services.tick()
    doubt_lost_calls(owner=of(session, "a", 1).owner)
    services.tick()
    session.refresh_from_db()
    assert session.doubt_count == 1
    assert session.in_doubt > 0


def test_calls_of_a_dead_worker_are_in_doubt_in_the_moment_in_which_that_is_told(
    session: AnalysisSession, journal: DatabaseJournal
) -> None:
    """One tick, and the notice, the analysis and its calls agree. An older doubt is no news."""
    gone = f"{socket.gethostname()}:4194305:1"
    old = of(session, "c", 1, owner=gone)
    journal.write([old])
    journal.write([failed(old, in_doubt=True)])
    known = counted(session).in_doubt
    cut = [of(session, key, n, owner=gone) for n, key in enumerate("ab", 2)]
    journal.write([*cut, of(session, "d", 4, owner="elsewhere:1:1")])
    out = LlmCall.objects.filter(state=CallState.SENT, owner=gone)
    held = sum(row.reserved for row in out)
    assert held > 0
    Batch.objects.create(session=session, stage="facets", seq=0, last=3)
    assert work.claim(session.batches.all(), owner=gone)
    services.tick()
    session.refresh_from_db()
    assert session.recoveries == 1
    told = session.recovery
    assert (told["doubt_calls"], Decimal(told["doubt_cost"])) == (2, held)
    states = Counter(LlmCall.objects.values_list("owner", "state"))
    assert states == {(gone, CallState.DOUBT): 3, ("elsewhere:1:1", CallState.SENT): 1}
    assert (session.doubt_count, session.in_doubt) == (3, known + held)


def test_spending_is_the_sum_of_the_books(
    session: AnalysisSession, journal: DatabaseJournal
) -> None:
    rows = [of(session, key, n) for n, key in enumerate("abcdef", 1)]
    journal.write(rows)
    journal.write(
        [
            answered(row, cost=0.1 * n) if n % 2 else failed(row, in_doubt=True)
            for n, row in enumerate(rows)
        ]
    )
    counted(session)
    book = SpendBook.objects.get(scope=f"analysis:{session.pk}")
    assert (book.spent, book.doubt, book.reserved) == (session.cost, session.in_doubt, 0)


def test_the_warning_reaches_the_page_once(
    session: AnalysisSession, journal: DatabaseJournal
) -> None:
    SpendLimit.objects.create(
        workspace=session.project.workspace,
        scope=spend_scopes(session)[1],
        period="month",
        amount=Decimal(1),
    )
    row = of(session, "a", 1, reserved=0.9)
    journal.write([row, answered(row, cost=0.85)])
    for _ in range(2):
        counted(session)
    (event,) = Event.objects.filter(topic__name=session.topic, kind=BudgetNear.kind)
    assert event.payload["text"] == "$0.85 of $1.00 this month"
    assert event.payload["share"] == pytest.approx(0.85)


@pytest.mark.django_db(transaction=True)
def test_a_limit_stops_the_analysis_cleanly_and_raising_it_lets_it_end(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    analyst: User,
) -> None:
    session = start(talks(40), chat=model)
    scope = f"analysis:{session.pk}"

    def limit(amount: str) -> None:
        set_limit(
            actor=analyst,
            workspace=session.project.workspace,
            scope=scope,
            period="all",
            amount=Decimal(amount),
        )

    limit("0.02")
    session = run(session)
    assert (session.status, session.reason) == (SessionStatus.BLOCKED, "budget")
    assert "$0.02" in session.detail
    book = SpendBook.objects.get(scope=scope)
    assert 0 < book.spent + book.doubt <= Decimal("0.02")
    assert book.reserved == 0
    assert 0 < told.requests < 40
    limit("5")
    services.resume(actor=analyst, session=session)
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, session.detail
    assert set(told.settled.values()) == {1}
    assert told.requests == LlmCall.objects.filter(state=CallState.OK).count()
    assert not LlmAttempt.objects.filter(in_doubt=True).exists()


@pytest.mark.django_db(transaction=True)
def test_the_fallback_answers_and_its_answers_are_replayed(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Two(ScriptedClient):
        """Knows the models by name; the first one is down."""

        def __init__(self) -> None:
            super().__init__()
            self.down = ScriptedClient(Scenario(mix=(Step(act=Act.REFUSED),)))

        async def chat(self, deployment: Any, wire: Any) -> Any:
            if deployment.model == "scripted-1":
                return await self.down.chat(deployment, wire)
            return await super().chat(deployment, wire)

    client = Two()
    monkeypatch.setattr("providers.clients.opening.ScriptedClient", lambda **how: client)
    other = Provider.objects.create(
        workspace=model.provider.workspace, name="Second", kind="scripted"
    )
    second = ModelDeployment.objects.create(
        provider=other, model="scripted-2", price_in="1.0", price_out="2.0"
    )
    dataset = talks(10)
    session = start(dataset, chat=model)
    AnalysisSession.objects.update(fallback=second)
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, session.detail
    assert session.in_doubt == 0
    answers = LlmCall.objects.filter(state=CallState.OK)
    assert set(answers.values_list("model", flat=True)) == {"scripted-2"}
    asked = client.script.requests
    again = start(dataset, chat=model)
    AnalysisSession.objects.filter(pk=again.pk).update(fallback=second)
    again = run(again)
    assert (again.status, again.cost) == (SessionStatus.COMPLETED, 0)
    assert client.script.requests == asked


@pytest.mark.django_db(transaction=True)
def test_two_identical_conversations_share_one_paid_answer_and_stay_two(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
) -> None:
    dataset = talks(12)
    twins = Conversation.objects.filter(dataset=dataset, position__in=(3, 8))
    twins.update(messages=twins[0].messages)
    session = run(start(dataset, chat=model))
    assert session.status == SessionStatus.COMPLETED, session.detail
    assert LlmCall.objects.filter(purpose="facets").count() == 11
    assert session.items.filter(conversation__in=twins).count() == 2
    values = FacetValue.objects.filter(item__conversation__in=twins)
    assert values.values("item").distinct().count() == 2
    assert set(told.settled.values()) == {1}
