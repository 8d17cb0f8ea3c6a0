"""Themes from clusters: near centroids together, worded from the names of what is under them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage

from analyses.pipeline.local.grammar import base_form, plural, singular
from analyses.pipeline.local.reading import joined
from analyses.pipeline.local.requests import AUXILIARY, lower_first
from analyses.pipeline.local.words import content_words

OBJECTS = 3
"""Objects of children named in a theme."""

WORTH = 0.12
"""Share of a theme's conversations from which a child's object is worth naming."""

_LEADS = ("Talk about", "Discuss", "Ask about", "Solve a problem with", "Report")

_TROUBLE = ("Solve a problem with", "Report")


def group_by_vectors(
    vectors: npt.NDArray[np.floating[Any]] | Sequence[Sequence[float]],
    target: int,
    sizes: Sequence[int] | None = None,
) -> list[list[int]]:
    """Positions in about ``target`` groups of near vectors, none with a single member.

    Ward's method on unit vectors keeps groups of like size; lone members join the nearest group.
    A group that holds more than half of everything (by ``sizes``) is divided while it can be.
    """
    matrix = np.asarray(vectors, dtype=np.float64)
    if len(matrix) < 4 or target < 2:
        return [list(range(len(matrix)))]
    tree = linkage(matrix, "ward")
    best: list[list[int]] = []
    for cut in range(target, len(matrix)):
        labels = fcluster(tree, cut, "maxclust")
        groups = [[int(i) for i in np.flatnonzero(labels == label)] for label in np.unique(labels)]
        larger = [group for group in groups if len(group) > 1]
        if len(larger) > len(best):
            best = larger
        if len(best) >= target:
            break
    if not best:
        return [list(range(len(matrix)))]
    placed = {position for group in best for position in group}
    means = np.stack([matrix[group].mean(axis=0) for group in best])
    for position in range(len(matrix)):
        if position not in placed:
            best[int(np.argmax(means @ matrix[position]))].append(position)
    best = _divided(best, matrix, np.asarray(sizes if sizes else [1] * len(matrix)))
    return [sorted(group) for group in sorted(best, key=lambda group: (-len(group), group[0]))]


def _divided(
    groups: list[list[int]], matrix: npt.NDArray[np.float64], sizes: npt.NDArray[Any]
) -> list[list[int]]:
    """The groups with every one above half of the whole cut in two, as long as both keep two."""
    half = sizes.sum() / 2
    done: list[list[int]] = []
    waiting = list(groups)
    while waiting:
        group = waiting.pop()
        parts = _halves(group, matrix) if sizes[group].sum() > half else []
        if parts:
            waiting.extend(parts)
        else:
            done.append(group)
    return done


def _halves(group: list[int], matrix: npt.NDArray[np.float64]) -> list[list[int]]:
    """A group in two by the same tree; none when one side would be a single member."""
    if len(group) < 4:
        return []
    labels = fcluster(linkage(matrix[group], "ward"), 2, "maxclust")
    parts = [[group[int(i)] for i in np.flatnonzero(labels == label)] for label in (1, 2)]
    return parts if min(map(len, parts)) > 1 else []


def theme_text(children: Sequence[Mapping[str, Any]], taken: Sequence[str]) -> tuple[str, str]:
    """Name and description of a theme over named clusters (``name``, ``size``)."""
    parsed = [
        (*_parsed(str(child["name"])), max(1, int(child.get("size", 1)))) for child in children
    ]
    total = sum(size for *_, size in parsed)
    objects = _main_objects(parsed, total)
    verb = _main_verb(parsed, total)
    name = _theme_name(verb, objects) if objects else str(children[0]["name"])
    if name.casefold() in {other.casefold() for other in taken}:
        name = str(children[0]["name"])
    return name, _description(children, total)


def _theme_name(verb: str, objects: Sequence[str]) -> str:
    """The things alone where the verb says nothing more, else what is done to them."""
    listed = joined(objects)
    if verb in ("Ask about", "Solve problems with"):
        return listed[:1].upper() + listed[1:]
    return f"{verb} {listed}"


def _parsed(name: str) -> tuple[str, list[str]]:
    """The verb (or frame) of a cluster name and the objects it names."""
    name = _NUMBERED.sub("", name)
    if _FOREIGN.search(name):
        return name.split(" ")[0] + " about", []
    for lead in _LEADS:
        if name.startswith(f"{lead} "):
            shown = "Solve problems with" if lead in _TROUBLE else lead
            return shown, _objects(name[len(lead) :])
    subject = _subject(name)
    if subject:
        return "Solve problems with", _objects(lower_first(subject))
    parts = name.split(" ")
    count = 1
    while count + 1 < len(parts) and parts[count] == "or" and base_form(parts[count + 1].lower()):
        count += 2
    if count < len(parts) and parts[count] == "up":
        count += 1
    if not base_form(parts[0].lower()):
        return "Solve problems with", _objects(lower_first(name))
    return " ".join(parts[:count]), _objects(" ".join(parts[count:]))


def _subject(name: str) -> str:
    """What a clause such as "Hub won't connect" is about; "" for names that are no clause."""
    head = AUXILIARY.split(name, maxsplit=1)[0].strip()
    parts = head.split(" ")
    if _inflected(parts[0]) and len(parts) > 1:
        parts = parts[1:]
    for place, word in enumerate(parts[1:], start=1):
        if _inflected(word):
            parts = parts[:place]
            break
    found = " ".join(parts)
    return "" if found == name or not head else found


def _inflected(word: str) -> bool:
    """Whether a word is a form of a verb such as "comes" or "ended", rather than its base."""
    base = base_form(word.lower())
    return bool(base) and base != word.lower()


_FOREIGN = re.compile(r"^(?:Talk|Ask) in [A-Z][a-z]+ about ")
_NUMBERED = re.compile(r" \(\d+\)$")
_SPLIT = (" and ", " or ", ", ")
_DETAIL = (" that ", " for ", " with ", " from ", " at ", " by ", " about ", " in ", " without ", " to ",
           " on ", " as ", " – ")  # fmt: skip


def _objects(text: str) -> list[str]:
    """The things a name lists, without articles and without what follows a preposition."""
    for mark in _SPLIT:
        text = text.replace(mark, "|")
    found: list[str] = []
    for part in text.split("|"):
        for mark in _DETAIL:
            part = part.split(mark)[0]
        bare = part.strip().removeprefix("a ").removeprefix("an ").removeprefix("the ")
        if bare.strip():
            found.append(bare.strip())
    return found


def _main_objects(parsed: Sequence[tuple[str, list[str], int]], total: int) -> list[str]:
    """The things most conversations of a theme are about, as plurals, commonest first."""
    weight: Counter[str] = Counter()
    forms: dict[str, Counter[str]] = {}
    for _, objects, size in parsed:
        for place, thing in enumerate(objects[:2]):
            head = singular(thing.split(" ")[-1].lower())
            weight[head] += size if place == 0 else size // 2
            forms.setdefault(head, Counter())[thing] += size
    order = sorted(weight, key=lambda head: (-weight[head], head))
    worth = [head for head in order if weight[head] >= WORTH * total] or order[:1]
    return [_written(head, forms[head]) for head in worth[:OBJECTS]]


def _written(head: str, forms: Counter[str]) -> str:
    """One wording for all phrases with the same head: the head alone when they differ."""
    fronts = {form.rpartition(" ")[0].lower() for form in forms}
    shown = next(iter(forms)) if len(fronts) == 1 else head
    first, _, last = shown.rpartition(" ")
    many = plural(last) if last.isascii() and not last.isupper() else last
    return f"{first} {many}".strip()


def _main_verb(parsed: Sequence[tuple[str, list[str], int]], total: int) -> str:
    """The verb of a theme: the common one, two that share it, or a neutral one."""
    weight: Counter[str] = Counter()
    for verb, _, size in parsed:
        parts = verb.split(" or ")
        for part in parts:
            weight[part[:1].upper() + part[1:]] += size
    order = sorted(weight, key=lambda verb: (-weight[verb], verb))
    first = order[0]
    if weight[first] >= 0.6 * total or len(order) == 1:
        return first
    second = order[1]
    about = {"Ask about", "Solve problems with"}
    if {first, second} == about:
        return "Solve problems with"
    if {first, second} & {"Talk about", "Discuss", *about}:
        return first if weight[first] >= 0.4 * total or first not in about else second
    if weight[first] + weight[second] >= 0.5 * total:
        return f"{first} or {second.lower()}"
    return first


def _description(children: Sequence[Mapping[str, Any]], total: int) -> str:
    """Two sentences on what a theme holds."""
    listed = sorted(children, key=lambda child: -int(child.get("size", 1)))
    names = [str(child["name"])[:1].lower() + str(child["name"])[1:] for child in listed[:3]]
    groups = f"{len(children)} groups" if len(children) > 1 else "one group"
    first = f"{total:,} conversations in {groups}."
    return f"{first} In the largest, people wanted to {joined(names)}."


# steps of the hierarchy --------------------------------------------------------------------


def propose(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Groups of near clusters, as many as asked for, each with a name and the keys under it."""
    clusters = payload["clusters"]
    _, high = payload.get("bounds") or (1, len(clusters))
    target = max(1, min(int(payload["target"]), int(high)))
    themes: list[dict[str, Any]] = []
    sizes = [int(cluster.get("size", 1)) for cluster in clusters]
    for group in group_by_vectors(payload["vectors"], target, sizes):
        members = [clusters[i] for i in group]
        name, description = theme_text(members, [theme["name"] for theme in themes])
        keys = [member["key"] for member in members]
        themes.append({"name": name, "description": description, "groups": keys})
    return {"themes": themes}


