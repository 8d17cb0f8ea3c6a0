"""Names of groups from what their members say and their neighbours do not.

Class-based TF-IDF (Grootendorst 2022, arXiv 2203.05794, section 3.3) over "verb + object" pairs
and noun phrases instead of single words, so that a name is a phrase somebody would write.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from analyses.pipeline.local.candidates import (
    VAGUE,
    Key,
    Tally,
    rendered,
    tally,
    with_article,
)
from analyses.pipeline.local.clauses import typical_clause
from analyses.pipeline.local.grammar import (
    adjectives,
    plural,
    verbs,
)
from analyses.pipeline.local.reading import joined
from analyses.pipeline.local.requests import lower_first
from analyses.pipeline.local.texts import phrase_shares, set_apart
from analyses.pipeline.local.words import (
    content_words,
    guess_language,
    language_name,
)

ENOUGH = 0.12
"""Share of members from which an object may name a group."""

FEW = 5
"""Up to this many members a single one's words may name the group."""

MIXED = 0.2
"""Below this share no object speaks for the group, and up to three are named."""

SECOND = 0.6
"""A second object is named when its score reaches this part of the first one's."""

FLOOR = 0.03
"""Added to shares before they are divided, so that one stray outsider decides nothing."""

AGREED = 0.15
"""Share of the members naming an object that must say the same is wrong with it."""

TROUBLED = 0.35
"""Share of members with something wrong from which a group is about problems."""

LOOSE = ("Ask about", "Ask in ", "Solve a problem")
"""Beginnings of names that found a subject but nothing that is done or wrong with it."""

TEXTS_READ = 50
CHARACTERS_READ = 600


def keyphrase_name(sample: Mapping[str, Any]) -> tuple[str, str]:
    """Name and description of a group; ``sample`` is the payload of a naming request."""
    members, outsiders = group_texts(sample, "member"), group_texts(sample, "outsider")
    inside, outside = tally(members), tally(outsiders)
    ranked = ranked_objects(inside, outside)
    name = (
        _worded(ranked, inside)
        if ranked
        else _from_texts(sample) or _plain_words(members, outsiders, inside)
    )
    size = int(sample.get("size", len(members)))
    if name.startswith(LOOSE):
        # A subject alone says little; what people typically say about it says more.
        clause = typical_clause(sample.get("members") or (), sample.get("outsiders") or ())
        if clause:
            return clause, _told(clause, inside, ranked, size)
    return name, _description(name, inside, ranked, size)


def distinguishing(sample: Mapping[str, Any]) -> list[str]:
    """Phrases that set a group apart from its neighbours, best first, for telling names apart."""
    members, outsiders = group_texts(sample, "member"), group_texts(sample, "outsider")
    inside, outside = tally(members), tally(outsiders)
    details = ranked_details(inside, outside)
    return [*details[:5], *(" ".join(key) for key in ranked_objects(inside, outside)[:8])]


def group_texts(sample: Mapping[str, Any], side: str) -> list[str]:
    """Hints where there are any, else the beginning of the longer texts."""
    hints = sample.get(f"{side}_hints") or (sample.get("hints") if side == "member" else None) or []
    longer = sample.get(f"{side}s") or []
    found = [hint for hint in hints if hint.strip()]
    texts = found or [text for text in longer if text.strip()]
    return [text[:CHARACTERS_READ] for text in texts[:TEXTS_READ]]


def ranked_objects(inside: Tally, outside: Tally) -> list[Key]:
    """Objects that many members name and few neighbours, best first; tails of better ones out."""
    least = max(1 if inside.count < 4 else 2, math.ceil(ENOUGH * inside.count))
    scores = {
        key: _score(key, inside, outside) for key, times in inside.objects.items() if times >= least
    }
    if not scores and inside.count <= FEW:
        scores = {key: _score(key, inside, outside) for key in inside.objects}
    order = sorted((k for k in scores if scores[k] > 0), key=lambda k: (-scores[k], k))
    kept: list[Key] = []
    for key in order:
        if not any(_overlap(key, other) for other in kept):
            kept.append(key)
    return kept


def _score(key: Key, inside: Tally, outside: Tally) -> float:
    """Share inside times how much more frequent than outside; longer phrases say more."""
    here = inside.share(key)
    lift = math.log((here + FLOOR) / (outside.share(key) + FLOOR)) if outside.count else 1.0
    return here * (max(lift, 0.0) + 0.15) * (1 + 0.35 * (len(key) - 1))


def _overlap(one: Key, other: Key) -> bool:
    shorter, longer = sorted((one, other), key=len)
    return set(shorter) <= set(longer)


