"""What makes a cluster name fit to be shown, and when two of them are too much alike."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from analyses.pipeline.name_prompts import DESCRIPTION_CHARACTERS, NAME_CHARACTERS, NAME_WORDS, clip

TOO_SIMILAR = 0.9
"""Cosine of two names from which a reader would take them for one."""

LONGEST = 4_000
"""Characters of an answer looked at; what is kept is far shorter."""

_SMALL_WORDS = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "for",
        "to",
        "in",
        "on",
        "at",
        "with",
        "from",
        "by",
        "and",
        "or",
        "about",
        "into",
        "as",
        "their",
        "its",
        "his",
        "her",
        "my",
        "your",
    ]
)
_IDENTIFYING = re.compile(
    r"[^\s@]{1,64}@[^\s@]{1,255}"  # e-mail address
    r"|https?://\S+|www\.\S+"  # address of a page
    r"|\+?\d[\d().\-/ ]{5,40}\d"  # telephone, card or account number
    r"|#\d+|\b[a-z]{0,12}\d{4,}\w*\b",  # order numbers and other codes
    re.IGNORECASE,
)
_SLOGAN = re.compile(
    r"https?:|\bwww\.|\b(?:javascript|vbscript):|\bdata:\w+/"
    r"|\b(?:[a-z0-9-]{1,63}\.){1,4}[a-z]{2,24}/"  # an address without its scheme
    r"|\b[a-z0-9-]{2,63}\.(?:com|org|info|biz|xyz|top|ru|cn|click|link|site|online|shop|example)\b"
    r"|!?\[[^\]]*\]\s?[(\[]|<[a-z!/]"  # markup
    r"|\bclick (?:here|this|on)\b|\bcall \W?\d|\b(?:buy|call|act|order|subscribe|join) now\b"
    r"|\b(?:ignore|disregard|forget) (?:all |the |any |your |previous |prior |above )*"
    r"(?:instruction|rule|prompt)s?\b"
    r"|\byour (?:system prompt|instructions|api keys?)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]+", re.UNICODE)


def clean_name(text: str) -> str:
    """``text`` as a cluster name: one line, at most ten words, nothing that identifies anyone."""
    line = _IDENTIFYING.sub(" ", text[:LONGEST]).strip(" \t\r\n\"'“”«».,;:-–—*#")
    words = [word for word in line.split() if not word.strip(".,;:()").isdigit()]
    name = clip(" ".join(words[:NAME_WORDS]), NAME_CHARACTERS).rstrip(" .,;:")
    return name[:1].upper() + name[1:]


def clean_description(text: str) -> str:
    """``text`` as a description: one paragraph of bounded length without identifying pieces."""
    return clip(_IDENTIFYING.sub("…", text[:LONGEST]), DESCRIPTION_CHARACTERS)


def flagged(text: str) -> bool:
    """Whether a name holds a link or markup, or speaks to who reads it or to a model.

    Many conversations together may push such a text into a name (OWASP LLM01, indirect
    injection). Names are shown as text anywhere; this keeps a slogan from standing there.
    """
    return bool(_SLOGAN.search(text[:LONGEST]))


def folded(name: str) -> tuple[str, ...]:
    """The words of a name that tell it apart: lower case, without small words and plural s."""
    words = _WORD.findall(name.casefold())
    kept = [_singular(word) for word in words if word not in _SMALL_WORDS]
    return tuple(kept or words)


def _singular(word: str) -> str:
    if word.isascii() and len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        return word[:-1]
    return word


def similarity(first: str, second: str) -> float:
    """How alike two names read, 0 to 1: the larger of word and character trigram cosine."""
    one, two = folded(first), folded(second)
    if sorted(one) == sorted(two):
        return 1.0
    trigrams = _cosine(_trigrams(" ".join(one)), _trigrams(" ".join(two)))
    return max(_cosine(Counter(one), Counter(two)), trigrams)


def _trigrams(text: str) -> Counter[str]:
    padded = f"  {text} "
    return Counter(padded[i : i + 3] for i in range(len(padded) - 2))


def _cosine(one: Counter[str], two: Counter[str]) -> float:
    product = sum(count * two[key] for key, count in one.items())
    if not product:
        return 0.0
    norm = math.sqrt(sum(c * c for c in one.values()) * sum(c * c for c in two.values()))
    return product / norm


def too_similar(names: Sequence[str]) -> list[list[int]]:
    """Groups of positions whose names a reader could not tell apart (each of two or more).

    Compared only where two names share a folded word, so a thousand names stay cheap.
    """
    sharing: dict[str, list[int]] = {}
    leader = list(range(len(names)))
    for position, name in enumerate(names):
        seen: set[int] = set()
        for word in set(folded(name)) or {""}:
            for other in sharing.setdefault(word, []):
                if other not in seen and similarity(names[other], name) >= TOO_SIMILAR:
                    leader[_find(leader, position)] = _find(leader, other)
                seen.add(other)
            sharing[word].append(position)
    groups: dict[int, list[int]] = {}
    for position in range(len(names)):
        groups.setdefault(_find(leader, position), []).append(position)
    return [group for group in groups.values() if len(group) > 1]


def _find(leader: list[int], position: int) -> int:
    while leader[position] != position:
        leader[position] = leader[leader[position]]
        position = leader[position]
    return position


def set_apart(name: str, phrases: Sequence[str], taken: Sequence[str]) -> str:
    """A name unlike every one in ``taken``: ``name`` with the first phrase that does it.

    When no phrase does, the name gets a number, the last resort of a list that must be readable.
    """
    base = " ".join(name.split()[: NAME_WORDS - 3])
    for phrase in phrases:
        candidate = clean_name(f"{base} – {phrase}")
        if all(similarity(candidate, other) < TOO_SIMILAR for other in taken):
            return candidate
    number = 2
    known = {other.casefold() for other in taken}
    while f"{name} ({number})".casefold() in known:
        number += 1
    return f"{name} ({number})"
