"""Trying failed conversations again, and going on with other models, on rows."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from accounts.models import AuditEvent, User
from analyses import services
from analyses.models import AnalysisSession, Batch, Outcome, SessionStatus
from analyses.plan import STAGES
from analyses.services.advance import give_up
from core.errors import Conflict, Forbidden, Invalid, NotFound
from core.models import WorkStatus
from projects.models import Dataset, Project
from providers.models import SpendLimit
from tests.analyses.support import claim, deployment
from tests.analyses.test_batches import prepared
from tests.analyses.test_recovery import die, prepare

WHOLE = [step.key for step in STAGES if not step.ranged]


def read(batch: Batch, *bad: int) -> None:
    """Read a range; the conversations at ``bad`` fail."""
    done: list[int] = []

    def write(session: AnalysisSession) -> None:
        waiting = session.items.filter(
            position__gte=batch.first, position__lt=batch.last, outcome=Outcome.WAITING
        )
        done.extend(waiting.values_list("position", flat=True))
        failed = waiting.filter(position__in=bad)
        failed.update(outcome=Outcome.FAILED, error_class="bad_answer", error="No JSON.")
        waiting.filter(outcome=Outcome.WAITING).update(outcome=Outcome.READ)

    session = batch.session
    inside = session.items.filter(
        position__gte=batch.first, position__lt=batch.last, outcome=Outcome.WAITING
    )
    failed = inside.filter(position__in=bad).count()
    services.saved(batch, write, done=inside.count() - failed, failed=failed)


def finish(session: AnalysisSession) -> None:
    """Do all whole stages."""
    while True:
        batch = session.batches.filter(status=WorkStatus.PENDING, stage__in=WHOLE).first()
        if batch is None:
            break
        services.saved(claim(session, pk=batch.pk), lambda row: None, done=100)
    session.refresh_from_db()


@pytest.fixture
def partial(
    project: Project, make_dataset: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> AnalysisSession:
    """60 conversations in six batches; 3, 7, 25 and 59 failed."""
    session = start(dataset=make_dataset(project, size=60))
    prepared(session)
    for batch in session.batches.filter(stage="facets"):
        read(claim(session, pk=batch.pk), 3, 7, 25, 59)
    finish(session)
    assert (session.status, session.failed_count) == (SessionStatus.PARTIAL, 4)
    return session


def test_only_what_failed_is_read_again_and_later_stages_run_anew(
    partial: AnalysisSession, analyst: User
) -> None:
    session = services.retry_failed(actor=analyst, session=partial)
    assert (session.status, session.finished_at) == (SessionStatus.RUNNING, None)
    assert (session.read_count, session.failed_count) == (56, 0)
    new = session.batches.get(stage="facets", status=WorkStatus.PENDING)
    assert (new.first, new.last, new.seq) == (3, 60, 6)
    waiting = session.items.filter(outcome=Outcome.WAITING)
    assert sorted(waiting.values_list("position", flat=True)) == [3, 7, 25, 59]
    facets = session.stages.get(key="facets")
    assert (facets.items_done, facets.finished_at) == (56, None)
    assert (facets.batches_done, facets.batches_total) == (6, 7)
    assert not session.stages.filter(key__in=WHOLE, opened=True).exists()
    read(claim(session, pk=new.pk))
    finish(session)
    assert (session.status, session.read_count, session.failed_count) == ("completed", 60, 0)
    assert not session.stages.filter(finished_at=None).exists()
    for key in WHOLE:
        assert list(session.batches.filter(stage=key).values_list("seq", flat=True)) == [0, 1]
    assert AuditEvent.objects.filter(action="analysis.retried").count() == 1


def test_what_fails_again_may_be_tried_again(partial: AnalysisSession, analyst: User) -> None:
    for left in ((7, 59), (59,), ()):
        session = services.retry_failed(actor=analyst, session=partial)
        read(claim(session, stage="facets"), *left)
        finish(session)
        assert session.failed_count == len(left)
        assert session.read_count == 60 - len(left)
        assert session.status == ("completed_partial" if left else "completed")
    with pytest.raises(Conflict):
        services.retry_failed(actor=analyst, session=partial)


def test_while_it_runs_failed_ranges_join_but_never_those_that_wait(
    project: Project,
    make_dataset: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    analyst: User,
) -> None:
    """No conversation may be read by two batches."""
    session = start(dataset=make_dataset(project, size=40))
    prepared(session)
    for first in (0, 20):
        read(claim(session, stage="facets", first=first), 5, 25)
    session.refresh_from_db()
    services.retry_failed(actor=analyst, session=session)
    opened = session.batches.filter(stage="facets").exclude(status=WorkStatus.DONE)
    assert sorted(opened.values_list("first", "last")) == [(5, 6), (10, 20), (25, 26), (30, 40)]
    while opened.exists():
        read(claim(session, stage="facets"))
    finish(session)
    assert (session.status, session.read_count) == ("completed", 40)


@pytest.mark.parametrize("stage", ["prepare", "facets"])
def test_a_quarantined_conversation_is_tried_again_alone(
    start: Callable[..., AnalysisSession], analyst: User, stage: str
) -> None:
    session = start()
    if stage == "facets":
        prepared(session)
    while session.batches.filter(stage=stage, status=WorkStatus.PENDING).exists():
        poison = {"stage": stage, "first__lte": 4, "last__gt": 4}
        if session.batches.filter(status=WorkStatus.PENDING, **poison).exists():
            die(session, **poison)
            continue
        prepared_one(session) if stage == "prepare" else read(claim(session, stage=stage))
    while session.batches.filter(stage="facets", status=WorkStatus.PENDING).exists():
        read(claim(session, stage="facets"))
    finish(session)
    assert (session.status, session.read_count) == (SessionStatus.PARTIAL, 11)
    services.retry_failed(actor=analyst, session=session)
    again = session.batches.get(stage=stage, status=WorkStatus.PENDING)
    assert (again.first, again.last, again.attempt) == (4, 5, 2)
    if stage == "prepare":
        assert not session.items.filter(position=4).exists()
        prepared_one(session)
    read(claim(session, stage="facets"))
    finish(session)
    assert (session.status, session.read_count, session.failed_count) == ("completed", 12, 0)
    for key in ("prepare", "facets"):
        row = session.stages.get(key=key)
        assert (row.batches_done, row.items_done) == (row.batches_total, 12), key


def prepared_one(session: AnalysisSession) -> None:
    prepare(claim(session, stage="prepare"))


def test_a_lost_stage_alone_gets_three_new_tries(
    start: Callable[..., AnalysisSession], analyst: User
) -> None:
    session = start()
    prepared(session)
    for _ in range(2):
        read(claim(session, stage="facets"))
    for _ in range(3):
        session.batches.filter(stage="embed").update(not_before=None)
        give_up(claim(session, stage="embed"), "MemoryError")
    session.refresh_from_db()
    assert session.status == SessionStatus.FAILED
    services.retry_failed(actor=analyst, session=session)
    assert claim(session, stage="embed").attempt == 1
    finish(session)
    assert session.read_count == 12


def test_who_works_on_a_later_stage_loses_it(partial: AnalysisSession, analyst: User) -> None:
    session = services.retry_failed(actor=analyst, session=partial)
    read(claim(session, stage="facets"), 7)
    embedding = claim(session, stage="embed")
    services.retry_failed(actor=analyst, session=partial)
    with pytest.raises(Exception, match="fence"):
        services.saved(embedding, lambda row: None, done=100)
    read(claim(session, stage="facets"))
    finish(session)
    assert (session.status, session.read_count) == ("completed", 60)


def test_a_paused_analysis_is_reopened_and_stays_paused(
    partial: AnalysisSession, analyst: User
) -> None:
    session = services.retry_failed(actor=analyst, session=partial)
    read(claim(session, stage="facets"), 7)
    services.pause(actor=analyst, session=session)
    session = services.retry_failed(actor=analyst, session=partial)
    assert (session.status, session.failed_count) == (SessionStatus.PAUSED, 0)
    services.resume(actor=analyst, session=session)
    read(claim(session, stage="facets"))
    finish(session)
    assert session.status == SessionStatus.COMPLETED


def failed_at(session: AnalysisSession) -> list[int]:
    rows = session.items.filter(outcome=Outcome.FAILED).order_by("position")
    return list(rows.values_list("position", flat=True))


def test_chosen_conversations_alone_are_read_again(partial: AnalysisSession, analyst: User) -> None:
    session = services.retry_failed(actor=analyst, session=partial, positions=[7])
    assert (session.status, session.read_count, session.failed_count) == ("running", 56, 3)
    assert (failed_at(session), session.errors_allowed) == ([3, 25, 59], 3)
    new = session.batches.get(stage="facets", status=WorkStatus.PENDING)
    assert (new.first, new.last) == (7, 8)
    read(claim(session, pk=new.pk))
    finish(session)
    assert (session.status, session.read_count, session.failed_count) == (
        SessionStatus.PARTIAL,
        57,
        3,
    )
    facets = session.stages.get(key="facets")
    assert (facets.items_done, facets.batches_done) == (60, facets.batches_total)
    assert AuditEvent.objects.get(action="analysis.retried").data["conversations"] == 1


def test_retries_one_after_the_other_never_share_a_conversation(
    partial: AnalysisSession, analyst: User
) -> None:
    """A range around one that stays failed would read it a second time once it is chosen too."""
    session = services.retry_failed(actor=analyst, session=partial, positions=[3, 7, 59])
    session = services.retry_failed(actor=analyst, session=session, positions=[25])
    opened = session.batches.filter(stage="facets", status=WorkStatus.PENDING)
    assert sorted(opened.values_list("first", "last")) == [(3, 8), (25, 26), (59, 60)]
    while opened.exists():
        read(claim(session, stage="facets"))
    finish(session)
    assert (session.status, session.read_count, session.failed_count) == ("completed", 60, 0)


@pytest.mark.parametrize("positions", [[], [4], [3, 4], [60], [-1], [10**9]])
def test_only_what_failed_can_be_chosen(
    partial: AnalysisSession, analyst: User, positions: list[int]
) -> None:
    with pytest.raises(Invalid) as refused:
        services.retry_failed(actor=analyst, session=partial, positions=positions)
    assert "positions" in refused.value.fields
    partial.refresh_from_db()
    assert (partial.status, failed_at(partial)) == (SessionStatus.PARTIAL, [3, 7, 25, 59])


@pytest.mark.parametrize("stage", ["prepare", "facets"])
def test_of_two_that_stop_their_workers_one_is_tried_again_alone(
    start: Callable[..., AnalysisSession], analyst: User, stage: str
) -> None:
    session = start()
    if stage == "facets":
        prepared(session)
    poison = {place: {"stage": stage, "first__lte": place, "last__gt": place} for place in (4, 9)}
    waiting = session.batches.filter(status=WorkStatus.PENDING)
    while waiting.filter(stage=stage).exists():
        bad = next((only for only in poison.values() if waiting.filter(**only).exists()), None)
        if bad is not None:
            die(session, **bad)
        else:
            prepared_one(session) if stage == "prepare" else read(claim(session, stage=stage))
    while waiting.filter(stage="facets").exists():
        read(claim(session, stage="facets"))
    finish(session)
    assert (session.status, failed_at(session)) == (SessionStatus.PARTIAL, [4, 9])
    services.retry_failed(actor=analyst, session=session, positions=[9])
    again = session.batches.get(stage=stage, status=WorkStatus.PENDING)
    assert (again.first, again.last, again.attempt) == (9, 10, 2)
    # It stops its worker once more, and is set aside at once; then it is read after all.
    die(session, pk=again.pk)
    finish(session)
    assert (session.status, failed_at(session)) == (SessionStatus.PARTIAL, [4, 9])
    services.retry_failed(actor=analyst, session=session, positions=[9])
    if stage == "prepare":
        prepared_one(session)
    read(claim(session, stage="facets"))
    finish(session)
    assert (session.read_count, failed_at(session)) == (11, [4])
    for key in ("prepare", "facets"):
        row = session.stages.get(key=key)
        assert (row.batches_done, row.items_done) == (row.batches_total, 12), key


def test_empty_conversations_are_not_tried_again(partial: AnalysisSession, analyst: User) -> None:
    partial.items.filter(outcome=Outcome.FAILED).update(error_class="empty")
    with pytest.raises(Conflict) as refused:
        services.retry_failed(actor=analyst, session=partial)
    assert refused.value.data["state"] == "completed_partial"
    partial.refresh_from_db()
    assert partial.status == SessionStatus.PARTIAL


def test_retrying_needs_a_role_and_a_state(
    partial: AnalysisSession, viewer: User, other_owner: User, analyst: User
) -> None:
    with pytest.raises(Forbidden):
        services.retry_failed(actor=viewer, session=partial)
    with pytest.raises(NotFound):
        services.retry_failed(actor=other_owner, session=partial)
    for status in ("completed", "cancelled", "cancelling", "pausing", "queued"):
        AnalysisSession.objects.filter(pk=partial.pk).update(status=status)
        with pytest.raises(Conflict):
            services.retry_failed(actor=analyst, session=partial)


CHANGEABLE = {"paused", "blocked", "failed", "completed_partial"}


@pytest.mark.parametrize("status", SessionStatus.values)
def test_models_are_changed_while_an_analysis_stands(
    start: Callable[..., AnalysisSession], project: Project, analyst: User, status: str
) -> None:
    session = start(chat=deployment(project.workspace, name="A"))
    other = deployment(project.workspace, name="B")
    AnalysisSession.objects.filter(pk=session.pk).update(status=status, blocks=3)
    if status in CHANGEABLE:
        row = services.change_providers(actor=analyst, session=session, chat=other)
        session.refresh_from_db()
        assert row.chat_id == session.chat_id == other.pk
        assert (session.blocks, session.status) == (0, status)
        assert AuditEvent.objects.filter(action="analysis.providers_changed").exists()
    else:
        with pytest.raises(Conflict):
            services.change_providers(actor=analyst, session=session, chat=other)


def test_models_are_checked_as_at_the_start(
    start: Callable[..., AnalysisSession],
    project: Project,
    analyst: User,
    viewer: User,
    other_owner: User,
) -> None:
    workspace = project.workspace
    first, spare = deployment(workspace, name="A"), deployment(workspace, name="B")
    off = deployment(workspace, name="Off", enabled=False)
    vectors = deployment(workspace, name="V", embeds=True)
    session = start(chat=first)
    services.pause(actor=analyst, session=session)

    def change(actor: User = analyst, **models: Any) -> AnalysisSession:
        return services.change_providers(actor=actor, session=session, **models)

    for wrong in ({"chat": off}, {"chat": vectors}, {"embedding": spare}, {"fallback": first}):
        with pytest.raises(Invalid):
            change(**wrong)
    with pytest.raises(Invalid):
        change(chat=None, fallback=spare)
    with pytest.raises(Forbidden):
        change(viewer, chat=spare)
    with pytest.raises(NotFound):
        change(other_owner, chat=spare)
    assert change(fallback=spare, embedding=vectors).chat_id == first.pk
    row = change(embedding=None)
    assert (row.chat_id, row.embedding_id, row.fallback_id) == (first.pk, None, spare.pk)


def test_another_model_lifts_a_block_on_resuming(
    start: Callable[..., AnalysisSession], project: Project, analyst: User
) -> None:
    session = start(chat=deployment(project.workspace, name="A"))
    for reason in ("key", "quota", "provider"):
        services.block(session.pk, reason, "no")
        other = deployment(project.workspace, name=reason)
        services.change_providers(actor=analyst, session=session, chat=other)
        row = services.resume(actor=analyst, session=session)
        assert (row.status, row.reason, row.retry_at) == ("running", "", None)


def test_a_start_takes_a_fallback_and_a_limit(
    start: Callable[..., AnalysisSession], project: Project
) -> None:
    first = deployment(project.workspace, name="A")
    spare = deployment(project.workspace, name="B")
    session = start(chat=first, fallback=spare, spend_limit=Decimal("2.50"))
    assert session.fallback_id == spare.pk
    limit = SpendLimit.objects.get(scope=f"analysis:{session.pk}")
    assert (limit.period, limit.amount) == ("all", Decimal("2.50"))
    for wrong in ({"fallback": first}, {"chat": None}, {"spend_limit": Decimal(-1)}):
        with pytest.raises(Invalid):
            start(**{"chat": first, "fallback": spare, **wrong})
    assert AnalysisSession.objects.count() == 1
