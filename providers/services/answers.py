"""Stored answers: how long they are kept, how much room they may take, and forgetting them."""

from __future__ import annotations

import time
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet, Sum
from django.db.models.functions import Coalesce, Length

from accounts.models import Role, User, Workspace
from accounts.services import audit, require
from core import q2
from core.errors import Invalid
from core.work import from_now
from providers.models import CallState, LlmCall, SemanticEntry

GROUP = 1000
"""Answers removed in one transaction."""

LOOK_SECONDS = 6 * 3600.0
"""How often the room that answers take is looked at: adding it up reads all of them."""

RECENT = timedelta(days=2)
"""Answers used less long ago are never removed for room: an analysis may still need them."""

MEGABYTE = 1_000_000

BOUND = "providers.tasks.bound_answers"

_looked_at: list[float] = []


def purge_answers(*, days: int) -> int:
    """Remove the text of answers settled more than ``days`` ago; returns how many.

    Fingerprint, tokens and cost stay. A question that is put again is asked and paid again.
    """
    return _forget(LlmCall.objects.filter(settled_at__lt=from_now(-timedelta(days=days))))


def forget_vectors(analysis: int) -> int:
    """Remove the vectors an analysis was answered, once they are saved; returns how many calls.

    They are far larger than texts, and are of use only while the stage that asked may be repeated.
    """
    return _forget(LlmCall.objects.filter(analysis_id=analysis, purpose="embeddings"))


def forget_answers(
    *,
    actor: User,
    workspace: Workspace,
    project: int | None = None,
    model: str | None = None,
    prompt_version: str | None = None,
    purpose: str | None = None,
) -> int:
    """Remove stored answers that match everything given; returns how many. Owners only.

    ``None`` stands for any; an empty text is a value of its own: answers of before prompts had
    versions. What they cost stays in the books; the same question is asked and paid again. Raises
    :class:`Invalid` when nothing is given, so that a slip does not empty everything.
    """
    require(actor, workspace, Role.OWNER)
    given = {
        "project_id": project,
        "model": model,
        "prompt_version": prompt_version,
        "purpose": purpose,
    }
    wanted = {name: value for name, value in given.items() if value is not None}
    if not wanted:
        raise Invalid(fields={"project": "Say which answers: a project, a model or a purpose."})
    count = _forget(LlmCall.objects.filter(workspace=workspace, **wanted))
    with transaction.atomic():
        audit(
            workspace=workspace,
            actor=actor,
            action="answers.forgotten",
            obj=workspace,
            count=count,
            **wanted,
        )
    return count


def bound_answers(*, workspace: int, megabytes: int) -> int:
    """Remove the answers used longest ago until the rest takes no more room; returns how many.

    What was used or bought within two days stays, even above the bound.
    """
    kept = LlmCall.objects.filter(workspace=workspace, state=CallState.OK).exclude(response="")
    held = kept.aggregate(size=Sum(Length("response")))["size"] or 0
    over = held - megabytes * MEGABYTE
    used = Coalesce(F("used_at"), F("settled_at"))
    old = kept.annotate(used=used).filter(used__lt=from_now(-RECENT)).order_by("used", "pk")
    count = 0
    while over > 0:
        rows = list(old.annotate(size=Length("response")).values_list("pk", "size")[:GROUP])
        if not rows:
            break
        chosen, over = _enough(rows, over)
        count += _drop(chosen)
    return count


def _enough(rows: list[tuple[int, int]], over: int) -> tuple[list[int], int]:
    """As many of the rows as free what is over, and what is then still over."""
    chosen: list[int] = []
    for pk, size in rows:
        if over <= 0:
            break
        chosen.append(pk)
        over -= size
    return chosen, over


def bound_all_answers() -> None:
    """Keep every workspace within the room that the operator grants each of them."""
    if settings.ANSWERS_MB:
        for workspace in Workspace.objects.values_list("pk", flat=True):
            bound_answers(workspace=workspace, megabytes=settings.ANSWERS_MB)


def keep_within_bounds() -> None:
    """Entry for the supervisors, every few seconds; has a worker look a few times a day."""
    now = time.monotonic()
    if settings.ANSWERS_MB and (not _looked_at or now - _looked_at[0] > LOOK_SECONDS):
        _looked_at[:] = [now]
        q2.wake(BOUND)


def _forget(calls: QuerySet[LlmCall]) -> int:
    kept = calls.filter(state=CallState.OK).exclude(response="").order_by("pk")
    count = 0
    while pks := list(kept.values_list("pk", flat=True)[:GROUP]):
        count += _drop(pks)
    return count


@transaction.atomic
def _drop(pks: list[int]) -> int:
    SemanticEntry.objects.filter(call__in=pks).delete()
    return LlmCall.objects.filter(pk__in=pks).update(response="")
