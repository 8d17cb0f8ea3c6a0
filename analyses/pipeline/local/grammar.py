"""Just enough English grammar to find "verb + object" in a request, without a model.

Word classes come from three short lists (``data/*_en.txt``) and from the neighbours of a word:
"book" is a thing after "a" and an act after "to". Unknown words count as things, which is right
for the words that carry a topic.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from analyses.pipeline.local.words import stop_words, word_list, word_set

PHRASE_WORDS = 3
"""Longest noun phrase kept; longer ones are names of single things, not of groups."""

_TOKEN = re.compile(r"[A-Za-z]+(?:['’\-][A-Za-z]+)*|\d+|[^\w\s]")
_REFERENCE = re.compile(r"\b[A-Za-z]{1,4}[-–#]?\d[\w-]{2,40}")
"""Order numbers and the like: they name one thing of one person."""

_DETERMINERS = word_set(
    "a an the my our your his her their its this that these those some any another each every "
    "no all both one two three four five six several few many"
)
_PREPOSITIONS = word_set(
    "in on at to for from with by of about into onto over under near through during before after "
    "between without within around via against as than towards per inside outside off up out"
)
_BREAKS = word_set(
    "and or but because so that which who whom whose when where while if since until then though "
    "although whether how why what"
)
_THIRD = word_set(
    "shows says comes goes keeps arrives works fails drains gives tells opens stops starts gets "
    "reads sends needs wants makes looks seems crashes takes rejects overlaps refuses jumps stays "
    "turns closes loads hangs freezes blinks appears disappears reports runs asks lands does has "
    "cover include happen mean let put set kept came went said got gave told asked"
)
"""Words that end a phrase because they are hardly ever things."""

_IRREGULAR = {
    "got": "get", "made": "make", "sent": "send", "bought": "buy", "lost": "lose", "paid": "pay",
    "found": "find", "gave": "give", "went": "go", "took": "take", "wrote": "write", "sold": "sell",
    "told": "tell", "held": "hold", "built": "build", "left": "leave", "kept": "keep",
}  # fmt: skip
_PLURAL = {"child": "children", "man": "men", "woman": "women", "wife": "wives", "life": "lives"}
_SINGULAR = {many: one for one, many in _PLURAL.items()} | {
    f"{word}es": word for word in ("bus", "virus", "bonus", "status", "campus", "focus")
}
_NOT_PLURAL = ("ss", "us", "is", "ous", "news", "as", "selves")
_ING_THINGS = word_set(
    "booking building meeting training parking shipping pricing billing banking cleaning clothing "
    "wedding marketing engineering funding spelling rating listing training lighting programming "
    "thing string king ring evening morning screening showing housing earning"
)


@lru_cache(maxsize=1)
def verbs() -> frozenset[str]:
    """English verbs (base forms) that requests begin with."""
    return word_list("verbs_en")


@lru_cache(maxsize=1)
def adjectives() -> frozenset[str]:
    """English adjectives that say nothing of a topic."""
    return word_list("adjectives_en")


@lru_cache(maxsize=1)
def mass_nouns() -> frozenset[str]:
    """English nouns that take no article and no plural."""
    return word_list("mass_en")


@lru_cache(maxsize=20_000)
def singular(word: str) -> str:
    """The singular of an English noun by rule; the word itself when none applies."""
    if word in _SINGULAR:
        return _SINGULAR[word]
    if len(word) < 4 or not word.endswith("s") or word.endswith(_NOT_PLURAL):
        return word
    if word.endswith("ies") and len(word) > 4 and word != "movies":
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "zzes")):
        return word[:-2]
    return word[:-1]


def plural(word: str) -> str:
    """The plural of an English noun by rule; mass nouns, plurals and "itself" stay."""
    if word in _PLURAL:
        return _PLURAL[word]
    if word in mass_nouns() or word != singular(word) or not set("aeiouy") & set(word):
        return word
    if word.endswith("self"):
        return word
    if word.endswith("s"):
        return f"{word}es" if word.endswith(("us", "ss")) else word
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    if word.endswith(("ch", "sh", "x", "z")):
        return word + "es"
    return word + "s"


def article(phrase: str) -> str:
    """``a`` or ``an`` for a phrase, by its first letter and the usual exceptions."""
    word = phrase.lower()
    silent = word.startswith(("hour", "honest", "heir", "honor", "honour"))
    sounds_you = word.startswith(("uni", "use", "usu", "eu", "one", "ufo", "uti"))
    spelled = phrase[:2].isupper() and phrase[0] in "AEFHILMNORSX"
    vowel = word[:1] in "aeiou" and not sounds_you
    return "an" if silent or vowel or spelled else "a"


def base_form(word: str) -> str:
    """The base form of a verb from our list, or an empty string for any other word."""
    known = verbs()
    if word in known:
        return word
    if word in _IRREGULAR and _IRREGULAR[word] in known:
        return _IRREGULAR[word]
    for ending, instead in (("ing", ""), ("ing", "e"), ("ed", ""), ("ed", "e"), ("ied", "y")):
        stem = word[: -len(ending)] + instead
        if word.endswith(ending) and len(stem) > 2:
            if stem in known:
                return stem
            if not instead and len(stem) > 3 and stem[-1] == stem[-2] and stem[:-1] in known:
                return stem[:-1]
    return ""


@dataclass(frozen=True, slots=True)
class Phrase:
    """A noun phrase: ``key`` in singular lower case, ``surface`` as written, its determiner."""

    key: tuple[str, ...]
    surface: str
    determiner: str
    before: str
    """The word in front of the phrase and its determiner, lower case (often a preposition)."""
    start: int = 0
    """Position of its first token, with ``end`` the position behind its last."""
    end: int = 0
    state: str = ""
    """An adjective in front that says what is wrong with the thing, such as "missing"."""


def tokens(text: str) -> list[str]:
    """Words, numbers and marks of a text, case kept."""
    return _TOKEN.findall(_REFERENCE.sub(" ", text.replace("’", "'")))


def noun_phrases(parts: Sequence[str], states: frozenset[str] = frozenset()) -> list[Phrase]:
    """The noun phrases of tokenised English, in order, without names of single things.

    Leading words found in ``states`` are kept apart from the phrase, as its ``state``.
    """
    found: list[Phrase] = []
    run: list[str] = []
    determiner = before = ""
    for position, token in enumerate([*parts, "."]):
        word = token.lower()
        if word in states and not run:
            run.append(token)
            continue
        if _extends(word, token, position, run, bool(determiner)):
            run.append(token)
            continue
        state = run[0].lower() if run and run[0].lower() in states else ""
        phrase = _phrase(run[1:] if state else run, determiner, before)
        if phrase:
            start = position - len(run)
            found.append(replace(phrase, start=start, end=position, state=state))
        run = []
        if word in _DETERMINERS or word.endswith("'s"):
            determiner = word
        else:
            determiner, before = "", word
    return found


def _extends(word: str, token: str, position: int, run: list[str], led: bool) -> bool:
    """Whether a token belongs to the noun phrase being collected."""
    if not word[0].isalpha() or word in _DETERMINERS or "'" in word:
        return False
    if token[0].isupper() and position and not token.isupper():
        return False  # a name in mid-sentence: of a person, a place, a company
    if word in _PREPOSITIONS or word in _BREAKS:
        return False
    if word in stop_words()["en"] or word in _THIRD:
        return False
    if word.endswith("ly") and len(word) > 4:
        return False
    form = base_form(word)
    if form and not (run or led):
        return word in _ING_THINGS
    return not (form and word.endswith(("ed", "ing")) and word not in _ING_THINGS and run)


def _phrase(run: Sequence[str], determiner: str, before: str) -> Phrase | None:
    while run and run[0].lower() in adjectives():
        run = run[1:]
    while run and (run[-1].lower() in adjectives() or run[-1].lower().endswith("ed")):
        run = run[:-1]
    run = run[-PHRASE_WORDS:]
    if not run or all(len(word) < 3 and not word.isupper() for word in run):
        return None
    lower = [word if word.isupper() and len(word) > 1 else word.lower() for word in run]
    key = (*[word.lower() for word in lower[:-1]], singular(lower[-1].lower()))
    return Phrase(key, " ".join(lower), determiner, before)
