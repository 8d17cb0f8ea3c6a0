"""The socket behind live pages: who may listen, what they get, and how fast."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, ClassVar
from unittest.mock import Mock

import pytest
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.db import transaction

from accounts.models import Membership, User
from config.asgi import application
from core import consumers
from core.events import LiveEvent, publish
from core.models import Topic
from core.topics import registry
from projects.models import Project
from tests.conftest import PASSWORD, SIGN_IN_BACKEND

pytestmark = pytest.mark.django_db(transaction=True)

renders: Mock = Mock()


class Moved(LiveEvent):
    kind: ClassVar[str] = "moved"


class Ended(LiveEvent):
    kind: ClassVar[str] = "ended"


def may_watch(user: User, pk: str) -> bool:
    return pk.isdecimal() and Project.objects.for_user(user).filter(pk=int(pk)).exists()


def render(user: User, pk: str, kinds: frozenset[str]) -> dict[str, Any]:
    renders(user, pk, kinds)
    return {"html": f"<p>{user.email} {','.join(sorted(kinds))}</p>"}


@pytest.fixture(autouse=True)
def topics(monkeypatch: pytest.MonkeyPatch) -> None:
    renders.reset_mock(side_effect=True)
    paths = {
        **registry._paths,
        "test": (f"{__name__}.may_watch", f"{__name__}.render"),
    }
    monkeypatch.setattr(registry, "_paths", paths)


@database_sync_to_async
def tell(topic: str, *events: LiveEvent) -> int:
    with transaction.atomic():
        return publish(topic, *events)


@database_sync_to_async
def cookie(user: User) -> str:
    """A signed-in session's cookie."""
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = SIGN_IN_BACKEND
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)


def socket(
    topic: str, key: str = "", after: object = 0, origin: str | None = "http://localhost"
) -> WebsocketCommunicator:
    headers = [(b"host", b"localhost")]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    if key:
        headers.append((b"cookie", f"{settings.SESSION_COOKIE_NAME}={key}".encode()))
    return WebsocketCommunicator(
        application, f"/ws/live/?topic={topic}&after={after}", headers=headers
    )


async def refused(communicator: WebsocketCommunicator) -> int | None:
    """The close code of a socket that must not open."""
    opened, code = await communicator.connect(timeout=5)
    assert not opened
    return code


@asynccontextmanager
async def listening(
    user: User, topic: str, after: object = 0
) -> AsyncIterator[WebsocketCommunicator]:
    communicator = socket(topic, await cookie(user), after)
    opened, _ = await communicator.connect(timeout=5)
    assert opened
    try:
        yield communicator
    finally:
        await communicator.disconnect()


async def closed(communicator: WebsocketCommunicator, timeout: float = 5) -> int:
    """Wait for the close, whatever is sent before; returns the code."""
    while True:
        message = await communicator.receive_output(timeout)
        if message["type"] == "websocket.close":
            return int(message["code"])


async def test_strangers_are_refused(project: Project, outsider: User, other_owner: User) -> None:
    topic = f"test:{project.pk}"
    assert await refused(socket(topic)) == 4403
    assert await refused(socket(topic, "not-a-session")) == 4403
    for stranger in (outsider, other_owner):
        assert await refused(socket(topic, await cookie(stranger))) == 4403
    renders.assert_not_called()


async def test_unknown_topics_are_refused(project: Project, owner: User) -> None:
    key = await cookie(owner)
    for topic in ("nothing:1", "", "test", "test:", "test:x", "test:%C2%B2", f"test:{10**30}"):
        assert await refused(socket(topic, key)) == 4403
    assert await refused(socket(f"analysis:{10**6}", key)) == 4403


@pytest.mark.parametrize(
    "origin",
    [None, "http://evil.example", "null", "http://localhost.evil.example", "http://evillocalhost"],
)
async def test_pages_of_another_origin_are_refused(
    project: Project, owner: User, origin: str | None
) -> None:
    await refused(socket(f"test:{project.pk}", await cookie(owner), origin=origin))


async def test_members_hear_what_is_published(project: Project, viewer: User) -> None:
    topic = f"test:{project.pk}"
    async with listening(viewer, topic) as page:
        assert await page.receive_nothing(0.4)
        began = time.monotonic()
        assert await tell(topic, Moved(), Ended()) == 2
        message = await page.receive_json_from(5)
        assert time.monotonic() - began < 1.0
        assert message == {"seq": 2, "html": f"<p>{viewer.email} ended,moved</p>"}
        await tell(f"test:{project.pk + 1}", Moved())
        assert await page.receive_nothing(0.4)


async def test_what_was_missed_is_replayed_and_nothing_twice(
    project: Project, viewer: User
) -> None:
    topic = f"test:{project.pk}"
    await tell(topic, Moved())
    await tell(topic, Ended())
    async with listening(viewer, topic, after=1) as page:
        message = await page.receive_json_from(5)
        assert message["seq"] == 2
        assert "moved" not in message["html"]
    async with listening(viewer, topic, after=2) as page:
        assert await page.receive_nothing(0.5)
    for nonsense in ("x", "-1", "%C2%B2", "9" * 5000):
        async with listening(viewer, topic, after=nonsense) as page:
            assert (await page.receive_json_from(5))["seq"] == 2


