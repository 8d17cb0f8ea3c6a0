"""A small dictionary of everyday topics: words of nine languages and the English concept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from analyses.pipeline.local.words import DATA, words

Kind = Literal["n", "v"]

SHORTEST_PREFIX = 4
"""Prefixes shorter than this would match too much."""


@dataclass(frozen=True, slots=True)
class Concept:
    """An English base form and whether it is a thing (``n``) or something one does (``v``)."""

    word: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Glossary:
    """Exact words, phrases of several words, prefixes by their first four letters, and pieces
    of unspaced scripts by their first sign."""

    exact: Mapping[str, Concept]
    phrases: tuple[tuple[str, Concept], ...]
    prefixes: Mapping[str, tuple[tuple[str, Concept], ...]]
    pieces: Mapping[str, tuple[tuple[str, Concept], ...]]


@lru_cache(maxsize=8)
def glossary(language: str) -> Glossary | None:
    """The dictionary of one language (ISO code), ``None`` when there is none."""
    rows = [
        line.split("\t")
        for line in (DATA / "glossary.tsv").read_text(encoding="utf-8").splitlines()
    ]
    header = rows[0]
    if language not in header[2:]:
        return None
    column = header.index(language)
    exact: dict[str, Concept] = {}
    prefixes: dict[str, list[tuple[str, Concept]]] = {}
    pieces: dict[str, list[tuple[str, Concept]]] = {}
    phrases: list[tuple[str, Concept]] = []
    for row in rows[1:]:
        concept = Concept(row[0], "v" if row[1] == "v" else "n")
        for form in row[column].split():
            if language in ("ja", "zh", "ko"):
                pieces.setdefault(form[0], []).append((form, concept))
            elif form.endswith("*") and len(form) > SHORTEST_PREFIX:
                stem = form[:-1]
                prefixes.setdefault(stem[:SHORTEST_PREFIX], []).append((stem, concept))
            else:
                exact.setdefault(form.rstrip("*"), concept)
            if "-" in form:
                phrases.append((form.rstrip("*").replace("-", " "), concept))
    return Glossary(exact, tuple(phrases), _frozen(prefixes), _frozen(pieces))


def _frozen(
    lists: Mapping[str, list[tuple[str, Concept]]],
) -> Mapping[str, tuple[tuple[str, Concept], ...]]:
    return {key: tuple(sorted(found, key=lambda f: -len(f[0]))) for key, found in lists.items()}


def concepts(text: str, language: str) -> list[Concept]:
    """The known concepts of ``text`` in the order they occur, repeats included."""
    known = glossary(language.split("-")[0])
    if known is None:
        return []
    if known.pieces:
        return _pieces(text, known)
    lowered = text.lower()
    whole = [concept for phrase, concept in known.phrases if phrase in lowered]
    found = (_lookup(word, known) for word in words(lowered))
    return whole + [concept for concept in found if concept is not None]


def _lookup(word: str, known: Glossary) -> Concept | None:
    bare = word.split("'")[-1]
    for form in (word, bare):
        if form in known.exact:
            return known.exact[form]
    for stem, concept in known.prefixes.get(bare[:SHORTEST_PREFIX], ()):
        if bare.startswith(stem):
            return concept
    return None


def _pieces(text: str, known: Glossary) -> list[Concept]:
    """Longest dictionary entry at each place of a text without spaces between its words."""
    found: list[Concept] = []
    position = 0
    while position < len(text):
        for form, concept in known.pieces.get(text[position], ()):
            if text.startswith(form, position):
                found.append(concept)
                position += len(form) - 1
                break
        position += 1
    return found
