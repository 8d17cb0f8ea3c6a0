"""Seventh stage: which groups may be shown.

Two layers of Clio's four (arXiv 2412.13678, section 2.3): a floor on conversations and distinct
end users for every group, and an auditor that scores the text of every group from 1 (points to a
person) to 5 (general). The two layers before are redaction and the wording of the facet prompts.

Counts of a parent include its withheld groups. What is withheld below one parent could therefore
be worked out by subtraction, so the withheld remainder of every parent, and of the whole, has to
reach the floors itself; where it does not, the smallest shown sibling is withheld with it
(complementary cell suppression; Hundepool et al., Statistical Disclosure Control, 2012, ch. 4).
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from pydantic import Field

from analyses.pipeline import prompts
from analyses.pipeline.base import CallFailed, ChatRequest, Context, Message, StageParams
from analyses.pipeline.inflight import as_answered
from analyses.pipeline.records import Floors, GroupFacts, PrivacyVerdict
from analyses.pipeline.redaction import redact_text

CONVERSATIONS_FLOOR = 25
USERS_FLOOR = 10
LOWEST_FLOOR = 2
PASS_SCORE = 3
"""Lowest score that is shown: "true of at least a few thousand people" (Clio, appendix D)."""

# With k about the square root of n, that is also the mean size of a cluster. A fifth of it lets
# all but the stragglers through; the full floor is reached at 15,625 conversations.
_SHARE_OF_MEAN_SIZE = 0.2
# A name in a cluster's text may be a public figure's, which the auditor judges; these never are.
_HARD_KINDS = frozenset({"secret", "link", "email", "iban", "card", "id", "ip", "phone", "address"})
_REMAINDER_NOTE = "Withheld so that a smaller withheld group cannot be worked out by subtraction."


class PrivacyParams(StageParams):
    """``floors`` are those in force (see :func:`scale_floors`); ``check_texts`` asks the auditor,
    whose scores below ``pass_score`` withhold a group."""

    floors: Floors = Floors(conversations=CONVERSATIONS_FLOOR, users=USERS_FLOOR)
    pass_score: int = Field(default=PASS_SCORE, ge=1, le=5)
    check_texts: bool = True


def scale_floors(
    total_conversations: int,
    has_users: bool,
    distinct_users: int,
    conversations: int = CONVERSATIONS_FLOOR,
    users: int = USERS_FLOOR,
) -> Floors:
    """The floors for a data set of this size, with a notice when they are lower than asked for.

    The floor on conversations is a fifth of the expected size of a cluster (the square root of
    the number of conversations), between 2 and ``conversations``; the floor on end users keeps
    its proportion to it, and is at least 2. Without end-user ids, or with one and the same id
    everywhere, it is 0, which means that only conversations are counted.
    """
    scaled = int(math.sqrt(max(0, total_conversations)) * _SHARE_OF_MEAN_SIZE)
    floor = max(LOWEST_FLOOR, min(conversations, scaled))
    told_apart = has_users and distinct_users > 1
    floor_users = max(LOWEST_FLOOR, math.ceil(users * floor / conversations)) if told_apart else 0
    floor_users = min(floor_users, users)
    notice = _notice(floor, floor_users, conversations, users, total_conversations)
    if not told_apart:
        why = "carry no end-user ids" if not has_users else "all carry the same end-user id"
        notice = f"{notice} The conversations {why}, so only conversations are counted.".strip()
    return Floors(conversations=floor, users=floor_users, notice=notice)


def _notice(floor: int, floor_users: int, full: int, full_users: int, total: int) -> str:
    if floor >= full:
        return ""
    users = f" from {floor_users} end users" if floor_users else ""
    usual = f"{full} and {full_users}" if floor_users else str(full)
    return (
        f"Small sample of {total:,} conversations: a group is shown from {floor} conversations"
        f"{users} on, instead of {usual}. Treat small groups with care."
    )


def rule_score(name: str, description: str) -> int | None:
    """1 when the rules find a personal detail in the text of a group, otherwise ``None``."""
    return 1 if redact_text(f"{name}\n{description}")[1] else None


def privacy_request(group: GroupFacts) -> ChatRequest:
    """The auditor's call for one group."""
    return ChatRequest(
        purpose="privacy",
        messages=(
            Message("system", prompts.PRIVACY_SYSTEM),
            Message("user", prompts.privacy_user(group.name, group.description)),
        ),
        schema=prompts.PRIVACY_SCHEMA,
        payload={"name": group.name, "description": group.description},
        prompt_version=prompts.PRIVACY_VERSION,
        max_tokens=300,
    )


@dataclass(frozen=True, slots=True)
class _Audit:
    key: int
    score: int | None
    note: str


async def _audit(group: GroupFacts, context: Context) -> _Audit:
    """The auditor's score; the rules decide when its call fails or its answer is unusable."""
    hard = redact_text(f"{group.name}\n{group.description}")[1] & _HARD_KINDS
    if hard:
        return _Audit(
            group.key, 1, f"The text contains personal details: {', '.join(sorted(hard))}."
        )
    try:
        answer = await context.chat(privacy_request(group))
    except CallFailed as error:
        if error.fatal:
            raise
        return _by_rules(group, f"the check by a model failed ({error.error_class})")
    score, reason = answer.data.get("score"), answer.data.get("reason")
    if isinstance(score, bool) or not isinstance(score, int) or not 1 <= score <= 5:
        return _by_rules(group, "the check by a model gave no score")
    return _Audit(group.key, score, str(reason or "")[:400])


