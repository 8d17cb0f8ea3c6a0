"""Errors: one table of words, one shape for programs, one page for people."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpResponse
from django.test import RequestFactory

from core.errors import (
    TEXTS,
    AppError,
    AppErrorMiddleware,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    problem,
    user_text,
)


@pytest.mark.parametrize("code", sorted(TEXTS))
def test_every_text_is_a_sentence_with_and_without_data(code: str) -> None:
    for error in (AppError(code), AppError(code, why="It is raining.", limit="2 GB", seconds=3)):
        assert error.text or code == "plain"
        assert "{" not in error.text
        assert error.text == error.text.strip()
    assert AppError(code).status == AppError.status


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (NotFound(), "not_found", 404),
        (Forbidden(), "forbidden", 403),
        (Conflict(why="It ended."), "conflict", 409),
        (Invalid("No."), "invalid", 422),
        (AppError("too_large", status=413, limit="2 GB"), "too_large", 413),
        (AppError(), "conflict", 409),
        (AppError("never heard of"), "never heard of", 409),
    ],
)
def test_code_and_status(error: AppError, code: str, status: int) -> None:
    assert (error.code, error.status) == (code, status)
    assert str(error) == error.text == user_text(error)


def test_data_is_text_and_never_a_template() -> None:
    hostile = Conflict(why="{why.__class__} {limit} %s")
    assert "{why.__class__} {limit} %s" in hostile.text


def test_problem_details() -> None:
    body = problem(Invalid(fields={"name": "Give the project a name."}))
    assert body == {
        "type": "urn:openclio:invalid",
        "title": "Please check what you entered. Give the project a name.",
        "status": 422,
        "code": "invalid",
        "retryable": False,
        "fields": {"name": "Give the project a name."},
    }
    assert "fields" not in problem(NotFound())
    assert problem(AppError("rate_limited", status=429, retryable=True, seconds=3))["retryable"]


def test_classes_are_not_changed_by_their_instances() -> None:
    AppError("too_large", status=413, retryable=True)
    assert (AppError.code, AppError.status, AppError.retryable) == ("conflict", 409, False)


def test_unknown_errors_reveal_nothing() -> None:
    assert "secret" not in user_text(ValueError("secret path /etc"))


@pytest.mark.django_db
def test_the_page_of_a_refusal_has_its_status_and_escapes() -> None:
    middleware = AppErrorMiddleware(lambda request: HttpResponse())
    request = RequestFactory().get("/")
    request.user = AnonymousUser()
    request.session = SessionStore()
    request.resolver_match = None  # type: ignore[assignment]
    answer = middleware.process_exception(request, Conflict(why="<script>alert(1)</script>"))
    assert answer is not None
    assert answer.status_code == 409
    assert b"<script>alert" not in answer.content
    assert b"&lt;script&gt;" in answer.content
    assert middleware.process_exception(request, ValueError()) is None
