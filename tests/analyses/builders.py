"""Analyses as rows and arrays, without running anything: finished, half-way, withheld groups."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import numpy as np
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from analyses import artifacts, plan
from analyses.events import BatchSaved, PictureChanged, StageEnded, StatusChanged
from analyses.models import (
    AnalysisItem,
    AnalysisSession,
    ArtifactKind,
    Batch,
    Cluster,
    ClusterMembership,
    FacetValue,
    Insight,
    Outcome,
    SessionStatus,
    StageProgress,
)
from analyses.pipeline.coordinates import to_u16
from core.events import publish
from core.models import WorkStatus
from projects.models import Dataset
from templates_app.models import FacetKind, TemplateVersion
from templates_app.services import ensure_shipped

THEMES = (
    (
        "Fix sign-in and account access",
        (
            "Reset a forgotten password",
            "Recover an account after losing a phone",
            "Unlock an account after failed attempts",
            "Merge duplicate accounts",
        ),
    ),
    (
        "Understand bills, refunds and charges",
        ("Dispute an unexpected charge", "Get a refund for an annual plan", "Explain an invoice"),
    ),
    (
        "Set up integrations and the API",
        ("Debug failing webhook deliveries", "Fix 401 and 403 errors from the API"),
    ),
    ("Import, export and clean data", ("Fix a CSV that will not import", "Export everything")),
)
PLACES = ((-0.5, 0.45), (0.25, 0.6), (0.55, -0.2), (-0.2, -0.55))
LANGUAGES = ("en", "en", "en", "es", "de")
SENTIMENTS = ("neutral", "negative", "positive", "neutral")


def template() -> TemplateVersion:
    """The shipped support template."""
    ensure_shipped()
    return TemplateVersion.objects.get(template__key="customer-support")


def session_for(dataset: Dataset, user: User, **values: object) -> AnalysisSession:
    """A bare analysis of all of a data set, with its stages."""
    started = timezone.now() - timedelta(minutes=20)
    number = AnalysisSession.objects.filter(project=dataset.project).count() + 1
    defaults: dict[str, object] = {
        "name": f"{dataset.name}, pass {number}",
        "template_version": template(),
        "params": plan.RunParams().model_dump(),
        "pipeline_version": plan.PIPELINE_VERSION,
        "status": SessionStatus.RUNNING,
        "total": dataset.conversation_count,
        "created_by": user,
        "started_at": started,
    }
    session = AnalysisSession.objects.create(
        project=dataset.project, dataset=dataset, number=number, **{**defaults, **values}
    )
    StageProgress.objects.bulk_create(
        StageProgress(session=session, key=step.key, order=order, items_total=session.total)
        for order, step in enumerate(plan.STAGES)
    )
    return session


def finished(dataset: Dataset, user: User, *, hidden: int = 1, seed: int = 3) -> AnalysisSession:
    """A complete analysis. The last ``hidden`` base clusters are withheld."""
    session = session_for(
        dataset,
        user,
        status=SessionStatus.COMPLETED,
        read_count=dataset.conversation_count,
        previewed=dataset.conversation_count,
        finished_at=timezone.now(),
    )
    labels = add_items(session, dataset.conversation_count, seed)
    clusters = add_clusters(session, labels, provisional=False, hidden=hidden)
    leaves = [row for row in clusters if row.leaf is not None]
    items = session.items.order_by("position")
    ClusterMembership.objects.bulk_create(
        ClusterMembership(cluster=leaves[label], item=item)
        for label, item in zip(labels, items, strict=True)
    )
    add_arrays(session, labels, seed)
    add_insights(session, leaves)
    add_batches(session, done=session.total)
    for stage in session.stages.all():
        finish(stage, stage.items_total)
    report = {
        "conversations": {
            "total": session.total,
            "read": session.read_count,
            "failed": 0,
            "coverage": 1.0,
        },
        "rest": {"count": 0, "share": 0.0},
        "adds_up": True,
        "stability": {"mean": 0.81, "low": 0.77, "resamples": 5},
        "duplicate_names": [],
    }
    path = artifacts.write_json(session, ArtifactKind.REPORT, 1, report)
    artifacts.point(session, ArtifactKind.REPORT, path)
    return session


def halfway(dataset: Dataset, user: User, *, seed: int = 3) -> AnalysisSession:
    """An analysis that has read 62 % and drawn a provisional picture of it."""
    read = int(dataset.conversation_count * 0.62)
    session = session_for(
        dataset,
        user,
        read_count=read,
        previewed=read,
        retry_count=2,
        cost=Decimal("0"),
        first_preview_at=timezone.now(),
    )
    labels = add_items(session, read, seed)
    add_clusters(session, labels, provisional=True, hidden=0)
    positions = np.arange(read, dtype=np.uint32)
    path = artifacts.write_bundle(
        session,
        ArtifactKind.PREVIEW,
        1,
        xy=to_u16(places(labels, seed)),
        labels=labels.astype(np.int32),
        positions=positions,
    )
    artifacts.point(session, ArtifactKind.PREVIEW, path, read)
    add_batches(session, done=read)
    stages = {stage.key: stage for stage in session.stages.all()}
    finish(stages["prepare"], session.total)
    stages["facets"].items_done = read
    stages["facets"].started_at = timezone.now() - timedelta(minutes=12)
    stages["facets"].save()
    with transaction.atomic():
        publish(
            session.topic,
            StatusChanged(status=SessionStatus.RUNNING),
            StageEnded(stage="prepare", seconds=2.4),
            PictureChanged(conversations=read // 2, clusters=9, provisional=True),
            BatchSaved(seq=3, state="retried", text="Its worker stopped; taken back."),
            PictureChanged(conversations=read, clusters=11, provisional=True),
        )
    return session


def finish(stage: StageProgress, done: int) -> None:
    """Mark a stage as complete."""
    now = timezone.now()
    stage.opened, stage.items_done = True, done
    stage.started_at, stage.finished_at = now - timedelta(seconds=30), now
    stage.save()


def leaf_count() -> int:
    """How many base clusters the planted tree has."""
    return sum(len(names) for _, names in THEMES)


def planted(count: int, seed: int) -> np.ndarray:
    """A base cluster for every conversation, larger ones first."""
    shares = np.linspace(2.0, 0.5, leaf_count())
    rng = np.random.default_rng(seed)
    return rng.choice(leaf_count(), size=count, p=shares / shares.sum())


def places(labels: np.ndarray, seed: int) -> np.ndarray:
    """Dots around the middle of their cluster, in [-1, 1]."""
    rng = np.random.default_rng(seed)
    middles = []
    for (x, y), (_, names) in zip(PLACES, THEMES, strict=True):
        for turn in range(len(names)):
            angle = 2.2 * turn + x
            middles.append((x + 0.2 * np.cos(angle), y + 0.17 * np.sin(angle)))
    return np.clip(np.array(middles)[labels] + rng.normal(0, 0.06, (len(labels), 2)), -1, 1)


def add_items(session: AnalysisSession, count: int, seed: int) -> np.ndarray:
    """The first ``count`` conversations as read, with their answers; returns their labels."""
    labels = planted(count, seed)
    names = [name for _, inside in THEMES for name in inside]
    rows = session.dataset.conversations.order_by("position")[:count]
    items = AnalysisItem.objects.bulk_create(
        AnalysisItem(
            session=session,
            conversation_id=pk,
            position=position,
            outcome=Outcome.READ,
            language=LANGUAGES[position % len(LANGUAGES)],
            title=f"{names[labels[position]]}, case {position}",
            summary=f"{names[labels[position]]} after a change in settings",
            tokens=20,
            model="local engine",
        )
        for pk, position in rows.values_list("pk", "position")
    )
    add_values(session, items)
    return labels


def add_values(session: AnalysisSession, items: list[AnalysisItem]) -> None:
    """An answer to every facet of every conversation."""
    facets = list(session.template_version.facets.all())
    FacetValue.objects.bulk_create(
        FacetValue(item=item, facet=facet, **answer(facet.kind, facet.key, item.position))
        for item in items
        for facet in facets
    )


def answer(kind: str, key: str, position: int) -> dict[str, object]:
    """The column of a facet's type, filled."""
    if kind == FacetKind.BOOLEAN:
        return {"flag": position % 4 != 0}
    if kind == FacetKind.SCORE:
        return {"number": float(1 + position % 5)}
    if kind == FacetKind.LIST:
        return {"entries": ["settings", "app"]}
    if key == "language":
        return {"text": "English"}
    if kind == FacetKind.CATEGORY:
        known = SENTIMENTS if key == "sentiment" else ("question", "fault", "billing")
        return {"text": known[position % len(known)]}
    if key == "summary":
        return {"text": "The customer asked for help. The agent explained the steps."}
    return {"text": f"Answer {position % 7}"}


