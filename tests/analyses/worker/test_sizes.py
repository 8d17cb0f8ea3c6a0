"""Every size completes; what is withheld is named nowhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from analyses import export, plan, services
from analyses.models import (
    AnalysisSession,
    Batch,
    Cluster,
    Outcome,
    SessionStatus,
)
from analyses.report_file import report_html
from analyses.runner.worker import Worker
from analyses.selectors import batches
from core.errors import Conflict, Invalid
from core.events import since
from core.models import Beat
from projects.models import Conversation, Dataset
from tests.analyses.worker.support import WISHES, check_books, run, table, worker_run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("size", [0, 1, 2, 15, 50])
def test_every_size_completes_and_says_something(
    size: int, talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    session = run(start(talks(size)))
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_books(session)
    rows = table(session)
    assert [row["id"] for row in rows] == [f"c-{position}" for position in range(size)]
    assert all(row["x"] and row["y"] and row["request"] for row in rows)
    figures = export.run_json(session)
    assert (figures["conversations"], figures["read"], figures["failures"]) == (size, size, 0)
    assert figures["engine"] == "local engine"
    assert set(figures["seconds"]["stages"]) == {step.key for step in plan.STAGES}
    assert session.first_preview_at is not None or size == 0
    if size >= 15:
        clusters = export.clusters_json(session)
        assert any(row["level"] == 1 for row in clusters)
        assert sum(row["size"] for row in clusters if row["level"] == 1) <= size
        assert any(row["cluster"] for row in rows)
    assert "</html>" in report_html(session)
    seqs = [row["seq"] for row in since(session.topic, 0, limit=10_000)]
    assert seqs == list(range(1, len(seqs) + 1))
    assert not Beat.objects.filter(name__startswith="pump:").exists()


def test_equal_texts_keep_a_row_each(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    dataset = talks(20)
    same = dataset.conversations.get(position=0).messages
    dataset.conversations.filter(position__in=(5, 6, 19)).update(messages=same)
    session = run(start(dataset))
    check_books(session)
    rows = table(session)
    assert len(rows) == 20
    facets = [
        {k: v for k, v in rows[n].items() if k not in ("id", "x", "y")} for n in (0, 5, 6, 19)
    ]
    assert all(row == facets[0] for row in facets)


def test_a_conversation_without_text_is_skipped_with_its_reason(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    dataset = talks(12)
    dataset.conversations.filter(position=4).update(messages=[{"role": "user", "content": "  "}])
    session = run(start(dataset))
    assert (session.status, session.reason) == (SessionStatus.PARTIAL, "skipped")
    assert session.items.get(outcome=Outcome.FAILED).error_class == "empty"
    check_books(session)
    row = table(session)[4]
    assert (row["id"], row["cluster"], row["x"], row["request"]) == ("c-4", "", "", "")


@pytest.mark.parametrize("when", ["before", "prepare", "facets"])
def test_a_conversation_deleted_while_an_analysis_runs_is_left_out(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    analyst: User,
    when: str,
) -> None:
    """It must not be waited for: every count ends at the total. Nothing is to be tried again."""
    dataset = talks(24)
    session = start(dataset)
    if when == "prepare":  # the first range is prepared, the second is not
        batch = session.batches.order_by("seq")[0]
        Batch.objects.filter(session=session).exclude(pk=batch.pk).update(
            not_before=timezone.now() + timedelta(hours=1)
        )
        run(session, reads=False)
        Batch.objects.update(not_before=None)
    if when == "facets":
        run(session, reads=False)
        assert session.items.count() == 24
    gone = dataset.conversations.filter(position__in=(3, 15, 16))
    gone.update(deleted_at=timezone.now())
    session = run(session)
    assert (session.status, session.reason) == (SessionStatus.PARTIAL, "skipped")
    assert (session.read_count, session.failed_count) == (21, 3)
    left = session.items.filter(outcome=Outcome.FAILED, error_class="deleted")
    assert sorted(left.values_list("position", flat=True)) == [3, 15, 16]
    check_books(session)
    (failure,) = batches.failures_of(session)
    assert (failure.hopeless, failure.text) == (
        True,
        "The conversation was deleted before it was read.",
    )
    with pytest.raises(Conflict):
        services.retry_failed(actor=analyst, session=session)
    with pytest.raises(Invalid):
        services.retry_failed(actor=analyst, session=session, positions=[15])


def test_deleted_conversations_are_no_errors(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    """More than one in twenty may be deleted: that stops no analysis."""
    dataset = talks(60)
    session = start(dataset)
    dataset.conversations.filter(position__lt=30).update(deleted_at=timezone.now())
    session = run(session)
    assert (session.status, session.failed_count) == (SessionStatus.PARTIAL, 30)
    assert (session.read_count, session.recoveries) == (30, 0)
    check_books(session)


def test_a_limit_reads_only_the_first(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    session = run(start(talks(30), limit=12))
    assert session.total == 12
    check_books(session)


def test_one_worker_does_many_analyses(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    sessions = [start(talks(12)) for _ in range(3)]
    worker_run(Worker(idle_exit=0.3).run())
    for session in sessions:
        session.refresh_from_db()
        assert session.status == SessionStatus.COMPLETED
        check_books(session)
    assert len({str(table(session)) for session in sessions}) == 1


def test_withheld_groups_are_named_nowhere(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    """One person writes all conversations of one wish: that group must not be seen."""
    dataset = talks(100)
    rows = list(dataset.conversations.all())
    for row in rows:
        if row.position % len(WISHES) == 3:
            row.end_user = "one-and-the-same"
            text = f"Hello, I want to pickle zebra marmalade at home. My jar is {row.position}."
            row.messages = [{"role": "user", "content": text}]
    Conversation.objects.bulk_update(rows, ["messages", "end_user"])
    session = run(start(dataset, params={"clusters": 5}))
    assert session.status == SessionStatus.COMPLETED
    withheld = list(session.clusters.filter(shown=False, provisional=False))
    hidden = [
        row for row in withheld if "zebra" in row.name.lower() or "marmalade" in row.name.lower()
    ]
    assert hidden, list(session.clusters.values_list("name", "size", "users", "shown"))
    inside = set(
        session.items.filter(memberships__cluster__in=withheld).values_list("position", flat=True)
    )
    rows_of = table(session)
    assert inside
    for position, row in enumerate(rows_of):
        if position in inside:
            assert row["cluster"] == "", row
    names = {row.name for row in withheld}
    shown = {row["name"] for row in export.clusters_json(session)}
    assert not names & shown
    report = report_html(session)
    card = export.as_text(export.report_json(session))
    figures = export.as_text(export.run_json(session))
    said = " ".join(f"{row.title} {row.text}" for row in session.insights.all())
    for name in names - shown:
        for place in (report, card, figures, said):
            assert name not in place
    assert export.run_json(session)["withheld"] == len(withheld)


def test_provisional_clusters_give_way_to_final_ones(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    session = run(start(talks(60)))
    assert session.first_preview_at is not None
    assert session.previewed >= 50
    assert not Cluster.objects.filter(session=session, provisional=True).exists()
    changes = [
        row["payload"]["provisional"]
        for row in since(session.topic, 0)
        if row["kind"] == "clusters"
    ]
    assert changes[0] is True
    assert changes[-1] is False
