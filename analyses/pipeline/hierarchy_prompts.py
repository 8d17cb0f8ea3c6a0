"""What a model is asked when clusters are arranged in a tree, and the shape of its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analyses.pipeline.base import ChatRequest, Message
from analyses.pipeline.name_prompts import DESCRIPTION_CHARACTERS, NAME_CHARACTERS, NAME_WORDS, clip
from analyses.pipeline.prompts import data_rule, fence

VERSION = "hierarchy-1"

_RULES = f"""\
A theme name has at most {NAME_WORDS} words, is English, begins with a verb in the imperative and
holds no names of people, companies or places. Themes must not overlap, and each must hold at
least two of the groups. Avoid catch-all names such as "Handle various requests".
A description has two sentences in the past tense."""

_PROPOSE = """\
You arrange groups of conversations under broader themes. Propose {low} to {high} themes, ideally
{target}, that together cover every group listed, and list for each theme the keys of the groups
you would place under it. Groups under "nearby" are placed by somebody else; they only show where
this part of the data ends."""

_DEDUPE = """\
Themes for one set of conversations were proposed by several people who each saw a part of it.
Merge those that mean the same, keep those that differ, and word the result so that no two
overlap. Return {low} to {high} themes, ideally {target}, and list for each the numbers of the
proposals it replaces. Every proposal must be replaced by exactly one theme."""

_ASSIGN = """\
Place each group of conversations under the one theme it fits best. Answer for every group, with
its key and the exact name of a theme from the list. Do not make up themes."""

_RENAME = """\
Here are the groups of conversations that were placed under one theme. Write a name and a
description for the theme that fit what is really in it, more specific than the working name where
the groups allow it, and different from the names of its neighbours."""

_NAME = {"type": "string", "minLength": 1, "maxLength": NAME_CHARACTERS}
_TEXT = {"type": "string", "minLength": 1, "maxLength": DESCRIPTION_CHARACTERS}

Entry = Mapping[str, Any]


def propose_request(
    clusters: Sequence[Entry],
    target: int,
    bounds: tuple[int, int],
    vectors: Sequence[Sequence[float]],
    nearby: Sequence[str],
) -> ChatRequest:
    """Ask for parents of one neighbourhood; ``vectors`` serve the local engine only."""
    user = [fence("groups", _entries(clusters)), fence("nearby", _lines(nearby) or "(none)")]
    payload = {
        "step": "propose",
        "clusters": list(clusters),
        "target": target,
        "bounds": list(bounds),
        "vectors": [list(row) for row in vectors],
    }
    keys = [entry["key"] for entry in clusters]
    system = _PROPOSE.format(low=bounds[0], high=bounds[1], target=target)
    return _request(system, user, _parents("groups", keys, bounds[1]), payload, 150 * bounds[1])


def dedupe_request(parents: Sequence[Entry], target: int, bounds: tuple[int, int]) -> ChatRequest:
    """Ask which proposals of several neighbourhoods mean the same; numbers are positions."""
    listed = [{**parent, "key": number} for number, parent in enumerate(parents)]
    payload = {
        "step": "dedupe",
        "parents": listed,
        "target": target,
        "bounds": list(bounds),
    }
    system = _DEDUPE.format(low=bounds[0], high=bounds[1], target=target)
    schema = _parents("replaces", list(range(len(parents))), bounds[1])
    return _request(
        system, [fence("proposals", _entries(listed))], schema, payload, 150 * bounds[1]
    )


def assign_request(
    children: Sequence[Entry],
    parents: Sequence[Entry],
    vectors: Sequence[Sequence[float]],
    parent_vectors: Sequence[Sequence[float]],
) -> ChatRequest:
    """Ask for the parent of each child; the vectors serve the local engine only."""
    named = [f"{parent['name']}: {parent['description']}" for parent in parents]
    payload = {
        "step": "assign",
        "children": list(children),
        "parents": list(parents),
        "vectors": [list(row) for row in vectors],
        "parent_vectors": [list(row) for row in parent_vectors],
    }
    entry = {
        "type": "object",
        "properties": {
            "child": {"type": "integer", "enum": [child["key"] for child in children]},
            "parent": {"type": "string", "enum": [parent["name"] for parent in parents]},
        },
        "required": ["child", "parent"],
        "additionalProperties": False,
    }
    user = [fence("themes", _lines(named)), fence("groups", _entries(children))]
    return _request(_ASSIGN, user, _list_of("placements", entry), payload, 40 * len(children) + 200)


def rename_request(parent: Entry, children: Sequence[Entry], taken: Sequence[str]) -> ChatRequest:
    """Ask for a parent's final name, given what was really placed under it."""
    payload = {
        "step": "rename",
        "parent": dict(parent),
        "children": list(children),
        "taken": list(taken),
    }
    schema = {
        "type": "object",
        "properties": {"name": _NAME, "description": _TEXT},
        "required": ["name", "description"],
        "additionalProperties": False,
    }
    user = [
        fence("working name", str(parent["name"])),
        fence("groups", _entries(children)),
        fence("neighbours", _lines(taken) or "(none)"),
    ]
    return _request(_RENAME, user, schema, payload, 300)


def _request(
    task: str, user: Sequence[str], schema: Entry, payload: Entry, max_tokens: int
) -> ChatRequest:
    system = "\n\n".join([task, _RULES, data_rule()])
    return ChatRequest(
        purpose="hierarchy",
        messages=(Message("system", system), Message("user", "\n\n".join(user))),
        schema=schema,
        payload=payload,
        prompt_version=VERSION,
        max_tokens=max_tokens,
    )


def _parents(members: str, keys: Sequence[int], most: int) -> Entry:
    """Schema of a list of parents, each with the keys (of groups or proposals) it stands for."""
    entry = {
        "type": "object",
        "properties": {
            "name": _NAME,
            "description": _TEXT,
            members: {"type": "array", "items": {"type": "integer", "enum": list(keys)}},
        },
        "required": ["name", "description", members],
        "additionalProperties": False,
    }
    return _list_of("themes", entry, most)


def _list_of(name: str, entry: Entry, most: int | None = None) -> Entry:
    listed: dict[str, Any] = {"type": "array", "items": entry, "minItems": 1}
    if most is not None:
        listed["maxItems"] = most
    return {
        "type": "object",
        "properties": {name: listed},
        "required": [name],
        "additionalProperties": False,
    }


def _entries(entries: Sequence[Entry]) -> str:
    return "\n".join(f"[{e['key']}] {e['name']}: {clip(e['description'], 300)}" for e in entries)


def _lines(texts: Sequence[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)
