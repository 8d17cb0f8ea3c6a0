"""The spending limits an analysis works under, and how much of each is used."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_UP, Decimal

from analyses.models import AnalysisSession
from analyses.selectors.live import expected_cost
from analyses.selectors.scopes import spend_scopes
from core import figures
from providers.services import LimitState, limit_states

ROOM = Decimal("1.2")
"""What is left to read may cost this much more than it looks."""
MORE = Decimal("1.5")
"""A limit is raised at least by half when nothing is known of what is left."""

NAMES = {"analysis": "this analysis", "project": "the project", "workspace": "the workspace"}
PERIODS = {"all": "", "day": "today", "month": "this month"}


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit as a page shows it. What is used counts calls in doubt."""

    state: LimitState

    @property
    def kind(self) -> str:
        """What it bounds: ``analysis``, ``project`` or ``workspace``."""
        return self.state.scope.partition(":")[0]

    @property
    def name(self) -> str:
        """As people know it: "this analysis", "the project this month"."""
        return f"{NAMES[self.kind]} {PERIODS[self.state.period]}".strip()

    @property
    def percent(self) -> int:
        """For the width of a bar."""
        return min(100, int(100 * self.state.share))

    @property
    def tone(self) -> str:
        """The colour of its bar."""
        return "bad" if self.state.share >= 1 else "warn" if self.state.near else ""

    @property
    def text(self) -> str:
        """ "$8.00 of $10.00"."""
        return f"{figures.money(self.state.used)} of {figures.money(self.state.amount)}"


def limits_of(session: AnalysisSession) -> list[Limit]:
    """Every limit of an analysis, narrowest first; none for the local engine."""
    if not session.chat_id:
        return []
    found = [Limit(state) for state in limit_states(spend_scopes(session))]
    order = list(NAMES)
    return sorted(found, key=lambda limit: (order.index(limit.kind), limit.state.period))


def tightest(limits: list[Limit]) -> Limit | None:
    """The limit that is reached first."""
    return max(limits, key=lambda limit: limit.state.share, default=None)


def next_amount(session: AnalysisSession, limit: Limit | None) -> Decimal:
    """A sensible amount to raise a limit to: what is used, what is left and some room."""
    used = limit.state.used if limit else session.cost + session.in_doubt
    expected = expected_cost(session)
    left = max(Decimal(0), expected - session.cost) * ROOM if expected else Decimal(0)
    wanted = max(used + left, (limit.state.amount if limit else used) * MORE, Decimal(1))
    return rounded_up(wanted)


def rounded_up(amount: Decimal) -> Decimal:
    """Up to two figures that people would write: 12.34 is 13, 0.0712 is 0.08, 1,234 is 1,300."""
    step = Decimal(10) ** max(amount.adjusted() - 1, -2)
    return (amount / step).quantize(Decimal(1), rounding=ROUND_UP) * step
