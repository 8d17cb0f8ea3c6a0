"""The clause that says best what a group is about, in words that several members use.

Where no verb and object is shared (people tell what is wrong, each in their own way), the most
typical clause reads better than a list of words. It is an extract in the sense of extractive
summaries by centroid (Radev et al. 2004, "Centroid-based summarization of multiple documents"),
scored by class-based TF-IDF. Every word with content must be used by several members, so that no
clause tells of one person.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from analyses.pipeline.local.embedding import marked_language
from analyses.pipeline.local.words import all_stop_words, words

BEGINNING = 420
"""Characters read of each text: the asking side says early what it is about."""

SHORTEST, LONGEST = 3, 8
"""Words in a clause."""

FEWEST = 3
"""Members that must use a word with content."""

SHARE = 0.05
"""And the share of members that must."""

MOST_TOLD = 3
"""Words of a clause that count: more would prefer long clauses over plain ones."""

OFTEN = 0.25
"""A clause holds at least one word that this share of the members uses."""

FLOOR = 0.03
"""Added to shares before they are divided, so that one stray outsider decides nothing."""

_SPLIT = re.compile(
    r"[.!?;:\n,()\"“”…]|\s[-–—]\s|\b(?:and|but|because|since|so that|so|although|while|then|until"
    r"|which means|even though|however|also)\b",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"^(?:(?:hi|hello|hey|there|please|also|just|now|still|again|yes|no|ok|okay|well|oh|team|morning"
    r"|that|it says|is it normal that|for some reason|apparently|i think|i see that|i noticed"
    r"|i just|it seems|it looks like|the problem is|my problem is|thing is|today|yesterday"
    r"|it is|it's|this is|there is|there are|i am told|why is|why does|why are|why do|when)\s+)+",
    re.IGNORECASE,
)
_SELF = re.compile(
    r"^(?:(?:i|we)(?:'ve|'m|'d| am| was| were| have been| have| had| got| keep| can| do| did)?"
    r"(?: just| now| only| already| still)?)\s+",
    re.IGNORECASE,
)
_CANNOT = re.compile(r"^(?:i|we) (?:can't|cannot|can not|could not|couldn't)\s+", re.IGNORECASE)
_WANT = re.compile(
    r"^(?:how (?:do|can|could|would|should) (?:i|we)|(?:can|could) (?:i|we|you)(?: please)?"
    r"|(?:i|we)(?:'d| would| want| need| wish| am| was)*(?: like| trying| want| need| looking)* to"
    r"|is there a way to|(?:please )?help me(?: to)?|need to|have to|want to)\s+",
    re.IGNORECASE,
)
_NEED = re.compile(
    r"^(?:need|want|require|am looking for|looking for)\s+(?=(?:a|an|the|another|some|new)\b)",
    re.IGNORECASE,
)
_GAP = re.compile(
    r"\s+(?:for|to|of|in|on|at|from|with|by)\s+(?:for|to|of|in|on|at|from|with|by)\b.*$",
    re.IGNORECASE,
)
"""Two prepositions in a row: a name or a number was left out between them."""
_OWN = re.compile(r"\b(?:my|our|your|his|her|their|this|that|these|those)\s+", re.IGNORECASE)
_TAIL = re.compile(
    r"\s+(?:the|a|an|of|to|for|with|in|on|at|from|by|is|are|was|were|has|have|i|we|it|you|my|our"
    r"|not|no|please|again|now|today|yesterday|anymore|any more|any|this|that|or|as|if|me|us)$",
    re.IGNORECASE,
)
_PLAIN = re.compile(r"[^\W_](?:[^\W_]|[ '’-](?=[^\W_]))*")
_SERVING = re.compile(
    r"how (?:can|may) i (?:help|assist)|what can i do|welcome|you(?:'re| are) (?:through|talking) to"
    r"|thank(?:s| you) for (?:contacting|getting|reaching|your message)|what(?:'s| is) going on"
    r"|happy to help|at your service|you have reached",
    re.IGNORECASE,
)
_VAGUE_START = re.compile(
    r"^(?:it|they|he|she|you|this|that|which|who|what|there|nothing|something|everything|only|or"
    r"|if|me|us|him|them|not|every|each|all|some|any|both|been|being|be|as|how|does|did|do|is|are"
    r"|was|were|has|have|had|can|could|will|would|what|where|with|for|from|in|on|at|after|before"
    r"|to|no|than|and|but|always|even|via|by|of)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each stem sets the group apart, and how many members use it."""

    weight: dict[str, float]
    uses: Counter[str]
    members: int

    def common(self, stem: str) -> bool:
        """Whether enough members use the stem for a clause to say it."""
        return self.uses[stem] >= max(FEWEST, math.ceil(SHARE * self.members))

    def often(self, stem: str) -> bool:
        """Whether so many members use the stem that it may be what the group is about."""
        return self.uses[stem] >= OFTEN * self.members


