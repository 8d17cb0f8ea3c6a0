"""Small text tools: choices in brackets, decks that avoid repetition, typing errors."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

_T = TypeVar("_T")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_WORD = re.compile(r"[^\W\d_]{4,}|\b[A-Z0-9]{2,}\b")
_CONTRACTIONS = {" a el ": " al ", " de el ": " del ", " à le ": " au ", " de le ": " du "}
_CONTRACTED = re.compile("|".join(_CONTRACTIONS))
_SLOT = re.compile(r"\{(\w+)\}")
#: Words that may lose their capital after a comma without looking wrong, in all four languages.
_SMALL_WORDS = (
    "My The How Where When Since Every There What Why After Our We Is Do Can Please You Your "
    "This That Am Are It And Trying Looking According On In If For New Still Two "
    "Mi El La Los Las Me No Hemos He Ya Dónde Quiero Según Cuenta Al Tras Desde Llevo "
    "Meine Mein Die Der Das Ich Wir Wo Seit Bitte Auf Am Laut Nach Bei Für Es Im "
    "Le Les Je J'ai Mon Ma Depuis Où Nous D'après Impossible Merci Quand Il Sous C'est Un"
)
_SMALL = frozenset(_SMALL_WORDS.split())


def spin(template: str, rng: random.Random) -> str:
    """Choose one way through ``[a|b]`` groups; groups may be nested and may hold an empty part."""

    def choose(match: re.Match[str]) -> str:
        options: list[str] = match.group(1).split("|")
        return rng.choice(options)

    while "[" in template:
        template, changed = _CHOICE.subn(choose, template)
        if not changed:
            break
    return template


def fill(text: str, details: Mapping[str, str]) -> str:
    """Put the conversation's details in the place of ``{name}``."""
    return _SLOT.sub(lambda match: details[match.group(1)], text)


def stems(template: str) -> set[str]:
    """First five letters of the longer words: enough to see that two sentences share a matter."""
    return {word[:5].lower() for word in _WORD.findall(template)}


def contract(text: str) -> str:
    """Join preposition and article where Spanish and French must: ``a el`` becomes ``al``."""
    return _CONTRACTED.sub(lambda match: _CONTRACTIONS[match.group(0)], text)


def run_on(parts: Sequence[str]) -> str:
    """Sentences one after the other; one without a mark at its end gets a full stop."""
    *before, last = [part for part in parts if part]
    marked = [part if part[-1] in ".?!:" else f"{part}." for part in before]
    return " ".join([*marked, last])


class Decks:
    """Deals phrases like cards: all of a list come up before one comes up again."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._left: dict[int, list[int]] = {}

    def deal(self, cards: Sequence[_T]) -> _T:
        """The next phrase of a list. The list itself is the deck, so pass the same object."""
        left = self._left.get(id(cards))
        if not left:
            left = list(range(len(cards)))
            self._rng.shuffle(left)
            self._left[id(cards)] = left
        return cards[left.pop()]


def join_greeting(greeting: str, text: str, formal: bool) -> str:
    """A greeting and the text after it, as people type it: new line, comma or full stop."""
    if formal or len(greeting) > 22:
        return f"{greeting}\n\n{text}" if formal else f"{greeting}\n{text}"
    first = text.split(" ", 1)[0]
    if first in _SMALL and greeting.endswith(","):
        return f"{greeting} {text[0].lower()}{text[1:]}"
    if first in {"I", "I'm", "I'd", "I've"} or not greeting.endswith(","):
        return f"{greeting} {text}"
    return f"{greeting[:-1]}. {text}"


def _swap(word: str, at: int) -> str:
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _drop(word: str, at: int) -> str:
    return word[:at] + word[at + 1 :]


def _double(word: str, at: int) -> str:
    return word[:at] + word[at] + word[at:]


_SLIPS: tuple[Callable[[str, int], str], ...] = (_swap, _drop, _double)


def mistype(text: str, rng: random.Random, rate: float) -> str:
    """Typing errors in a share ``rate`` of the longer words; figures and addresses stay whole."""
    words = text.split(" ")
    for index, word in enumerate(words):
        if len(word) > 3 and word.isalpha() and word.islower() and rng.random() < rate:
            words[index] = rng.choice(_SLIPS)(word, rng.randrange(1, len(word) - 2))
    return " ".join(words)


def hurried(text: str) -> str:
    """The text as somebody types it who spares capitals and the last full stop."""
    return text.lower().removesuffix(".")
