"""First stage: personal details out, language, tokens, and a length a model can take."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import groupby
from typing import Any, ClassVar

from pydantic import Field

from analyses.pipeline.base import Context, StageParams
from analyses.pipeline.language import detect_language
from analyses.pipeline.records import Prepared, Source, Span, Turn
from analyses.pipeline.redaction import apply_spans, clean_text, redact_turns, speaker_labels
from analyses.pipeline.tokens import count_tokens, cut_tokens

_CHUNK = 16
"""Conversations computed in one go before looking at the stop flag again."""

# Of the room for a long conversation this share goes to its beginning: the request is there, while
# the outcome needs only the last turns.
_HEAD = 0.6


class PrepareParams(StageParams):
    """``max_tokens`` bounds what a model is given of one conversation; ``redact`` is for tests of
    data that was cleaned before and costs nothing to leave on."""

    max_tokens: int = Field(default=6000, ge=50, le=1_000_000)
    redact: bool = True


def redacted(turns: Sequence[Turn], spans: Iterable[Span]) -> tuple[Turn, ...]:
    """The turns as a model may see them: spans replaced, hidden characters and names of speakers
    gone."""
    by_turn = {index: list(group) for index, group in groupby(spans, key=lambda span: span.turn)}
    roles = list(dict.fromkeys(turn.role for turn in turns))
    labels = speaker_labels(roles)
    shown = {role: labels.get(role, clean_text(role)) for role in roles}
    result = []
    for index, turn in enumerate(turns):
        role, text = shown[turn.role], clean_text(apply_spans(turn.text, by_turn.get(index, ())))
        same = role == turn.role and text == turn.text
        result.append(turn if same else Turn(role, text, turn.at))
    return tuple(result)


def _fit(turns: Sequence[Turn], limit: int) -> tuple[list[Turn], list[int]]:
    """Turns with any monster among them cut, and their token counts."""
    longest = limit if len(turns) == 1 else max(1, limit // 2)
    kept: list[Turn] = []
    counts: list[int] = []
    for turn in turns:
        count = count_tokens(turn.text)
        if count > longest:
            turn = Turn(turn.role, cut_tokens(turn.text, longest), turn.at)
            count = count_tokens(turn.text)
        kept.append(turn)
        counts.append(count)
    return kept, counts


def _gap(counts: Sequence[int], limit: int) -> tuple[int, int]:
    """Half-open range of turns in the middle to leave out so that the rest fits ``limit``."""
    head, used = 0, 0
    while head < len(counts) and used + counts[head] <= limit * _HEAD:
        used += counts[head]
        head += 1
    tail = len(counts)
    while tail > head and used + counts[tail - 1] <= limit:
        used += counts[tail - 1]
        tail -= 1
    while head < tail and used + counts[head] <= limit:
        used += counts[head]
        head += 1
    return head, tail


def shorten(turns: Sequence[Turn], limit: int) -> tuple[tuple[Turn, ...], tuple[int, int], int]:
    """``(kept turns, half-open range left out, tokens kept)`` for a room of ``limit`` tokens.

    Whole turns go from the middle; only a turn that alone exceeds its room is cut, at a word
    border. The range is empty when every turn survived.
    """
    # No token is longer than its text in bytes, so short conversations are never cut.
    fitted, counts = (
        (list(turns), [count_tokens(turn.text) for turn in turns])
        if sum(len(turn.text) for turn in turns) * 4 <= limit
        else _fit(turns, limit)
    )
    if sum(counts) <= limit:
        return tuple(fitted), (0, 0), sum(counts)
    first, last = _gap(counts, limit)
    tokens = sum(counts[:first]) + sum(counts[last:])
    return (*fitted[:first], *fitted[last:]), (first, last), tokens


def prepare_one(source: Source, params: PrepareParams) -> Prepared:
    """One conversation made ready; a pure function of its arguments."""
    spans = redact_turns(source.turns) if params.redact else ()
    turns = redacted(source.turns, spans)
    language = detect_language(turns)
    kept, dropped, tokens = shorten(turns, params.max_tokens)
    return Prepared(
        position=source.position,
        turns=kept,
        spans=spans,
        kept=(0, len(source.turns)) if dropped[1] < len(turns) else (0, dropped[0]),
        dropped=dropped,
        tokens=tokens,
        language=language,
    )


def _prepare_many(sources: Sequence[Source], params: PrepareParams) -> list[Prepared]:
    return [prepare_one(source, params) for source in sources]


class PrepareStage:
    """Yields one :class:`Prepared` for every :class:`Source`, in their order."""

    key: ClassVar[str] = "prepare"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ()
    Params: ClassVar[type[StageParams]] = PrepareParams

    def __init__(self, params: PrepareParams | None = None) -> None:
        self.params = params or PrepareParams()

    async def run(self, inputs: Sequence[Source], context: Context) -> AsyncIterator[Prepared]:
        """Prepare the conversations; :class:`Stopped` is looked for between chunks."""
        for start in range(0, len(inputs), _CHUNK):
            context.check()
            chunk = inputs[start : start + _CHUNK]
            ready: Any = await context.compute(_prepare_many, chunk, self.params)
            for prepared in ready:
                yield prepared
            context.report(start + len(chunk), len(inputs))