def add_clusters(
    session: AnalysisSession, labels: np.ndarray, *, provisional: bool, hidden: int
) -> list[Cluster]:
    """The planted tree with its sizes; keys of leaves are their labels."""
    sizes = np.bincount(labels, minlength=leaf_count())
    made: list[Cluster] = []
    leaf = 0
    for number, (name, inside) in enumerate(THEMES):
        parent = Cluster.objects.create(
            session=session,
            key=1_000_000 + number,
            level=1,
            name=name,
            description=f"People who want to {name.lower()}.",
            size=int(sizes[leaf : leaf + len(inside)].sum()),
            hue=number + 1,
            order=len(made),
            provisional=provisional,
        )
        made.append(parent)
        for child in inside:
            shown = provisional or leaf < leaf_count() - hidden
            made.append(
                Cluster.objects.create(
                    session=session,
                    parent=parent,
                    key=leaf,
                    level=2,
                    leaf=None if provisional else leaf,
                    name=child if shown else "A secret group",
                    description=f"{child}, mostly after a change.",
                    size=int(sizes[leaf]),
                    users=int(sizes[leaf]),
                    hue=number + 1,
                    order=len(made),
                    provisional=provisional,
                    gain=3 if provisional and leaf % 3 == 0 else 0,
                    shown=shown,
                    withheld_for="" if shown else "conversations",
                    model="local engine",
                )
            )
            leaf += 1
    return made


