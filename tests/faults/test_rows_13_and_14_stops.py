"""Rows 13 and 14: nobody answers for a while; the key or the money is gone in the middle."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts.models import User
from analyses import services
from analyses.models import AnalysisSession, SessionStatus
from analyses.services import blocks
from projects.models import Dataset
from providers.clients.scripted import Act, Scenario, Step
from providers.models import DeploymentHealth, ModelDeployment
from providers.services import set_limit
from tests.analyses.worker.support import Told, check_books, run
from tests.faults.support import tick, told_by_page

pytestmark = pytest.mark.django_db(transaction=True)


def later(session: AnalysisSession, seconds: float) -> AnalysisSession:
    """So much time passes, by the clock of the block and by that of the model's rest."""
    for rest in DeploymentHealth.objects.exclude(retry_at=None):
        rest.retry_at = (rest.retry_at or timezone.now()) - timedelta(seconds=seconds)
        rest.save(update_fields=["retry_at"])
    row = AnalysisSession.objects.get(pk=session.pk)
    if row.retry_at is not None:
        row.retry_at -= timedelta(seconds=seconds)
        row.save(update_fields=["retry_at"])
    return tick(session)


def test_row_13_half_an_hour_without_an_answer_ends_by_itself(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
) -> None:
    told.play(Scenario(opening=(Step(),) * 8, mix=(Step(act=Act.REFUSED),)))
    session = run(start(talks(24), chat=model))
    passed = 0.0
    tries = 0
    while passed < 1800:
        assert (session.status, session.reason) == (SessionStatus.BLOCKED, "provider")
        assert session.retry_at is not None
        wait = (session.retry_at - timezone.now()).total_seconds()
        assert wait <= 120 * 1.1 + 1, "it would not resume within two minutes"
        said = told_by_page(session)
        assert "does not answer." in said
        assert "Nothing needs to be done." in said
        passed += max(wait, 1)
        tries += 1
        session = run(later(session, wait + 1)) if tries <= 1 else later(session, wait + 1)
        if session.status == SessionStatus.RUNNING:  # as the try of a worker would end
            services.block(session.pk, "network", "It could not be reached.")
            session.refresh_from_db()
    assert session.failed_count == 0
    told.play(Scenario())
    session = run(later(session, 121 * 1.1))
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_books(session)


def test_row_13_no_wait_is_longer_than_two_minutes() -> None:
    for before in range(200):
        wait = blocks.wait_of("provider", before)
        assert wait is not None
        assert wait <= timedelta(seconds=132)


def test_row_14_a_key_that_is_revoked_stops_all_calls(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    analyst: User,
) -> None:
    told.play(Scenario(opening=(Step(),) * 10, mix=(Step(act=Act.UNAUTHORIZED),)))
    session = run(start(talks(40), chat=model))
    assert (session.status, session.reason) == (SessionStatus.BLOCKED, "key")
    asked = told.requests
    assert asked <= 10 + 8, "calls went on after the first refusal"
    for _ in range(3):
        session = run(later(session, 3600))
    assert told.requests == asked, "a refused key was tried again"
    said = told_by_page(session)
    assert "refused the key." in said
    assert "Replace the key, then resume." in said
    told.play(Scenario())
    services.resume(actor=analyst, session=session)
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_books(session)


def test_row_14_a_limit_lowered_below_what_is_spent_stops_all_calls(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    analyst: User,
) -> None:
    session = start(talks(40), chat=model)
    limit = {
        "workspace": session.project.workspace,
        "scope": f"analysis:{session.pk}",
        "actor": analyst,
        "period": "all",
    }
    told.play(Scenario(opening=(Step(),) * 12, mix=(Step(act=Act.REFUSED),)))
    session = run(session)
    assert session.read_count + session.items.count() > 0
    set_limit(**limit, amount=Decimal("0.000001"))
    told.play(Scenario())
    session = run(later(session, 3600))
    asked = told.requests
    for _ in range(3):
        session = run(later(session, 3600))
    assert (session.status, session.reason) == (SessionStatus.BLOCKED, "budget"), session.detail
    assert told.requests == asked == 0
    said = told_by_page(session)
    assert "limit" in said
    assert "Raise the limit to go on." in said
    set_limit(**limit, amount=Decimal("100"))
    session = run(later(session, 3600))
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_books(session)
