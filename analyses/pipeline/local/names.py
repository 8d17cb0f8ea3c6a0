"""Names of groups from what their members say and their neighbours do not.

Class-based TF-IDF (Grootendorst 2022, arXiv 2203.05794, section 3.3) over "verb + object" pairs
and noun phrases instead of single words, so that a name is a phrase somebody would write.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from analyses.pipeline.local.candidates import Key, Tally, rendered, tally
from analyses.pipeline.local.grammar import base_form, plural
from analyses.pipeline.local.reading import joined
from analyses.pipeline.local.words import content_words, guess_language, language_name

ENOUGH = 0.12
"""Share of members from which an object may name a group."""

SECOND = 0.6
"""A second object is named when its score reaches this part of the first one's."""

FLOOR = 0.03
"""Added to shares before they are divided, so that one stray outsider decides nothing."""

TEXTS_READ = 50
CHARACTERS_READ = 600


def keyphrase_name(sample: Mapping[str, Any]) -> tuple[str, str]:
    """Name and description of a group; ``sample`` is the payload of a naming request."""
    members, outsiders = _texts(sample, "member"), _texts(sample, "outsider")
    inside, outside = tally(members), tally(outsiders)
    ranked = ranked_objects(inside, outside)
    name = _worded(ranked, inside) if ranked else _plain_words(members, outsiders)
    size = int(sample.get("size", len(members)))
    return name, _description(name, inside, ranked, size)


def distinguishing(sample: Mapping[str, Any]) -> list[str]:
    """Phrases that set a group apart from its neighbours, best first, for telling names apart."""
    members, outsiders = _texts(sample, "member"), _texts(sample, "outsider")
    inside, outside = tally(members), tally(outsiders)
    details = _ranked_details(inside, outside)
    return [*details[:5], *(" ".join(key) for key in ranked_objects(inside, outside)[:8])]


def _texts(sample: Mapping[str, Any], side: str) -> list[str]:
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
    if not scores and inside.count:
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
    """The name: a frame for chats, meetings and questions, else verb and object."""
    frame, times = max(inside.frames.items(), key=lambda item: (item[1], item[0]))
    scores = [inside.share(key) for key in ranked]
    if frame in ("talk", "discuss") and times > inside.count / 3:
        things = [_thing(key, inside) for key in ranked[:3]]
        return f"{'Discuss' if frame == 'discuss' else 'Talk about'} {joined(things)}"
    first = ranked[0]
    chosen = [first]
    if len(ranked) > 1 and scores[0] < 0.5 and scores[1] >= SECOND * scores[0]:
        chosen.append(ranked[1])
    verb = _verb(first, inside)
    objects = [rendered(key, inside) for key in chosen]
    if verb:
        return f"{verb} {' or '.join(objects)}"
    return f"Ask about {' or '.join(objects)}"


def _thing(key: Key, counts: Tally) -> str:
    head = plural(key[-1]) if key[-1].isascii() and len(key) == 1 else key[-1]
    return " ".join([*key[:-1], head])


def _verb(key: Key, inside: Tally) -> str:
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


def _ranked_details(inside: Tally, outside: Tally) -> list[str]:
    def score(detail: str) -> float:
        here = inside.details[detail] / inside.count
        there = outside.details[detail] / outside.count if outside.count else 0.0
        return here * math.log((here + FLOOR) / (there + FLOOR))

    usable = [detail for detail, times in inside.details.items() if times >= 2]
    return sorted((d for d in usable if score(d) > 0), key=lambda d: (-score(d), d))


def _plain_words(members: Sequence[str], outsiders: Sequence[str]) -> str:
    """A name from single words, for texts without any phrase; says the language if not English."""
    inside = Counter(word for text in members for word in set(content_words(text)))
    outside = Counter(word for text in outsiders for word in set(content_words(text)))

    def score(word: str) -> float:
        here, there = inside[word] / len(members), outside[word] / max(1, len(outsiders))
        return here * (0.15 + max(0.0, math.log((here + FLOOR) / (there + FLOOR))))

    top = sorted(inside, key=lambda word: (-score(word), word))[:2]
    language = language_name(guess_language(members))
    if not top:
        return "Exchange a few words" if members else "Say nothing"
    lead = f"Talk in {language} about" if language not in ("", "English") else "Talk about"
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


def rename_groups(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    """New names for groups with like names: each gets what its members say and the others do not.

    The first group (the largest) keeps its name.
    """
    groups = list(payload["rename"])
    taken = {str(name).casefold() for name in payload.get("taken", ())}
    counted = [tally(_texts({"hints": g.get("hints") or g.get("examples") or []}, "member"))
               for g in groups]  # fmt: skip
    answers: list[dict[str, Any]] = []
    for place, group in enumerate(groups):
        others = Tally()
        for other, counts in enumerate(counted):
            if other != place:
                _add(others, counts)
        name = _set_apart(str(group["name"]), counted[place], others, taken)
        taken.add(name.casefold())
        answers.append({"index": group["index"], "name": name, "description": group["description"]})
    return answers


def _add(total: Tally, more: Tally) -> None:
    total.count += more.count
    total.objects.update(more.objects)
    total.details.update(more.details)
    total.acts.update(more.acts)


def _set_apart(name: str, inside: Tally, outside: Tally, taken: set[str]) -> str:
    if name.casefold() not in taken and not outside.count:
        return name
    words = set(content_words(name))
    for detail in _ranked_details(inside, outside):
        if not words & set(content_words(detail)):
            candidate = f"{name} {detail}"
            if candidate.casefold() not in taken:
                return candidate
    for key in ranked_objects(inside, outside):
        if words & set(key):
            longer = _longer(key, name)
            if longer and longer.casefold() not in taken:
                return longer
            continue
        verb = _verb(key, inside)
        thing = rendered(key, inside)
        candidate = f"{verb} {thing}" if verb else f"{name}, often {' '.join(key)}"
        if candidate.casefold() not in taken:
            return candidate
    return name


def _longer(key: Key, name: str) -> str:
    """``name`` with its object replaced by a longer phrase that ends in the same word."""
    parts = name.split(" ")
    if len(key) < 2 or parts[-1].lower() not in (key[-1], plural(key[-1])):
        return ""
    verb = parts[0] if base_form(parts[0].lower()) else "Ask about"
    article = "a " if len(parts) > 2 and parts[-2].lower() in ("a", "an") else ""
    return f"{verb} {article}{' '.join(key[:-1])} {parts[-1]}"
