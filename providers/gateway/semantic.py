"""Answers to nearly the same question, used again only where that was shown to be right.

Two questions are near when they share project, purpose, prompt version, model, schema and
instructions, name the same numbers, negations and proper names, and their texts are almost equal.
Likeness of wording alone is not enough: "cancel order 12" and "do not cancel order 12" are close
in every vector space, hence the guard. A route first watches (``shadow``): the stored answer is
compared with the bought one, and only a route whose agreement is high enough may answer, with a
sample still bought to keep watching.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from providers.gateway.fingerprint import canonical
from providers.gateway.journal import StoredAnswer
from providers.gateway.types import CallScope, ChatCall, Deployment, Route

Vector = npt.NDArray[np.float32]

NEAR = 0.97
"""Least cosine of two texts that count as nearly the same."""

WIDTH = 1024
"""Numbers of a vector of hashed character 3- to 5-grams."""

LONGEST = 20_000
"""Characters of a question that are compared; longer ones never match another."""

LEAST_COMPARED = 50
"""Comparisons before a route's agreement counts."""

LEAST_AGREEMENT = 0.95
"""Lower 95 % bound of the agreement (Wilson) from which a route may answer."""

WATCHED = 20
"""One in so many near questions is bought all the same, so that agreement stays known."""

LIKE_TEXT = 0.9
"""Least cosine of two free texts that say the same."""

_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_NAME = re.compile(r"(?<![.!?\n]\s)(?<!^)\b[A-ZÄÖÜÉÈÀÇÑ][\w'-]+|\S+@\S+", re.MULTILINE)
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nothing|neither|nor|without|cannot|\w+n't|"
    r"nicht|kein\w*|nie|niemals|nichts|ohne|"
    r"ne|pas|jamais|sans|aucun\w*|rien|nunca|nada|sin|tampoco|non|mai|senza|não|sem|niet|geen)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Question:
    """What of a call must be equal (``space``, ``guard``) and what may differ a little."""

    purpose: str
    space: str
    guard: str
    text: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored question's vector, the model that answered it and the answer."""

    vector: Vector
    deployment: str
    fingerprint: str
    answer: StoredAnswer


@dataclass(frozen=True, slots=True)
class Near:
    """The nearest stored question, and whether its answer may be used."""

    kept: Kept
    cosine: float
    usable: bool


@dataclass(frozen=True, slots=True)
class Lesson:
    """A bought answer (``bought``, in the journal under ``fingerprint``), and what a near question
    that was found before had ``stored``, if one was found and could be read."""

    call: ChatCall
    target: Deployment
    fingerprint: str
    bought: Mapping[str, Any]
    near: Near | None = None
    stored: Mapping[str, Any] | None = None


class SemanticStore(Protocol):
    """Where questions live. Called from one thread of its own."""

    def near(self, workspace: int, project: int, question: Question) -> Sequence[Kept]:
        """Stored questions of the same space and guard whose answers are still kept."""
        ...

    def add(
        self, workspace: int, project: int, question: Question, vector: Vector, fingerprint: str
    ) -> None:
        """Keep a question under the journal row that answers it."""
        ...

    def agreement(self, workspace: int, purpose: str) -> tuple[int, int]:
        """How many stored answers were compared with bought ones, and how many agreed."""
        ...

    def compared(self, workspace: int, purpose: str, agreed: bool) -> None:
        """Count one comparison."""
        ...

    def used(self, workspace: int, project: int, purpose: str, answer: StoredAnswer) -> None:
        """Count one answer that was used instead of bought."""
        ...

    def close(self) -> None:
        """Give back what the thread holds."""
        ...


