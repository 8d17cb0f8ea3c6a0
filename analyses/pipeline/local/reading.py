"""Facets of one conversation, read by rules: what is quoted is quoted, nothing is made up."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analyses.pipeline.local import feelings
from analyses.pipeline.local.glossary import concepts
from analyses.pipeline.local.grammar import noun_phrases, plural, tokens
from analyses.pipeline.local.requests import best_request
from analyses.pipeline.local.words import (
    all_stop_words,
    content_words,
    guess_language,
    language_name,
    plain,
    sentences,
    word_set,
)

ASKING = word_set("customer user human client visitor caller patient student buyer")
ANSWERING = word_set(
    "agent assistant bot ai model support operator advisor adviser representative doctor chatgpt "
    "gpt staff seller"
)
SILENT = frozenset({"system", "tool", "function"})

MANY_SPEAKERS = 3
"""From this many speakers on a conversation without roles is a discussion, not a chat."""

SUBJECTS = 3
"""Subjects named for a conversation in which nobody asks for anything."""

SENTENCE_CHARACTERS = 280


@dataclass(frozen=True, slots=True)
class Heard:
    """A conversation taken apart: what the asking side and the other side wrote, in order."""

    asked: Sequence[str]
    answered: Sequence[str]
    everything: Sequence[str]
    speakers: int
    has_roles: bool
    language: str

    @property
    def english(self) -> bool:
        """Whether English grammar may be applied."""
        return self.language.split("-")[0] in ("en", "", "und")


def hear(turns: Sequence[Mapping[str, Any]], language: str) -> Heard:
    """Take turns (``role``, ``text``) apart; without known roles the first speaker asks."""
    spoken = [(str(t["role"]).lower(), plain(str(t["text"]))) for t in turns]
    spoken = [(role, text) for role, text in spoken if role not in SILENT and text.strip()]
    roles = list(dict.fromkeys(role for role, _ in spoken))
    has_roles = any(role in ASKING or role in ANSWERING for role in roles)
    first = next((r for r in roles if r not in ANSWERING), roles[0] if roles else "")
    known = [role for role in roles if role in ASKING]
    asking = set(known or [first])
    everything = [text for _, text in spoken]
    if language in ("", "und"):
        language = guess_language(everything)
    return Heard(
        asked=[text for role, text in spoken if role in asking],
        answered=[text for role, text in spoken if role not in asking],
        everything=everything,
        speakers=len(roles),
        has_roles=has_roles,
        language=language,
    )


def read_facets(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Answers to all facets of the payload (``turns``, ``language``, ``facets``).

    Facets known by their key are read by their own rule, others by kind; what no rule can tell
    is ``None`` (an empty list for lists).
    """
    heard = hear(payload["turns"], str(payload.get("language") or ""))
    request = request_of(heard)
    known: dict[str, Any] = {
        "request": request,
        "task": task_of(heard, request),
        "summary": summary_of(heard, request),
        "language": language_name(heard.language) or "Undetermined",
        "sentiment": feelings.sentiment(heard.asked, heard.language),
        "concern": feelings.concern(heard.asked, heard.language),
        "resolved": feelings.resolved(heard.asked) if heard.has_roles else None,
    }
    return {spec["key"]: _answer(spec, known, heard) for spec in payload["facets"]}


def request_of(heard: Heard) -> str:
    """What the person who started it wants; for chats and meetings, what they are about."""
    if heard.has_roles or (heard.speakers == 1 and heard.asked):
        found = best_request(heard.asked, heard.english)
        return _short(found or (heard.asked[0] if heard.asked else ""))
    about = subjects(heard, SUBJECTS)
    verb = "Discuss" if heard.speakers > MANY_SPEAKERS - 1 else "Talk about"
    if not about:
        return _short(best_request(heard.asked, heard.english))
    return f"{verb} {joined(about)}"


def subjects(heard: Heard, limit: int) -> list[str]:
    """What a conversation keeps coming back to: phrases said in several turns."""
    count: Counter[str] = Counter()
    for text in heard.everything[:400]:
        count.update(set(_subjects_of(text, heard)))
    least = 2 if len(heard.everything) > 3 else 1
    ranked = sorted(count.items(), key=lambda item: (-item[1] * (1 + 0.7 * (" " in item[0])), item))
    chosen: list[str] = []
    for phrase, times in ranked:
        inside = any(phrase in other or other in phrase for other in chosen)
        if times >= least and not inside:
            chosen.append(phrase)
        if len(chosen) == limit:
            break
    return chosen


