"""Second stage: all facets of a conversation in one structured call.

The gateway validates an answer against the schema and repairs it once; this stage still turns
every value into its type itself, because a model's answer is data from outside.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from analyses.pipeline import prompts
from analyses.pipeline.base import CallFailed, ChatRequest, Context, Message, StageParams
from analyses.pipeline.inflight import as_answered
from analyses.pipeline.records import FacetAnswer, FacetSpec, FacetsRead, ItemFailed, Prepared
from analyses.pipeline.redaction import PLACEHOLDER, clean_text, redact_text

SHIPPED_FACETS: tuple[FacetSpec, ...] = (
    FacetSpec(
        key="request",
        label="Request",
        question=(
            "What did the person who started it want? One phrase that begins with a verb in the "
            "imperative, such as 'Change the date of a flight'. In a meeting: its purpose."
        ),
        kind="text",
    ),
    FacetSpec(
        key="task",
        label="Task",
        question=(
            "What did the assistant, agent or group actually do? One phrase that begins with a "
            "verb, such as 'Explained the refund rules'."
        ),
        kind="text",
    ),
    FacetSpec(
        key="summary",
        label="Summary",
        question="What happened, from the request to the outcome? Two sentences.",
        kind="text",
    ),
    FacetSpec(
        key="language",
        label="Language",
        question="Which language is most of it in? The English name of the language.",
        kind="category",
    ),
    FacetSpec(
        key="sentiment",
        label="Sentiment",
        question=(
            "How did the person who started it feel about how it went? 'mixed' only if it clearly "
            "changed or pointed both ways."
        ),
        kind="category",
        choices=("positive", "neutral", "negative", "mixed"),
    ),
    FacetSpec(
        key="concern",
        label="Concern",
        question=(
            "How much does it call for somebody's attention? 1: everyday, nothing to look at. "
            "2: slight friction or a small annoyance. 3: a real problem, an upset person, or a "
            "request in a grey area. 4: serious: threats to leave or to sue, likely fraud, advice "
            "that could harm, a security weakness. 5: urgent: danger to a person, abuse, a crime "
            "planned or under way."
        ),
        kind="score",
    ),
    FacetSpec(
        key="resolved",
        label="Resolved",
        question="Did the person get what they came for by the end?",
        kind="boolean",
    ),
)
"""The questions every analysis asks unless its template leaves them out."""

_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")
_ANSWER_TOKENS = {"text": 160, "category": 24, "score": 12, "boolean": 12, "list": 120}
# A sentence ends at a full stop that closes a word of some length ("e.g." does not) or at the
# stops of other scripts.
_SENTENCE_END = re.compile(
    r"(?:(?<=[^\W\d_]{2})|(?<=[\d)\"'”’]))[.!?](?=\s+\S)|[。！？।؟](?=\s*\S)"
)
_SPACES = re.compile(r"\s+")
_TRUE = frozenset({"true", "yes", "1", "resolved"})
_FALSE = frozenset({"false", "no", "0", "unresolved"})
_NUMBER = re.compile(r"-?\d{1,6}(?:\.\d{1,6})?")


class FacetsParams(StageParams):
    """``facets`` are asked together in one call; ``output_language`` is an English name of the
    language answers are written in; ``instructions`` are the template's own words."""

    facets: tuple[FacetSpec, ...] = Field(default=SHIPPED_FACETS, min_length=1, max_length=40)
    output_language: str = Field(default="English", min_length=2, max_length=40)
    instructions: str = Field(default="", max_length=4000)

    @model_validator(mode="after")
    def _check(self) -> Self:
        keys = [spec.key for spec in self.facets]
        if len(set(keys)) != len(keys):
            raise ValueError("Two facets have the same key.")
        for spec in self.facets:
            if not _KEY.fullmatch(spec.key):
                raise ValueError(f"{spec.key!r} is not a facet key: use a-z, 0-9 and _.")
            if spec.kind == "score" and spec.low >= spec.high:
                raise ValueError(f"The range of {spec.key} is empty.")
        return self


@lru_cache(maxsize=8)
def _asked(params: FacetsParams) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    """What is the same in every call of an analysis: system text, schema, facets as data."""
    return (
        prompts.facets_system(params.facets, params.output_language, params.instructions),
        prompts.facets_schema(params.facets),
        [spec.model_dump(mode="json") for spec in params.facets],
    )


def facets_request(prepared: Prepared, params: FacetsParams) -> ChatRequest:
    """The call for one conversation; a pure function, so a replay has the same fingerprint."""
    system, schema, specs = _asked(params)
    return ChatRequest(
        purpose="facets",
        messages=(
            Message("system", system),
            Message("user", prompts.facets_user(prepared.turns, prepared.dropped)),
        ),
        schema=schema,
        payload={
            "turns": [{"role": turn.role, "text": turn.text} for turn in prepared.turns],
            "language": prepared.language,
            "facets": specs,
        },
        prompt_version=prompts.FACETS_VERSION,
        max_tokens=100 + sum(_ANSWER_TOKENS[spec.kind] for spec in params.facets),
    )