def _by_rules(group: GroupFacts, why: str) -> _Audit:
    score = rule_score(group.name, group.description)
    found = "they found a personal detail" if score else "they found nothing"
    return _Audit(group.key, score, f"Decided by rules, because {why}; {found}.")


def _floor_verdict(group: GroupFacts, params: PrivacyParams) -> PrivacyVerdict:
    if group.conversations < params.floors.conversations:
        note = f"{group.conversations} of at least {params.floors.conversations} conversations."
        return PrivacyVerdict(group.key, shown=False, reason="conversations", note=note)
    if group.users is not None and group.users < params.floors.users:
        note = f"{group.users} of at least {params.floors.users} end users."
        return PrivacyVerdict(group.key, shown=False, reason="users", note=note)
    return PrivacyVerdict(group.key, shown=True)


def _judge(group: GroupFacts, audit: _Audit | None, params: PrivacyParams) -> PrivacyVerdict:
    verdict = _floor_verdict(group, params)
    if audit is None:
        return verdict
    verdict = replace(verdict, score=audit.score)
    if not verdict.shown:
        return verdict
    if audit.score is not None and audit.score < params.pass_score:
        return replace(verdict, shown=False, reason="text", note=audit.note)
    return replace(verdict, note=audit.note)


class _Tree:
    """The groups by parent, and which of them are shown at the moment."""

    def __init__(self, groups: Sequence[GroupFacts], shown: set[int]) -> None:
        self.groups = {group.key: group for group in groups}
        self.shown = shown
        self.children: dict[int | None, list[GroupFacts]] = {}
        for group in groups:
            parent = group.parent if group.parent in self.groups else None
            self.children.setdefault(parent, []).append(group)

    def below(self, key: int) -> Iterator[int]:
        """``key`` and the keys of everything under it."""
        waiting = [key]
        while waiting:
            current = waiting.pop()
            yield current
            waiting += [child.key for child in self.children.get(current, ())]

    def hidden(self, parent: int | None) -> list[GroupFacts]:
        """Children nothing of which is shown: their sum follows from the parent's count."""
        return [
            child
            for child in self.children[parent]
            if not any(key in self.shown for key in self.below(child.key))
        ]


def _reaches(hidden: Sequence[GroupFacts], params: PrivacyParams) -> bool:
    """Whether withheld groups, taken together, are no smaller than a group that may be shown.

    How many end users they share is not known; one group alone has to reach that floor, two
    and more are taken as told apart.
    """
    if sum(group.conversations for group in hidden) < params.floors.conversations:
        return False
    users = hidden[0].users
    return len(hidden) > 1 or users is None or users >= params.floors.users


def _withheld_with_them(
    groups: Sequence[GroupFacts], shown: set[int], params: PrivacyParams
) -> set[int]:
    """Keys of shown groups to withhold so that no remainder is below the floors."""
    tree = _Tree(groups, set(shown))
    extra: set[int] = set()
    for parent in sorted(tree.children, key=lambda key: -_level(tree, key)):
        siblings = sorted(
            (child for child in tree.children[parent] if child.key in tree.shown),
            key=lambda child: (child.conversations, child.key),
        )
        for smallest in siblings:
            hidden = tree.hidden(parent)
            if not hidden or _reaches(hidden, params):
                break
            gone = set(tree.below(smallest.key)) & tree.shown
            tree.shown -= gone
            extra |= gone
    return extra


def _level(tree: _Tree, key: int | None) -> int:
    return tree.groups[key].level if key is not None else 0


def verdicts(
    groups: Sequence[GroupFacts],
    audits: Mapping[int, tuple[int | None, str]],
    params: PrivacyParams,
) -> list[PrivacyVerdict]:
    """Verdicts in the order of the groups; ``audits`` maps a key to ``(score, note)``.

    A parent whose children are all withheld is still shown if it passes by itself; children of a
    parent withheld for its text are judged by themselves.
    """
    judged = [
        _judge(
            group,
            _Audit(group.key, *audits[group.key]) if group.key in audits else None,
            params,
        )
        for group in groups
    ]
    shown = {verdict.key for verdict in judged if verdict.shown}
    extra = _withheld_with_them(groups, shown, params)
    return [
        replace(verdict, shown=False, reason="conversations", note=_REMAINDER_NOTE)
        if verdict.key in extra
        else verdict
        for verdict in judged
    ]


class PrivacyStage:
    """Yields one :class:`PrivacyVerdict` for every :class:`GroupFacts`, in their order.

    Verdicts depend on each other (see the module), so they come together at the end.
    """

    key: ClassVar[str] = "privacy"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("hierarchy",)
    Params: ClassVar[type[StageParams]] = PrivacyParams

    def __init__(self, params: PrivacyParams | None = None) -> None:
        self.params = params or PrivacyParams()

    async def run(
        self, inputs: Sequence[GroupFacts], context: Context
    ) -> AsyncIterator[PrivacyVerdict]:
        """Audit every text, apply the floors, protect the remainders."""

        async def audit(group: GroupFacts) -> _Audit:
            return await _audit(group, context)

        audits: dict[int, tuple[int | None, str]] = {}
        context.check()
        if self.params.check_texts:
            async for found in as_answered(inputs, audit, context):
                audits[found.key] = (found.score, found.note)
                context.report(len(audits), len(inputs))
        for verdict in verdicts(inputs, audits, self.params):
            yield verdict
