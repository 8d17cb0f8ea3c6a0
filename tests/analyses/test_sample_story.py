"""What the shipped sample must show to somebody who just installed the product, with no key."""

from __future__ import annotations

from collections import Counter
from datetime import date

import pytest

from analyses.models import AnalysisSession, ClusterMembership, SessionStatus
from analyses.runner.worker import Worker
from analyses.services import start_session
from projects import sample
from projects.documents import Document
from projects.models import Conversation, Dataset, DatasetStatus, Import
from templates_app.models import TemplateVersion
from templates_app.services import ensure_shipped
from tests.analyses.worker.support import worker_run

END = date(2026, 11, 20)


@pytest.fixture
def finished(transactional_db: None, project, analyst) -> AnalysisSession:
    """The sample's first analysis with the local engine, run by a real worker."""
    ensure_shipped()
    dataset = Dataset.objects.create(
        project=project,
        number=1,
        name="Sample",
        status=DatasetStatus.READY,
        conversation_count=1200,
    )
    record = Import.objects.create(dataset=dataset, file="sample", filename="sample.jsonl")
    rows = [Document.model_validate(row) for row in sample.generate(end=END)]
    Conversation.objects.bulk_create(
        Conversation(
            dataset=dataset,
            record=record,
            position=position,
            external_id=row.id,
            end_user=row.end_user,
            language=row.language,
            started_at=row.times[0],
            ended_at=row.times[1],
            message_count=len(row.messages),
            token_count=row.rough_tokens(),
            content_hash=row.content_hash(),
            messages=row.stored_messages(),
            metadata=row.stored_metadata(),
        )
        for position, row in enumerate(rows)
    )
    session = start_session(
        actor=analyst,
        project=project,
        dataset=dataset,
        template_version=TemplateVersion.objects.get(template__key="customer-support"),
        wake=False,
    )
    worker_run(Worker(session_id=session.pk, idle_exit=1.0).run())
    session.refresh_from_db()
    return session


def topics_of(session: AnalysisSession, cluster) -> Counter[str]:
    """The planted topics of a cluster's conversations."""
    inside = {cluster.pk, *cluster.children.values_list("pk", flat=True)}
    members = ClusterMembership.objects.filter(cluster__in=inside)
    metadata = members.values_list("item__conversation__metadata", flat=True)
    return Counter(entry["labels"]["topic"] for entry in metadata)


def test_the_planted_rise_and_the_new_topic_are_among_the_first_five_insights(finished):
    assert finished.status == SessionStatus.COMPLETED
    first = list(finished.insights.select_related("cluster")[:5])
    found = {}
    for insight in first:
        if insight.kind in ("rise", "new") and insight.cluster is not None:
            topic, _ = topics_of(finished, insight.cluster).most_common(1)[0]
            found.setdefault(insight.kind, []).append(topic)
    assert sample.PLANTED_NEW in found.get("new", [])
    assert sample.PLANTED_RISE in found.get("rise", [])
    # Themes read as words: no marks, addresses or leftovers of redaction.
    names = list(finished.clusters.filter(shown=True).values_list("name", flat=True))
    assert len(names) > 20
    assert not [name for name in names if any(mark in name for mark in "[]@#{}<>_")]
    # A topic of one end user alone is never shown.
    lonely = finished.clusters.filter(shown=True, level=2, users__lt=3)
    assert not lonely.exists()