def _subjects_of(text: str, heard: Heard) -> list[str]:
    if heard.english:
        stops = all_stop_words()
        phrases = [" ".join(p.key) for p in noun_phrases(tokens(text))]
        return [_many(phrase) for phrase in phrases if phrase not in stops and len(phrase) > 2]
    known = [plural(c.word) for c in concepts(text, heard.language) if c.kind == "n"]
    return known or content_words(text)[:8]


def _many(phrase: str) -> str:
    head = phrase.rsplit(" ", 1)
    return " ".join([*head[:-1], plural(head[-1])]) if len(head) == 1 else phrase


def joined(parts: Sequence[str]) -> str:
    """``a``, ``a and b`` or ``a, b and c``."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def task_of(heard: Heard, request: str) -> str:
    """What the other side did, in its own most telling sentence; the request if it said none."""
    if not heard.has_roles:
        return request
    overlap = set(content_words(request))
    best, score = "", 0.0
    for text in heard.answered:
        for sentence in sentences(text)[:6]:
            shared = len(overlap & set(content_words(sentence)))
            value = shared + 0.5 * bool(_DONE.search(sentence)) - 0.3 * sentence.endswith("?")
            if value > score:
                best, score = sentence, value
    return _short(best) or request


_DONE = re.compile(
    r"\b(?:i have|i['’]ve|has been|have been|is confirmed|done|booked|reserved|refunded|sent"
    r"|cancelled|updated|here is|here are|you can)\b",
    re.IGNORECASE,
)


def summary_of(heard: Heard, request: str) -> str:
    """Two sentences of the conversation: the problem as first put, and how it ended."""
    problem = _telling(heard.asked) or _telling(heard.everything)
    if not problem:
        return request
    last = heard.answered[-3:] or heard.asked[-1:]
    outcome = _telling(list(reversed(last)), min_words=4)
    parts = [_ended(problem)]
    if outcome and outcome != problem:
        parts.append(_ended(outcome))
    return " ".join(parts)


def _telling(texts: Sequence[str], min_words: int = 2) -> str:
    """The first sentence with enough words that carry a topic."""
    for text in texts[:8]:
        for sentence in sentences(text)[:10]:
            if len(content_words(sentence)) >= min_words:
                return _short(sentence)
    return ""


def _short(text: str) -> str:
    line = " ".join(text.split())
    if len(line) <= SENTENCE_CHARACTERS:
        return line
    return line[:SENTENCE_CHARACTERS].rsplit(" ", 1)[0] + " …"


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?", "。", "！", "？", "…")) else sentence + "."


def _answer(spec: Mapping[str, Any], known: Mapping[str, Any], heard: Heard) -> Any:
    if spec["key"] in known:
        return _fitting(spec, known[spec["key"]])
    return _BY_KIND[spec["kind"]](spec, heard)


def _fitting(spec: Mapping[str, Any], value: Any) -> Any:
    """A known answer within the facet's own choices or range, else ``None``."""
    if spec["kind"] == "category" and spec.get("choices"):
        return next((c for c in spec["choices"] if c.casefold() == str(value).casefold()), None)
    if spec["kind"] == "score" and isinstance(value, int | float):
        low, high = int(spec.get("low", 1)), int(spec.get("high", 5))
        return low + round((value - 1) * (high - low) / 4)
    return value


def _by_choice(spec: Mapping[str, Any], heard: Heard) -> str | None:
    """The choice whose words occur most in the conversation; ``None`` when none does."""
    present = Counter(content_words("\n".join(heard.everything)))
    best, most = None, 0
    for choice in spec.get("choices", ()):
        hits = sum(present[word] for word in content_words(choice))
        if hits > most:
            best, most = choice, hits
    return best


def _by_label(spec: Mapping[str, Any], heard: Heard) -> str | None:
    """The sentence nearest to the question's own words; ``None`` when none shares any."""
    wanted = set(content_words(f"{spec['label']} {spec['question']}"))
    best, most = None, 1
    for text in heard.everything[:40]:
        for sentence in sentences(text)[:8]:
            shared = len(wanted & set(content_words(sentence)))
            if shared > most:
                best, most = _short(sentence), shared
    return best


def _unknown(spec: Mapping[str, Any], heard: Heard) -> None:
    """Yes-or-no questions and scores of a template are beyond rules: not answered."""


def _listed(spec: Mapping[str, Any], heard: Heard) -> list[str]:
    """The subjects of the conversation, for any facet that asks for a list."""
    return subjects(heard, 5)


_BY_KIND = {
    "category": _by_choice,
    "text": _by_label,
    "boolean": _unknown,
    "score": _unknown,
    "list": _listed,
}
