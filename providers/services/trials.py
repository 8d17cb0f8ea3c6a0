"""Trying every provider at once, by background tasks: no page waits for a silent server."""

from __future__ import annotations

from accounts.models import Role, User, Workspace
from accounts.services import require
from core.q2 import wake
from providers.models import Provider, ProviderKind

TASK = "providers.tasks.try_out"


def begin_trials(*, actor: User, workspace: Workspace) -> int:
    """Queue a trial of every provider that is on; how many. Owners and analysts.

    Each one writes its result down and tells open pages. A provider that is tried already is
    tried again, which does no harm: a trial is one short call of each sort.
    """
    require(actor, workspace, Role.ANALYST)
    rows = Provider.objects.filter(workspace=workspace, enabled=True)
    keys = list(rows.exclude(kind=ProviderKind.LOCAL).values_list("pk", flat=True))
    for pk in keys:
        wake(TASK, pk, actor.pk)
    return len(keys)
