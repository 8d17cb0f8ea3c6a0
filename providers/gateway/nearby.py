"""Answers to nearly the same question on the path of a call (see ``gateway/semantic.py``)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from providers.gateway import answers
from providers.gateway.asking import Asked, from_stored
from providers.gateway.semantic import Lesson, Near, SemanticCache
from providers.gateway.types import CallScope, ChatCall, Deployment, Route


@dataclass(slots=True)
class Look:
    """What was found for one question: the nearest stored one and what it was answered."""

    near: Near | None = None
    stored: Mapping[str, Any] | None = None


class Nearby:
    """The semantic cache as a gateway uses it. Without a cache, nothing is near."""

    def __init__(self, cache: SemanticCache | None) -> None:
        self._cache = cache
        self._learning: set[asyncio.Task[None]] = set()
        self._asked = False

    def looks(self, route: Route, scope: CallScope) -> bool:
        """Whether near questions matter on this route."""
        return self._cache is not None and route.semantic != "off" and scope.project is not None

    async def find(
        self, call: ChatCall, schema_text: str, route: Route, scope: CallScope, look: Look
    ) -> Asked | None:
        """The answer to use instead of buying one. ``look`` is told what was found either way."""
        if self._cache is None or not self.looks(route, scope):
            return None
        self._asked = True
        look.near = await self._cache.find(call, route.targets[0], route, scope)
        if look.near is None:
            return None
        kept = look.near.kept
        look.stored = answers.read_answer(kept.answer.text, "stop", schema_text).data
        target = next((one for one in route.targets if one.id == kept.deployment), None)
        if not look.near.usable or look.stored is None or target is None:
            return None
        await self._cache.used(call, scope, look.near)
        return from_stored(kept.answer, target, kept.fingerprint)

    def learn(
        self,
        call: ChatCall,
        target: Deployment,
        scope: CallScope,
        fingerprint: str,
        look: Look,
        bought: Mapping[str, Any],
    ) -> None:
        """Keep a bought answer and compare it with the near one, beside the calls."""
        if self._cache is None:
            return
        lesson = Lesson(call, target, fingerprint, bought, look.near, look.stored)
        task = asyncio.ensure_future(self._cache.learn(lesson, scope))
        self._learning.add(task)
        task.add_done_callback(self._learning.discard)

    async def aclose(self) -> None:
        """Learn what waits, then let the store go."""
        if self._cache is None or not self._asked:
            return
        while self._learning:
            await asyncio.wait(self._learning)
        await self._cache.aclose()
