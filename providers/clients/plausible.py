"""Answers for the scripted provider: valid for the schema, drawn from the prompt, always the same.

No language model: texts are cut out of the prompt, choices are made by shared words, and what
the text does not decide is decided by its hash. Good enough that clusters of such answers follow
the conversations they came from.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Schema = Mapping[str, Any]

_BLOCK = re.compile(r"<([a-z][\w-]*)[^<>\n]*>\n(.*?)\n</\1[^<>\n]*>", re.DOTALL | re.IGNORECASE)
_ASKING = re.compile(
    r"^\W{0,3}(?:user|customer|caller|client|human|visitor|patient|speaker[ _]?\w*)\W{0,3}:\s*(.+)",
    re.IGNORECASE | re.MULTILINE,
)
_NUMBERED = re.compile(
    r"^\d+\. (?:user|customer|caller|client|human|visitor|patient|speaker[ _]?\w*):\n((?:\| .*\n?)+)",
    re.IGNORECASE | re.MULTILINE,
)
_ENTRY = re.compile(r"^\s*(?:[-*]|\[?(?:index )?(\d+)[\].:)])\s*(.+)$", re.MULTILINE)
_WORD = re.compile(r"[^\W\d_]{3,}")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_STOP_TEXT = (
    "the and for you your are was that this with have has had not but can could would will what "
    "when where which who how from they them there their its any all some one out get got just "
    "like want need please help thanks thank hello yes okay about into over than then here been "
    "does did were our his her she him also user users people wanted asked more other "
    "und der die das ich ein eine ist nicht que los las para una por con del les des est pour "
    "vous je un"
)
_GLAD_TEXT = "great thanks perfect love happy wonderful awesome excellent danke gracias"
_CROSS_TEXT = "angry terrible worst refund broken complaint wrong error failed never unacceptable"
_STOP = frozenset(_STOP_TEXT.split())
_GLAD = frozenset(_GLAD_TEXT.split())
_CROSS = frozenset(_CROSS_TEXT.split())


@dataclass(frozen=True)
class Prompt:
    """The last user message, read as blocks of data and lists of entries."""

    text: str

    @classmethod
    def of(cls, messages: Sequence[Mapping[str, Any]]) -> Prompt:
        """The first user message of a request: repairs follow it and add no data."""
        for message in messages:
            if message.get("role") == "user":
                return cls(str(message.get("content") or "")[:200_000])
        return cls("")

    @cached_property
    def blocks(self) -> list[str]:
        """The fenced pieces, or the whole text where there is no fence."""
        return [match.group(2) for match in _BLOCK.finditer(self.text)] or [self.text]

    @cached_property
    def asked(self) -> str:
        """What the person in the conversation said first, at most 300 characters."""
        longest = max(self.blocks, key=len)
        found = _NUMBERED.findall(longest[:20_000]) or _ASKING.findall(longest[:20_000])
        turns = [" ".join(turn.replace("\n| ", "\n").lstrip("| ").split()) for turn in found]
        said = " ".join(turns[:3]) or " ".join(longest.split())
        return said[:300]

    @cached_property
    def entries(self) -> list[tuple[int | None, str]]:
        """The lines of the first block that is a list: number and text."""
        for block in self.blocks:
            found = _ENTRY.findall(block)
            if found:
                return [(int(key) if key else None, text) for key, text in found]
        return []

    @cached_property
    def words(self) -> list[str]:
        """The words the prompt is about, most frequent first."""
        source = " ".join(text for _, text in self.entries) or self.asked
        return top_words(source)


def top_words(text: str) -> list[str]:
    """Content words, most frequent first, ties by first appearance."""
    return [word for word, _ in Counter(_content(text)).most_common(6)]


def _content(text: str) -> list[str]:
    return [word for word in _WORD.findall(text[:8000].lower()) if word not in _STOP]


def answer(messages: Sequence[Mapping[str, Any]], schema: Schema | None) -> Any:
    """A value for the schema; a plain object with a summary where there is none."""
    prompt = Prompt.of(messages)
    if not schema:
        return {"answer": prompt.asked}
    return _value(schema, "answer", prompt, prompt.asked or "nothing")


def _value(schema: Schema, name: str, prompt: Prompt, about: str) -> Any:
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return choose(schema["enum"], about)
    for options in ("anyOf", "oneOf", "allOf"):
        if schema.get(options):
            return _value(schema[options][0], name, prompt, about)
    kinds = schema.get("type", "object" if "properties" in schema else "string")
    kind = kinds[0] if isinstance(kinds, list) else kinds
    if kind == "object":
        fields = schema.get("properties", {})
        return {key: _value(field, key, prompt, about) for key, field in fields.items()}
    if kind == "array":
        return _list(schema, name, prompt, about)
    return _scalar(kind, schema, name, prompt, about)


def _scalar(kind: str, schema: Schema, name: str, prompt: Prompt, about: str) -> Any:
    if kind == "boolean":
        return bool(_hash(name + about) % 4)
    if kind in ("integer", "number"):
        return _number(schema, name, about)
    if kind == "null":
        return None
    return _string(schema, name, prompt, about)


def _number(schema: Schema, name: str, about: str) -> int:
    low = int(schema.get("minimum", 1))
    high = int(schema.get("maximum", max(low, 5)))
    if name == "score":  # a judge's mark: nothing here is worse than good
        return high
    mood = len(_CROSS.intersection(_content(about)))
    return min(high, low + mood + _hash(name + about) % 2)


def _string(schema: Schema, name: str, prompt: Prompt, about: str) -> str:
    low, high = int(schema.get("minLength", 0)), int(schema.get("maxLength", 400))
    text = _worded(name.lower(), prompt, about)[:high].strip()
    return (
        text if len(text) >= low else (text + " unspecified request")[: max(low, high)].ljust(low)
    )


def _worded(name: str, prompt: Prompt, about: str) -> str:
    listed = bool(prompt.entries) and about != prompt.asked
    words = top_words(about) if listed else prompt.words
    words = [*words, "general", "questions"]
    if name in ("name", "title", "label"):
        return f"Handle {words[0]} and {words[1]} requests"
    if name.startswith("descr"):
        return f"People asked about {', '.join(words[:3])}. Most wanted help with {words[0]}."
    if "lang" in name:
        return "en"
    if "summary" in name:
        return "The user said: " + " ".join(_SENTENCE.split(about)[:2])
    return _SENTENCE.split(about)[0]


def choose(options: Sequence[Any], about: str) -> Any:
    """The option that shares most words with the text; ties are broken by the text's hash."""
    said = set(_content(about))
    if said & _GLAD and "positive" in options:
        return "positive"
    if said & _CROSS and "negative" in options:
        return "negative"
    if "neutral" in options:
        return "neutral"
    scores = [len(said.intersection(_content(str(option)))) for option in options]
    best = [option for option, score in zip(options, scores, strict=True) if score == max(scores)]
    return best[_hash(about) % len(best)]


