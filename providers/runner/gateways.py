"""The gateway of a process: clients, journal, prices and health put together."""

from __future__ import annotations

from collections.abc import Callable

from providers.clients.opening import open_clients
from providers.gateway.bulk import BulkClient
from providers.gateway.clock import SystemClock
from providers.gateway.gateway import Gateway
from providers.gateway.journal import GroupCommitJournal
from providers.gateway.semantic import SemanticCache
from providers.prices import cost_of
from providers.runner.bulk import DatabaseBulkStore
from providers.runner.collecting import batch_api
from providers.runner.health import DatabaseHealth
from providers.runner.journal import DatabaseJournal
from providers.runner.semantic import DatabaseSemantic

GROUP_SECONDS = 0.04
"""How long the first row of a journal group waits for company."""


def open_gateway(workspace_id: int, *, count: Callable[[str], int] | None = None) -> Gateway:
    """A gateway over the workspace's journal; close it explicitly.

    ``count`` gives the tokens of a text, for the scripted model's usage figures.
    """
    journal = GroupCommitJournal(DatabaseJournal(workspace_id), linger=GROUP_SECONDS)
    clients = open_clients(count)
    clients["bulk"] = BulkClient(batch_api, DatabaseBulkStore(workspace_id), SystemClock())
    return Gateway(
        clients,
        journal,
        price=cost_of,
        health=DatabaseHealth(),
        semantic=SemanticCache(DatabaseSemantic()),
    )
