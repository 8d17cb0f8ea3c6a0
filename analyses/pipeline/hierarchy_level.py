"""One level of the tree: propose parents, agree on them, place the children, name what came out.

Four rounds of calls, each in parallel: neighbourhoods, one deduplication, placements, names.
Every round has a fallback that needs no model, so a level is always complete.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from analyses.pipeline import hierarchy_prompts as prompts
from analyses.pipeline.base import CallFailed, ChatAnswer, ChatRequest, Context, Matrix
from analyses.pipeline.cluster import assign_clusters
from analyses.pipeline.inflight import as_answered
from analyses.pipeline.local.groups import group_by_vectors, theme_text
from analyses.pipeline.name_rules import (
    TOO_SIMILAR,
    clean_description,
    clean_name,
    set_apart,
    similarity,
)
from analyses.pipeline.shape import NEARBY, NEIGHBOURHOOD, PLACED_PER_CALL, bounds

DIGITS = 4
"""Decimals of the vectors handed to the local engine."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node while the tree grows: ``vector`` is its unit centroid, ``parent`` a parent's key."""

    key: int
    name: str
    description: str
    vector: npt.NDArray[np.float32]
    size: int
    parent: int | None = None


@dataclass(frozen=True, slots=True)
class _Parent:
    """A proposed parent and the positions of the children it was proposed for."""

    name: str
    description: str
    seeds: tuple[int, ...] = field(default=())


async def build_level(
    children: Sequence[Node], target: int, context: Context
) -> tuple[list[Node], list[int]]:
    """Parents of ``children`` and, for every child, the key of its one parent.

    Parents without children are dropped and those with a single one dissolved, so there may be
    fewer than ``target``; the caller decides whether that is a level at all.
    """
    vectors = np.stack([child.vector for child in children]).astype(np.float32)
    proposed = await _propose(children, vectors, target, context)
    agreed = await _agree(proposed, target, context)
    if len(agreed) < 2:
        agreed = _by_distance(children, vectors, target)
    links = await _place(children, vectors, agreed, context)
    links = merge_singles(links, vectors)
    if len(set(links)) < 2:
        agreed = _by_distance(children, vectors, target)
        links = merge_singles(_seeded(agreed, len(children)), vectors)
    return await _name_parents(children, vectors, agreed, links, context)


async def _ask(request: ChatRequest, context: Context) -> ChatAnswer | None:
    """The answer, or ``None`` when the call failed in a way that does not concern the next."""
    try:
        return await context.chat(request)
    except CallFailed as error:
        if error.fatal:
            raise
        context.log.warning("hierarchy call failed: %s", error.error_class)
        return None


# propose -----------------------------------------------------------------------------------


async def _propose(
    children: Sequence[Node], vectors: Matrix, target: int, context: Context
) -> list[_Parent]:
    """Parents proposed by each neighbourhood for itself."""
    parts = neighbourhoods(vectors, context.seed)
    shares = [max(1, round(target * len(part) / len(children))) for part in parts]

    async def ask(number: int) -> tuple[int, list[_Parent]]:
        part = parts[number]
        share = bounds(shares[number], len(part))
        nearby = _nearby(children, vectors, part) if len(parts) > 1 else []
        rows = _rows(vectors, part)
        request = prompts.propose_request(
            _entries(children, part), shares[number], share, rows, nearby
        )
        answer = await _ask(request, context)
        found = _read_parents(answer, "groups", len(children), share[1])
        if found:
            return number, found
        local = _by_distance([children[i] for i in part], vectors[part], shares[number])
        return number, [replace(p, seeds=tuple(int(part[s]) for s in p.seeds)) for p in local]

    answers = [answer async for answer in as_answered(range(len(parts)), ask, context)]
    return [parent for _, found in sorted(answers, key=lambda a: a[0]) for parent in found]


def neighbourhoods(vectors: Matrix, seed: int) -> list[npt.NDArray[np.int64]]:
    """Positions of ``vectors`` in groups of about :data:`NEIGHBOURHOOD` close ones."""
    count = math.ceil(len(vectors) / NEIGHBOURHOOD)
    labels = assign_clusters(vectors, count, seed).labels
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _nearby(children: Sequence[Node], vectors: Matrix, part: npt.NDArray[np.int64]) -> list[str]:
    outside = np.setdiff1d(np.arange(len(children)), part)
    closeness = vectors[outside] @ vectors[part].mean(axis=0)
    return [children[i].name for i in outside[np.argsort(-closeness, kind="stable")[:NEARBY]]]


def _entries(children: Sequence[Node], part: Sequence[int] | npt.NDArray[np.int64]) -> list[Any]:
    return [
        {
            "key": int(i),
            "name": children[i].name,
            "description": children[i].description,
            "size": children[i].size,
        }
        for i in part
    ]


