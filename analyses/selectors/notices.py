"""The one notice of an analysis: what happened, what is safe, and one thing to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from analyses import plan
from analyses.models import AnalysisSession, BlockReason, SessionStatus
from analyses.selectors.batches import classes_text
from analyses.selectors.limits import Limit, limits_of, tightest
from core import figures
from providers.gateway.errors import TRAITS, ErrorClass
from providers.selectors.bulk import at_provider
from providers.selectors.use import of_use

SOON = timedelta(minutes=3)
"""A new try that is nearer is told to the second."""

REFERENCE = 12
"""Characters of an analysis's id that a person can read out."""


@dataclass(frozen=True, slots=True)
class Action:
    """The one thing to do. ``post`` acts, ``ask`` opens a dialog, ``see`` leads to a page."""

    label: str
    way: Literal["post", "ask", "see"]
    target: str


@dataclass(frozen=True, slots=True)
class Notice:
    """One sentence of what happened, one of what it means, one action.

    ``told`` names what a person can dismiss; empty for what stays until it is over.
    """

    tone: str
    icon: str
    title: str
    text: str = ""
    action: Action | None = None
    told: str = ""


CHANGE = Action("Change provider", "ask", "providers")
RAISE = Action("Raise the limit", "ask", "limit")
FAILED = Action("See what failed", "see", "batches")
RETRY = Action("Retry what failed", "post", "retry")
DETAILS = Action("Details", "ask", "recovery")
SAFE = "What was read is saved."


def notices_of(session: AnalysisSession) -> list[Notice]:
    """The notice to show first; after those that can be dismissed the one that stays.

    By urgency: stopped, incomplete, a limit close by, a recovery, calls in doubt, warnings, floors.
    At most three queries, and two more for one that is read in batches.
    """
    found: list[Notice] = []
    for look in URGENCY:
        found.extend(look(session))
        if found and not found[-1].told:
            break
    return found


def notice_of(session: AnalysisSession) -> Notice | None:
    """The most urgent notice, if there is any."""
    return next(iter(notices_of(session)), None)


# --- What stopped it ------------------------------------------------------------------------------


def _failed(session: AnalysisSession) -> Iterator[Notice]:
    if session.status != SessionStatus.FAILED:
        return
    where = next((step.label for step in plan.STAGES if step.label in session.detail), "")
    title = f"The analysis failed at “{where}”." if where else "The analysis failed."
    cause = session.detail.removeprefix(f"{where}: ") if where else session.detail
    reference = f"Reference {session.uid.hex[-REFERENCE:]}."
    text = f"{_ended(cause)} {SAFE} Retry it, or give this reference to an operator. {reference}"
    yield Notice("bad", "alert-circle", title, text.strip(), RETRY)


def _blocked(session: AnalysisSession) -> Iterator[Notice]:
    if session.status != SessionStatus.BLOCKED:
        return
    words = BLOCKS.get(session.reason)
    if words is None:
        yield Notice("bad", "hand-stop", "The analysis waits.", f"{session.detail} {SAFE}".strip())
    else:
        yield words(session)


def _budget_block(session: AnalysisSession) -> Notice:
    if of_use(session.detail):
        text = f"{session.detail} {SAFE}{_again(session)}"
        return Notice("bad", "hand-stop", "A limit of tokens a day is reached.", text)
    limit = tightest(limits_of(session))
    title = f"The limit for {limit.name} is reached." if limit else "A spending limit is reached."
    spent = f"{limit.text} is spent." if limit else session.detail
    text = f"{spent} {SAFE} Raise the limit to go on.{_again(session)}"
    return Notice("bad", "hand-stop", title, text, RAISE)


def _quota(session: AnalysisSession) -> Notice:
    title = f"The account at {_provider(session)} has no credit left."
    text = f"{SAFE} Add credit there and resume, or change the provider.{_again(session)}"
    return Notice("bad", "hand-stop", title, text, CHANGE)