def add_arrays(session: AnalysisSession, labels: np.ndarray, seed: int) -> None:
    """The final map and labels."""
    for kind, array in (
        (ArtifactKind.MAP, to_u16(places(labels, seed))),
        (ArtifactKind.LABELS, labels.astype(np.int32)),
    ):
        path = artifacts.write_array(session, kind, 1, array)
        artifacts.point(session, kind, path, len(labels))


def add_insights(session: AnalysisSession, leaves: list[Cluster]) -> None:
    """Two insights about shown groups and one about the last group, which may be withheld."""
    Insight.objects.create(
        session=session,
        rank=1,
        kind="rise",
        title=f"“{leaves[1].name}” rose in the last weeks.",
        text="6.0% of conversations, up from 2.1% before.",
        cluster=leaves[1],
        count=leaves[1].size,
        share=0.06,
        low=0.045,
        high=0.08,
    )
    Insight.objects.create(
        session=session,
        rank=2,
        kind="concern",
        title="12 conversations rated 4 or 5 for concern.",
        text="Most are about an unexpected charge.",
        cluster=leaves[4],
        count=12,
    )
    Insight.objects.create(
        session=session, rank=3, kind="new", title="About the last group.", cluster=leaves[-1]
    )


def add_batches(session: AnalysisSession, *, done: int) -> None:
    """The batches of the reading stage, saved up to ``done``; the next two are being read."""
    size = plan.batch_size(session.total)
    now = timezone.now()
    rows = []
    for seq, first in enumerate(range(0, session.total, size)):
        saved = first + size <= done or done == session.total
        running = not saved and first < done + 2 * size
        status = WorkStatus.DONE if saved else WorkStatus.LEASED if running else WorkStatus.PENDING
        rows.append(
            Batch(
                session=session,
                stage="facets",
                seq=seq,
                first=first,
                last=min(first + size, session.total),
                status=status,
                attempt=2 if seq == 3 else int(saved or running),
                retried=seq == 3,
                finished_at=now - timedelta(seconds=(done - first) / 40) if saved else None,
            )
        )
    Batch.objects.bulk_create(rows)
