"""Rows 11 and 12: a provider that answers with what is no answer, or half of one, end to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from analyses.models import AnalysisSession, Outcome, SessionStatus
from projects.models import Dataset
from providers.models import CallState, LlmAttempt, LlmCall, ModelDeployment
from tests.analyses.worker.support import run
from tests.faults.bad_provider import (
    SIZE,
    BadServer,
    check,
    classes,
    cut_at,
    hasty,
    meets,
    remote,
    resumes,
    server,
)
from tests.faults.support import told_by_page

__all__ = ["hasty", "meets", "remote", "server"]


pytestmark = pytest.mark.django_db(transaction=True)


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
