"""How models and providers do, in words and figures, ready for pages."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F, Prefetch, Sum
from django.utils import timezone

from accounts.models import Workspace
from providers.gateway.errors import TRAITS, ErrorClass
from providers.gateway.health import BY_HAND, LATENCY_BOUNDS
from providers.models import (
    BreakerState,
    DeploymentHealth,
    HealthSlot,
    LlmCall,
    Member,
    ModelDeployment,
    Provider,
    ProviderKind,
)

DAY = timedelta(hours=24)
HALF_HOUR = timedelta(minutes=30)
STRIP = 48
"""Half-hours of the strip."""

LATELY = timedelta(minutes=10)
"""What is called slow now was slow in these."""

FRESH = timedelta(seconds=10)
"""A process that was not heard of for so long no longer counts as one that calls."""

FAILING_SHARE = 0.2
SLOW_SHARE = 0.2
"""Shares of calls from which a time counts as failing, and as slow."""

FEW = 5
"""Answers under which slowness is not concluded."""

WORDS = {
    "healthy": "Healthy",
    "slow": "Slow",
    "resting": "Resting",
    "down": "Not answering",
    "off": "Off",
    "untested": "Not tested",
}
"""What each state is called on pages."""

CLASSES = frozenset(one.value for one in ErrorClass)

UNREACHED = frozenset({ErrorClass.NETWORK.value, ErrorClass.TIMEOUT.value, ErrorClass.SERVER.value})
"""Causes of a rest by which a provider counts as not answering."""


@dataclass(frozen=True)
class StripSlot:
    """Half an hour of the strip: ``good``, ``slow``, ``failing`` or ``none`` (no calls)."""

    start: datetime
    state: str
    calls: int
    failed: int


@dataclass(frozen=True)
class ErrorRow:
    """How many attempts of 24 hours failed for one cause."""

    error_class: str
    text: str
    count: int


@dataclass(frozen=True)
class Figures:
    """24 hours of calls. ``failed`` are calls that were not answered in the end, ``recovered``
    those that failed first. ``typical`` is the median answer in seconds, ``slowest`` what 1 answer
    in 20 was over; ``None`` without answers. ``strip`` has 48 half-hours, oldest first."""

    calls: int
    answered: int
    failed: int
    recovered: int
    tokens: int
    typical: float | None
    slowest: float | None
    errors: tuple[ErrorRow, ...]
    strip: tuple[StripSlot, ...]


@dataclass(frozen=True)
class LiveUse:
    """Calls out now in all processes, calls they would like to have out, calls they allow
    themselves, and what the last minute took of the limits (``None``: no limit)."""

    in_flight: int
    wanted: int
    limit: int
    processes: int
    requests_minute: int
    tokens_minute: int
    requests_limit: int | None
    tokens_limit: int | None


@dataclass(frozen=True)
class DeploymentHealthRow:
    """One model. ``state`` is a key of :data:`WORDS`, ``reason`` says in a sentence why it is not
    used, ``since`` from when. ``next_probe`` is when it is tried again, ``None`` when it is in use
    or was rested by hand; ``trying`` while that happens."""

    deployment: int
    provider: int
    model: str
    state: str
    word: str
    reason: str
    since: datetime | None
    next_probe: datetime | None
    trying: bool
    by_hand: bool
    figures: Figures
    live: LiveUse


@dataclass(frozen=True)
class ProviderHealth:
    """One provider: the state of the models it offers, taken together."""

    provider: int
    state: str
    word: str
    reason: str
    since: datetime | None
    next_probe: datetime | None
    figures: Figures
    live: LiveUse
    deployments: tuple[DeploymentHealthRow, ...]


def deployment_health(workspace: Workspace) -> dict[int, DeploymentHealthRow]:
    """The health of every model of the workspace by its id. Five queries."""
    return _Reading(workspace).rows()


def provider_health(workspace: Workspace) -> dict[int, ProviderHealth]:
    """The health of every provider of the workspace by its id. Five queries."""
    reading = _Reading(workspace)
    rows = reading.rows()
    return {one.pk: reading.whole(one, rows) for one in reading.providers}


class _Reading:
    """What pages need of a workspace's providers, read at once."""

    def __init__(self, workspace: Workspace) -> None:
        self.now = timezone.now()
        models = ModelDeployment.objects.select_related("health")
        self.providers = list(
            Provider.objects.filter(workspace=workspace).prefetch_related(
                Prefetch("deployments", queryset=models)
            )
        )
        self._slots: dict[int, list[HealthSlot]] = defaultdict(list)
        for slot in HealthSlot.objects.filter(
            deployment__provider__workspace=workspace, start__gt=self._first()
        ).order_by("start"):
            self._slots[slot.deployment_id].append(slot)
        self._members: dict[int, list[Member]] = defaultdict(list)
        for member in Member.objects.filter(
            deployment__provider__workspace=workspace, seen_at__gte=self.now - FRESH
        ):
            self._members[member.deployment_id].append(member)
        self._minute = _minute_use(workspace, self.now)

    def _first(self) -> datetime:
        return _half_hour(self.now) - (STRIP - 1) * HALF_HOUR - timedelta(microseconds=1)

    def rows(self) -> dict[int, DeploymentHealthRow]:
        """Every model's row."""
        return {
            one.pk: self._row(provider, one)
            for provider in self.providers
            for one in provider.deployments.all()
        }

    def _row(self, provider: Provider, one: ModelDeployment) -> DeploymentHealthRow:
        slots = self._slots[one.pk]
        health: DeploymentHealth | None = getattr(one, "health", None)
        state, reason = _state(provider, health, slots, self.now)
        closed = health is None or health.state == BreakerState.CLOSED
        return DeploymentHealthRow(
            deployment=one.pk,
            provider=provider.pk,
            model=one.model,
            state=state,
            word=WORDS[state],
            reason=reason,
            since=health.changed_at if health and not closed else None,
            next_probe=health.retry_at if health and health.state == BreakerState.OPEN else None,
            trying=health is not None and health.state == BreakerState.HALF_OPEN,
            by_hand=health is not None and health.state == BreakerState.RESTED,
            figures=_figures(slots, self.now),
            live=self._live(provider, [one.pk]),
        )

    def whole(self, provider: Provider, rows: Mapping[int, DeploymentHealthRow]) -> ProviderHealth:
        """A provider's models taken together: as bad as the worst one that is offered, but not
        answering or resting only when all are."""
        every = list(provider.deployments.all())
        offered = tuple(rows[one.pk] for one in every if not one.retired)
        state, chosen = _together(offered)
        if not provider.enabled:
            state, chosen = "off", None
        slots = [slot for one in every for slot in self._slots[one.pk]]
        return ProviderHealth(
            provider=provider.pk,
            state=state,
            word=WORDS[state],
            reason=chosen.reason if chosen else "",
            since=chosen.since if chosen else None,
            next_probe=min((row.next_probe for row in offered if row.next_probe), default=None),
            figures=_figures(slots, self.now),
            live=self._live(provider, [one.pk for one in every]),
            deployments=offered,
        )

    def _live(self, provider: Provider, ids: Sequence[int]) -> LiveUse:
        members = [member for pk in ids for member in self._members[pk]]
        used = [self._minute.get(pk, (0, 0)) for pk in ids]
        return LiveUse(
            in_flight=sum(member.in_flight for member in members),
            wanted=sum(member.wanted for member in members),
            limit=sum(member.limit for member in members),
            processes=len({member.owner for member in members}),
            requests_minute=sum(calls for calls, _ in used),
            tokens_minute=sum(tokens for _, tokens in used),
            requests_limit=provider.requests_per_minute,
            tokens_limit=provider.tokens_per_minute,
        )