def _list(schema: Schema, name: str, prompt: Prompt, about: str) -> list[Any]:
    items = schema.get("items", {"type": "string"})
    low = int(schema.get("minItems", 0))
    high = int(schema.get("maxItems", 40))
    fields = items.get("properties", {})
    for key, field in fields.items():
        if field.get("type") == "integer" and field.get("enum"):
            return [_keyed(items, key, value, prompt) for value in field["enum"][:high]]
        members = field.get("items", {}) if field.get("type") == "array" else {}
        if members.get("type") == "integer" and members.get("enum"):
            return _grouped(items, key, members["enum"], (low, high), prompt)
    if items.get("enum"):
        return [choose(items["enum"], about)][: max(low, min(1, high))]
    words = prompt.words[: max(low, min(3, high))]
    return [_value(items, name, prompt, word) for word in words] or [
        _value(items, name, prompt, about) for _ in range(low)
    ]


def _keyed(items: Schema, key: str, value: int, prompt: Prompt) -> dict[str, Any]:
    """One object for one numbered entry of the prompt."""
    made: dict[str, Any] = _value(items, "entry", prompt, _entry(prompt, value))
    return {**made, key: value}


def _grouped(
    items: Schema, key: str, keys: Sequence[int], bounds: tuple[int, int], prompt: Prompt
) -> list[dict[str, Any]]:
    """Objects that share the numbered entries out, like beside like."""
    count = max(bounds[0], min(bounds[1], len(keys), round(len(keys) ** 0.5)))
    weight = Counter(word for _, text in prompt.entries for word in set(_content(text)))
    order = sorted(keys, key=lambda value: _lead(_entry(prompt, value), weight))
    shares = [order[i * len(order) // count : (i + 1) * len(order) // count] for i in range(count)]
    groups = []
    for share in shares:
        about = " ".join(_entry(prompt, value) for value in share)
        groups.append({**_value(items, "group", prompt, about), key: list(share)})
    return groups


def _lead(text: str, weight: Counter[str]) -> str:
    words = _content(text)
    return max(words, key=lambda word: (weight[word], word)) if words else ""


def _entry(prompt: Prompt, number: int) -> str:
    for key, text in prompt.entries:
        if key == number:
            return text
    return f"entry {number}"


def _hash(text: str) -> int:
    """The same number in every process (CRC-32)."""
    return zlib.crc32(text.encode("utf-8", "replace"))


def vector(text: str, width: int) -> list[float]:
    """A bag-of-words vector by feature hashing (Weinberger et al., ICML 2009), not normalised."""
    row = [0.0] * width
    for word in _content(text) or [text]:
        code = _hash(word)
        row[code % width] += 1.0 if code & 0x80000000 else -1.0
    return row if any(row) else [1.0] * width