def _worded(ranked: Sequence[Key], inside: Tally) -> str:
    """The name: a frame for chats and meetings, else what is done to a thing or wrong with it."""
    for frame, lead in (("discuss", "Discuss"), ("talk", "Talk about")):
        if inside.frames[frame] >= inside.count / 3:
            return f"{lead} {joined([_thing(key, inside) for key in ranked[:3]])}"
    ranked = _acted_on_first(ranked, inside)
    first = ranked[0]
    settled = verb_for(first, inside) or _problem(first, inside)
    lacking = inside.share(first) < MIXED and not settled
    if inside.count > FEW and lacking:
        return _mixed(ranked, inside)
    problem = _problem(first, inside)
    verb = verb_for(first, inside)
    acting = sum(times for (_, thing), times in inside.acts.items() if thing == first)
    if problem and not (verb and acting > inside.objects[first] / 2):
        return problem
    if verb:
        return _acts(_chosen(ranked, inside), inside)
    objects = [rendered(key, inside) for key in _chosen(ranked, inside)]
    told = max(1, inside.count - inside.frames["foreign"])
    if inside.troubled >= TROUBLED * told:
        return f"Solve a problem with {' or '.join(objects)}"
    return f"Ask about {' or '.join(objects)}"


def _mixed(ranked: Sequence[Key], inside: Tally) -> str:
    """A name for a group without a common object: its common verb, and up to three objects."""
    done: Counter[str] = Counter()
    for (verb, _), times in inside.acts.items():
        done[_usual(verb)] += times
    verb = max(sorted(done), key=lambda v: done[v], default="")
    acted = [key for key in ranked if any(_usual(v) == verb for v, k in inside.acts if k == key)]
    told = max(1, sum(done.values()))
    if len(acted) > 1 and done[verb] >= 0.3 * told:
        return f"{verb.capitalize()} {joined([_thing(key, inside) for key in acted[:3]])}"
    return f"Ask about {joined([_thing(key, inside) for key in ranked[:3]])}"


def _from_texts(sample: Mapping[str, Any]) -> str:
    """A name from the phrases of the longer texts, when the short ones share none."""
    inside = phrase_shares(sample.get("members") or ())
    ranked = set_apart(inside, [phrase_shares(sample.get("outsiders") or ())])
    kept: list[Key] = []
    for key in ranked:
        if not any(_overlap(key, other) for other in kept):
            kept.append(key)
    things = [" ".join([*key[:-1], plural(key[-1])]) for key in kept[:3]]
    return f"Ask about {joined(things)}" if things else ""


def _acted_on_first(ranked: Sequence[Key], inside: Tally) -> Sequence[Key]:
    """The objects with one in front that something is done to, if one is nearly as common."""
    least = SECOND * inside.share(ranked[0])
    for key in ranked[:4]:
        if inside.share(key) >= least and verb_for(key, inside):
            return [key, *(other for other in ranked if other != key)]
    return ranked


def _acts(keys: Sequence[Key], inside: Tally) -> str:
    """What is done to one or two objects; the verb is said once when it is the same."""
    acts = [verb_for(key, inside) for key in keys]
    objects = [rendered(key, inside) for key in keys]
    if len(keys) == 1 or not acts[1]:
        return f"{acts[0]} {objects[0]}"
    if acts[0] == acts[1]:
        return f"{acts[0]} {objects[0]} or {objects[1]}"
    if " or " in acts[0] or " or " in acts[1]:
        return f"{acts[0]} {objects[0]}"
    return f"{acts[0]} {objects[0]} or {acts[1].lower()} {objects[1]}"


def _chosen(ranked: Sequence[Key], inside: Tally) -> list[Key]:
    """The first object, and the second when the first speaks for few and the second for as many."""
    shares = [inside.share(key) for key in ranked[:2]]
    if len(shares) < 2 or shares[0] >= 0.4 or shares[1] < max(SECOND * shares[0], 0.15):
        return list(ranked[:1])
    return list(ranked[:2])


def _problem(key: Key, inside: Tally) -> str:
    """A name for what most often is wrong with an object; empty when members do not agree."""
    counts = {p: times for (thing, p), times in inside.problems.items() if thing == key}
    if not counts:
        return ""
    best = max(counts, key=lambda p: (counts[p], p.word))
    if counts[best] < max(2, AGREED * inside.objects[key]):
        return ""
    return f"Report {with_article(best.about(_bare(rendered(key, inside))), key[-1])}"


def _bare(phrase: str) -> str:
    return phrase.removeprefix("a ").removeprefix("an ")


def _thing(key: Key, counts: Tally) -> str:
    head = plural(key[-1]) if key[-1].isascii() and len(key) == 1 else key[-1]
    return " ".join([*key[:-1], head])