def _rows(vectors: Matrix, part: Sequence[int] | npt.NDArray[np.int64]) -> list[list[float]]:
    return [[round(float(x), DIGITS) for x in vectors[i]] for i in part]


def _read_parents(
    answer: ChatAnswer | None, members: str, available: int, most: int
) -> list[_Parent]:
    """Usable parents of an answer: named, no two alike, members within range and unique."""
    if answer is None:
        return []
    found: list[_Parent] = []
    used: set[int] = set()
    for entry in list(answer.data.get("themes", ()))[:most]:
        name = clean_name(str(entry.get("name", "")))
        keys = [int(key) for key in entry.get(members, ()) if 0 <= int(key) < available]
        seeds = tuple(key for key in dict.fromkeys(keys) if key not in used)
        used.update(seeds)
        if name:
            description = clean_description(str(entry.get("description", "")))
            found.append(_Parent(name, description, seeds))
    return _merged_alike(found)


def _by_distance(children: Sequence[Node], vectors: Matrix, target: int) -> list[_Parent]:
    """Parents without a model: close centroids together, worded from their children's names."""
    groups = group_by_vectors(vectors, min(target, max(1, len(children) // 2)))
    parents: list[_Parent] = []
    for group in groups:
        entries = _entries(children, group)
        name, description = theme_text(entries, [parent.name for parent in parents])
        name = _apart(clean_name(name), [parent.name for parent in parents], entries)
        parents.append(_Parent(name, clean_description(description), tuple(group)))
    return parents


def _apart(name: str, taken: Sequence[str], children: Sequence[Mapping[str, Any]]) -> str:
    if all(similarity(name, other) < TOO_SIMILAR for other in taken):
        return name
    return set_apart(name, [str(child["name"]).lower() for child in children], taken)


# agree -------------------------------------------------------------------------------------


async def _agree(proposed: Sequence[_Parent], target: int, context: Context) -> list[_Parent]:
    """One list of parents out of the neighbourhoods' proposals; no proposal is lost."""
    distinct = _merged_alike(proposed)
    limits = bounds(target, len(distinct))
    if len(distinct) <= limits[1] and len(distinct) == len(proposed) <= max(target, 2):
        return distinct
    listed = [{"name": p.name, "description": p.description} for p in distinct]
    answer = await _ask(prompts.dedupe_request(listed, target, limits), context)
    merged = _read_parents(answer, "replaces", len(distinct), limits[1])
    if len(merged) < min(2, len(distinct)):
        return distinct
    replaced = {number for parent in merged for number in parent.seeds}
    kept = [parent for number, parent in enumerate(distinct) if number not in replaced]
    joined = [replace(p, seeds=_joined(distinct, p.seeds)) for p in merged]
    return _merged_alike([*joined, *kept])


def _joined(parents: Sequence[_Parent], numbers: Sequence[int]) -> tuple[int, ...]:
    return tuple(seed for number in numbers for seed in parents[number].seeds)


def _merged_alike(parents: Sequence[_Parent]) -> list[_Parent]:
    """``parents`` with those of (nearly) the same name joined into the first of them."""
    result: list[_Parent] = []
    for parent in parents:
        for position, other in enumerate(result):
            if similarity(parent.name, other.name) >= TOO_SIMILAR:
                result[position] = replace(other, seeds=other.seeds + parent.seeds)
                break
        else:
            result.append(parent)
    return result


# place -------------------------------------------------------------------------------------


async def _place(
    children: Sequence[Node], vectors: Matrix, parents: Sequence[_Parent], context: Context
) -> list[int]:
    """The position of every child's parent: asked, asked once more, then the nearest."""
    found: dict[int, int] = {}
    for attempt in range(2):
        open_ = [i for i in range(len(children)) if i not in found]
        calls = [open_[i : i + PLACED_PER_CALL] for i in range(0, len(open_), PLACED_PER_CALL)]

        async def ask(part: list[int], attempt: int = attempt) -> dict[int, int]:
            return await _placements(part, children, vectors, parents, context, attempt)

        async for placed in as_answered(calls, ask, context):
            found.update(placed)
    return _nearest_for_rest(found, vectors, parents)


async def _placements(
    part: Sequence[int],
    children: Sequence[Node],
    vectors: Matrix,
    parents: Sequence[_Parent],
    context: Context,
    attempt: int,
) -> dict[int, int]:
    """Parents of some children as the model sees them; only exact names of known parents count.

    The list is shuffled per call, so that its order favours no parent.
    """
    order = np.random.default_rng([context.seed, attempt, part[0]]).permutation(len(parents))
    means = _parent_vectors(parents, vectors)
    request = prompts.assign_request(
        _entries(children, part),
        [{"name": parents[i].name, "description": parents[i].description} for i in order],
        _rows(vectors, part),
        _rows(means, order),
    )
    answer = await _ask(request, context)
    known = {parent.name: position for position, parent in enumerate(parents)}
    wanted = set(part)
    placed: dict[int, int] = {}
    for entry in answer.data.get("placements", ()) if answer else ():
        child, parent = int(entry["child"]), known.get(str(entry["parent"]).strip())
        if child in wanted and parent is not None:
            placed.setdefault(child, parent)
    return placed


def _parent_vectors(parents: Sequence[_Parent], vectors: Matrix) -> Matrix:
    """Unit mean of the children each parent was proposed for; zero where there are none."""
    means = np.zeros((len(parents), vectors.shape[1]), dtype=np.float32)
    for position, parent in enumerate(parents):
        if parent.seeds:
            means[position] = vectors[list(parent.seeds)].mean(axis=0)
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    return np.asarray(means / np.maximum(norms, 1e-12), dtype=np.float32)


def _nearest_for_rest(
    found: Mapping[int, int], vectors: Matrix, parents: Sequence[_Parent]
) -> list[int]:
    """``found`` completed: a child without a parent goes where it was proposed, or nearest."""
    proposed = _seeded(parents, len(vectors))
    known = [found.get(i, proposed[i]) for i in range(len(vectors))]
    placed = np.array([i for i, parent in enumerate(known) if parent >= 0], dtype=np.int64)
    if not len(placed):
        return [0] * len(vectors)
    for i, parent in enumerate(known):
        if parent < 0:
            known[i] = known[int(placed[np.argmax(vectors[placed] @ vectors[i])])]
    return known


def _seeded(parents: Sequence[_Parent], count: int) -> list[int]:
    """The parent each child was proposed under, -1 for those proposed under none."""
    links = [-1] * count
    for position, parent in enumerate(parents):
        for child in parent.seeds:
            links[child] = position
    return links


def merge_singles(links: Sequence[int], vectors: Matrix) -> list[int]:
    """``links`` without single-child parents: the child joins the nearest other parent.

    Smallest cosine loss first does not matter here: each step removes one parent, so it ends.
    """
    result = np.array(links)
    while True:
        names, counts = np.unique(result, return_counts=True)
        if len(names) < 2 or counts.min() > 1:
            return [int(link) for link in result]
        child = int(np.flatnonzero(result == names[np.argmin(counts)])[0])
        others = np.flatnonzero(result != result[child])
        means = {link: vectors[result == link].mean(axis=0) for link in np.unique(result[others])}
        result[child] = max(means, key=lambda link: float(_cosine(means[link], vectors[child])))


def _cosine(one: npt.NDArray[np.float32], two: npt.NDArray[np.float32]) -> float:
    return float(one @ two / max(float(np.linalg.norm(one) * np.linalg.norm(two)), 1e-12))


# name --------------------------------------------------------------------------------------


async def _name_parents(
    children: Sequence[Node],
    vectors: Matrix,
    parents: Sequence[_Parent],
    links: Sequence[int],
    context: Context,
) -> tuple[list[Node], list[int]]:
    """The parents that have children, named from them, and the links renumbered to their keys."""
    used = sorted(set(links), key=lambda link: -sum(c.size for c in _under(children, links, link)))
    groups = [[i for i, link in enumerate(links) if link == parent] for parent in used]

    async def ask(key: int) -> tuple[int, str, str]:
        parent = parents[used[key]]
        taken = [parents[other].name for other in used if other != used[key]]
        working = {"name": parent.name, "description": parent.description}
        entries = _entries(children, groups[key])
        answer = await _ask(prompts.rename_request(working, entries, taken), context)
        data = answer.data if answer else {}
        name = clean_name(str(data.get("name", ""))) or parent.name
        return key, name, clean_description(str(data.get("description", ""))) or parent.description

    answers = {a[0]: a async for a in as_answered(range(len(used)), ask, context)}
    nodes: list[Node] = []
    for key, group in enumerate(groups):
        _, name, text = answers[key]
        name = _apart(name, [node.name for node in nodes], _entries(children, group))
        size = sum(children[i].size for i in group)
        nodes.append(Node(key, name, text, _mean(children, vectors, group), size))
    return nodes, [used.index(link) for link in links]


def _under(children: Sequence[Node], links: Sequence[int], parent: int) -> list[Node]:
    return [child for child, link in zip(children, links, strict=True) if link == parent]


def _mean(
    children: Sequence[Node], vectors: Matrix, group: Sequence[int]
) -> npt.NDArray[np.float32]:
    """Unit mean of the children's vectors, each weighing as much as its conversations."""
    weights = np.array([max(1, children[i].size) for i in group], dtype=np.float32)
    mean = weights @ vectors[list(group)]
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)
