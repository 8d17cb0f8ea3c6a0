"""Text from outside, made fit to be stored."""

from __future__ import annotations


def clean(text: str) -> str:
    """Text a database can hold: no NUL, lone surrogates replaced."""
    if "\x00" in text:
        text = text.replace("\x00", "")
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
