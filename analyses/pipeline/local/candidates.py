"""What the members of a group say they want or talk about, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from analyses.pipeline.local.glossary import concepts, glossary
from analyses.pipeline.local.grammar import (
    Phrase,
    article,
    base_form,
    mass_nouns,
    noun_phrases,
    plural,
    tokens,
    verbs,
)
from analyses.pipeline.local.words import content_words, guess_language, stop_words

Key = tuple[str, ...]

TALK = frozenset({"talk", "discuss"})

_VAGUE = frozenset(
    "thing way lot bit kind sort problem issue question help information info detail something "
    "anything one time day date today tomorrow week month year people person number option place "
    "case example assistance morning evening afternoon night yes no ok thanks thank reason idea "
    "part point type stuff need cost interest regard list minute hour name fact sense guy man "
    "look love talk chat hello hi hey friend life world everything nothing someone everyone "
    "weekend moment answer step line end side term tonight noon next month person".split()
)
"""Heads of phrases that name no subject by themselves."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one member says: acts (verb and object), objects alone, and how they were written."""

    acts: frozenset[tuple[str, Key]]
    objects: frozenset[Key]
    surfaces: tuple[tuple[Key, str, bool], ...]
    """Object, its written form, and whether it stood with an article or the like."""
    details: frozenset[str]
    """Phrases after a preposition, such as "for two people"."""
    frame: str
    """``talk`` or ``discuss`` for chats and meetings, ``ask`` for questions, else empty."""


@lru_cache(maxsize=50_000)
def said(text: str) -> Said:
    """Take one short text (a request, a summary) apart."""
    language = "en" if text.isascii() and _looks_english(text) else guess_language([text])
    if language not in ("en", "") and (glossary(language) or not text.isascii()):
        return _said_foreign(text, language)
    return _said_english(text)


def _looks_english(text: str) -> bool:
    parts = text.lower().split()
    stops = stop_words()
    english = sum(part.strip(",.?!") in stops["en"] or part in verbs() for part in parts)
    others = max(
        sum(part.strip(",.?!") in stops[code] for part in parts) for code in stops if code != "en"
    )
    return english >= others


def _said_english(text: str) -> Said:
    parts = tokens(text)
    if not parts:
        return Said(frozenset(), frozenset(), (), frozenset(), "")
    first = parts[0].lower()
    frame = first if first in TALK else "ask" if text.lower().startswith("ask about") else ""
    verb = "" if frame else base_form(first) if first in verbs() else ""
    phrases = noun_phrases([parts[0].lower(), *parts[1:]] if not verb else parts[1:])
    phrases = [phrase for phrase in phrases if phrase.key[-1] not in _VAGUE]
    objects: set[Key] = set()
    surfaces: list[tuple[Key, str, bool]] = []
    acts: set[tuple[str, Key]] = set()
    for place, phrase in enumerate(phrases[:6]):
        for key, surface in _tails(phrase):
            objects.add(key)
            surfaces.append((key, surface, bool(phrase.determiner)))
            if verb and (place == 0 or phrase.before in ("for", "of", "and", "or")):
                acts.add((verb, key))
    details = {_detail(phrase) for phrase in phrases if phrase.before in _LINKS}
    return Said(
        frozenset(acts), frozenset(objects), tuple(surfaces), frozenset(details - {""}), frame
    )


_LINKS = frozenset("for with from at by about in without to on as".split())


def _detail(phrase: Phrase) -> str:
    lead = f"{phrase.determiner} " if phrase.determiner in ("a", "an", "the", "my") else ""
    return f"{phrase.before} {lead}{phrase.surface}"


def _tails(phrase: Phrase) -> Iterable[tuple[Key, str]]:
    """A phrase and its shorter tails: "rental car" stands for "car" as well."""
    written = phrase.surface.split(" ")
    for start in range(len(phrase.key)):
        yield phrase.key[start:], " ".join(written[start:])


def _said_foreign(text: str, language: str) -> Said:
    """Dictionary concepts of a text in another language; its own words when none is known."""
    known = concepts(text, language)
    things = [(c.word,) for c in known if c.kind == "n"]
    verbs_known = [c.word for c in known if c.kind == "v"]
    acts = frozenset((verb, thing) for verb in verbs_known[:1] for thing in things[:2])
    surfaces = tuple((thing, thing[0], True) for thing in things)
    if not things:
        own = [(word,) for word in content_words(text)[:6]]
        return Said(frozenset(), frozenset(own), tuple((w, w[0], False) for w in own),
                    frozenset(), "")  # fmt: skip
    return Said(acts, frozenset(things), surfaces, frozenset(), "")


@dataclass(slots=True)
class Tally:
    """How many members say what. ``count`` is the number of members."""

    count: int = 0
    acts: Counter[tuple[str, Key]] = field(default_factory=Counter)
    objects: Counter[Key] = field(default_factory=Counter)
    details: Counter[str] = field(default_factory=Counter)
    frames: Counter[str] = field(default_factory=Counter)
    written: dict[Key, Counter[tuple[str, bool]]] = field(default_factory=dict)

    def share(self, key: Key) -> float:
        """Share of the members that name an object."""
        return self.objects[key] / self.count if self.count else 0.0


def tally(texts: Sequence[str]) -> Tally:
    """Count what every text says, once per text."""
    result = Tally(count=len(texts))
    for text in texts:
        one = said(text)
        result.acts.update(one.acts)
        result.objects.update(one.objects)
        result.details.update(one.details)
        result.frames[one.frame] += 1
        for key, surface, led in one.surfaces:
            result.written.setdefault(key, Counter())[surface, led] += 1
    return result


def rendered(key: Key, counts: Tally) -> str:
    """An object as most members write it, with an article where one belongs."""
    seen = counts.written.get(key)
    if not seen:
        return with_article(" ".join(key))
    forms: Counter[str] = Counter()
    led = 0
    for (surface, determined), times in seen.items():
        forms[surface] += times
        led += times * determined
    surface = min(forms, key=lambda form: (-forms[form], form))
    head = surface.split(" ")[-1].lower()
    single = head == key[-1] and head not in mass_nouns()
    return with_article(surface) if single and not surface.isupper() else surface


def with_article(phrase: str) -> str:
    """``phrase`` with an article unless its head is a mass noun or a plural."""
    head = phrase.split(" ")[-1].lower()
    if head in mass_nouns() or not head.isascii() or plural(head) == head:
        return phrase
    return f"{article(phrase)} {phrase}"