def dedupe(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Proposals that share most of their words joined, the others as they are."""
    kept: list[dict[str, Any]] = []
    for parent in payload["parents"]:
        words = set(content_words(str(parent["name"])))
        match = next((k for k in kept if _alike(words, k["words"])), None)
        if match:
            match["replaces"].append(parent["key"])
        else:
            kept.append({**parent, "replaces": [parent["key"]], "words": words})
    high = int((payload.get("bounds") or (1, len(kept)))[1])
    while len(kept) > high:
        last = kept.pop()
        nearest = max(kept, key=lambda k: len(k["words"] & last["words"]))
        nearest["replaces"] += last["replaces"]
    fields = ("name", "description", "replaces")
    return {"themes": [{field: entry[field] for field in fields} for entry in kept]}


def _alike(one: set[str], other: set[str]) -> bool:
    return bool(one | other) and len(one & other) / len(one | other) >= 0.7


def assign(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Every child under the parent whose vector is nearest."""
    children = np.asarray(payload["vectors"], dtype=np.float64)
    parents = np.asarray(payload["parent_vectors"], dtype=np.float64)
    nearest = np.argmax(children @ parents.T, axis=1)
    names = [parent["name"] for parent in payload["parents"]]
    placed = zip(payload["children"], nearest, strict=True)
    return {"placements": [{"child": c["key"], "parent": names[int(i)]} for c, i in placed]}


def rename(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A theme's final name from what is under it."""
    name, description = theme_text(payload["children"], payload.get("taken", ()))
    return {"name": name, "description": description}


STEPS = {"propose": propose, "dedupe": dedupe, "assign": assign, "rename": rename}
