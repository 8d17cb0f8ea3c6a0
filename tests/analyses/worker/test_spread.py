"""A sample spread over a data set, from the start to a second reading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.urls import reverse

from accounts.models import User
from analyses import services
from analyses.models import AnalysisSession, Outcome, SessionStatus
from analyses.selectors.asked import places_of
from projects import runner
from projects.models import Project
from projects.services.jobs import start_job
from providers.clients.scripted import Act, Scenario, Step
from providers.models import ModelDeployment
from tests.analyses.worker.support import Told, check_books, run, table

pytestmark = pytest.mark.django_db(transaction=True)


def ids(session: AnalysisSession) -> list[str]:
    """What the file calls the conversations that the analysis chose."""
    return [f"c-{position}" for position in places_of(session, 0, session.total)]


def read_ids(session: AnalysisSession) -> list[str]:
    rows = session.items.filter(outcome=Outcome.READ).order_by("position")
    return list(rows.values_list("conversation__external_id", flat=True))


def test_a_spread_sample_reads_its_places_and_keeps_them(
    talks: Callable[..., Any],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    project: Project,
    analyst: User,
    signed_in: Callable[[User], Any],
) -> None:
    told.play(Scenario(mix=(Step(weight=0.8), Step(act=Act.CONTENT_FILTER, weight=0.2)), seed=11))
    params = {"spread_over": 300, "floor_conversations": 2, "floor_users": 2}
    session = run(start(talks(300), chat=model, limit=60, params=params))
    assert session.status == SessionStatus.PARTIAL
    check_books(session)
    wanted = ids(session)
    assert len(set(wanted)) == 60
    assert int(wanted[0][2:]) < 5
    assert int(wanted[-1][2:]) >= 295
    assert [row["id"] for row in table(session)] == wanted
    first = read_ids(session)
    assert set(first) < set(wanted)

    told.play(Scenario())
    services.retry_failed(actor=analyst, session=session)
    session = run(session)
    assert session.status == SessionStatus.COMPLETED
    check_books(session)
    assert read_ids(session) == wanted
    rows = table(session)
    assert [row["id"] for row in rows] == wanted
    # Every conversation says its own number, so an answer given to another one would show.
    client = signed_in(analyst)
    for position in (0, 17, 59):
        page = client.get(_address("conversation", session, position))
        assert f"Conversation {wanted[position]}<" in page.content.decode()
        assert f"My case is {wanted[position][2:]}." in page.content.decode()
        explored = client.get(_address("explore", session), {"i": position})
        assert f"My case is {wanted[position][2:]}." in explored.content.decode()

    job = start_job(
        actor=analyst,
        project=project,
        kind="reread",
        settings={"analysis": session.number},
        ids=[0, 30],
    )
    assert runner.run_job(job.pk)
    again = run(AnalysisSession.objects.get(based_on=session))
    assert again.status == SessionStatus.COMPLETED, again.detail
    assert ids(again) == read_ids(again) == wanted
    assert [row["id"] for row in table(again)] == wanted


def _address(name: str, session: AnalysisSession, *more: int) -> str:
    return reverse(f"analyses:{name}", args=[session.project.slug, session.number, *more])
