"""The batches of an analysis: the strip, the table, and what failed with its reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.core.paginator import Page, Paginator
from django.db.models import Count, F, Max, Min, Q, QuerySet
from django.utils import timezone

from analyses import plan
from analyses.models import AnalysisItem, AnalysisSession, Batch, Outcome, SessionStatus
from core import figures
from core.models import WorkStatus
from providers.gateway.errors import TRAITS
from providers.models import CallState, LlmCall

MAX_CELLS = 300
READING = "facets"
HOPELESS = frozenset({"empty", "deleted"})
"""Classes of conversations that were left out: no fault of anybody, and no new try can help."""
PAGE = 100
"""Batches on one page of the table."""
EXAMPLES = 12
"""Failed conversations named at once for each reason."""
FAILED_PAGE = 100
"""Failed conversations on one page of a reason."""
OVER = (WorkStatus.DONE, WorkStatus.QUARANTINED)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the batch strip; several batches share one when there are very many."""

    state: str
    """d saved, t saved after a retry, f some failed, q set aside, r running, empty for waiting."""
    title: str
    number: int
    here: bool = False
    """Whether the analysis goes on here."""


@dataclass(frozen=True, slots=True)
class Strip:
    """All batches of the reading stage."""

    cells: list[Cell]
    total: int
    saved: int
    running: int
    retried: int
    failed: int
    """Saved batches in which some conversations failed."""
    set_aside: int
    """Batches whose worker stopped too often."""
    skipped: int
    resume: int
    """Number of the first batch that is neither saved nor set aside; 0 when there is none."""
    each: int
    """Batches in one cell."""

    @property
    def waiting(self) -> int:
        """Batches nobody has taken yet."""
        return max(0, self.total - self.saved - self.running - self.set_aside)

    @property
    def text(self) -> str:
        """The strip in one sentence."""
        parts = [
            f"{self.saved:,} saved",
            *([f"{self.retried:,} of them after a retry"] if self.retried else []),
            *([f"{self.failed:,} of them with failures"] if self.failed else []),
            *([f"{self.set_aside:,} set aside"] if self.set_aside else []),
            f"{self.running:,} running",
            f"{self.waiting:,} waiting",
        ]
        return f"{figures.count_of(self.total, 'batch', 'batches')}: {', '.join(parts)}"


@dataclass(frozen=True, slots=True)
class Saved:
    """Up to where everything is safe, in words, and since when."""

    text: str
    at: datetime | None
    wait: str = ""
    """What a pause or a stop still waits for."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Conversations that failed for one reason, the first of them, and whether there are more."""

    error_class: str
    text: str
    count: int
    items: list[AnalysisItem]
    message: str
    hopeless: bool
    """Whether no new try can help."""

    @property
    def more(self) -> int:
        """How many are not listed."""
        return self.count - len(self.items)


@dataclass(frozen=True, slots=True)
class Row:
    """One batch in the table."""

    batch: Batch
    number: int
    state: str
    word: str
    worker: str
    error: str

    @property
    def size(self) -> int:
        """Conversations in it."""
        return self.batch.last - self.batch.first


# --- The strip ------------------------------------------------------------------------------------


