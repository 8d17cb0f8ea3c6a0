"""Opening a claimed range of conversations for reading, and saving it."""

from __future__ import annotations

from analyses.models import AnalysisItem, AnalysisSession, Batch, Outcome
from analyses.pipeline.local import embedding_text
from analyses.pipeline.prepare import PrepareParams, redacted, shorten
from analyses.pipeline.records import FacetAnswer, FacetsRead, Prepared, Span
from analyses.runner import saving
from analyses.runner.reading import OpenBatch
from analyses.selectors.asked import source_of
from analyses.services import saved


def open_range(session: AnalysisSession, batch: Batch) -> dict[int, tuple[int, Prepared]]:
    """The prepared conversations of a range, rebuilt from the stored text and the stored spans.

    Only those that wait: a range that is tried again may contain some that were read. What was
    deleted since the start is not read any more.
    """
    items = session.items.filter(
        position__gte=batch.first,
        position__lt=batch.last,
        outcome=Outcome.WAITING,
        conversation__deleted_at=None,
    ).select_related("conversation")
    return {
        item.position: (item.conversation_id, prepared_of(item))
        for item in items.order_by("position")
    }


def prepared_of(item: AnalysisItem) -> Prepared:
    """What ``prepare`` made, from what it stored; a pure function, so a replay asks the same."""
    source = source_of(item.conversation)
    spans = tuple(Span(*span) for span in item.spans)
    turns, dropped, tokens = shorten(redacted(source.turns, spans), PrepareParams().max_tokens)
    return Prepared(
        position=item.position,
        turns=turns,
        spans=spans,
        kept=(item.kept_from, item.kept_to),
        dropped=dropped,
        tokens=tokens,
        language=item.language,
    )


def save_range(session: AnalysisSession, opened: OpenBatch, local: bool) -> None:
    """Write the outcomes of a read range and move the analysis on."""
    version = session.template_version
    facet_ids = dict(version.facets.values_list("key", "pk"))
    # The extract is no match for facets that a model wrote of the conversations before.
    local = local and not session.changes.exists()
    rows = []
    for position, result in opened.results.items():
        conversation, prepared = opened.items[position]
        row = saving.Reading(conversation, result)
        if isinstance(result, FacetsRead):
            text = embedded_text(result, prepared, version.embed_facet, local)
            row = saving.Reading(
                conversation,
                result,
                title=title_of(result),
                summary=words(result.values.get("summary")),
                text=text,
            )
        rows.append(row)
    read = sum(isinstance(row.result, FacetsRead) for row in rows)

    def write(locked: AnalysisSession) -> None:
        saving.readings(locked, facet_ids, rows)
        saving.leave_out_unread(locked, opened.batch)

    saved(opened.batch, write, done=read, failed=len(rows) - read)


def embedded_text(result: FacetsRead, prepared: Prepared, facet: str, local: bool) -> str:
    """What is embedded: the template's facet, or with the local engine its richer extract."""
    if local:
        return embedding_text(prepared.turns, result.values)
    return words(result.values.get(facet)) or words(result.values.get("summary"))


def title_of(result: FacetsRead) -> str:
    """The line a conversation is listed under."""
    for key in ("request", "summary", "task"):
        title = words(result.values.get(key))
        if title:
            return title
    return next((words(value) for value in result.values.values() if words(value)), "")


def words(answer: FacetAnswer) -> str:
    """A text answer, "" for anything else."""
    return answer if isinstance(answer, str) else ""
