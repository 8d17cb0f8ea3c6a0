"""Names of people in answers and in speaker labels, and every other mention of a known name.

A name that was introduced anywhere is then removed from every turn of the conversation. Rules
only, no model: names nobody introduces stay, which is why summaries are told to leave out names
and the last check reads every cluster text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from analyses.pipeline.redaction.addresses import Found
from analyses.pipeline.redaction.hostile import holds
from analyses.pipeline.redaction.introductions import possible
from analyses.pipeline.redaction.phrases import WORD, WORDS
from analyses.pipeline.redaction.words import (
    AMBIGUOUS,
    GIVEN_NAMES,
    NOT_NAMES,
    NOT_PEOPLE,
    OFFICE,
    PARTICLES,
    ROLE_WORDS,
)

KEPT_ROLES = frozenset({"customer", "agent", "user", "assistant", "system", "tool"})
"""Roles of the data schema; never a speaker's name."""

_ASKED = re.compile(
    r"(?:\byour (?:full |first |last |good |sur)?name|who am i (?:speaking|talking|chatting)"
    r"|wem spreche ich|con quién hablo|qui ai-je"
    r"|name (?:please|on the (?:account|order|card|booking))|(?:what|which) name"
    r"|\b(?:ihr|ihren|deinen?) (?:vollständigen )?namen?|votre nom|ton nom|su nombre|tu nombre"
    r"|(?:il )?suo nome|seu nome|お名前|您的姓名|성함)[^\x00]{0,80}$",
    re.IGNORECASE,
)
_ANSWER = re.compile(
    r"(?i:(?:yes|yeah|sure|ok|okay|of course|certainly|hi|hello|ja|oui|sí|sì|sim|klar|it['’]s|it is"
    r"|its|es ist|c['’]est|es|è|é|gerne|bien sûr|claro)[ ,.!]{1,3}){0,3}"
    rf"(?P<name>{WORD}(?:[ ]{WORD}){{0,3}})[ ]?[.,!]?"
)
# One of these is part of whatever the pattern matches.
_ASKED_CUES = ("nam", "who am i", "spreche ich", "nom", "quién hablo", "qui ai-je", "名", "성함")
_MOST_TERMS = 1200


def _asks(question: str) -> bool:
    return holds(question.lower(), _ASKED_CUES) and bool(_ASKED.search(question))


def answers(turns: Sequence[tuple[str, str]]) -> Iterator[tuple[int, int, int]]:
    """``(turn, start, end)`` of bare names given right after somebody else asked for one.

    ``turns`` are ``(role, readable text)``.
    """
    for index, (role, text) in enumerate(turns[1:], start=1):
        asker, question = turns[index - 1]
        if asker == role or len(text) > 90 or not _asks(question[-160:]):
            continue
        match = _ANSWER.match(text.strip())
        if match is None or match.end() < len(text.strip()):
            continue
        name = match.group("name")
        if all(possible(word) for word in name.split()):
            start = text.find(name)
            yield index, start, start + len(name)


def speaker_labels(roles: Sequence[str]) -> Mapping[str, str]:
    """Stable labels for roles that name a person: ``Speaker 1`` … in order of appearance.

    Roles made of known role words (``agent_2``, ``Project Manager``, ``Speaker 3``) keep
    their wording and are not in the result.
    """
    labels: dict[str, str] = {}
    for role in roles:
        if role not in labels and _names_person(role):
            labels[role] = f"Speaker {len(labels) + 1}"
    return labels


_ROLE_SPLIT = re.compile(r"[\W\d_]+")


def _names_person(role: str) -> bool:
    if role in KEPT_ROLES:
        return False
    words = [word for word in _ROLE_SPLIT.split(role.lower()) if word]
    return not all((len(word) == 1 and word.isascii()) or word in ROLE_WORDS for word in words)


_BRACKETS = re.compile(r"\([^()]{0,200}\)?\)?")


def label_name(role: str) -> str:
    """The name in a speaker label, without titles, offices and what stands in brackets."""
    words = _BRACKETS.sub(" ", role).replace(",", " ").split()
    kept = [
        word
        for word in words
        if not word.endswith(".")
        and word.lower() not in ROLE_WORDS
        and not OFFICE.search(word)
        and not (len(words) > 1 and len(word) < 5 and word.isupper())
    ]
    return " ".join(kept)


def _term(bare: str) -> tuple[str, ...]:
    """The spellings under which a name or a part of one is looked for, none if it is no name."""
    low = bare.lower()
    if len(bare) < (3 if bare.isascii() else 2):
        return ()
    # Three capitals are an airport or a company rather than somebody's name.
    written = (bare, bare.capitalize(), bare.upper() if len(bare) > 3 else bare)
    if low in AMBIGUOUS and low not in PARTICLES:
        return written[1:]
    if low in NOT_NAMES or low in NOT_PEOPLE or low in ROLE_WORDS or low in PARTICLES:
        return ()
    if OFFICE.search(low) and " " not in bare:
        return ()
    # Somebody's "Field" or "Marsh" is an everyday word in lower case; these are not.
    loose = bare.islower() or " " in bare or low in GIVEN_NAMES or not bare.isalpha()
    return (*written, low) if loose else written


def _terms(names: Sequence[str]) -> set[str]:
    terms: set[str] = set()
    for name in names:
        for part in {name, *WORDS.findall(name)}:
            terms.update(_term(part.removesuffix("'s").removesuffix("’s").strip("'’-")))
    return terms


def _edge(char: str) -> bool:
    return not (char.isalnum() or char == "_") or char >= "\u3040"


def _occurrences(text: str, needle: str) -> Iterator[tuple[int, int]]:
    position = text.find(needle)
    while position >= 0:
        end = position + len(needle)
        before_ok = position == 0 or _edge(text[position - 1])
        if before_ok and (end == len(text) or _edge(text[end])):
            yield position, end
        position = text.find(needle, end)


def mentions(text: str, names: Sequence[str]) -> Iterator[Found]:
    """Every other place where one of ``names`` or a part of it stands as a word."""
    for term in sorted(_terms(names))[:_MOST_TERMS]:
        for start, end in _occurrences(text, term):
            yield start, end, "name"
