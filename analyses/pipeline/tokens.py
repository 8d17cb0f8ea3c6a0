"""Counting and cutting text in model tokens, offline.

The vocabulary is vendored (``data/README.md``): tiktoken would download it on first use. Counts
are exact for OpenAI's ``o200k_base`` models and a close estimate for others, which is what
truncation and cost estimates need.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import threading
from functools import lru_cache
from pathlib import Path

import tiktoken

VOCABULARY = Path(__file__).parent / "data" / "o200k_base.tiktoken.gz"
VOCABULARY_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"

# Splitting pattern and special tokens of ``o200k_base`` as published in tiktoken 0.14
# (tiktoken_ext/openai_public.py).
_PATTERN = "|".join(
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
_SPECIAL = {"<|endoftext|>": 199999, "<|endofprompt|>": 200018}

# A piece the encoder gets at once. The splitting pattern backtracks on long stretches without a
# border, so hostile text is fed in slices; a slice border costs at most one token.
_SLICE = 20_000
# Where the cut of one long turn may move back to, in characters, to end at a word border.
_BORDER = 80
_lock = threading.Lock()


@lru_cache(maxsize=1)
def _load() -> tiktoken.Encoding:
    """Build the encoder from the vendored file; raises ``ValueError`` on a damaged file."""
    content = gzip.decompress(VOCABULARY.read_bytes())
    if hashlib.sha256(content).hexdigest() != VOCABULARY_SHA256:
        raise ValueError(f"{VOCABULARY.name} is damaged: its hash is not the published one.")
    ranks = {}
    for line in content.splitlines():
        token, _, rank = line.partition(b" ")
        ranks[base64.b64decode(token)] = int(rank)
    return tiktoken.Encoding(
        "o200k_base", pat_str=_PATTERN, mergeable_ranks=ranks, special_tokens=_SPECIAL
    )


def encoder() -> tiktoken.Encoding:
    """The process-wide encoder; loading takes about half a second, once."""
    with _lock:
        return _load()


def _encode(text: str) -> list[int]:
    encoding = encoder()
    if len(text) <= _SLICE:
        return encoding.encode_ordinary(text)
    ids: list[int] = []
    for start in range(0, len(text), _SLICE):
        ids += encoding.encode_ordinary(text[start : start + _SLICE])
    return ids


def count_tokens(text: str) -> int:
    """Number of tokens of ``text``; 0 for the empty text. Any string is accepted."""
    return len(_encode(text)) if text else 0


def _backwards(text: str, end: int) -> int:
    for index in range(end, max(0, end - _BORDER), -1):
        if text[index - 1].isspace():
            return index
    return end


def _forwards(text: str, start: int) -> int:
    for index in range(start, min(len(text), start + _BORDER)):
        if text[index].isspace():
            return index
    return start


def cut_tokens(text: str, limit: int, *, mark: str = " [...] ", head_share: float = 0.7) -> str:
    """Shorten ``text`` to about ``limit`` tokens, keeping its beginning and its end.

    Cuts fall on word borders where one is near. ``head_share`` of the room goes to the
    beginning. The text comes back unchanged when it fits.
    """
    # A token is at least one byte and a character at most four bytes: enough for a first, cheap
    # cut that spares the encoder megabytes it would never keep.
    if len(text) > 64 * limit + 64:
        text = text[: 32 * limit] + mark + text[-32 * limit :]
    ids = _encode(text)
    if len(ids) <= limit:
        return text
    room = max(1, limit - count_tokens(mark))
    head_ids = max(1, int(room * head_share))
    tail_ids = room - head_ids
    # Decoding part of the ids may end inside a character; what is dropped there is only that.
    head_length = len(encoder().decode_bytes(ids[:head_ids]).decode("utf-8", "ignore"))
    head = text[: _backwards(text, head_length)]
    if not tail_ids:
        return head.rstrip()
    tail_length = len(encoder().decode_bytes(ids[-tail_ids:]).decode("utf-8", "ignore"))
    tail = text[_forwards(text, len(text) - tail_length) :]
    return f"{head.rstrip()}{mark}{tail.lstrip()}"
