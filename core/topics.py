"""Which app answers for which kind of topic. Apps register when they are loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.utils.module_loading import import_string

Renderer = Callable[..., dict[str, Any]]


class Registry:
    """Which app answers for which kind of topic; dotted paths, loaded on first use."""

    def __init__(self) -> None:
        self._paths: dict[str, tuple[str, str]] = {}

    def register(self, prefix: str, *, authorize: str, render: str) -> None:
        """Topics ``prefix:<id>``: ``authorize(user, id) -> bool`` and
        ``render(user, id, kinds) -> {"html": str, ...}``."""
        self._paths[prefix] = (authorize, render)

    def authorize(self, topic: str) -> Callable[..., bool] | None:
        """The access check of a topic, ``None`` for unknown prefixes."""
        found = self._paths.get(topic.partition(":")[0])
        return import_string(found[0]) if found else None

    def renderer(self, topic: str) -> Renderer | None:
        """The renderer of a topic, ``None`` for unknown prefixes."""
        found = self._paths.get(topic.partition(":")[0])
        return import_string(found[1]) if found else None


registry = Registry()