class SemanticCache:
    """The semantic cache of one gateway; a failing store means no answer from it, never an error.

    Only calls inside a project take part: nothing is shared between projects.
    """

    def __init__(self, store: SemanticStore) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="semantic")

    async def find(
        self, call: ChatCall, target: Deployment, route: Route, scope: CallScope
    ) -> Near | None:
        """The nearest stored question, ``None`` when the route does not look or none is near."""
        if route.semantic == "off" or scope.project is None:
            return None
        near: Near | None = await self._in_thread(self._find, call, target, route.semantic, scope)
        return near

    async def learn(self, lesson: Lesson, scope: CallScope) -> None:
        """Keep a bought answer; if a stored one was near, count whether they say the same."""
        await self._in_thread(self._learn, lesson, scope)

    async def used(self, call: ChatCall, scope: CallScope, near: Near) -> None:
        """Count an answer that was used."""
        await self._in_thread(
            self._store.used, scope.workspace, scope.project or 0, call.purpose, near.kept.answer
        )

    async def aclose(self) -> None:
        """Let the store and its thread go."""
        await self._in_thread(self._store.close)
        self._thread.shutdown(wait=True)

    async def _in_thread(self, act: Any, *args: Any) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, act, *args)
        except Exception:  # noqa: BLE001 - a cache that fails is a cache without an answer
            return None

    def _find(self, call: ChatCall, target: Deployment, mode: str, scope: CallScope) -> Near | None:
        question = question_of(call, target)
        if len(question.text) > LONGEST:
            return None
        kept = self._store.near(scope.workspace, scope.project or 0, question)
        if not kept:
            return None
        cosines = np.stack([one.vector for one in kept]) @ vector_of(question.text)
        best = int(np.argmax(cosines))
        if cosines[best] < NEAR:
            return None
        found, cosine = kept[best], float(cosines[best])
        return Near(found, cosine, mode == "on" and self._may_answer(scope, question, found))

    def _may_answer(self, scope: CallScope, question: Question, found: Kept) -> bool:
        compared, agreed = self._store.agreement(scope.workspace, question.purpose)
        return proven(compared, agreed) and not watched(question, found)

    def _learn(self, lesson: Lesson, scope: CallScope) -> None:
        question = question_of(lesson.call, lesson.target)
        if lesson.near is not None and lesson.stored is not None:
            agreed = same(lesson.bought, lesson.stored)
            self._store.compared(scope.workspace, question.purpose, agreed)
        if len(question.text) <= LONGEST:
            vector = vector_of(question.text)
            project = scope.project or 0
            self._store.add(scope.workspace, project, question, vector, lesson.fingerprint)


def question_of(call: ChatCall, target: Deployment) -> Question:
    """Splits a call: the last message of the person may differ, all the rest must be equal."""
    last = max((i for i, message in enumerate(call.messages) if message.role == "user"), default=-1)
    text = call.messages[last].content if last >= 0 else ""
    rest = [[message.role, message.content] for i, message in enumerate(call.messages) if i != last]
    space = [
        call.purpose,
        call.prompt_version,
        call.schema,
        call.max_tokens,
        call.temperature,
        rest,
        target.provider,
        target.model,
    ]
    return Question(
        call.purpose,
        hashlib.sha256(canonical(space)).hexdigest(),
        hashlib.sha256(canonical(guard_of(text))).hexdigest(),
        text,
    )


def guard_of(text: str) -> list[list[str]]:
    """Numbers, negations and proper names of a text, in order of the alphabet, with repeats."""
    return [
        sorted(_NUMBER.findall(text)),
        sorted(word.lower() for word in _NEGATION.findall(text)),
        sorted(_NAME.findall(text)),
    ]


def vector_of(text: str) -> Vector:
    """Hashed character 3- to 5-grams, unit length (Weinberger et al., 2009, the hashing trick)."""
    row = _hashing().transform([text])
    vector: Vector = row.toarray()[0].astype(np.float32)
    return vector


@lru_cache(maxsize=1)
def _hashing() -> Any:
    # Imported late: most processes never look for near questions.
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), n_features=WIDTH, norm="l2")


def proven(compared: int, agreed: int) -> bool:
    """Whether so many agreements out of so many are enough to answer."""
    return compared >= LEAST_COMPARED and wilson_low(compared, agreed) >= LEAST_AGREEMENT


def wilson_low(compared: int, agreed: int) -> float:
    """Lower bound of a share with 95 % confidence (Wilson, 1927, eq. 7 with z = 1.96)."""
    if not compared:
        return 0.0
    z, share = 1.96, agreed / compared
    middle = share + z * z / (2 * compared)
    spread = z * math.sqrt(share * (1 - share) / compared + z * z / (4 * compared * compared))
    return (middle - spread) / (1 + z * z / compared)


def watched(question: Question, found: Kept) -> bool:
    """Whether this near question is bought all the same; the same one always is or never."""
    draw = hashlib.sha256(f"{question.text}\n{found.fingerprint}".encode("utf-8", "replace"))
    return int.from_bytes(draw.digest()[:4]) % WATCHED == 0


def same(bought: Mapping[str, Any], stored: Mapping[str, Any]) -> bool:
    """Whether two answers say the same: equal values, and texts that are much alike."""
    if set(bought) != set(stored):
        return False
    return all(_alike(value, stored[key]) for key, value in bought.items())


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        if one == other:
            return True
        long = min(len(one), len(other)) > 20
        same_facts = guard_of(one)[:2] == guard_of(other)[:2]
        return long and same_facts and float(vector_of(one) @ vector_of(other)) >= LIKE_TEXT
    return bool(one == other)
