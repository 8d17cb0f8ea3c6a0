"""The text that stands for a conversation when the local engine has read it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from analyses.pipeline.local.glossary import concepts
from analyses.pipeline.local.reading import ANSWERING
from analyses.pipeline.local.words import LANGUAGE_NAMES, plain
from analyses.pipeline.records import Turn

CHARACTERS = 12_000
"""Longest text embedded; a meeting's first hour says what it is about."""

_NAMES = re.compile(r"(?<=[a-z,;:] )[A-Z][\w'’&.-]*(?: [A-Z][\w'’&.-]*)*")
_NUMBERS = re.compile(r"\d+")
_QUIET = frozenset({"system", "tool", "function"})
_CODES = {name: code for code, name in LANGUAGE_NAMES.items()}
ANSWER_CHARACTERS = 400
"""Longest part of one answer of an assistant or agent."""

ENOUGH_CONCEPTS = 2
"""From this many different concepts on, the English concepts stand for a foreign text alone."""

_MARK = re.compile(r"\A\[\[([a-z]{2,3})\]\]\n")


def marked_language(text: str) -> tuple[str, str]:
    """The language an embedding text is marked with ("" for English) and the text itself."""
    match = _MARK.match(text)
    return (match.group(1), text[match.end() :]) if match else ("", text)


def _spoken(turn: Turn) -> str:
    """A turn's words; of a long answer only the beginning, or it would outweigh the question."""
    limit = ANSWER_CHARACTERS if turn.role.lower() in ANSWERING else CHARACTERS
    return plain(turn.text)[:limit]


def embedding_text(turns: Sequence[Turn], values: Mapping[str, Any]) -> str:
    """What is embedded for one conversation: its turns without names and numbers.

    A summary by rules keeps too little of a conversation to compare it by, so the words of all
    turns stand in for it; names in mid-sentence and numbers tell single conversations apart, not
    subjects, and are left out. In another language, the dictionary's English concepts take the
    place of the words where enough are known, so that a subject comes together across languages;
    a mark on the first line says which language it was. ``values`` are the facets read (only
    ``language`` is used).
    """
    spoken = [_spoken(turn) for turn in turns if turn.role.lower() not in _QUIET]
    text = "\n".join(part for part in spoken if part.strip())[:CHARACTERS]
    language = _CODES.get(str(values.get("language") or ""), "en")
    if not text or language == "en":
        return _NUMBERS.sub(" ", _NAMES.sub(" ", text)).strip()
    known = [concept.word for concept in concepts(text, language)]
    body = " ".join(known) if len(set(known)) >= ENOUGH_CONCEPTS else _NUMBERS.sub(" ", text)
    return f"[[{language}]]\n{body}"
