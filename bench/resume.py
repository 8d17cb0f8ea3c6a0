"""Going on with a very large analysis: how soon work is taken up, and how much memory it needs.

``python -m bench.resume`` lays out an analysis of 100,000 conversations of which 95 % are read and
which is paused, starts the real server with its workers on it, resumes, and watches: the seconds
until a worker holds a batch, and the most memory of every process until the analysis has ended. The
model is the scripted one inside the process, without latency. Results go to
``bench/results/resume.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from bench import installation

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
CLAIM_BAR = 1.0
"""Seconds from resuming to the first batch that a worker holds."""
MEMORY_BAR = 600.0
"""Megabytes of any one process."""
SETTLE = 12.0
"""Seconds until the workers of a new installation take tasks."""
CHUNK = 5000


def main() -> None:
    """Measure once and print the table."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="openclio-bench-") as folder:
        installation.prepare(folder)
        figures = _measure(options)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "resume.json").write_text(json.dumps(figures, indent=2))
    _print(figures)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=100_000)
    parser.add_argument("--read", type=float, default=0.95, help="share that is read already")
    parser.add_argument("--limit", type=float, default=1800, help="seconds until it must end")
    return parser.parse_args()


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    import django

    django.setup()
    began = time.perf_counter()
    session, actor = _lay_out(options.conversations, options.read)
    laid_out = time.perf_counter() - began
    serve = installation.serve()
    try:
        time.sleep(SETTLE)
        claimed = _resume(session, actor)
        peaks, ended, stages = _watch(session, serve.pid, options.limit)
    finally:
        installation.end(serve)
    return {
        "conversations": options.conversations,
        "laid_out_seconds": round(laid_out, 1),
        "claimed_after": round(claimed, 3),
        "status": ended,
        "stages": stages,
        "peak_mb": peaks,
        "load": os.getloadavg(),
    }


def _resume(session: Any, actor: Any) -> float:
    """Seconds from the wish to the first batch held."""
    from analyses import services
    from core.models import WorkStatus

    began = time.perf_counter()
    services.resume(actor=actor, session=session)
    while not session.batches.filter(status=WorkStatus.LEASED).exists():
        time.sleep(0.01)
    return time.perf_counter() - began


def _watch(session: Any, root: int, limit: float) -> tuple[dict[str, float], str, dict[str, float]]:
    """Peaks in megabytes by process until the end, how it ended, and seconds by stage."""
    peaks: dict[str, float] = defaultdict(float)
    until = time.monotonic() + limit
    while time.monotonic() < until:
        for process in [psutil.Process(root), *psutil.Process(root).children(recursive=True)]:
            try:
                name = f"{process.pid} {_name(process.cmdline())}"
                peaks[name] = max(peaks[name], process.memory_info().rss / 1e6)
            except psutil.Error:
                continue
        session.refresh_from_db()
        if session.ended or session.status == "blocked":
            break
        time.sleep(0.5)
    stages = {
        row.key: round((row.finished_at - row.started_at).total_seconds(), 1)
        for row in session.stages.exclude(finished_at=None).exclude(started_at=None)
    }
    return {name: round(peak, 1) for name, peak in peaks.items()}, session.status, stages


def _name(command: list[str]) -> str:
    known = ("daphne", "pool", "serve")
    return next((word for word in known if word in command), command[-1] if command else "")


# --- The analysis -----------------------------------------------------------------------------------


def _lay_out(count: int, share: float) -> tuple[Any, Any]:
    """A paused analysis of ``count`` conversations, ``share`` of which are read."""
    from analyses import services
    from projects.models import Dataset, DatasetStatus, Import
    from providers.models import ModelDeployment, Provider, ProviderKind
    from templates_app.models import TemplateVersion

    actor, project = installation.owner_and_project()
    dataset = Dataset.objects.create(
        project=project, number=1, name="Large", status=DatasetStatus.READY
    )
    record = Import.objects.create(dataset=dataset, file="", filename="large.jsonl", status="done")
    _conversations(dataset, record, count)
    dataset.conversation_count = count
    dataset.save()
    provider = Provider.objects.create(
        workspace=project.workspace, name="Scripted", kind=ProviderKind.SCRIPTED, concurrency=16
    )
    chat = ModelDeployment.objects.create(provider=provider, model="scripted-1")
    version = TemplateVersion.objects.filter(template__key="customer-support").latest("number")
    session = services.start_session(
        actor=actor,
        project=project,
        dataset=dataset,
        template_version=version,
        chat=chat,
        wake=False,
    )
    services.pause(actor=actor, session=session)
    _as_read(session, share)
    session.refresh_from_db()
    return session, actor