def typical_clause(members: Sequence[str], outsiders: Sequence[str]) -> str:
    """The clause of a group in reading form, "" when no clause is made of shared words.

    ``members`` and ``outsiders`` are embedding texts; those in other languages are not read.
    """
    inside = [body for language, body in map(marked_language, members) if not language]
    outside = [body for language, body in map(marked_language, outsiders) if not language]
    if len(inside) < 2 * FEWEST:
        return ""
    weights = _weights(inside, outside)
    best, best_score = "", 0.0
    for text in inside:
        for clause in clauses_of(opening(text)):
            score = _score(clause, weights)
            if score > best_score or (score == best_score and clause < best):
                best, best_score = clause, score
    return _sentence(best) if best else ""


def opening(text: str) -> str:
    """The first turn that says something: the asking side's, since greetings are passed over."""
    for line in text.split("\n")[:6]:
        if len(line.split()) >= SHORTEST + 2 and not _SERVING.search(line):
            return line[:BEGINNING]
    return ""


def clauses_of(text: str) -> Iterator[str]:
    """Clauses without greetings and the speaker's "I": "I was charged twice" is "charged twice"."""
    for piece in _SPLIT.split(text):
        clause = _bare(" ".join(piece.split()))
        fits = SHORTEST <= len(clause.split()) <= LONGEST
        if fits and _PLAIN.fullmatch(clause) and not _VAGUE_START.match(clause):
            yield clause


def _bare(clause: str) -> str:
    clause = _LEAD.sub("", clause)
    if _CANNOT.match(clause):
        clause = _CANNOT.sub("cannot ", clause)
    wanted = _WANT.sub("", clause)
    clause = wanted if wanted != clause else _SELF.sub("", clause)
    clause = _GAP.sub("", _OWN.sub("", _NEED.sub("", clause)))
    before = ""
    while before != clause:
        before, clause = clause, _TAIL.sub("", clause)
    return clause.strip(" '-–—")


def stem(word: str) -> str:
    """A word without its commonest English endings; enough to count forms together."""
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _stems(text: str) -> set[str]:
    stops = all_stop_words()
    return {stem(w) for w in words(text) if w not in stops and len(w) > 2 and not w.isdigit()}


def _weights(inside: Sequence[str], outside: Sequence[str]) -> Weights:
    here = Counter(s for text in inside for s in _stems(opening(text)))
    there = Counter(s for text in outside for s in _stems(opening(text)))

    def weight(key: str) -> float:
        share, other = here[key] / len(inside), there[key] / max(1, len(outside))
        return share * math.log((share + FLOOR) / (other + FLOOR))

    return Weights({key: max(0.0, weight(key)) for key in here}, here, len(inside))


def _score(clause: str, weights: Weights) -> float:
    """Sum of what its words say, against its length; 0 when a word is not shared."""
    found = _stems(clause)
    if len(found) < 2 or not all(weights.common(key) for key in found):
        return 0.0
    told = [weights.weight[key] for key in found]
    if max(told) <= 0.02 or not any(weights.often(key) for key in found):
        return 0.0
    best = sum(sorted(told, reverse=True)[:MOST_TOLD])
    return best / math.sqrt(4 + len(clause.split()))


def _sentence(clause: str) -> str:
    if clause.lower().startswith(("the ", "a ", "an ")):
        clause = clause.split(" ", 1)[1]
    return clause[:1].upper() + clause[1:]
