"""Rows 10, 11 and 12: what a provider may do to a run, end to end through a worker.

Each class of fault is tested by itself in `tests/providers`; here a whole analysis meets it over a
real socket. No conversation may be lost, the class on the page must be right, no cost negative, and
nothing that is no answer may be kept as one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Event, Thread
from typing import Any

import pytest
from aiohttp import web

from analyses.models import AnalysisSession, Outcome, SessionStatus
from projects.models import Dataset
from providers.clients.scripted import Scenario, Script, Step
from providers.models import CallState, LlmAttempt, LlmCall, ModelDeployment, Provider, ProviderKind
from tests.analyses.worker.support import run
from tests.faults.support import told_by_page

pytestmark = pytest.mark.django_db(transaction=True)

SIZE = 12
"""Conversations of a run."""

SOUND = 6
"""Requests that are answered well before the trouble begins."""


class BadServer:
    """An OpenAI-compatible server on the loopback that answers well until told to misbehave.

    ``play`` gets the request and the sound answer, and gives the bytes to send after the head, a
    response, or ``None`` to answer well after all. It runs in a thread of its own.
    """

    def __init__(self) -> None:
        self.script = Script(Scenario())
        self.requests = 0
        self.sound = SOUND
        self.play: Callable[[web.Request, dict[str, Any]], Any] = lambda request, answer: None
        self.url = ""
        self._ready, self._ended = Event(), Event()
        self._thread = Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(10)

    async def _serve(self) -> None:
        app = web.Application(client_max_size=64_000_000)
        app.router.add_post("/v1/chat/completions", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        self._ready.set()
        while not self._ended.is_set():
            await asyncio.sleep(0.02)
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        body = await request.json()
        sound = self.script.chat(Step(), body)
        if self.requests <= self.sound:
            return web.json_response(sound)
        found = self.play(request, sound)
        if asyncio.iscoroutine(found):
            found = await found
        return web.json_response(sound) if found is None else found


@pytest.fixture
def server() -> Iterator[BadServer]:
    one = BadServer()
    one.start()
    yield one
    one.stop()


@pytest.fixture
def remote(model: ModelDeployment, server: BadServer, settings: Any) -> ModelDeployment:
    """A provider of the real kind, at the bad server."""
    settings.ALLOW_PRIVATE_PROVIDERS = True
    Provider.objects.update(
        kind=ProviderKind.OPENAI,
        base_url=server.url,
        concurrency=4,
        first_byte_timeout=5.0,
        total_timeout=10.0,
    )
    model.refresh_from_db()
    return model


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without their pauses: how long they are is tested with the gateway."""
    monkeypatch.setattr("providers.gateway.retry.Attempts._wait", no_pause)
    monkeypatch.setattr("analyses.runner.outage.AGAIN", (0.01, 0.01, 0.01))


def no_pause(attempts: Any, fault: Any, retry: int) -> float | None:
    told = fault.retry_after
    return None if told is not None and told > attempts.policy.longest_wait else 0.001


@pytest.fixture
def meets(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    remote: ModelDeployment,
    server: BadServer,
) -> Callable[..., AnalysisSession]:
    """``meets(play)``: an analysis whose provider misbehaves after the first answers."""

    def begin(play: Callable[..., Any]) -> AnalysisSession:
        server.play = play
        if play in (black_hole, drip):
            Provider.objects.update(first_byte_timeout=0.4, total_timeout=0.8)
        return run(start(talks(SIZE), chat=remote))

    return begin


def check(session: AnalysisSession) -> None:
    """Whatever happened: nothing is lost, nothing is negative, nothing that is no answer is kept."""
    items = session.items.all()
    if session.ended:
        assert items.count() == SIZE
        assert not items.filter(outcome=Outcome.WAITING).exists()
    assert session.read_count == items.filter(outcome=Outcome.READ).count()
    calls = LlmCall.objects.filter(analysis_id=session.pk)
    assert not calls.filter(cost__lt=0).exists()
    assert not calls.filter(tokens_in__lt=0).exists()
    assert session.cost >= 0
    assert max((len(text) for text in calls.values_list("response", flat=True)), default=0) < 4e6


def classes(session: AnalysisSession) -> set[str]:
    return set(
        LlmAttempt.objects.filter(call__analysis_id=session.pk)
        .exclude(error_class="cancelled")
        .values_list("error_class", flat=True)
    )


def resumes(session: AnalysisSession, server: BadServer) -> AnalysisSession:
    """The provider is well again: what was waiting is read, without a person where it can be."""
    from analyses import services

    server.play = lambda request, answer: None
    Provider.objects.update(first_byte_timeout=5.0, total_timeout=10.0)
    if session.status == SessionStatus.BLOCKED:
        if session.retry_at is None:
            services.resume(actor=session.created_by, session=session)
        AnalysisSession.objects.update(retry_at=None)
        services.tick()
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, (session.status, session.detail)
    assert session.read_count == SIZE
    check(session)
    return session


