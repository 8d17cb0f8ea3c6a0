"""One conversation as the reader shows it: answers, what was removed, the messages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from analyses.models import AnalysisItem, AnalysisSession, ClusterMembership, Outcome
from analyses.pipeline.records import Span
from analyses.pipeline.redaction import segments
from analyses.selectors.filters import sentence
from analyses.selectors.tree import Node, Tree
from core.errors import NotFound
from templates_app.models import FacetKind

MESSAGES = 60
"""Messages shown at a time; meetings hold thousands."""

ASSISTANT_ROLES = frozenset({"assistant", "agent", "system", "tool", "bot", "support"})


STEM = 6
"""Letters of a word that must agree: "charges" finds "charged"."""

EMPTY_WORDS = frozenset({
    "about", "after", "again", "another", "before", "between", "change", "during", "from", "have",
    "help", "into", "more", "other", "over", "problem", "problems", "report", "solve", "some",
    "than", "that", "their", "them", "then", "there", "this", "through", "under", "what", "when",
    "where", "which", "while", "with", "without", "your",
})  # fmt: skip
"""Words of a cluster's name that say nothing about what it holds."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a message: text, or what kind of detail was removed from there."""

    text: str
    removed: str = ""
    marked: bool = False
    """Whether it is a word of the cluster's name: a hint why the conversation lies there."""


@dataclass(frozen=True, slots=True)
class MessageView:
    """One message, ready to be shown."""

    who: str
    ours: bool
    at: datetime | None
    parts: tuple[Part, ...]
    read: bool
    """Whether the analysis saw it; long conversations are shortened."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one facet, in words."""

    label: str
    text: str
    kind: str = ""
    yes: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """A conversation open in the reader."""

    item: AnalysisItem
    node: Node | None
    summary: str
    answers: list[Answer]
    messages: list[MessageView]
    total_messages: int
    removed: int
    raw: bool
    start: int

    @property
    def deleted(self) -> bool:
        """Whether the conversation was deleted since; its messages are then not shown."""
        return self.item.conversation.deleted_at is not None

    @property
    def following(self) -> int | None:
        """Index of the first message of the next page, if there is one."""
        after = self.start + len(self.messages)
        return after if after < self.total_messages else None


def item_for(session: AnalysisSession, position: int) -> AnalysisItem:
    """A conversation that was read; :class:`NotFound` otherwise. One query."""
    rows = session.items.filter(position=position, outcome=Outcome.READ)
    item = rows.select_related("conversation").first()
    if item is None:
        raise NotFound
    return item


def reading_of(item: AnalysisItem, tree: Tree, *, start: int = 0, raw: bool = False) -> Reading:
    """The open conversation from message ``start`` on. Two queries.

    ``raw`` shows the text as stored. Otherwise every personal detail found before the analysis
    is replaced by its kind.
    """
    answers = _answers(item)
    gone = item.conversation.deleted_at is not None
    messages: list[dict[str, Any]] = [] if gone else item.conversation.messages
    node = _node(item, tree)
    words_of = _words_of(node)
    shown = messages[start : start + MESSAGES]
    summary = next((answer.text for answer in answers if answer.kind == "summary"), "")
    return Reading(
        item=item,
        node=node,
        summary=summary,
        answers=[answer for answer in answers if answer.kind != "summary"],
        messages=[
            _message(item, start + i, message, words_of, raw=raw) for i, message in enumerate(shown)
        ],
        total_messages=len(messages),
        removed=len(item.spans),
        raw=raw,
        start=start,
    )


def _node(item: AnalysisItem, tree: Tree) -> Node | None:
    row = ClusterMembership.objects.filter(item=item).select_related("cluster").first()
    return tree.by_key.get(row.cluster.key) if row and not tree.provisional else None


def _answers(item: AnalysisItem) -> list[Answer]:
    values = item.values.select_related("facet").order_by("facet__order")
    found = []
    for value in values:
        facet = value.facet
        kind = "summary" if facet.key == "summary" else facet.kind
        text = words(value.value, facet.kind, facet.high)
        found.append(Answer(facet.label, text, kind, value.value is True))
    return found


def words(value: object, kind: str, high: int = 5) -> str:
    """An answer in words: "Yes", "4 of 5", "Refund, invoice", "Not known"."""
    if value is None or value in ("", []):
        return "Not known"
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, float | int):
        return f"{value:g} of {high}"
    if isinstance(value, list | tuple):
        return ", ".join(str(entry) for entry in value)
    return sentence(str(value)) if kind == FacetKind.CATEGORY else str(value)


def _message(
    item: AnalysisItem,
    turn: int,
    message: dict[str, Any],
    words_of: re.Pattern[str] | None,
    *,
    raw: bool,
) -> MessageView:
    role = str(message.get("role", ""))
    text = str(message.get("content", ""))
    spans = [] if raw else [Span(*span) for span in item.spans if span[0] == turn]
    return MessageView(
        who=sentence(role) or "Unknown",
        ours=role.lower() in ASSISTANT_ROLES,
        at=_moment(message.get("ts")),
        parts=tuple(_parts(text, spans, words_of)),
        read=not item.kept_to or item.kept_from <= turn < item.kept_to,
    )


def _moment(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value)) if value else None
    except ValueError:
        return None


def _parts(text: str, spans: Sequence[Span], words_of: re.Pattern[str] | None) -> list[Part]:
    parts: list[Part] = []
    for piece, kind in segments(text, spans):
        if kind is not None:
            parts.append(Part("", kind.replace("_", " ")))
        else:
            parts += _marked(piece, words_of)
    return parts


def _marked(text: str, words_of: re.Pattern[str] | None) -> list[Part]:
    """The text cut at words of the cluster's name, which are marked."""
    if words_of is None:
        return [Part(text)]
    pieces = words_of.split(text)  # odd places hold what the pattern's one group found
    return [Part(piece, marked=bool(i % 2)) for i, piece in enumerate(pieces) if piece]


def _words_of(node: Node | None) -> re.Pattern[str] | None:
    """Finds the telling words of a cluster's name, whatever their ending."""
    if node is None:
        return None
    found = {word.lower() for word in re.findall(r"[^\W\d_]{4,}", node.cluster.name)}
    stems = sorted({word[:STEM] for word in found - EMPTY_WORDS})
    if not stems:
        return None
    return re.compile(rf"\b((?:{'|'.join(map(re.escape, stems))})\w*)", re.IGNORECASE)
