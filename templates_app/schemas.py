"""Shapes of the API of templates."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from ninja import Field, Schema


class FacetOut(Schema):
    """One question asked of every conversation."""

    key: str
    label: str
    question: str
    kind: str
    choices: list[str]
    low: int
    high: int


class TemplateOut(Schema):
    """A template with the facets of its newest version."""

    id: UUID = Field(alias="uid")
    key: str
    name: str
    description: str
    version: int
    facets: list[FacetOut]

    @staticmethod
    def resolve_version(row: Any) -> int:
        """The newest version's number."""
        return int(_newest(row).number)

    @staticmethod
    def resolve_facets(row: Any) -> Any:
        """The newest version's facets."""
        return list(_newest(row).facets.all())


def _newest(row: Any) -> Any:
    return max(row.versions.all(), key=lambda version: version.number)
