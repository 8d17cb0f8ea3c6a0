"""What people say is wrong with a thing: "the parcel has not arrived", "a declined card"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from analyses.pipeline.local.grammar import Phrase, base_form
from analyses.pipeline.local.words import word_set, words

AHEAD = 6
"""Words after a phrase within which its predicate is looked for."""

Kind = Literal["state", "does", "not", "unseen"]

STATES = word_set(
    "late slow wrong broken missing stuck empty dead offline damaged duplicate double faulty "
    "defective lost blocked locked expired invalid incomplete unavailable frozen blank unreadable "
    "incorrect stolen declined rejected delayed pending overcharged failed unknown unexpected "
    "unrecognised unauthorised refused forgotten swapped cracked torn scratched disabled deducted "
    "compromised unsuccessful reverted swallowed"
)
_HAPPENS = word_set(
    "arrive appear work crash drain respond expire disappear fail freeze hang overheat disconnect "
    "blink drop vanish load pair sync decline charge deduct reject refuse lose come turn go open "
    "start stop show update connect match leak beep overlap jump restart reset ship deliver"
)
_AFTER = word_set("stuck offline unknown frozen blank down late slow unavailable swallowed")
"""States said after a thing, not in front of it."""

_EVENTS = (
    (re.compile(r"\b(?:charg|bill|debit|deduct|paid|pay)\w*\b.{0,40}\b(?:twice|two times|double|2x)\b"
                r"|\b(?:double|duplicate|two|second)\b.{0,20}\b(?:charge|debit|payment|withdrawal)", re.I),
     "charge", "double"),
    (re.compile(r"\block\w* (?:me |us )?out\b|\baccount\b.{0,30}\b(?:locked|blocked|suspended)", re.I),
     "account", "locked"),
)  # fmt: skip
"""Everyday mishaps that people word in many ways, as the thing and its state."""

_AUXILIARY = word_set(
    "is are was were has have had been be being isn't wasn't hasn't haven't aren't weren't not "
    "never keeps kept keep does do did doesn't don't didn't won't can't cannot couldn't still just "
    "already always again now only simply suddenly yet even will would seems to get gets got it "
    "that which also both"
)
_NEGATION = word_set(
    "not never isn't wasn't hasn't haven't aren't weren't doesn't don't didn't won't can't cannot "
    "couldn't nothing no nowhere doesnt dont didnt wont cant isnt hasnt"
)
_TROUBLE = word_set(
    "problem problems issue issues error errors fails failing crashes drains wrong trouble unable "
    "instead weeks twice still nothing empty without gone"
)
_AWAITED = word_set("received receive got get seen see arrived find reflected showing waiting")
_IRREGULAR = {"comes": "come", "goes": "go", "shows": "show", "loses": "lose", "came": "come"}


@dataclass(frozen=True, slots=True)
class Problem:
    """``kind`` and word of what is wrong: a state, something done, not done, or not seen."""

    kind: Kind
    word: str

    def about(self, thing: str) -> str:
        """A name for the problem with ``thing`` (without article), after "Report "."""
        if self.kind == "state":
            return f"{thing} that is {self.word}" if self.word in _AFTER else f"{self.word} {thing}"
        if self.kind == "unseen":
            return f"missing {thing}"
        if self.kind == "not":
            return f"{thing} that does not {self.word}"
        return f"{thing} that {_third(self.word)}"


def events_of(text: str) -> frozenset[tuple[tuple[str, ...], Problem]]:
    """Everyday mishaps a text speaks of, such as being charged twice."""
    return frozenset(
        ((thing,), Problem("state", state)) for rule, thing, state in _EVENTS if rule.search(text)
    )


def in_trouble(text: str) -> bool:
    """Whether a text says that something is not as it should be."""
    present = set(words(text))
    return bool(present & (_NEGATION | STATES | _TROUBLE))


def _third(verb: str) -> str:
    if verb.endswith(("ch", "sh", "x", "s", "o")):
        return f"{verb}es"
    return f"{verb}s"


def problem_of(phrase: Phrase, parts: Sequence[str]) -> Problem | None:
    """What the words before and after a phrase say is wrong with it; ``None`` if nothing."""
    if phrase.state:
        return Problem("state", phrase.state)
    return _after(phrase, parts) or _before(phrase, parts)


def _before(phrase: Phrase, parts: Sequence[str]) -> Problem | None:
    """A thing that was not got: "haven't received my card", "no reset mail"."""
    before = [part.lower() for part in parts[max(0, phrase.start - 5) : phrase.start]]
    if phrase.determiner == "no" or {"waiting", "where"} & set(before[-4:]):
        return Problem("unseen", "missing")
    negated = any(word in _NEGATION for word in before)
    return Problem("unseen", "missing") if negated and _AWAITED & set(before) else None


def _after(phrase: Phrase, parts: Sequence[str]) -> Problem | None:
    negated = False
    passive = False
    for part in parts[phrase.end : phrase.end + AHEAD]:
        word = part.lower()
        if word in STATES:
            return None if negated else Problem("state", word)
        base = _base(word)
        if base and word not in ("do", "does", "did", "keep", "keeps"):
            return _predicate(word, base, negated=negated, passive=passive)
        if word not in _AUXILIARY and not word.endswith("ly"):
            return None
        negated = negated or word in _NEGATION
        passive = passive or word in ("been", "was", "were", "is", "are", "being")
    return None


def _predicate(word: str, base: str, *, negated: bool, passive: bool) -> Problem | None:
    done = word.endswith("ed")
    if done and passive:
        return Problem("unseen", word) if negated else None
    if negated:
        return Problem("not", base)
    return Problem("does", base) if base in ("crash", "drain", "expire", "disappear", "fail",
        "freeze", "hang", "overheat", "disconnect", "drop", "vanish", "leak", "beep", "overlap",
        "restart", "blink") else None  # fmt: skip


def _base(word: str) -> str:
    for form in (word, _IRREGULAR.get(word, ""), word[:-1] if word.endswith("s") else "",
                 word[:-2] if word.endswith("es") else ""):  # fmt: skip
        if form in _HAPPENS:
            return form
    for ending, instead in (("ing", ""), ("ing", "e"), ("ed", ""), ("ed", "e")):
        stem = word[: -len(ending)] + instead
        if word.endswith(ending) and (stem in _HAPPENS or stem[:-1] in _HAPPENS):
            return stem if stem in _HAPPENS else stem[:-1]
    return base_form(word) if word.endswith(("ed", "ing")) else ""
