"""What a model is asked when clusters get their names, and the shape of its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analyses.pipeline.base import ChatRequest, Message
from analyses.pipeline.prompts import data_rule, fence

VERSION = "name-1"

NAME_WORDS = 10
"""Longest name in words (arXiv 2412.13678, section G.5)."""

NAME_CHARACTERS = 120
DESCRIPTION_CHARACTERS = 600
STATEMENT_CHARACTERS = 400
"""Longest piece of one member shown to the model; longer texts add cost, not meaning."""

RENAME_BATCH = 30

_RULES = f"""\
Rules for every name:
- at most {NAME_WORDS} words, English, beginning with a verb in the imperative
  ("Cancel a subscription", "Explain a physics concept");
- as specific as the group allows, and no more specific than most of its members;
- no names of people, companies or places, no numbers, addresses or other personal details;
- no quotation marks and no full stop.
A description has two sentences in the past tense: what the people wanted, and what sets this
group apart."""

_NAME_TASK = """\
You name one group of conversations. You see statements that belong to the group and, as contrast,
statements close to it that do not belong. Say what the members have in common and the others
lack. Never describe the contrast itself."""

_RENAME_TASK = """\
Several groups of conversations were given names that a reader could not tell apart. Give each of
the groups listed a new name that says what is particular about it, different from the others and
from every name already taken. Groups may be alike; then name the difference in emphasis."""

_TEXT = {"type": "string", "minLength": 1}

NAME_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "name": {**_TEXT, "maxLength": NAME_CHARACTERS},
        "description": {**_TEXT, "maxLength": DESCRIPTION_CHARACTERS},
    },
    "required": ["name", "description"],
    "additionalProperties": False,
}


def name_request(payload: Mapping[str, Any]) -> ChatRequest:
    """The question for one cluster; ``payload`` holds ``members`` and ``outsiders``."""
    parts = [
        fence("members", _listed(payload["members"])),
        fence("contrast", _listed(payload["outsiders"]) or "(none)"),
        "Answer with the name and the description of the group of members.",
    ]
    system = "\n\n".join([_NAME_TASK, _RULES, data_rule()])
    return ChatRequest(
        purpose="names",
        messages=(Message("system", system), Message("user", "\n\n".join(parts))),
        schema=NAME_SCHEMA,
        payload=payload,
        prompt_version=VERSION,
        max_tokens=300,
    )


def rename_request(groups: Sequence[Mapping[str, Any]], taken: Sequence[str]) -> ChatRequest:
    """The question that tells too similar groups apart."""
    listed = "\n\n".join(_group(group) for group in groups)
    user = "\n\n".join([fence("groups", listed), fence("taken names", _listed(taken) or "(none)")])
    system = "\n\n".join([_RENAME_TASK, _RULES, data_rule()])
    return ChatRequest(
        purpose="names",
        messages=(Message("system", system), Message("user", user)),
        schema=_rename_schema([int(group["index"]) for group in groups]),
        payload={"rename": list(groups), "taken": list(taken)},
        prompt_version=VERSION,
        max_tokens=200 + 120 * len(groups),
    )


def _rename_schema(indices: Sequence[int]) -> Mapping[str, Any]:
    entry = {
        "type": "object",
        "properties": {"index": {"type": "integer", "enum": list(indices)}, **_name_properties()},
        "required": ["index", "name", "description"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"groups": {"type": "array", "items": entry, "maxItems": len(indices)}},
        "required": ["groups"],
        "additionalProperties": False,
    }


def _name_properties() -> Mapping[str, Any]:
    return dict(NAME_SCHEMA["properties"])


def _group(group: Mapping[str, Any]) -> str:
    head = f"index {group['index']}: {group['name']}\n{group['description']}"
    return head + "\n" + _listed(group["examples"])


def _listed(texts: Sequence[str]) -> str:
    return "\n".join(f"- {clip(text, STATEMENT_CHARACTERS)}" for text in texts)


def clip(text: str, limit: int) -> str:
    """``text`` on one line and at most ``limit`` characters long, cut at a word."""
    line = " ".join(text.split())
    if len(line) <= limit:
        return line
    return line[:limit].rsplit(" ", 1)[0] + " …"
