"""Readers of files, one format each, found by content and never by the file's name alone."""

from __future__ import annotations

from pathlib import Path

from projects.readers.base import HEAD_BYTES, Reader, Sniff, Unreadable, head_of
from projects.readers.csv_rows import CsvRows
from projects.readers.jsonl import Jsonl
from projects.readers.openai_messages import OpenAIMessages

READERS: tuple[Reader, ...] = (Jsonl(), OpenAIMessages(), CsvRows())

BY_KEY = {reader.key: reader for reader in READERS}


def recognise(path: Path) -> tuple[Reader, Sniff]:
    """The reader most certain of the file's content.

    Raises :class:`Unreadable` with the reason when the file is empty or of a kind none can read.
    """
    head = head_of(path)
    if not head.strip():
        raise Unreadable("empty_file")
    found = [(reader, reader.sniff(head)) for reader in READERS]
    reader, sniff = max(found, key=lambda pair: pair[1].confidence)
    if sniff.confidence <= 0:
        reasons = " ".join(f"{reader.label}: {seen.reason}" for reader, seen in found)
        raise Unreadable("unknown_format", why=reasons)
    return reader, sniff


__all__ = ["BY_KEY", "HEAD_BYTES", "READERS", "Reader", "Unreadable", "recognise"]
