"""Words, sentences and word lists: what the local engine knows of languages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

DATA = Path(__file__).resolve().parent / "data"

_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_MARKS = re.compile(
    r"https?://\S+|www\.\S+|[^\s@]{1,64}@[^\s@]{1,255}|\[\w[\w ]* removed\]|<[^<>\n]{1,80}>|\{\w{1,30}\}"
)
_SENTENCE = re.compile(r"[^.!?。！？\n…]+[.!?。！？…]*")
_WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*|\d+", re.UNICODE)
_UNSPACED = re.compile(
    "[\u3005\u4e00-\u9fff]+"  # Han
    "|[\u30a1-\u30fa\u30fc]+"  # Katakana
    "|[\u0e00-\u0e7f]+"  # Thai
)
_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa]")
_HAN = re.compile("[\u4e00-\u9fff]")
_HANGUL = re.compile("[\uac00-\ud7a3]")
_CYRILLIC = re.compile("[\u0400-\u04ff]")

MAX_CHARACTERS = 40_000
"""Characters of one conversation looked at; a meeting of two hours has about 100,000."""

_KOREAN_ENDINGS = re.compile("(?:은|는|이|가|을|를|에|에서|도|의|로|으로|와|과|하고|이나|만)$")

LANGUAGE_NAMES: Mapping[str, str] = {
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech",
    "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish",
    "et": "Estonian", "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew",
    "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "id": "Indonesian", "it": "Italian",
    "ja": "Japanese", "ka": "Georgian", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian",
    "ms": "Malay", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sr": "Serbian",
    "sv": "Swedish", "ta": "Tamil", "th": "Thai", "tl": "Tagalog", "tr": "Turkish",
    "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
"""English names of the ISO 639-1 codes conversations usually come in."""


def language_name(code: str) -> str:
    """English name of an ISO 639-1 code such as ``de`` or ``hi-en``; the code if unknown."""
    first = code.lower().replace("_", "-").split("-")[0]
    return LANGUAGE_NAMES.get(first, code) if first not in ("", "und") else ""


@lru_cache(maxsize=1)
def stop_words() -> Mapping[str, frozenset[str]]:
    """Words without a topic, by language."""
    lists = json.loads((DATA / "stopwords.json").read_text(encoding="utf-8"))
    return {language: frozenset(words.split()) for language, words in lists.items()}


@lru_cache(maxsize=1)
def all_stop_words() -> frozenset[str]:
    """Words without a topic in any language known."""
    return frozenset(word for words in stop_words().values() for word in words)


def word_set(text: str) -> frozenset[str]:
    """The words of a text as a set, for short lists kept beside the code that uses them."""
    return frozenset(text.split())


def word_list(name: str) -> frozenset[str]:
    """A list of words kept as ``data/<name>.txt``."""
    return frozenset((DATA / f"{name}.txt").read_text(encoding="utf-8").split())


def plain(text: str) -> str:
    """``text`` without code blocks, addresses and what redaction left, at bounded length."""
    return _MARKS.sub(" ", _CODE.sub(" \n", text[:MAX_CHARACTERS]))


def sentences(text: str) -> list[str]:
    """Sentences of ``text`` with their end mark, in any script; blank ones left out."""
    found = (" ".join(piece.split()) for piece in _SENTENCE.findall(text))
    return [piece for piece in found if any(char.isalnum() for char in piece)]


def words(text: str) -> list[str]:
    """Lower-case words; runs of unspaced scripts stay as one run per script."""
    result: list[str] = []
    for word in _WORD.findall(text.replace("’", "'").lower()):
        if _HAN.search(word) or _KANA.search(word):
            result.extend(_UNSPACED.findall(word))
        else:
            result.append(word)
    return result


def content_words(text: str) -> list[str]:
    """Words that may carry a topic: no stop words, numbers or single letters."""
    stops = all_stop_words()
    kept: list[str] = []
    for word in words(text):
        stem = _KOREAN_ENDINGS.sub("", word) if _HANGUL.match(word) else word
        short = len(stem) < (2 if not stem.isascii() else 3)
        if not (short or stem.isdigit() or word in stops or stem in stops):
            kept.append(stem)
    return kept


def guess_language(texts: Iterable[str]) -> str:
    """ISO code of the language of a few texts, by script and stop words; empty if unclear.

    A fallback for places that were handed no language; the prepare stage does better.
    """
    sample = " ".join(texts)[:5000].lower()
    scripts = ((_KANA, "ja"), (_HANGUL, "ko"), (_HAN, "zh"), (_CYRILLIC, "ru"))
    letters = max(1, sum(char.isalpha() for char in sample))
    for pattern, language in scripts:
        if len(pattern.findall(sample)) > 0.15 * letters:
            return language
    present = words(sample)
    counts = {code: sum(w in stops for w in present) for code, stops in stop_words().items()}
    best = max(counts, key=lambda code: counts[code])
    return best if counts[best] > 0.1 * len(present) else ""
