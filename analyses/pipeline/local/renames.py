"""New names for groups whose names a reader could not tell apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analyses.pipeline.local.candidates import Key, Tally, rendered, tally
from analyses.pipeline.local.grammar import base_form, plural, singular
from analyses.pipeline.local.names import (
    ENOUGH,
    group_texts,
    ranked_details,
    ranked_objects,
    verb_for,
)
from analyses.pipeline.local.texts import phrase_shares, set_apart
from analyses.pipeline.local.words import content_words


def rename_groups(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    """New names for groups with like names: each gets what its members say and the others do not.

    The first group (the largest) keeps its name unless that is taken.
    """
    groups = list(payload["rename"])
    taken = {str(name).casefold() for name in payload.get("taken", ())}
    hints = [tally(group_texts({"hints": g.get("hints") or g.get("examples") or []}, "member"))
             for g in groups]  # fmt: skip
    longer = [phrase_shares(group.get("members") or ()) for group in groups]
    answers: list[dict[str, Any]] = []
    for place, group in enumerate(groups):
        name = str(group["name"])
        if place or name.casefold() in taken:
            options = _options(name, place, hints, longer)
            name = next((o for o in options if o.casefold() not in taken), name)
        taken.add(name.casefold())
        answers.append({"index": group["index"], "name": name, "description": group["description"]})
    return answers


def _options(
    name: str, place: int, hints: Sequence[Tally], longer: Sequence[Mapping[Key, float]]
) -> Iterator[str]:
    """Other names for the group at ``place``, best first."""
    inside, others = hints[place], Tally()
    for other, counts in enumerate(hints):
        if other != place:
            _add(others, counts)
    words = {singular(word) for word in content_words(name)}
    yield from _by_object(name, inside, ranked_objects(inside, others))
    for detail in ranked_details(inside, others):
        if not words & {singular(word) for word in content_words(detail)}:
            yield f"{name} {detail}"
    rest = [shares for other, shares in enumerate(longer) if other != place]
    for key in set_apart(longer[place], rest):
        if not words & set(key) and longer[place][key] >= ENOUGH:
            yield f"{name}, with {' '.join([*key[:-1], plural(key[-1])])}"


def _by_object(name: str, inside: Tally, ranked: Sequence[Key]) -> Iterator[str]:
    """Names from the objects that set a group apart: a longer form of the same one, or another."""
    words = {singular(word) for word in content_words(name)}
    for key in ranked:
        if inside.share(key) < ENOUGH:
            continue
        longer = _longer(key, name) if words & set(key) else ""
        if longer:
            yield longer
        elif not words & set(key) and verb_for(key, inside):
            yield f"{verb_for(key, inside)} {rendered(key, inside)}"


def _add(total: Tally, more: Tally) -> None:
    total.count += more.count
    total.objects.update(more.objects)
    total.details.update(more.details)
    total.acts.update(more.acts)


def _longer(key: Key, name: str) -> str:
    """``name`` with its object replaced by a longer phrase that ends in the same word."""
    parts = name.split(" ")
    if len(key) < 2 or len(parts) > 6 or parts[-1].lower() not in (key[-1], plural(key[-1])):
        return ""
    verb = parts[0] if base_form(parts[0].lower()) else "Ask about"
    article = "a " if len(parts) > 2 and parts[-2].lower() in ("a", "an") else ""
    return f"{verb} {article}{' '.join(key[:-1])} {parts[-1]}"