def _conversations(dataset: Any, record: Any, count: int) -> None:
    from projects.models import Conversation
    from projects.sample import generate

    rows = iter(generate(count=count))
    position = 0
    while chunk := list(islice(rows, CHUNK)):
        Conversation.objects.bulk_create(
            Conversation(
                dataset=dataset,
                record=record,
                position=position + offset,
                external_id=str(row["id"]),
                end_user=str(row.get("end_user") or row.get("user") or ""),
                language="en",
                message_count=len(row["messages"]),
                token_count=200,
                content_hash=f"{position + offset:064d}",
                messages=[
                    {"role": one["role"], "content": one["content"]} for one in row["messages"]
                ],
            )
            for offset, row in enumerate(chunk)
        )
        position += len(chunk)


def _as_read(session: Any, share: float) -> None:
    """Everything prepared; the first batches read, with answers of two facets."""
    from analyses.models import AnalysisItem, Batch, FacetValue, Outcome
    from core.models import WorkStatus

    prepare = list(session.batches.filter(stage="prepare").order_by("seq"))
    ready = int(len(prepare) * share)
    session.batches.filter(stage="prepare").update(status=WorkStatus.DONE)
    Batch.objects.bulk_create(
        Batch(
            session=session,
            stage="facets",
            seq=one.seq,
            first=one.first,
            last=one.last,
            status=WorkStatus.DONE if at < ready else WorkStatus.PENDING,
        )
        for at, one in enumerate(prepare)
    )
    read = prepare[ready - 1].last if ready else 0
    facets = list(session.template_version.facets.all()[:2])
    for chunk in _in_chunks(session):
        items = AnalysisItem.objects.bulk_create(
            AnalysisItem(
                session=session,
                conversation_id=pk,
                position=position,
                kept_to=len(messages),
                tokens=200,
                language="en",
                outcome=Outcome.READ if position < read else Outcome.WAITING,
                title=messages[0]["content"][:120] if position < read else "",
                text=messages[0]["content"][:400] if position < read else "",
                model="scripted-1" if position < read else "",
            )
            for pk, position, messages in chunk
        )
        FacetValue.objects.bulk_create(
            FacetValue(item=item, facet=facet, text=item.title or "-")
            for item in items
            if item.outcome == Outcome.READ
            for facet in facets
        )
    session.stages.filter(key="prepare").update(
        batches_done=len(prepare), items_done=session.total, finished_at=session.created_at
    )
    session.stages.filter(key="facets").update(
        batches_done=ready, items_done=read, started_at=session.created_at
    )
    type(session).objects.filter(pk=session.pk).update(read_count=read, previewed=read)


def _in_chunks(session: Any) -> Iterator[list[tuple[int, int, Any]]]:
    rows = session.dataset.conversations.order_by("position")
    values = iter(rows.values_list("pk", "position", "messages").iterator(CHUNK))
    while chunk := list(islice(values, CHUNK)):
        yield chunk


def _print(figures: dict[str, Any]) -> None:
    claimed = figures["claimed_after"]
    print(f"{figures['conversations']:,} conversations, ended {figures['status']}")
    verdict = "" if claimed <= CLAIM_BAR else "MISSED"
    print(f"first batch held after {claimed:.3f} s (bar {CLAIM_BAR:.1f}) {verdict}")
    for name, peak in sorted(figures["peak_mb"].items(), key=lambda pair: -pair[1]):
        print(f"{name:20} {peak:8.1f} MB {'' if peak <= MEMORY_BAR else 'MISSED'}")
    print("seconds by stage:", figures["stages"])


if __name__ == "__main__":
    main()