def _key(session: AnalysisSession) -> Notice:
    known = TRAITS[ErrorClass.AUTH].text
    if session.chat and ": " in session.detail and known not in session.detail:
        text = f"{SAFE} Check the key and the model there, then resume, or change the provider."
        return Notice("bad", "key", _ended(session.detail), text, CHANGE)
    title = f"{_provider(session)} refused the key."
    text = f"{SAFE} Replace the key, then resume."
    return Notice("bad", "key", title, text, Action("Replace the key", "see", "provider"))


def _no_answer(session: AnalysisSession) -> Notice:
    title = f"{_provider(session)} does not answer."
    again = _again(session) or " It is tried again by itself."
    text = f"{SAFE} Nothing needs to be done.{again}"
    return Notice("", "plug-connected-x", title, text, CHANGE)


def _disk(session: AnalysisSession) -> Notice:
    again = _again(session) or " The analysis goes on by itself when there is room."
    text = f"{SAFE} An operator has to free some space.{again}"
    return Notice("bad", "database", "The disk is full.", text)


def _errors(session: AnalysisSession) -> Notice:
    count = figures.count_of(session.failed_count, "conversation")
    title = f"{count} failed, so the analysis stopped to ask."
    text = f"{classes_text(session)} {SAFE} Look at them first, or resume anyway."
    return Notice("bad", "alert-triangle", title, text.strip(), FAILED)


def _upgrade(session: AnalysisSession) -> Notice:
    text = f"{SAFE} It goes on by itself when a worker of that version is there.{_again(session)}"
    return Notice("bad", "refresh", "It was started with another version of OpenClio.", text)


BLOCKS: dict[str, Callable[[AnalysisSession], Notice]] = {
    BlockReason.BUDGET: _budget_block,
    BlockReason.QUOTA: _quota,
    BlockReason.KEY: _key,
    BlockReason.PROVIDER: _no_answer,
    BlockReason.DISK: _disk,
    BlockReason.ERRORS: _errors,
    BlockReason.UPGRADE: _upgrade,
}


def _provider(session: AnalysisSession) -> str:
    """Who did not answer: the gateway's reason begins with the name, as a fallback has its own."""
    name, colon, _ = session.detail.partition(": ")
    if colon:
        return name
    return session.chat.provider.name if session.chat else "The provider"


def _again(session: AnalysisSession) -> str:
    """When it is tried again by itself, as a sentence with a space before it."""
    if session.retry_at is None:
        return ""
    if session.retry_at <= timezone.now():
        return " It is being tried again now."
    if session.retry_at - timezone.now() < SOON:
        return f" Tried again at {timezone.localtime(session.retry_at):%H:%M:%S}."
    return f" Tried again {moment(session.retry_at)}."


def moment(value: datetime) -> str:
    """ "at 14:07" today, "on 3 June at 14:07" on any other day."""
    local, now = timezone.localtime(value), timezone.localtime()
    day = "" if local.date() == now.date() else f"on {local.day} {local:%B} "
    return f"{day}at {local:%H:%M}"


def _ended(sentence: str) -> str:
    """A sentence with a capital and a stop."""
    sentence = sentence.strip()
    sentence = sentence[:1].upper() + sentence[1:]
    return sentence if not sentence or sentence.endswith((".", "!", "?")) else f"{sentence}."


# --- What a person should know --------------------------------------------------------------------


def _partial(session: AnalysisSession) -> Iterator[Notice]:
    if session.status == SessionStatus.PARTIAL:
        count = figures.count_of(session.failed_count, "conversation")
        text = f"{classes_text(session)} The results are complete without them."
        yield Notice("", "alert-triangle", f"{count} could not be read.", text.strip(), RETRY)


def _near(session: AnalysisSession) -> Iterator[Notice]:
    limit: Limit | None = None if session.ended else tightest(limits_of(session))
    if limit is None or not limit.tone:
        return
    title = f"{limit.percent}% of the limit for {limit.name} is used: {limit.text}."
    text = "The analysis pauses by itself at the limit, and nothing is lost."
    yield Notice("", "alert-triangle", title, text, RAISE)


