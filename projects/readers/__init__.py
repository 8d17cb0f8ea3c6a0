"""Readers of files, one format each, found by content and never by the file's name alone."""

from __future__ import annotations

from pathlib import Path

from projects.readers.base import Reader, Sniff, Unreadable
from projects.readers.csv_rows import CsvRows
from projects.readers.jsonl import Jsonl
from projects.readers.kinds import describe
from projects.readers.openai_messages import OpenAIMessages
from projects.readers.opening import HEAD_BYTES, head_of

READERS: tuple[Reader, ...] = (Jsonl(), OpenAIMessages(), CsvRows())

BY_KEY = {reader.key: reader for reader in READERS}


def recognise(path: Path) -> tuple[Reader, Sniff]:
    """The reader most certain of the file's content.

    Raises :class:`Unreadable` with the reason when the file is empty or of a kind none can read.
    """
    head = head_of(path)
    if not head.strip("\ufeff \t\r\n"):
        raise Unreadable("empty_file")
    found = [(reader, reader.sniff(head)) for reader in READERS]
    reader, sniff = max(found, key=lambda pair: pair[1].confidence)
    if sniff.confidence <= 0:
        raise Unreadable("unknown_format", why=describe(head, found[-1][1].reason))
    return reader, sniff


__all__ = ["BY_KEY", "HEAD_BYTES", "READERS", "Reader", "Unreadable", "recognise"]
