"""The buttons and the limits of a simulated installation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from analyses.services import retry, sessions
from core.errors import AppError
from providers.models import SpendBook, SpendLimit
from tests.simulation.virtual import Thread

KEY_LENGTHS = {"all": 3, "month": 7, "day": 10}
"""How long the keys of books are, by period: ``all``, ``2026-03``, ``2026-03-02``."""


CLICKS = (sessions.pause, sessions.resume, retry.retry_failed)


CANCELS = (sessions.cancel,)


class People:
    """What people press and set in a world."""

    def note_stop(self, session: int, may_run: bool) -> None:
        """From now on, or no longer, calls for an analysis are unwanted."""
        if may_run:
            self.stopped.pop(session, None)
        elif session not in self.stopped:
            self.stopped[session] = {process: process.responsive for process in self.slots}

    def _do_click(self, what: tuple[Any, int] | None) -> None:
        act, index = what or (
            self.rng.choice(CANCELS if self.rng.random() < 0.03 else CLICKS),
            self.rng.randrange(len(self.analyses)),
        )
        if self.web.thread is not None:
            return
        session = self.analyses[index]
        self.web.thread = Thread(
            self.web, lambda: _ignore(lambda: act(actor=self.stage.actor, session=session)), "click"
        )
        self._do_bystander(self.web)

    def _do_limit(self, _what: None) -> None:
        self.limit(self.rng.choice((0.1, 0.4, 0.8, 3.0)))

    def limit(self, amount: float) -> None:
        """Set the limit of the first analysis, or of a day of the project."""
        self.limited = True
        session = self.analyses[0]
        scope, period = f"analysis:{session.pk}", "all"
        if self.rng.random() < 0.3:
            scope, period = f"project:{session.project_id}", "day"
        books = SpendBook.objects.filter(scope=scope)
        used = [book for book in books if len(book.key) == KEY_LENGTHS[period]]
        self.used_when_limited[scope] = sum(
            float(book.spent + book.doubt + book.reserved) for book in used
        )
        SpendLimit.objects.update_or_create(
            scope=scope,
            period=period,
            defaults={"workspace": session.project.workspace, "amount": str(amount)},
        )


def _ignore(act: Callable[[], Any]) -> None:
    """Refusals that a person would be told are no fault."""
    with contextlib.suppress(AppError):
        act()
