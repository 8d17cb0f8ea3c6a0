"""The shape of a conversation at the door."""

from __future__ import annotations

import json

import pytest

from core.text import clean
from projects.documents import MAX_METADATA_CHARS, Document, bounded, parse_time


def document(**values: object) -> Document:
    row = {"id": "a", "messages": [{"role": "x", "content": "hi"}], **values}
    return Document.model_validate(row)


def depth_of(value: object) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(depth_of, inside), default=0)


@pytest.mark.parametrize(
    ("text", "kept"), [("a\x00b", "ab"), ("a\ud83db", "a?b"), ("é\x00", "é"), ("plain", "plain")]
)
def test_clean_text_can_be_stored(text, kept):
    assert clean(text) == kept
    clean(text).encode()


def test_a_time_of_the_whole_conversation_counts_where_messages_have_none():
    whole = {"created_at": "2026-06-01T09:00:00Z"}
    first, last = document(metadata=whole).times
    assert first == last == parse_time("2026-06-01T09:00:00Z")
    said = [{"role": "x", "content": "hi", "ts": "2026-06-02T09:00:00Z"}]
    assert document(metadata=whole, messages=said).times[0] == parse_time("2026-06-02T09:00:00Z")
    assert document(metadata={"created_at": "soon"}).times == (None, None)


def test_metadata_holds_nothing_a_database_refuses():
    nested: object = "end"
    for _ in range(600):
        nested = {"k": [nested]}
    stored = document(
        metadata={"deep": nested, "inf": float("inf"), "nul\x00": "\x00x", "half": "\udc00"}
    ).stored_metadata()
    text = json.dumps(stored, allow_nan=False)
    assert "\\u0000" not in text
    assert "\\udc00" not in text
    assert depth_of(stored) < 50
    assert stored["nul"] == "x"


def test_a_backslash_before_u_is_only_text():
    assert document(metadata={"path": "C:\\u0000x"}).stored_metadata() == {"path": "C:\\u0000x"}


def test_unreasonable_metadata_is_dropped():
    assert document(metadata={"big": "x" * MAX_METADATA_CHARS}).stored_metadata() == {}
    assert bounded({"n": 10**400})["n"] == 10**400


@pytest.mark.parametrize(
    ("text", "year"),
    [
        ("2026-06-01T09:00:00Z", 2026),
        ("2026-06-01T09:00:00", 2026),
        ("0001-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59Z", None),
        ("2026-13-01T00:00:00Z", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_only_real_times_count(text, year):
    found = parse_time(text)
    assert (found.year if found else None) == year
    assert found is None or found.tzinfo is not None


def test_the_hash_sees_words_and_roles_not_white_space():
    one = document(messages=[{"role": "x", "content": "hello  there\n"}])
    same = document(messages=[{"role": "x", "content": "hello there"}])
    other = document(messages=[{"role": "y", "content": "hello there"}])
    assert one.content_hash() == same.content_hash() != other.content_hash()


def test_the_end_user_is_named_by_any_usual_key():
    assert document(metadata={"user_id": 7}).end_user == "7"
    assert document(metadata={"user": " ", "customer_id": "c"}).end_user == "c"
    assert document(metadata={"user": {"id": 1}}).end_user == ""
