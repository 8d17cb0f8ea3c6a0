"""Changes to templates: loading the shipped ones."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from django.db import transaction
from pydantic import BaseModel, ConfigDict, Field

from templates_app.models import AnalysisTemplate, FacetDefinition, FacetKind, TemplateVersion

SHIPPED = Path(__file__).parent / "shipped"
COMMON = "facets.toml"


class ShippedFacet(BaseModel):
    """One question as written in a shipped file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    label: str = Field(max_length=60)
    question: str
    kind: FacetKind
    choices: tuple[str, ...] = ()
    low: int = 1
    high: int = 5


class ShippedTemplate(BaseModel):
    """One shipped file. ``use`` names facets of the common file; they come first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str = Field(pattern=r"^[a-z][a-z0-9-]{0,59}$")
    name: str = Field(max_length=120)
    description: str = Field(max_length=300)
    instructions: str = ""
    embed_facet: str = "request"
    use: tuple[str, ...]
    facets: tuple[ShippedFacet, ...] = ()


def _toml(name: str) -> dict[str, Any]:
    return tomllib.loads((SHIPPED / name).read_text(encoding="utf-8"))


@cache
def common_facets() -> dict[str, ShippedFacet]:
    """The facets that shipped templates share, by key."""
    return {key: ShippedFacet(key=key, **body) for key, body in _toml(COMMON).items()}


def shipped_templates() -> list[ShippedTemplate]:
    """Every shipped template; "Customer support" first, because people see it first."""
    names = sorted(path.name for path in SHIPPED.glob("*.toml") if path.name != COMMON)
    found = [ShippedTemplate(**_toml(name)) for name in names]
    return sorted(found, key=lambda row: row.key != "customer-support")


def ensure_shipped() -> None:
    """Load shipped templates that are missing, and changed ones as a new version. Idempotent."""
    for shipped in shipped_templates():
        with transaction.atomic():
            _ensure(shipped)


def _ensure(shipped: ShippedTemplate) -> None:
    template, _ = AnalysisTemplate.objects.get_or_create(
        workspace=None,
        key=shipped.key,
        defaults={"name": shipped.name, "description": shipped.description},
    )
    facets = [*(common_facets()[key] for key in shipped.use), *shipped.facets]
    newest = template.versions.prefetch_related("facets").order_by("-number").first()
    if newest is not None and _same(newest, shipped, facets):
        return
    version = TemplateVersion.objects.create(
        template=template,
        number=newest.number + 1 if newest else 1,
        instructions=shipped.instructions,
        embed_facet=shipped.embed_facet,
    )
    FacetDefinition.objects.bulk_create(
        FacetDefinition(version=version, order=order, **_columns(facet))
        for order, facet in enumerate(facets)
    )


def _same(version: TemplateVersion, shipped: ShippedTemplate, facets: list[ShippedFacet]) -> bool:
    """Whether a stored version asks exactly what the file asks."""
    stored = [
        {name: getattr(row, name) for name in ShippedFacet.model_fields}
        for row in version.facets.all()
    ]
    return (
        version.instructions == shipped.instructions
        and version.embed_facet == shipped.embed_facet
        and stored == [_columns(facet) for facet in facets]
    )


def _columns(facet: ShippedFacet) -> dict[str, Any]:
    return {**facet.model_dump(mode="json"), "choices": list(facet.choices)}
