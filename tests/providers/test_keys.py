from __future__ import annotations

import pytest

from providers import keys


def test_what_is_encrypted_comes_back_and_looks_different_each_time() -> None:
    token = keys.encrypt("sk-secret-key", ["one"])
    assert "secret" not in token
    assert token != keys.encrypt("sk-secret-key", ["one"])
    assert keys.decrypt(token, ["one"]).reveal() == "sk-secret-key"


def test_an_old_secret_still_opens_and_rotation_moves_to_the_new_one() -> None:
    token = keys.encrypt("sk-secret-key", ["old"])
    assert keys.decrypt(token, ["new", "old"]).reveal() == "sk-secret-key"
    rotated = keys.rotate(token, ["new", "old"])
    assert keys.decrypt(rotated, ["new"]).reveal() == "sk-secret-key"
    with pytest.raises(keys.KeyUnreadable):
        keys.decrypt(rotated, ["old"])


@pytest.mark.parametrize("token", ["nonsense", "gAAAAA", "ключ"])
def test_a_token_that_cannot_be_opened_says_so_without_repeating_it(token: str) -> None:
    with pytest.raises(keys.KeyUnreadable) as caught:
        keys.decrypt(token, ["one"])
    assert token not in str(caught.value)


def test_no_key_stays_no_key() -> None:
    assert keys.encrypt("", ["one"]) == ""
    assert not keys.decrypt("", ["one"])


@pytest.mark.parametrize("ring", [[], [""], ["one", ""]])
def test_an_empty_ring_is_refused(ring: list[str]) -> None:
    with pytest.raises(ValueError, match="ring"):
        keys.encrypt("k", ring)


def test_a_hint_never_shows_a_short_key() -> None:
    assert keys.hint("sk-abcdefghij1234") == "1234"
    assert keys.hint("short") == ""
