"""Putting the finders together: spans of personal detail in a conversation or a text."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from analyses.pipeline.records import Span, Turn
from analyses.pipeline.redaction import addresses, introductions, names, numbers
from analyses.pipeline.redaction.addresses import Found
from analyses.pipeline.redaction.hostile import TURN_BREAK, View, fold_width, readable
from analyses.pipeline.redaction.streets import streets

KINDS = (
    "secret",
    "link",
    "email",
    "iban",
    "card",
    "id",
    "account",
    "ip",
    "phone",
    "birthdate",
    "address",
    "name",
)
"""All kinds of personal detail; where two overlap, the earlier one names the removed stretch."""

PLACEHOLDER = re.compile(rf"\[(?:{'|'.join(KINDS)}) removed\]")
"""Matches what redaction leaves behind, for code that reads redacted text."""

_RANK = {kind: rank for rank, kind in enumerate(KINDS)}
_DIGIT = re.compile("[0-9]")


def replacement(kind: str) -> str:
    """The words that stand in for a removed detail, such as ``[email removed]``."""
    return f"[{kind} removed]"


def _lower(text: str) -> str:
    """Lower case of the same length, so that positions agree (U+0130 lowers to two)."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)


def _direct(text: str, lower: str) -> Iterator[Found]:
    yield from addresses.secrets(text, lower)
    yield from addresses.links(text, lower)
    yield from addresses.emails(text, lower)
    if _DIGIT.search(text):
        yield from numbers.codes(text, lower)
        yield from numbers.digit_runs(text, lower)
        yield from streets(text, lower)
    yield from addresses.networks(text)


def _merged(found: list[Found]) -> list[Found]:
    """Sorted, with overlapping stretches joined so that no part of either stays visible."""
    result: list[Found] = []
    for start, end, kind in sorted(found):
        if result and start < result[-1][1]:
            first, last, before = result[-1]
            best = min(before, kind, key=_RANK.__getitem__)
            result[-1] = (first, max(last, end), best)
        elif start < end:
            result.append((start, end, kind))
    return result


def _joined_found(turns: Sequence[tuple[str, str]], known: Sequence[str]) -> list[Found]:
    """Findings in the turns joined by :data:`TURN_BREAK`; ``known`` are names from labels."""
    text = fold_width(TURN_BREAK.join(body for _, body in turns))
    lower = _lower(text)
    found = list(_direct(text, lower))
    people = [*introductions.introductions(text, lower), *introductions.beside(text, found)]
    if len(turns) > 1:
        starts = [0, *accumulate(len(body) + 1 for _, body in turns)]
        for index, start, end in names.answers(turns):
            people.append((starts[index] + start, starts[index] + end, "name"))
    found += people
    spoken = {text[start:end] for start, end, _ in people}
    if spoken or known:
        found += names.mentions(text, [*sorted(spoken), *known])
    return _merged(found)


def _spans(views: Sequence[View], found: Sequence[Found]) -> Iterator[Span]:
    starts = [0, *accumulate(len(view.text) + 1 for view in views)]
    for start, end, kind in found:
        turn = bisect_right(starts, start) - 1
        view = views[turn]
        first, last = start - starts[turn], min(end - starts[turn], len(view.text))
        if first < last:
            yield Span(turn, *view.original(first, last), kind)


def redact_turns(turns: Sequence[Turn]) -> tuple[Span, ...]:
    """Personal details in a conversation, in reading order and never overlapping.

    Positions refer to the texts as they came in. The same turns always give the same spans.
    Linear in the length of the texts.
    """
    if not turns:
        return ()
    views = [readable(turn.text) for turn in turns]
    pairs = [(turn.role, view.text) for turn, view in zip(turns, views, strict=True)]
    labels = names.speaker_labels([turn.role for turn in turns])
    return tuple(_spans(views, _joined_found(pairs, [names.label_name(role) for role in labels])))


def redact_text(text: str) -> tuple[str, frozenset[str]]:
    """A single text without personal details, and the kinds that were found in it."""
    spans = redact_turns((Turn("assistant", text),))
    return apply_spans(text, spans), frozenset(span.kind for span in spans)


def segments(text: str, spans: Sequence[Span]) -> list[tuple[str, str | None]]:
    """``text`` cut at ``spans`` (of this one turn): ``(piece, kind)``, kind ``None`` outside.

    The pieces joined give the text again. Spans that do not fit the text are left out, so that
    a text changed since never shows a wrong cut.
    """
    pieces: list[tuple[str, str | None]] = []
    last = 0
    for span in sorted(spans, key=lambda item: item.start):
        if not last <= span.start < span.end <= len(text):
            continue
        if span.start > last:
            pieces.append((text[last : span.start], None))
        pieces.append((text[span.start : span.end], span.kind))
        last = span.end
    if last < len(text):
        pieces.append((text[last:], None))
    return pieces


def apply_spans(text: str, spans: Sequence[Span]) -> str:
    """``text`` with every span of this turn replaced by words such as ``[email removed]``."""
    if not spans:
        return text
    return "".join(
        piece if kind is None else replacement(kind) for piece, kind in segments(text, spans)
    )