def _minute_use(workspace: Workspace, now: datetime) -> dict[int, tuple[int, int]]:
    """Calls and tokens of the last minute by model."""
    recent = LlmCall.objects.filter(workspace=workspace, sent_at__gte=now - timedelta(minutes=1))
    rows = (
        recent.filter(deployment_id__isnull=False)
        .order_by()
        .values_list("deployment_id")
        .annotate(calls=Sum("sends"), tokens=Sum(F("tokens_in") + F("tokens_out")))
    )
    return {pk or 0: (sends or 0, tokens or 0) for pk, sends, tokens in rows}


def _state(
    provider: Provider,
    health: DeploymentHealth | None,
    slots: Sequence[HealthSlot],
    now: datetime,
) -> tuple[str, str]:
    """The key of a model's state and why it is not used, in a sentence."""
    if not provider.enabled:
        return "off", "It is switched off."
    if health is not None and health.state != BreakerState.CLOSED:
        return _resting(health)
    if provider.kind == ProviderKind.LOCAL:
        return "healthy", ""
    answered = [slot.start for slot in slots if slot.answered]
    if provider.check_ok is False and not _answered_since(answered, provider.checked_at):
        return "down", provider.check_text
    if _is_slow(slots, now):
        return "slow", "Answers take longer than usual."
    return ("healthy" if answered or provider.check_ok else "untested"), ""


