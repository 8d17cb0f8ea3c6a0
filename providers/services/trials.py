"""Trying every provider at once, by background tasks: no page waits for a silent server."""

from __future__ import annotations

import logging

from django.db import transaction

from accounts.models import Role, User, Workspace
from accounts.services import require
from core.errors import Forbidden, Invalid
from core.events import publish
from core.q2 import wake
from providers.events import ProviderChanged, topic_of
from providers.models import Provider, ProviderKind
from providers.services.trying import test_provider

log = logging.getLogger("openclio.providers")

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


def try_out(provider_pk: int, user_pk: int) -> None:
    """Try a provider out for a person, and tell open pages; waits for the provider.

    Nothing is done when the person or the provider is gone, or the person may not.
    """
    provider = Provider.objects.select_related("workspace").filter(pk=provider_pk).first()
    actor = User.objects.filter(pk=user_pk, is_active=True).first()
    if provider is None or actor is None:
        return
    try:
        test_provider(actor=actor, provider=provider)
    except (Forbidden, Invalid) as error:
        log.info("A provider was not tried out: %s", error.text)
    with transaction.atomic():
        publish(topic_of(provider.workspace_id), ProviderChanged(provider=provider_pk))