def verb_for(key: Key, inside: Tally) -> str:
    """What most members do with an object: one verb, two when they are near, none if unclear."""
    counts: Counter[str] = Counter()
    for (verb, thing), times in inside.acts.items():
        if thing == key:
            counts[_usual(verb)] += times
    total = inside.objects[key]
    if not counts or sum(counts.values()) < 0.25 * total:
        return ""
    order = sorted(counts, key=lambda verb: (-counts[verb], verb))
    best = order[0]
    if best == "get" and len(order) > 1 and counts[order[1]] >= 0.5 * counts[best]:
        best = order[1]
    rest = [v for v in order if v not in (best, "get") and counts[v] >= 0.6 * counts[best]]
    if rest and counts[best] < 0.6 * sum(counts.values()):
        return f"{best} or {rest[0]}".capitalize()
    return best.capitalize()


_USUAL = {
    "search": "find", "see": "find", "look": "find", "locate": "find", "give": "get",
    "want": "get", "need": "get", "tell": "get", "show": "find", "provide": "get", "reserve":
    "book", "purchase": "buy", "obtain": "get", "generate": "write", "modify": "change",
    "set": "set up", "recommend": "suggest", "terminate": "cancel", "schedule": "schedule",
    "have": "get", "receive": "get", "know": "get", "bring": "get",
}  # fmt: skip


def _usual(verb: str) -> str:
    """One word for verbs that mean the same in a request."""
    return _USUAL.get(verb, verb)


def ranked_details(inside: Tally, outside: Tally) -> list[str]:
    def score(detail: str) -> float:
        here = inside.details[detail] / inside.count
        there = outside.details[detail] / outside.count if outside.count else 0.0
        return here * math.log((here + FLOOR) / (there + FLOOR))

    usable = [d for d, times in inside.details.items() if times >= max(2, 0.05 * inside.count)]
    usable = [d for d in usable if not d.split(" ")[-1].isupper()]
    return sorted((d for d in usable if score(d) > 0), key=lambda d: (-score(d), d))


def _plain_words(members: Sequence[str], outsiders: Sequence[str], told: Tally) -> str:
    """A name from single words, for texts without any phrase; says the language if not English."""
    dull = VAGUE | adjectives() | verbs()
    inside = Counter(w for text in members for w in set(content_words(text)) - dull)
    outside = Counter(word for text in outsiders for word in set(content_words(text)))

    def score(word: str) -> float:
        here, there = inside[word] / len(members), outside[word] / max(1, len(outsiders))
        return here * (0.15 + max(0.0, math.log((here + FLOOR) / (there + FLOOR))))

    top = sorted(inside, key=lambda word: (-score(word), word))[:2]
    language = language_name(guess_language(members))
    if not top:
        return "Exchange a few words" if members else "Say nothing"
    verb = "Talk" if told.frames["talk"] + told.frames["discuss"] else "Ask"
    lead = f"{verb} in {language} about" if language not in ("", "English") else f"{verb} about"
    return f"{lead} {joined(top)}"


def _description(name: str, inside: Tally, ranked: Sequence[Key], size: int) -> str:
    """Two sentences made of counts alone; no single member is quoted."""
    wish = name[:1].lower() + name[1:]
    if size == 1:
        return f"In one conversation somebody wanted to {wish}. There is nothing to count."
    first = f"In {size:,} conversations people wanted to {wish}."
    wishes = _common_wishes(inside)
    if wishes:
        return f"{first} Most often they wanted to {joined(wishes)}."
    spoken = [_thing(key, inside) for key in ranked if inside.objects[key] > 1][:4]
    if spoken:
        return f"{first} Most often they spoke of {joined(spoken)}."
    return f"{first} They had few words in common."


def _told(clause: str, inside: Tally, ranked: Sequence[Key], size: int) -> str:
    """The description of a group named by a clause that is typical of it."""
    first = f"In {size:,} conversations people told of this or something like it."
    spoken = [_thing(key, inside) for key in ranked if inside.objects[key] > 1][:4]
    told = joined(spoken) if spoken else lower_first(clause)
    return f"{first} Most often they spoke of {told}."


def _common_wishes(inside: Tally) -> list[str]:
    """The three commonest acts, each shared by several members, no object twice."""
    least = max(2, math.ceil(0.05 * inside.count))
    found: list[str] = []
    used: set[str] = set()
    order = sorted(
        inside.acts.items(), key=lambda item: (-item[1] * (1 + len(item[0][1])), item[0])
    )
    for (verb, key), times in order:
        if times >= least and key[-1] not in used:
            used.add(key[-1])
            found.append(f"{_usual(verb)} {rendered(key, inside)}")
    return found[:3]
