"""A provider on the loopback that misbehaves, and what a run that met it has to look like."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread
from typing import Any

import pytest
from aiohttp import web
from django.utils import timezone

from analyses.models import AnalysisSession, Outcome, SessionStatus
from projects.models import Dataset
from providers.clients.scripted import Scenario, Script, Step
from providers.models import (
    DeploymentHealth,
    LlmAttempt,
    LlmCall,
    ModelDeployment,
    Provider,
    ProviderKind,
)
from tests.analyses.worker.support import run

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
        assert self._ready.wait(60)

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
        past = timezone.now() - timedelta(seconds=1)
        DeploymentHealth.objects.exclude(retry_at=None).update(retry_at=past)
        services.tick()
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, (session.status, session.detail)
    assert session.read_count == SIZE
    check(session)
    return session


def said(status: int, code: str = "", headers: dict[str, str] | None = None) -> web.Response:
    body = {"error": {"message": code, "type": code, "code": code}}
    return web.json_response(body, status=status, headers=headers)


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
