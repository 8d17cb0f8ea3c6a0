"""What long work an installation can do, and who tells what is in work. Apps register at start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.utils.module_loading import import_string


class Registry:
    """Dotted paths by name, loaded on first use."""

    def __init__(self) -> None:
        self._kinds: dict[str, str] = {}
        self._sources: list[str] = []
        self._trash: list[str] = []

    def register(self, kind: str, path: str) -> None:
        """Jobs of ``kind`` are done by the class at ``path``."""
        self._kinds[kind] = path

    def kind(self, kind: str) -> Any | None:
        """A fresh handler of ``kind``, ``None`` when no app does such work."""
        path = self._kinds.get(kind)
        return import_string(path)() if path else None

    def kinds(self) -> Iterator[Any]:
        """A fresh handler of every kind."""
        for path in self._kinds.values():
            yield import_string(path)()

    def add_source(self, path: str) -> None:
        """``path(projects) -> list`` tells of other work under way in these projects."""
        if path not in self._sources:
            self._sources.append(path)

    def sources(self) -> Iterator[Any]:
        """Every source of work under way."""
        for path in self._sources:
            yield import_string(path)

    def add_trash(self, path: str) -> None:
        """``path(project) -> list`` tells what of an app lies in the trash of a project."""
        if path not in self._trash:
            self._trash.append(path)

    def trash(self) -> Iterator[Any]:
        """Every source of deleted things."""
        for path in self._trash:
            yield import_string(path)


registry = Registry()