def _recovered(session: AnalysisSession) -> Iterator[Notice]:
    told = recovery_of(session)
    if told is None or session.ended:
        return
    text = f"{told.kept_text} {told.repeated_text} {told.cost_text}"
    name = f"recovery-{session.recoveries}"
    yield Notice("info", "refresh", told.title, " ".join(text.split()), DETAILS, told=name)


def _doubt(session: AnalysisSession) -> Iterator[Notice]:
    if not session.doubt_count:
        return
    title = f"{figures.count_of(session.doubt_count, 'call was', 'calls were')} cut off."
    text = f"About {figures.money(session.in_doubt)} may have been charged; it counts as spent."
    yield Notice("info", "info-circle", title, text, told=f"doubt-{session.doubt_count}")


def _warned(session: AnalysisSession) -> Iterator[Notice]:
    if session.warnings:
        yield Notice("", "alert-triangle", str(session.warnings[0]))


def _floors(session: AnalysisSession) -> Iterator[Notice]:
    if session.notice:
        head, colon, tail = session.notice.partition(": ")
        yield Notice("info", "shield-lock", head + colon.strip(), tail)


def _away(session: AnalysisSession) -> Iterator[Notice]:
    """What waits at a provider; no query for an analysis that is not read in batches."""
    found = at_provider(session.pk) if session.params.get("bulk") else None
    if found is None or session.ended:
        return
    count = figures.count_of(found.calls, "conversation is", "conversations are")
    title = f"{count} at {found.provider}, in batches at half the price."
    text = (
        f"Sent {moment(found.sent_at)}, expected {moment(found.expected_at)} at the latest; "
        f"{found.collected:,} collected so far. Nothing needs to be done or stay open."
    )
    yield Notice("info", "clock", title, text)


URGENCY = (_failed, _blocked, _partial, _near, _away, _recovered, _doubt, _warned, _floors)


# --- A recovery -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was kept, what is repeated and what it costs, after a worker stopped."""

    at: datetime | None
    kept_batches: int
    kept: int
    repeated_batches: int
    repeated: int
    doubt_calls: int
    doubt_cost: Decimal
    over: bool

    @property
    def title(self) -> str:
        """What happened."""
        return f"A worker stopped {moment(self.at)}." if self.at else "A worker stopped."

    @property
    def kept_text(self) -> str:
        """What is safe."""
        return f"{figures.count_of(self.kept, 'conversation was', 'conversations were')} kept."

    @property
    def repeated_text(self) -> str:
        """What is done again."""
        if not self.repeated:
            return "Nothing has to be read again."
        tense = ("was", "were") if self.over else ("is being", "are being")
        return f"{self.repeated:,} {tense[self.repeated != 1]} read again."

    @property
    def cost_text(self) -> str:
        """What the repetition costs."""
        if not self.doubt_calls:
            return "It costs nothing."
        calls = figures.count_of(self.doubt_calls, "call was", "calls were")
        return f"{calls} cut off; about {figures.money(self.doubt_cost)} may be charged twice."


def recovery_of(session: AnalysisSession) -> Recovery | None:
    """The last recovery of an analysis, if it had any. No query."""
    facts: dict[str, Any] = session.recovery
    if not facts:
        return None
    return Recovery(
        at=parse_datetime(str(facts.get("at", ""))),
        kept_batches=int(facts.get("kept_batches", 0)),
        kept=int(facts.get("kept_conversations", 0)),
        repeated_batches=int(facts.get("repeated_batches", 0)),
        repeated=int(facts.get("repeated_conversations", 0)),
        doubt_calls=int(facts.get("doubt_calls", 0)),
        doubt_cost=Decimal(str(facts.get("doubt_cost") or 0)),
        over=session.status not in (SessionStatus.RUNNING, SessionStatus.QUEUED),
    )