def _answered_since(answered: Sequence[datetime], moment: datetime | None) -> bool:
    return bool(answered) and moment is not None and answered[-1] > moment


def _resting(health: DeploymentHealth) -> tuple[str, str]:
    if health.state == BreakerState.RESTED:
        return "resting", "It was taken out of use by hand."
    text = reason_text(health.reason, health.detail)
    return ("down" if health.reason in UNREACHED else "resting"), text


def reason_text(reason: str, detail: str) -> str:
    """Why a model rests, in a sentence."""
    if reason == BY_HAND:
        return "It was taken out of use by hand."
    text = TRAITS[ErrorClass(reason)].text if reason in CLASSES else "Calls to it failed."
    return f"{text} ({detail})" if detail else text


def _is_slow(slots: Sequence[HealthSlot], now: datetime) -> bool:
    recent = [slot for slot in slots if slot.start >= now - LATELY]
    answered = sum(slot.answered for slot in recent)
    return answered >= FEW and sum(slot.slow for slot in recent) >= SLOW_SHARE * answered


_ORDER = ("healthy", "slow", "untested", "resting", "down", "off")


def _together(rows: Sequence[DeploymentHealthRow]) -> tuple[str, DeploymentHealthRow | None]:
    """The state of a provider, and the model that gives its reason."""
    if not rows:
        return "untested", None
    best = min(rows, key=lambda row: _ORDER.index(row.state))
    slow = next((row for row in rows if row.state == "slow"), None)
    chosen = slow if slow is not None and best.state == "healthy" else best
    return chosen.state, chosen


def _figures(slots: Sequence[HealthSlot], now: datetime) -> Figures:
    counts = [0] * (len(LATENCY_BOUNDS) + 1)
    errors: Counter[str] = Counter()
    for slot in slots:
        for place, number in enumerate(slot.latencies[: len(counts)]):
            counts[place] += number
        errors.update(slot.errors)
    answered, failed = sum(one.answered for one in slots), sum(one.failed for one in slots)
    return Figures(
        calls=answered + failed,
        answered=answered,
        failed=failed,
        recovered=sum(one.recovered for one in slots),
        tokens=sum(one.tokens for one in slots),
        typical=percentile(counts, 0.5),
        slowest=percentile(counts, 0.95),
        errors=tuple(_error_row(name, number) for name, number in errors.most_common()),
        strip=tuple(_strip(slots, now)),
    )


def _error_row(name: str, number: int) -> ErrorRow:
    text = TRAITS[ErrorClass(name)].text if name in CLASSES else "Another fault."
    return ErrorRow(name, text, number)


def percentile(counts: Sequence[int], share: float) -> float | None:
    """The seconds that so large a share of answers kept under, read from a histogram over
    :data:`LATENCY_BOUNDS`: even within a bucket, the last bound where there is none above."""
    goal, seen, low = share * sum(counts), 0.0, 0.0
    if goal <= 0:
        return None
    for bound, count in zip(LATENCY_BOUNDS, counts, strict=False):
        if seen + count >= goal:
            return low + (bound - low) * (goal - seen) / count
        seen, low = seen + count, bound
    return LATENCY_BOUNDS[-1]


def _half_hour(moment: datetime) -> datetime:
    return moment.replace(minute=moment.minute // 30 * 30, second=0, microsecond=0)


def _strip(slots: Iterable[HealthSlot], now: datetime) -> Iterable[StripSlot]:
    by_half_hour: dict[datetime, list[HealthSlot]] = defaultdict(list)
    for slot in slots:
        by_half_hour[_half_hour(slot.start)].append(slot)
    last = _half_hour(now)
    for back in range(STRIP - 1, -1, -1):
        start = last - back * HALF_HOUR
        yield _strip_slot(start, by_half_hour.get(start, []))


def _strip_slot(start: datetime, slots: Sequence[HealthSlot]) -> StripSlot:
    answered, failed = sum(one.answered for one in slots), sum(one.failed for one in slots)
    calls = answered + failed
    state = "good"
    if not calls:
        state = "failing" if any(one.errors for one in slots) else "none"
    elif failed >= FAILING_SHARE * calls:
        state = "failing"
    elif sum(one.slow for one in slots) >= SLOW_SHARE * calls:
        state = "slow"
    return StripSlot(start, state, calls, failed)