def strip_of(session: AnalysisSession) -> Strip:
    """The batch strip. Two queries. Batches still to be made count as waiting."""
    planned = session.stages.filter(key=READING).values_list("batches_total", flat=True).first()
    rows = list(
        session.batches.filter(stage=READING)
        .order_by("seq")
        .only("session_id", "seq", "status", "retried", "attempt", "failed_items")
    )
    total = max(len(rows), planned or 0)
    each = -(-total // MAX_CELLS) or 1
    states = [_state(row) for row in rows] + [""] * (total - len(rows))
    resume = 0 if session.ended else _resume(rows, total)
    done = [row for row in rows if row.status == WorkStatus.DONE]
    return Strip(
        cells=[_cell(at, states[at : at + each], resume) for at in range(0, total, each)],
        total=total,
        saved=len(done),
        running=sum(row.status == WorkStatus.LEASED for row in rows),
        retried=sum(_was_retried(row) for row in done),
        failed=sum(row.failed_items > 0 for row in done),
        set_aside=sum(row.status == WorkStatus.QUARANTINED for row in rows),
        skipped=session.failed_count,
        resume=resume,
        each=each,
    )


def _was_retried(row: Batch) -> bool:
    return row.retried or row.attempt > 1


def _state(row: Batch) -> str:
    if row.status == WorkStatus.QUARANTINED:
        return "q"
    if row.status == WorkStatus.LEASED:
        return "r"
    if row.status == WorkStatus.DONE:
        return "f" if row.failed_items else "t" if _was_retried(row) else "d"
    return ""


WORDS = {
    "q": "set aside",
    "f": "some failed",
    "r": "running",
    "t": "saved after a retry",
    "d": "saved",
    "": "waiting",
}
URGENT = ("q", "f", "r", "t", "", "d")
"""Which state a shared cell shows: the most telling one."""


def _cell(at: int, states: Sequence[str], resume: int) -> Cell:
    state = next(state for state in URGENT if state in states)
    first, last = at + 1, at + len(states)
    name = f"Batch {first:,}" if first == last else f"Batches {first:,} to {last:,}"
    here = first <= resume <= last
    tail = "; the analysis goes on here" if here else ""
    return Cell(state, f"{name}: {WORDS[state]}{tail}", first, here)


def _resume(rows: Sequence[Batch], total: int) -> int:
    waiting = next((row.seq + 1 for row in rows if row.status not in OVER), 0)
    return waiting or (len(rows) + 1 if len(rows) < total else 0)


# --- What is safe ---------------------------------------------------------------------------------


def saved_of(session: AnalysisSession) -> Saved:
    """Up to where everything is saved. One query, up to three while a pause or a stop waits."""
    reading = Q(stage=READING)
    facts = session.batches.exclude(stage=plan.PREVIEW).aggregate(
        open=Min("seq", filter=reading & ~Q(status__in=OVER)),
        rows=Count("pk", filter=reading),
        done=Count("pk", filter=reading & Q(status=WorkStatus.DONE)),
        at=Max("finished_at", filter=Q(status=WorkStatus.DONE)),
    )
    return Saved(
        _safe(session, facts["open"], facts["rows"], facts["done"]), facts["at"], _wait(session)
    )


def _safe(session: AnalysisSession, first_open: int | None, rows: int, done: int) -> str:
    if session.status in (SessionStatus.COMPLETED, SessionStatus.PARTIAL):
        return "Everything is saved"
    if not done:
        return "Nothing has been read yet" if session.ended else "No batch is saved yet"
    if first_open == 0 or session.ended:
        return f"{figures.count_of(done, 'batch is', 'batches are')} saved"
    return f"Everything up to batch {rows if first_open is None else first_open:,} is saved"


def _wait(session: AnalysisSession) -> str:
    if session.status not in (SessionStatus.PAUSING, SessionStatus.CANCELLING):
        return ""
    words = _under_way(session)
    if session.status == SessionStatus.CANCELLING:
        return f"Stopping: {words}. What is answered meanwhile is kept."
    return f"Pausing: {words}. Calls that were sent are answered and kept; no new one begins."


def _under_way(session: AnalysisSession) -> str:
    """The calls that are out; where none is asked, the batches in the hands of workers."""
    sent = LlmCall.objects.filter(analysis_id=session.pk, state=CallState.SENT)
    calls = sent.filter(sent_until__gt=timezone.now()).count() if session.chat_id else 0
    if calls:
        return f"{figures.count_of(calls, 'call is', 'calls are')} still under way"
    held = session.batches.filter(status=WorkStatus.LEASED).count()
    return f"{figures.count_of(held, 'batch is', 'batches are')} still under way"


# --- The table ------------------------------------------------------------------------------------

SHOW = {
    "": Q(),
    "failed": Q(status=WorkStatus.QUARANTINED) | Q(failed_items__gt=0),
    "retried": Q(retried=True) | Q(attempt__gt=1),
    "running": Q(status=WorkStatus.LEASED),
    "waiting": Q(status=WorkStatus.PENDING),
    "saved": Q(status=WorkStatus.DONE),
}
"""Filters of the table by what the address says."""


def table_of(session: AnalysisSession, show: str, stage: str, page: str, batch: str) -> Page[Batch]:
    """A page of batches, in order. Two queries. ``batch`` leads to the page that has its number."""
    rows = of_stage(session, stage).filter(SHOW.get(show, Q())).order_by("stage", "seq")
    number = int(batch) if batch.isascii() and batch.isdecimal() and len(batch) < 10 else 0
    pages = Paginator(rows, PAGE)
    if number and not show:
        return pages.get_page((number - 1) // PAGE + 1)
    return pages.get_page(page)


def of_stage(session: AnalysisSession, stage: str) -> QuerySet[Batch]:
    """Batches of the reading, or of everything around it for ``other``."""
    rows = session.batches.exclude(stage=plan.PREVIEW)
    return rows.exclude(stage=READING) if stage == "other" else rows.filter(stage=READING)


def counts_of(session: AnalysisSession, stage: str) -> dict[str, int]:
    """How many batches each filter of the table shows. One query."""
    found: dict[str, int] = of_stage(session, stage).aggregate(
        **{name or "all": Count("pk", filter=wanted) for name, wanted in SHOW.items() if name},
        all=Count("pk"),
    )
    return found


def row_of(batch: Batch) -> Row:
    """A batch as the table shows it."""
    state = _state(batch)
    pills = {"q": "quarantined", "f": "completed_partial", "r": "leased", "t": "done", "d": "done"}
    words = {**WORDS, "": batch.get_status_display().lower()}
    return Row(
        batch=batch,
        number=batch.seq + 1,
        state=pills.get(state, batch.status),
        word=words[state].capitalize(),
        worker=owner_words(batch.owner),
        error=batch.error or ("Taken back from a worker that stopped." if batch.retried else ""),
    )


def owner_words(owner: str) -> str:
    """``host:pid:start`` as people know it: the machine and the process."""
    host, _, rest = owner.partition(":")
    pid = rest.partition(":")[0]
    return f"{host}, process {pid}" if pid else host


# --- What failed ----------------------------------------------------------------------------------

REASONS = {
    **{str(error.value): traits.text for error, traits in TRAITS.items()},
    "worker": "The worker that read it stopped three times.",
    "empty": "The conversation holds no text.",
    "deleted": "The conversation was deleted before it was read.",
    "": "The reason is not known.",
}
"""A class of error in words."""


def classes_of(session: AnalysisSession) -> list[tuple[str, int]]:
    """Failed conversations by class, commonest first. One query."""
    rows = session.items.filter(outcome=Outcome.FAILED).order_by()
    counted = rows.values_list("error_class").annotate(count=Count("id"))
    return sorted(counted, key=lambda entry: (-entry[1], entry[0]))


def reason(error_class: str) -> str:
    """Why conversations of a class failed, as a sentence."""
    return REASONS.get(error_class, REASONS[""])


def classes_text(session: AnalysisSession, most: int = 3) -> str:
    """The commonest reasons with their counts, as sentences. One query."""
    found = classes_of(session)
    shown = [f"{reason(name).rstrip('.')} ({count:,})" for name, count in found[:most]]
    rest = sum(count for _, count in found[most:])
    if rest:
        shown.append(f"Other reasons ({rest:,})")
    text = ". ".join(shown)
    return f"{text}." if text else ""


def failures_of(session: AnalysisSession) -> list[Failure]:
    """Why conversations failed, commonest reason first. One query and one for each reason."""
    return [_failure(session, name, count) for name, count in classes_of(session)]


def _failure(session: AnalysisSession, error_class: str, count: int) -> Failure:
    items = list(failed_items(session, error_class)[:EXAMPLES])
    message = next((item.error for item in items if item.error), "")
    text = reason(error_class)
    message = "" if message == text else message
    return Failure(error_class, text, count, items, message, error_class in HOPELESS)


def failed_items(session: AnalysisSession, error_class: str) -> QuerySet[AnalysisItem]:
    """Failed conversations of a class in the order of the data set."""
    rows = session.items.filter(outcome=Outcome.FAILED, error_class=error_class)
    rows = rows.annotate(external=F("conversation__external_id"), place=F("conversation__position"))
    return rows.only("position", "error", "session_id").order_by("position")


def failed_page(session: AnalysisSession, error_class: str, page: str) -> Page[AnalysisItem]:
    """One page of a class. Two queries."""
    return Paginator(failed_items(session, error_class), FAILED_PAGE).get_page(page)


def failed_places(session: AnalysisSession, error_class: str) -> list[int]:
    """Positions in the analysis of all conversations that failed for a reason. One query."""
    return list(failed_items(session, error_class).values_list("position", flat=True))
