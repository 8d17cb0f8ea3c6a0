"""Who answers which purpose of one analysis: its frozen routes, or its own models."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from analyses.models import AnalysisSession
from analyses.plan import VECTORS, FrozenRoute, RunParams
from core.errors import Invalid
from providers.gateway.types import Deployment, Route
from providers.models import ModelDeployment, ProviderKind
from providers.services import deployment_config
from providers.services.bulk import batched_config

CHAT = ("facets", "names", "hierarchy", "privacy")
"""What a pipeline asks a model for (:data:`analyses.pipeline.base.Purpose`)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who answers one purpose. Without a ``route`` the local engine does; with ``local_last`` it
    does when no model of the route answers."""

    route: Route | None = None
    local_last: bool = False


def asked_of(session: AnalysisSession) -> dict[str, Asked]:
    """Every purpose of an analysis, the vectors among them. One query.

    Models of a frozen route that were switched off since are left out while another one stays.
    Raises :class:`Invalid` when a key cannot be read or no model of a route may be asked.
    """
    params = RunParams.model_validate(session.params)
    wanted = wanted_routes(session, params)
    keys = {pk for route in wanted.values() for pk, _ in route.targets}
    rows = ModelDeployment.objects.select_related("provider").in_bulk(keys)
    configs = {
        pk: deployment_config(row, concurrency=params.concurrency) for pk, row in rows.items()
    }
    on = {pk for pk, row in rows.items() if row.provider.enabled and not row.retired}
    found = {
        purpose: _asked(route, configs, on if purpose in params.routes else configs)
        for purpose, route in wanted.items()
    }
    if params.bulk:
        found["facets"] = _in_batches(found["facets"], rows)
    return found


def _in_batches(asked: Asked, rows: Mapping[int, ModelDeployment]) -> Asked:
    """The first model of the route that offers batches; as it was where none does.

    It alone is asked: another one would answer at once, at its full price.
    """
    for target in asked.route.targets if asked.route else ():
        if rows[int(target.id)].offers_batches:
            return Asked(Route((batched_config(rows[int(target.id)]),)))
    return asked


def wanted_routes(session: AnalysisSession, params: RunParams) -> dict[str, FrozenRoute]:
    """The frozen route of every purpose; where there is none, one of the analysis's own models."""
    fallback = session.fallback_id if session.fallback_id != session.chat_id else None
    chat = _plain(session.chat_id, fallback)
    vectors = _plain(session.embedding_id)
    return {
        **{purpose: params.routes.get(purpose, chat) for purpose in CHAT},
        VECTORS: params.routes.get(VECTORS, vectors),
    }


def _plain(*keys: int | None) -> FrozenRoute:
    return FrozenRoute(targets=[(pk, 1) for pk in keys if pk is not None])


def _asked(wanted: FrozenRoute, configs: Mapping[int, Deployment], usable: Container[int]) -> Asked:
    """What a frozen route comes to now; the local engine in it ends it."""
    kept = [(pk, weight) for pk, weight in wanted.targets if pk in usable]
    local = [place for place, (pk, _) in enumerate(kept) if configs[pk].kind == ProviderKind.LOCAL]
    remote = kept[: local[0]] if local else kept
    if not remote:
        if wanted.targets and not local and not wanted.local_last:
            raise Invalid(fields={"provider": "Every model of its route is switched off."})
        return Asked()
    route = Route(
        tuple(configs[pk] for pk, _ in remote),
        strategy=wanted.strategy,
        weights=tuple(weight for _, weight in remote),
        semantic=wanted.semantic,
        max_age=wanted.max_age,
    )
    return Asked(route, local_last=bool(local) or wanted.local_last)
