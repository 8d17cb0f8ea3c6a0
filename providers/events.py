"""Events of a workspace's providers. Their topic is ``providers:<workspace id>``."""

from __future__ import annotations

from typing import ClassVar

from core.events import LiveEvent


def topic_of(workspace_id: int) -> str:
    """The topic that the pages of a workspace's providers follow."""
    return f"providers:{workspace_id}"


class HealthChanged(LiveEvent):
    """A model rests, is tried again, or is back in use."""

    kind: ClassVar[str] = "health"
    deployment: int
    state: str
    reason: str = ""


class ProviderChanged(LiveEvent):
    """A provider was tried out, or switched on or off."""

    kind: ClassVar[str] = "provider"
    provider: int


class RouteChanged(LiveEvent):
    """The models of a purpose, their order or the strategy are others now."""

    kind: ClassVar[str] = "route"
    purpose: str