def two_sentences(text: str, limit: int = prompts.TEXT_CHARACTERS) -> str:
    """At most two sentences and ``limit`` characters of ``text``, cut at a border."""
    text = _SPACES.sub(" ", text).strip()
    ends = [match.end() for match in _SENTENCE_END.finditer(text[: 4 * limit])]
    if len(ends) > 1:
        text = text[: ends[1]]
    if len(text) <= limit:
        return text
    if ends and ends[0] <= limit:
        return text[: ends[0]]
    cut = text[: limit - 1]
    return f"{cut[: cut.rfind(' ')] if ' ' in cut[limit // 2 :] else cut}…"


def _words(value: object, limit: int) -> str | None:
    """A text answer without personal details and hidden characters; ``None`` if it is no text."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    text = two_sentences(clean_text(str(value)[: 8 * limit]), limit)
    clean, kinds = redact_text(text)
    return clean if kinds else text


def _text(value: object, spec: FacetSpec) -> FacetAnswer:
    return _words(value, prompts.TEXT_CHARACTERS)


def _category(value: object, spec: FacetSpec) -> FacetAnswer:
    text = _words(value, prompts.LABEL_CHARACTERS)
    if text is None or not text.strip(" .\"'"):
        return None
    text = text.strip(" .\"'")
    if not spec.choices:
        return text[0].upper() + text[1:]
    known = {choice.casefold(): choice for choice in spec.choices}
    return known.get(text.casefold())


def _score(value: object, spec: FacetSpec) -> FacetAnswer:
    if isinstance(value, str):
        match = _NUMBER.match(value.strip())
        value = float(match.group()) if match else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(round(value)) if spec.low <= value <= spec.high else None


def _boolean(value: object, spec: FacetSpec) -> FacetAnswer:
    if isinstance(value, bool):
        return value
    word = str(value).strip().casefold()
    return True if word in _TRUE else False if word in _FALSE else None


def _list(value: object, spec: FacetSpec) -> FacetAnswer:
    items = value if isinstance(value, list | tuple) else [value]
    texts = (_words(item, prompts.LABEL_CHARACTERS) for item in items[: 4 * prompts.LIST_ITEMS])
    named = (text for text in texts if text and PLACEHOLDER.sub("", text).strip())
    return tuple(dict.fromkeys(named))[: prompts.LIST_ITEMS]


_COERCE: dict[str, Callable[[object, FacetSpec], FacetAnswer]] = {
    "text": _text,
    "category": _category,
    "score": _score,
    "boolean": _boolean,
    "list": _list,
}


def typed_values(
    answer: Mapping[str, Any], specs: Sequence[FacetSpec]
) -> dict[str, FacetAnswer] | None:
    """The answer as typed values, or ``None`` when nothing in it is usable.

    A value that cannot be read as its type, lies outside its range or is none of its choices
    becomes ``None``; the others stay.
    """
    values = {spec.key: _COERCE[spec.kind](answer.get(spec.key), spec) for spec in specs}
    usable = any(value is not None and value != "" and value != () for value in values.values())
    return values if usable else None


async def read_one(
    prepared: Prepared, params: FacetsParams, context: Context
) -> FacetsRead | ItemFailed:
    """Read one conversation. A failed call gives :class:`ItemFailed`; a fatal one is raised.

    Conversations without any text are not sent.
    """
    if not any(turn.text.strip() for turn in prepared.turns):
        return ItemFailed(prepared.position, "empty", "The conversation has no text.")
    try:
        answer = await context.chat(facets_request(prepared, params))
    except CallFailed as error:
        if error.fatal:
            raise
        return ItemFailed(prepared.position, error.error_class, error.message)
    values = typed_values(answer.data, params.facets)
    if values is None:
        return ItemFailed(prepared.position, "bad_answer", "The answer had no usable value.")
    return FacetsRead(
        position=prepared.position,
        values=values,
        model=answer.model,
        tokens_in=answer.tokens_in,
        tokens_out=answer.tokens_out,
        cost=answer.cost,
    )


class FacetsStage:
    """Yields :class:`FacetsRead` or :class:`ItemFailed` for every :class:`Prepared`, as answered."""

    key: ClassVar[str] = "facets"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("prepare",)
    Params: ClassVar[type[StageParams]] = FacetsParams

    def __init__(self, params: FacetsParams | None = None) -> None:
        self.params = params or FacetsParams()

    async def read_one(self, prepared: Prepared, context: Context) -> FacetsRead | ItemFailed:
        """:func:`read_one` with this stage's parameters."""
        return await read_one(prepared, self.params, context)

    async def run(
        self, inputs: Sequence[Prepared], context: Context
    ) -> AsyncIterator[FacetsRead | ItemFailed]:
        """Read the conversations, at most ``context.concurrency`` at once.

        Raises :class:`CallFailed` when a call failed in a way every other would too.
        """

        async def read(prepared: Prepared) -> FacetsRead | ItemFailed:
            return await self.read_one(prepared, context)

        done = 0
        async for result in as_answered(inputs, read, context):
            done += 1
            yield result
            context.report(done, len(inputs))