def said(status: int, code: str = "", headers: dict[str, str] | None = None) -> web.Response:
    body = {"error": {"message": code, "type": code, "code": code}}
    return web.json_response(body, status=status, headers=headers)


# --- Row 10: it refuses, hangs, drips, answers with an error ---------------------------------------


async def black_hole(request: web.Request, answer: Any) -> web.Response:
    await asyncio.sleep(5)
    return web.json_response(answer)


async def drip(request: web.Request, answer: Any) -> web.StreamResponse:
    """A byte now and then: always alive, never done."""
    reply = web.StreamResponse(headers={"Content-Type": "application/json"})
    await reply.prepare(request)
    for byte in json.dumps(answer).encode():
        await reply.write(bytes([byte]))
        await asyncio.sleep(0.1)
    return reply


def dropped(request: web.Request, answer: Any) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


SOON = format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)
LATE = format_datetime(datetime.now(UTC) + timedelta(hours=3), usegmt=True)

WAITS = [
    ("black hole", black_hole, "timeout", "provider"),
    ("a byte a time", drip, "timeout", "provider"),
    ("dropped", dropped, "network", "provider"),
    ("500", lambda *_: said(500), "server", "provider"),
    ("503", lambda *_: said(503), "server", "provider"),
    ("529", lambda *_: said(529), "server", "provider"),
    ("429 for 1 s", lambda *_: said(429, "", {"Retry-After": "1"}), "rate_limit", "provider"),
    ("429 until soon", lambda *_: said(429, "", {"Retry-After": SOON}), "rate_limit", "provider"),
    ("429 for hours", lambda *_: said(429, "", {"Retry-After": LATE}), "rate_limit", "provider"),
    ("429 in ms", lambda *_: said(429, "", {"retry-after-ms": "20"}), "rate_limit", "provider"),
    (
        "429 with nonsense",
        lambda *_: said(429, "rate limit reached", {"Retry-After": "in a while"}),
        "rate_limit",
        "provider",
    ),
    (
        "429 for ever",
        lambda *_: said(429, "rate limit reached", {"Retry-After": "1000000000"}),
        "rate_limit",
        "provider",
    ),
    ("402", lambda *_: said(402), "quota", "quota"),
    ("401", lambda *_: said(401, "invalid_api_key"), "auth", "key"),
    ("403", lambda *_: said(403), "permission", "key"),
]


RESUMED = [row[1] for row in WAITS if row[0] in ("black hole", "500", "402", "401")]
"""One of each reason is watched until its end."""


@pytest.mark.parametrize(
    ("play", "error_class", "reason"),
    [row[1:] for row in WAITS],
    ids=[row[0] for row in WAITS],
)
def test_row_10_the_run_waits_and_goes_on(
    meets: Callable[..., AnalysisSession],
    server: BadServer,
    play: Callable[..., Any],
    error_class: str,
    reason: str,
) -> None:
    session = meets(play)
    assert (session.status, session.reason) == (SessionStatus.BLOCKED, reason), session.detail
    assert error_class in classes(session)
    assert session.failed_count == 0
    check(session)
    page = told_by_page(session)
    assert "What was read is saved." in page
    assert "Scripted" in page  # the provider by its name
    if play in RESUMED:
        resumes(session, server)


def test_row_10_a_refused_connection_is_not_counted_as_sent(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession], remote: ModelDeployment
) -> None:
    Provider.objects.update(base_url="http://127.0.0.1:9/v1")
    remote.refresh_from_db()
    session = run(start(talks(SIZE), chat=remote))
    assert (session.status, session.reason) == (SessionStatus.BLOCKED, "provider")
    assert classes(session) == {"network"}
    assert not LlmCall.objects.filter(state__in=(CallState.SENT, CallState.DOUBT)).exists()
    assert session.cost == 0
    assert "does not answer" in told_by_page(session)


def test_row_10_a_storm_of_400_stops_to_ask_and_does_not_eat_the_data(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    remote: ModelDeployment,
    server: BadServer,
) -> None:
    server.sound = 5
    server.play = lambda *_: said(400)
    session = run(start(talks(120), chat=remote))
    assert session.status == SessionStatus.BLOCKED, (session.status, session.failed_count)
    assert session.reason in ("too_many_errors", "provider")
    assert session.failed_count < 120
    assert told_by_page(session)
    assert not LlmCall.objects.filter(cost__lt=0).exists()


# --- Row 11: it answers 200 with what is no answer -------------------------------------------------


