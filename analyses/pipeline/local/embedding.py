"""The text that stands for a conversation when the local engine has read it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from analyses.pipeline.local.glossary import concepts
from analyses.pipeline.local.words import LANGUAGE_NAMES, plain
from analyses.pipeline.records import Turn

CHARACTERS = 12_000
"""Longest text embedded; a meeting's first hour says what it is about."""

_NAMES = re.compile(r"(?<=[a-z,;:] )[A-Z][\w'’&.-]*(?: [A-Z][\w'’&.-]*)*")
_NUMBERS = re.compile(r"\d+")
_QUIET = frozenset({"system", "tool", "function"})
_CODES = {name: code for code, name in LANGUAGE_NAMES.items()}
REPEATED = 2
"""Concepts of another language are written this often, to weigh as much as the words."""


def embedding_text(turns: Sequence[Turn], values: Mapping[str, Any]) -> str:
    """What is embedded for one conversation: its turns without names and numbers.

    A summary by rules keeps too little of a conversation to compare it by, so the words of all
    turns stand in for it; names in mid-sentence and numbers tell single conversations apart, not
    subjects, and are left out. Words of other languages found in the dictionary are added in
    English, so that the same subject comes together across languages. ``values`` are the facets
    read (only ``language`` is used).
    """
    spoken = [plain(turn.text) for turn in turns if turn.role.lower() not in _QUIET]
    text = "\n".join(part for part in spoken if part.strip())[:CHARACTERS]
    language = _CODES.get(str(values.get("language") or ""), "")
    if language not in ("en", ""):
        known = [concept.word for concept in concepts(text, language)]
        text = "\n".join([text, *[" ".join(known)] * REPEATED])
    return _NUMBERS.sub(" ", _NAMES.sub(" ", text)).strip()
