"""Noun phrases of longer texts, for groups whose short texts do not tell them apart."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from analyses.pipeline.local.candidates import VAGUE, Key
from analyses.pipeline.local.embedding import marked_language
from analyses.pipeline.local.grammar import PHRASE_WORDS, base_form, noun_phrases, tokens
from analyses.pipeline.local.words import all_stop_words

TEXTS_READ = 50
CHARACTERS_READ = 1_800

LEAST = 0.06
"""Share of texts from which a phrase is worth looking at."""

FLOOR = 0.03
"""Added to shares before they are divided, so that one stray text decides nothing."""


def phrase_shares(texts: Sequence[str]) -> Mapping[Key, float]:
    """Share of longer texts that hold a noun phrase (a dictionary concept, if not English).

    A single word counts only behind an article or the like, which tells things from other words.
    """
    counts: Counter[Key] = Counter()
    for text in texts[:TEXTS_READ]:
        language, body = marked_language(text[:CHARACTERS_READ])
        keys: set[Key] = set()
        if not language:
            phrases = noun_phrases(tokens(body))
            keys = {p.key for p in phrases if p.determiner or len(p.key) > 1}
        elif body.isascii():
            keys = {(word,) for word in body.split()}
        counts.update({key for key in keys if _tells(key)})
    return {key: times / max(1, len(texts[:TEXTS_READ])) for key, times in counts.items()}


def _tells(key: Key) -> bool:
    known = key[-1] not in VAGUE and key[-1] not in all_stop_words()
    return known and len(key[-1]) > 2 and len(key) < PHRASE_WORDS and not base_form(key[0])


def set_apart(shares: Mapping[Key, float], others: Sequence[Mapping[Key, float]]) -> list[Key]:
    """Phrases much more common in one group than in every other one, best first."""

    def score(key: Key) -> float:
        there = max((other.get(key, 0.0) for other in others), default=0.0)
        lift = math.log((shares[key] + FLOOR) / (there + FLOOR))
        return shares[key] * lift * (1 + 0.6 * (len(key) - 1))

    usable = [key for key, share in shares.items() if share >= LEAST and score(key) > 0.02]
    return sorted(usable, key=lambda key: (-score(key), key))[:6]
