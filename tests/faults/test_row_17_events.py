"""Row 17: a page that listens is cut off, sleeps, is doubled, or comes back to pruned events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator
from django.db import OperationalError, transaction
from django.utils import timezone

from accounts.models import User
from core import consumers, events
from core.events import LiveEvent, is_pruned, last_seq, prune, publish, since
from core.models import Event, Topic
from core.topics import registry
from projects.models import Project
from tests.core.test_live import cookie, socket

pytestmark = pytest.mark.django_db(transaction=True)


class Moved(LiveEvent):
    kind: ClassVar[str] = "moved"
    step: int


def may_watch(user: User, pk: str) -> bool:
    return Project.objects.for_user(user).filter(pk=int(pk)).exists()


def render(user: User, pk: str, kinds: frozenset[str]) -> dict[str, Any]:
    """The state itself, so that a test sees which one a page ends with."""
    return {"html": f"<p>{Project.objects.get(pk=int(pk)).description}</p>"}


@pytest.fixture(autouse=True)
def topics(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = {**registry._paths, "test": (f"{__name__}.may_watch", f"{__name__}.render")}
    monkeypatch.setattr(registry, "_paths", paths)
    monkeypatch.setattr(consumers, "MIN_INTERVAL", 0.01)
    monkeypatch.setattr(consumers, "RETRY_SECONDS", 0.05)


def step(project: Project, number: int) -> int:
    """A change and its event in one transaction."""
    with transaction.atomic():
        Project.objects.filter(pk=project.pk).update(description=f"step {number}")
        return publish(f"test:{project.pk}", Moved(step=number))


change = database_sync_to_async(step)


@asynccontextmanager
async def listening(user: User, topic: str, after: int) -> AsyncIterator[WebsocketCommunicator]:
    page = socket(topic, await cookie(user), after)
    connected, _ = await page.connect(timeout=5)
    assert connected
    try:
        yield page
    finally:
        await page.disconnect()


async def latest(page: WebsocketCommunicator, seq: int) -> dict[str, Any]:
    """Messages up to the one with that number; each number is newer than the one before."""
    before = 0
    while True:
        message: dict[str, Any] = await page.receive_json_from(5)
        assert message["seq"] > before
        before = message["seq"]
        if before >= seq:
            return message


async def test_cut_off_at_every_number_nothing_is_missed(project: Project, viewer: User) -> None:
    """For every event: the page saw it, was cut off, missed the next ones, and came back."""
    topic = f"test:{project.pk}"
    for number in range(1, 9):
        await change(project, number)
    for seen in range(8):
        async with listening(viewer, topic, seen) as page:
            message = await latest(page, 8)
            assert "step 8" in message["html"]
    async with listening(viewer, topic, 8) as page:
        assert await page.receive_nothing(0.3)
        await change(project, 9)
        assert "step 9" in (await latest(page, 9))["html"]


async def test_two_tabs_and_a_nap_end_with_the_same_state(project: Project, viewer: User) -> None:
    topic = f"test:{project.pk}"
    async with listening(viewer, topic, 0) as awake:
        await change(project, 1)
        await latest(awake, 1)
        for number in range(2, 30):  # the other tab sleeps
            await change(project, number)
        newest = await latest(awake, 29)
        async with listening(viewer, topic, 1) as woken:
            assert (await latest(woken, 29))["html"] == newest["html"]


def test_a_reader_by_number_sees_each_event_once(project: Project) -> None:
    topic = f"test:{project.pk}"
    for number in range(1, 21):
        step(project, number)
    for width in (1, 3, 7, 100):
        seen, read = 0, []
        while rows := list(since(topic, seen, limit=width)):
            read += [row["payload"]["step"] for row in rows]
            seen = rows[-1]["seq"]
        assert read == list(range(1, 21))


# --- Old events ------------------------------------------------------------------------------------


@pytest.fixture
def old(project: Project) -> str:
    """A topic with 30 events, of which the first 20 are old."""
    topic = f"test:{project.pk}"
    for number in range(1, 31):
        step(project, number)
    long_ago = timezone.now() - timedelta(days=100)
    Event.objects.filter(topic__name=topic, seq__lte=20).update(created_at=long_ago)
    return topic


def test_old_events_go_and_the_newest_stay(old: str) -> None:
    assert prune(newest=5) == 20
    assert [row["seq"] for row in since(old, 0)] == list(range(21, 31))
    assert last_seq(old) == 30


def test_the_newest_stay_however_old_they_are(old: str) -> None:
    Event.objects.update(created_at=timezone.now() - timedelta(days=100))
    assert prune(newest=12) == 18
    assert [row["seq"] for row in since(old, 0)] == list(range(19, 31))


def test_many_go_in_parts_oldest_first(old: str) -> None:
    assert prune(newest=5, most=8) == 8
    assert next(row["seq"] for row in since(old, 0)) == 9
    assert prune(newest=5, most=8) == 8
    assert prune(newest=5, most=8) == 4
    assert prune(newest=5, most=8) == 0


def test_numbers_go_on_after_pruning(old: str, project: Project) -> None:
    prune(newest=5)
    assert step(project, 31) == 31
    assert not is_pruned(old, 30)


@pytest.mark.parametrize(
    ("seen", "pruned"), [(0, True), (19, True), (20, False), (29, False), (30, False), (31, True)]
)
def test_who_missed_what_is_gone(old: str, seen: int, pruned: bool) -> None:
    """31 is a number that was never given, as a page has it after a backup was restored."""
    prune(newest=5)
    assert is_pruned(old, seen) is pruned


def test_a_topic_without_events_is_complete(db: None) -> None:
    assert not is_pruned("test:1", 0)
    Topic.objects.create(name="test:1")
    assert not is_pruned("test:1", 0)


def test_the_tick_prunes_now_and_then(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_next_prune", 0.0)
    monkeypatch.setattr(events, "KEEP_NEWEST", 5)
    monkeypatch.setattr(events.prune, "__defaults__", (events.KEEP_EVENTS, 5, 5_000))
    events.tick()
    assert Event.objects.count() == 10
    Event.objects.update(created_at=timezone.now() - timedelta(days=100))
    events.tick()
    assert Event.objects.count() == 10, "it looked again at once"


@pytest.mark.parametrize("seen", [3, 99])
async def test_a_page_that_missed_too_much_is_told_to_load_anew(
    old: str, project: Project, viewer: User, seen: int
) -> None:
    await database_sync_to_async(prune)(newest=5)
    async with listening(viewer, old, seen) as page:
        message = await page.receive_json_from(5)
        assert message == {"seq": 30, "resync": True}
        # Loaded anew it has the newest number, and lives on.
        await change(project, 31)
        assert "step 31" in (await latest(page, 31))["html"]


# --- The database away under an open page ----------------------------------------------------------


async def test_a_page_outlives_an_outage(
    project: Project, viewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the fragment nor the look at the right to watch ends the socket."""
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.1)
    topic = f"test:{project.pk}"
    away = [False]
    for name in ("_allowed", "_news"):
        real = getattr(consumers.LiveConsumer, name)

        def shaky(self: Any, _real: Any = real) -> Any:
            if away[0]:
                raise OperationalError("server closed the connection unexpectedly")
            return _real(self)

        monkeypatch.setattr(consumers.LiveConsumer, name, shaky)
    async with listening(viewer, topic, 0) as page:
        await change(project, 1)
        await latest(page, 1)
        away[0] = True
        await change(project, 2)
        assert await page.receive_nothing(0.4)
        away[0] = False
        assert "step 2" in (await latest(page, 2))["html"]