def changed(**values: Any) -> Callable[..., web.Response]:
    """The sound answer with other values in it."""

    def play(request: web.Request, answer: dict[str, Any]) -> web.Response:
        for path, value in values.items():
            if path == "usage":
                answer["usage"] = value
            elif path == "finish_reason":
                answer["choices"][0]["finish_reason"] = value
            else:
                answer["choices"][0]["message"]["content"] = value
        return web.json_response(answer)

    return play


def huge(request: web.Request, answer: Any) -> web.Response:
    return web.Response(body=b'{"choices": "' + b"x" * 50_000_000, content_type="application/json")


NO_ANSWERS = [
    ("a web page", lambda *_: web.Response(text="<html>wiki</html>", content_type="text/html")),
    ("an empty body", lambda *_: web.Response(body=b"")),
    ("torn JSON", lambda *_: web.Response(body=b'{"choices": [{"mess')),
    ("50 MB", huge),
]


@pytest.mark.parametrize("play", [row[1] for row in NO_ANSWERS], ids=[row[0] for row in NO_ANSWERS])
def test_row_11_what_no_such_server_sends_is_a_fault_of_the_provider(
    meets: Callable[..., AnalysisSession], server: BadServer, play: Callable[..., Any]
) -> None:
    session = meets(play)
    assert (session.status, session.reason) == (SessionStatus.BLOCKED, "provider"), session.detail
    assert classes(session) <= {"server", "network", "timeout"}
    assert session.failed_count == 0
    check(session)
    assert "wiki" not in told_by_page(session)


BAD_ANSWERS = [
    ("no JSON", changed(content="Sure, here is what I think.")),
    ("of another form", changed(content='{"unexpected": true}')),
    ("empty", changed(content="")),
    ("cut by length", changed(content='{"request": "Reset the pass', finish_reason="length")),
]


@pytest.mark.parametrize(
    "play", [row[1] for row in BAD_ANSWERS], ids=[row[0] for row in BAD_ANSWERS]
)
def test_row_11_a_bad_answer_skips_its_conversation_with_the_reason(
    meets: Callable[..., AnalysisSession], play: Callable[..., Any]
) -> None:
    """It is repaired or asked again once; then the conversation is named and the rest goes on."""
    session = meets(play)
    assert session.status in (SessionStatus.PARTIAL, SessionStatus.BLOCKED), session.detail
    failed = session.items.filter(outcome=Outcome.FAILED)
    assert failed.exists()
    assert set(failed.values_list("error_class", flat=True)) == {"bad_answer"}
    assert session.read_count + session.failed_count <= SIZE
    check(session)


USAGES = [
    None,
    {},
    {"prompt_tokens": -5, "completion_tokens": -900},
    {"prompt_tokens": 10**30, "completion_tokens": 1},
    {"prompt_tokens": "many", "completion_tokens": [1]},
    {"prompt_tokens": 3.7, "completion_tokens": float(10**9)},
    {"prompt_tokens": True, "completion_tokens": None},
    {"prompt_tokens": 5, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 99}},
]


@pytest.mark.parametrize("usage", USAGES, ids=[str(usage)[:40] for usage in USAGES])
def test_row_11_wrong_figures_lose_no_answer_and_cost_is_never_negative(
    meets: Callable[..., AnalysisSession], usage: Any
) -> None:
    session = meets(changed(usage=usage))
    assert session.status == SessionStatus.COMPLETED, (session.status, session.detail)
    assert session.read_count == SIZE
    check(session)


# --- Row 12: the answer is cut off -----------------------------------------------------------------


@contextmanager
def cut_at(server: BadServer, byte: int) -> Iterator[None]:
    """Answers end after so many bytes, though the head promised them all."""

    async def play(request: web.Request, answer: Any) -> web.StreamResponse:
        body = json.dumps(answer).encode()
        reply = web.StreamResponse(headers={"Content-Type": "application/json"})
        reply.content_length = len(body)
        await reply.prepare(request)
        await reply.write(body[: min(byte, len(body) - 1)])
        assert request.transport is not None
        request.transport.abort()
        return reply

    server.play = play
    yield


def test_row_12_an_answer_cut_at_any_byte_is_never_kept_in_part(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    remote: ModelDeployment,
    server: BadServer,
) -> None:
    """Before the first byte, in the middle and before the last one, then well again."""
    for byte in (0, 150, 10**6):
        server.requests = 0
        with cut_at(server, byte):
            session = run(start(talks(SIZE, name=f"cut at {byte}"), chat=remote))
        assert (session.status, session.reason) == (SessionStatus.BLOCKED, "provider")
        assert classes(session) == {"network"}
        check(session)
        for call in LlmCall.objects.filter(analysis_id=session.pk, state=CallState.OK):
            json.loads(call.response)
        # An answer that was cut off may have been billed: the books say so.
        doubted = LlmAttempt.objects.filter(call__analysis_id=session.pk, in_doubt=True)
        assert doubted.exists()
        resumes(session, server)
        LlmCall.objects.all().delete()