async def test_two_pages_hear_the_same(project: Project, viewer: User, owner: User) -> None:
    topic = f"test:{project.pk}"
    async with listening(viewer, topic) as one, listening(owner, topic) as two:
        await tell(topic, Moved())
        assert (await one.receive_json_from(5))["seq"] == 1
        assert (await two.receive_json_from(5))["seq"] == 1
    async with listening(viewer, topic, after=1) as third:
        await tell(topic, Moved())
        assert (await third.receive_json_from(5))["seq"] == 2


async def test_at_most_four_messages_a_second(project: Project, viewer: User) -> None:
    topic = f"test:{project.pk}"
    seen: list[tuple[float, int]] = []
    async with listening(viewer, topic) as page:
        began = time.monotonic()

        async def hear() -> None:
            while not seen or seen[-1][1] < 25:
                message = await page.receive_json_from(5)
                seen.append((time.monotonic() - began, message["seq"]))

        hearing = asyncio.create_task(hear())
        for _ in range(25):
            await tell(topic, Moved())
            await asyncio.sleep(0.04)
        await asyncio.wait_for(hearing, 5)
    gaps = [late[0] - early[0] for early, late in itertools.pairwise(seen)]
    assert seen[-1][1] == 25
    assert all(gap > 0.2 for gap in gaps), gaps
    assert len(seen) <= 4 * seen[-1][0] + 2


async def test_large_and_binary_frames_close_the_socket(project: Project, viewer: User) -> None:
    topic = f"test:{project.pk}"
    async with listening(viewer, topic) as page:
        await page.send_to(text_data="ping")
        assert await page.receive_nothing(0.2)
        await page.send_to(text_data="x" * (consumers.MAX_FRAME + 1))
        assert await closed(page) == 1009
    async with listening(viewer, topic) as page:
        await page.send_to(bytes_data=b"x")
        assert await closed(page) == 1009


async def test_a_chattering_page_is_closed(
    project: Project, viewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "MAX_FRAMES", 5)
    async with listening(viewer, f"test:{project.pk}") as page:
        for _ in range(5):
            await page.send_to(text_data="hello")
        assert await page.receive_nothing(0.2)
        await page.send_to(text_data="hello")
        assert await closed(page) == 1008


async def test_one_person_holds_only_so_many_sockets(
    project: Project, viewer: User, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "MAX_SOCKETS", 2)
    topic = f"test:{project.pk}"
    async with listening(viewer, topic), listening(viewer, topic):
        assert await refused(socket(topic, await cookie(viewer))) == 4429
        async with listening(owner, topic):
            pass
    async with listening(viewer, topic):
        pass


async def remove(viewer: User) -> None:
    await Membership.objects.filter(user=viewer).adelete()


async def deactivate(viewer: User) -> None:
    await User.objects.filter(pk=viewer.pk).aupdate(is_active=False)


async def change_password(viewer: User) -> None:
    user = await User.objects.aget(pk=viewer.pk)
    user.set_password(PASSWORD + " 2")
    await user.asave()


async def sign_out(viewer: User) -> None:
    from django.contrib.sessions.models import Session

    await Session.objects.all().adelete()


@pytest.mark.parametrize("loss", [remove, deactivate, change_password, sign_out])
async def test_losing_the_right_closes_the_socket(
    project: Project,
    viewer: User,
    loss: Callable[[User], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.4)
    async with listening(viewer, f"test:{project.pk}") as page:
        assert await page.receive_nothing(0.9)
        await loss(viewer)
        assert await closed(page) == 4401


async def test_the_right_is_looked_at_in_time_however_much_happens(
    project: Project, viewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.6)
    monkeypatch.setattr(consumers, "MIN_INTERVAL", 0.01)
    topic = f"test:{project.pk}"
    async with listening(viewer, topic) as page:
        await remove(viewer)
        began = time.monotonic()
        closing = asyncio.create_task(closed(page))
        while not closing.done() and time.monotonic() - began < 3:
            await tell(topic, Moved())
            await asyncio.sleep(0.05)
        assert await closing == 4401
        assert time.monotonic() - began < 1.5


async def test_a_fragment_that_could_not_be_drawn_is_tried_again(
    project: Project, viewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "RETRY_SECONDS", 0.05)
    renders.side_effect = [RuntimeError("a bug"), None]
    topic = f"test:{project.pk}"
    async with listening(viewer, topic) as page:
        await tell(topic, Ended())
        message = await page.receive_json_from(5)
    assert (message["seq"], renders.call_count) == (1, 2)
    assert "ended" in message["html"]


async def test_no_kind_is_lost_among_many_events(project: Project, viewer: User) -> None:
    topic = f"test:{project.pk}"
    await tell(topic, *(Moved() for _ in range(700)), Ended())
    async with listening(viewer, topic) as page:
        message = await page.receive_json_from(5)
    assert message["seq"] == 701
    assert "ended,moved" in message["html"]


async def test_the_tail_rests_when_nobody_watches(project: Project, viewer: User) -> None:
    from core.live import tail

    async with listening(viewer, f"test:{project.pk}"):
        await asyncio.sleep(0.2)
        assert tail()._task is not None
    for _ in range(40):
        if tail()._task.done():
            break
        await asyncio.sleep(0.05)
    assert tail()._task.done()
    assert not tail()._watchers
    assert await Topic.objects.acount() == 0
