"""The stages in their order, imported when first asked for.

Some stages pull numeric libraries that take seconds to import, which a web process or a
management command that only needs the keys should not pay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import cast

from typing_extensions import override

from analyses.pipeline.base import Stage

_CLASSES = {
    "prepare": "PrepareStage",
    "facets": "FacetsStage",
    "embed": "EmbedStage",
    "cluster": "ClusterStage",
    "name": "NameStage",
    "hierarchy": "HierarchyStage",
    "privacy": "PrivacyStage",
    "map": "MapStage",
    "insights": "InsightsStage",
    "report": "ReportStage",
}


class _Registry(Mapping[str, type[Stage]]):
    """Key -> stage class. Knowing, counting and ordering keys imports nothing."""

    @override
    def __getitem__(self, key: str) -> type[Stage]:
        name = _CLASSES[key]
        module = import_module(f"analyses.pipeline.{key}")
        return cast("type[Stage]", getattr(module, name))

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(_CLASSES)

    @override
    def __len__(self) -> int:
        return len(_CLASSES)

    @override
    def __contains__(self, key: object) -> bool:
        return key in _CLASSES


STAGES: Mapping[str, type[Stage]] = _Registry()
"""Stage classes by key, in the order an analysis goes through them."""
