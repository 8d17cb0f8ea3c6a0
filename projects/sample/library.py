"""Reads the hand-written phrases: one TOML file per theme, one per language."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from projects.sample.topics import THEMES

LANGUAGES: tuple[str, ...] = ("en", "es", "de", "fr")
_FOLDER = Path(__file__).parent / "phrases"

Phrases = dict[str, Any]


def _read(name: str) -> Phrases:
    return tomllib.loads((_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


@cache
def common(language: str) -> Phrases:
    """Phrases of any conversation in ``language``: greetings, thanks, hand-overs and so on."""
    return _read(f"lang_{language}")


@cache
def _topics() -> Phrases:
    merged: Phrases = {}
    for theme in THEMES:
        merged.update(_read(theme))
    return merged


def phrases(topic: str, language: str) -> Phrases:
    """Phrases of one topic in one language.

    Keys: ``problems``, ``short``, ``more`` and ``fixes`` are lists of sentences; ``ask``,
    ``steps`` and ``follow`` are lists of exchanges, the opening line first, then the possible
    answers. ``problems`` and ``fixes`` are always there.
    """
    found: Phrases = _topics()[topic][language]
    return found
