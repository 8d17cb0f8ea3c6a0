"""Redaction: no secret reaches a log line, by name or by look."""

import pytest

from config.logs import HIDDEN, clean, redact


@pytest.mark.parametrize(
    "name", ["api_key", "Authorization", "password", "client_secret", "access_token", "Cookie"]
)
def test_secret_names_are_hidden_whatever_they_hold(name):
    assert redact(None, "info", {name: "abc", "event": "x"}) == {name: HIDDEN, "event": "x"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("used sk-proj-abcdef1234567890", f"used {HIDDEN}"),
        ("Authorization: Bearer abcdefgh12345", f"Authorization: Bearer {HIDDEN}"),
        ("postgres://clio:hunter2@db/x", f"postgres://clio:{HIDDEN}@db/x"),
        ("ghp_" + "a" * 36, HIDDEN),
        ("'POST /welcome/abc-DEF_1/'", f"'POST /welcome/{HIDDEN}'"),
        ("GET /invitation/Mg/abc-def/", f"GET /invitation/{HIDDEN}"),
        ("task-skipped, 12 tokens, bearer of news", "task-skipped, 12 tokens, bearer of news"),
        ("https://example.org/a:b@c", "https://example.org/a:b@c"),
    ],
)
def test_secret_values_are_hidden_and_prose_is_not(text, expected):
    assert clean(text) == expected


@pytest.mark.parametrize("name", ["max_tokens", "tokens_in", "keyboard"])
def test_counts_of_tokens_are_not_secret(name):
    assert redact(None, "info", {name: 12}) == {name: 12}


def test_containers_are_searched():
    event = {"event": "call", "request": {"headers": [("x", "sk-12345678")], "tokens": 12}}
    found = redact(None, "info", event)
    assert found["request"] == {"headers": [("x", HIDDEN)], "tokens": 12}
