"""What the members of a group say they want or talk about, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from analyses.pipeline.local.glossary import concepts
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
from analyses.pipeline.local.problems import STATES, Problem, events_of, in_trouble, problem_of
from analyses.pipeline.local.words import guess_language, stop_words, word_set

Key = tuple[str, ...]

TALK = frozenset({"talk", "discuss"})
"""First words of the requests of conversations in which nobody asks for anything."""

VAGUE = word_set(
    "thing way lot bit kind sort problem issue question help information info detail something "
    "anything one time day date today tomorrow week month year people person number option place "
    "case example assistance morning evening afternoon night yes no ok thanks thank reason idea "
    "part point type stuff need cost interest regard list minute hour name fact sense guy man "
    "look love talk chat hello hi hey friend life world everything nothing someone everyone "
    "weekend moment answer step line end side term tonight noon hello please anyway hour fine "
    "sf nyc la ca uk us usa place street one's area class fun eat somewhere anywhere online total colleague guys hours "
    "condition detail venue city town spot activity stuff entry use look change second while"
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
    problems: frozenset[tuple[Key, Problem]] = frozenset()
    """What is wrong with which object."""
    troubled: bool = False
    """Whether something is wrong at all."""


@lru_cache(maxsize=50_000)
def said(text: str) -> Said:
    """Take one short text (a request, a summary) apart."""
    language = "en" if _looks_english(text) else guess_language([text])
    if language in ("en", ""):
        return _said_english(text)
    return _said_foreign(text, language)


def _looks_english(text: str) -> bool:
    if sum(char.isascii() for char in text) < 0.8 * len(text):
        return False
    parts = [part.strip(",.?!;:") for part in text.lower().split()]
    stops = stop_words()
    english = sum(part in stops["en"] or part in verbs() for part in parts)
    others = max(sum(part in stops[code] for part in parts) for code in stops if code != "en")
    return english >= others


def _said_english(text: str) -> Said:
    parts = tokens(text)
    if not parts:
        return Said(frozenset(), frozenset(), (), frozenset(), "")
    first = parts[0].lower()
    frame = first if first in TALK else "ask" if text.lower().startswith("ask about") else ""
    verb = "" if frame else base_form(first) if first in verbs() else ""
    parts = [parts[0].lower(), *parts[1:]] if not verb else parts[1:]
    phrases = [p for p in noun_phrases(parts, STATES) if _names_something(p)]
    problems: set[tuple[Key, Problem]] = set()
    objects: set[Key] = set()
    surfaces: list[tuple[Key, str, bool]] = []
    acts: set[tuple[str, Key]] = set()
    for place, phrase in enumerate(phrases[:6]):
        problem = problem_of(phrase, parts) if not verb and frame not in TALK else None
        for key, surface in _tails(phrase):
            if problem:
                problems.add((key, problem))
            objects.add(key)
            surfaces.append((key, surface, bool(phrase.determiner)))
            if verb and phrase.before in (
                ("", "for", "of", "at", "in") if place == 0 else ("and", "or", "of")
            ):
                acts.add((verb, key))
    events = events_of(text) if frame not in TALK else frozenset()
    for key, _ in events:
        objects.add(key)
        surfaces.append((key, " ".join(key), True))
    details = {_detail(phrase) for phrase in phrases if phrase.before in _LINKS}
    return Said(
        frozenset(acts),
        frozenset(objects),
        tuple(surfaces),
        frozenset(details),
        frame,
        frozenset(problems | events),
        not verb and not frame and (bool(problems) or in_trouble(text)),
    )


def _names_something(phrase: Phrase) -> bool:
    """Whether a phrase can be a subject; a lone bare word after "to" is likely a verb."""
    likely_verb = phrase.before == "to" and not phrase.determiner and len(phrase.key) == 1
    service = phrase.key[0] == "customer" and phrase.key[-1] in ("care", "service", "support")
    return phrase.key[-1] not in VAGUE and not likely_verb and not service


_LINKS = word_set("for with from at by about in without to on as")


def _detail(phrase: Phrase) -> str:
    lead = f"{phrase.determiner} " if phrase.determiner in ("a", "an", "the", "my") else ""
    return f"{phrase.before} {lead}{phrase.surface}"


def _tails(phrase: Phrase) -> Iterable[tuple[Key, str]]:
    """A phrase and its shorter tails: "rental car" stands for "car" as well."""
    head = _SAME.get(phrase.key[-1])
    if head:
        yield (head,), head
        return
    written = phrase.surface.split(" ")
    for start in range(len(phrase.key)):
        if phrase.key[start] not in _HALVES or start == len(phrase.key) - 1:
            yield phrase.key[start:], " ".join(written[start:])


_SAME = {"dollar": "money", "buck": "money", "cash": "money", "euro": "money", "bucks": "money"}
"""Heads that stand for another one in the name of a group."""

_HALVES = word_set("way trip class time account's bed end")
"""Words a phrase does not begin with: what they belong to stood in front."""


def _said_foreign(text: str, language: str) -> Said:
    """Dictionary concepts of a text in another language; nothing when none is known."""
    known = concepts(text, language)
    things = list(dict.fromkeys((c.word,) for c in known if c.kind == "n"))
    acting = next((c.word for c in known if c.kind == "v"), "")
    acts = frozenset((acting, thing) for thing in things[:3] if acting)
    surfaces = tuple((thing, thing[0], True) for thing in things)
    return Said(acts, frozenset(things), surfaces, frozenset(), "foreign")


@dataclass(slots=True)
class Tally:
    """How many members say what. ``count`` is the number of members."""

    count: int = 0
    acts: Counter[tuple[str, Key]] = field(default_factory=Counter)
    objects: Counter[Key] = field(default_factory=Counter)
    details: Counter[str] = field(default_factory=Counter)
    frames: Counter[str] = field(default_factory=Counter)
    problems: Counter[tuple[Key, Problem]] = field(default_factory=Counter)
    troubled: int = 0
    """Members that say something is wrong."""
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
        result.problems.update(one.problems)
        result.troubled += one.troubled
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


def with_article(phrase: str, head: str = "") -> str:
    """``phrase`` with an article unless its head is a mass noun or a plural.

    ``head`` is the phrase's noun where it is not its last word.
    """
    head = head or phrase.split(" ")[-1].lower()
    if head in mass_nouns() or not head.isascii() or plural(head) == head:
        return phrase
    return f"{article(phrase)} {phrase}"
