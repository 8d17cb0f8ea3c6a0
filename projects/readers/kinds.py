"""Naming files that are no conversations we can read, so that a person knows what to do."""

from __future__ import annotations

import csv
import io
import re
from itertools import islice

MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a zip archive or an Office document"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "packed with gzip twice"),
    (b"BZh", "packed with bzip2"),
    (b"\xfd7zXZ\x00", "packed with xz"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a program"),
    (b"PAR1", "a Parquet table"),
    (b"SQLite format 3\x00", "a SQLite database"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"RIFF", "a sound or video file"),
    (b"ID3", "a sound file"),
    (b"OggS", "a sound file"),
)
"""First bytes of common files (as file(1) and RFC 8478, RFC 1952 have them)."""

PACKED = ("packed", "zip", "archive")

TAKES = "OpenClio reads JSONL with messages, and CSV with one message per row."

SHAPES: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"mapping", "current_node"}), "a ChatGPT export"),
    (frozenset({"conversations", "from", "value"}), "a ShareGPT file"),
    (frozenset({"message_id", "parent_id", "text"}), "a list of single messages in reply trees"),
    (frozenset({"type", "user", "ts", "text"}), "a Slack export"),
    (frozenset({"traj"}), "a log of agent trajectories"),
    (frozenset({"dialogue_id", "turns"}), "a file of dialogues with turns (SGD)"),
    (frozenset({"original", "convo_id"}), "an ABCD file"),
    (frozenset({"meeting_transcripts"}), "a QMSum meeting"),
    (frozenset({"cells", "nbformat"}), "a Jupyter notebook"),
)
"""Keys by which foreign JSON is known."""

TEXTS: tuple[tuple[str, str], ...] = (
    (r"\s*<!doctype html|\s*<html", "a web page (HTML)"),
    (r"\s*<\?xml|\s*<[a-z]+[ >]", "an XML or HTML file"),
    (r"WEBVTT", "a subtitle file (WebVTT)"),
    (r"\d+\r?\n\d\d:\d\d:\d\d,\d{3} -->", "a subtitle file (SubRip)"),
    (r"\{\\rtf", "a rich text document"),
    (r"From [^\n]+\n[\w-]+: ", "a mailbox"),
    (r"\[?\d{1,4}[./-]\d{1,2}[./-]\d{1,4},? \d{1,2}:\d\d[^\n]*[\]-] ", "an exported chat"),
    (r"\[\d\d:\d\d\] |===", "a chat log"),
)
"""Beginnings by which foreign text is known."""


def binary_kind(head: bytes) -> str:
    """A sentence naming a file that is not text, "" for one that may be."""
    for magic, name in MAGIC:
        if head.startswith(magic):
            act = "Unpack it and" if any(word in name for word in PACKED) else "Export it as JSONL"
            end = "upload the files inside." if act.startswith("Un") else "or CSV and try again."
            return f"It is {name}. {act} {end}"
    control = sum(byte < 9 or 13 < byte < 32 for byte in head) - head.count(0)
    marked = head.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff"))
    zeros_everywhere = head[0::2].count(0) and head[1::2].count(0)
    odd = control > len(head) // 50 or (zeros_everywhere and head.count(0) > len(head) // 50)
    if odd and not marked:
        return "It is a binary file, not text. Export it as JSONL or CSV and try again."
    return ""


def describe(head: str, table: str) -> str:
    """What a text file that no reader takes seems to be, and what to do.

    ``table`` says what is missing if it is a table.
    """
    start = head.lstrip("\ufeff \t\r\n")
    for pattern, name in TEXTS:
        if re.match(pattern, start, re.IGNORECASE):
            return f"It looks like {name}. {TAKES}"
    if start[:1] in ("{", "["):
        return f"{_json_kind(start)} {TAKES}"
    if _is_table(start):
        return (
            f"It is a table, but {table}. Name the columns conversation_id, speaker and text, "
            "with one message in each row."
        )
    return f"It looks like plain text. {TAKES}"


def _is_table(text: str) -> bool:
    """Whether the first rows have the same number of cells, and more than one."""
    for mark in ",;\t|":
        rows = csv.reader(io.StringIO(text), delimiter=mark)
        try:
            widths = {len(row) for row in islice(rows, 4)}
        except csv.Error:
            continue
        if len(widths) == 1 and widths != {1}:
            return True
    return False


def _json_kind(text: str) -> str:
    keys = set(re.findall(r'"((?:[^"\\]|\\.){1,60})"\s*:', text[:20_000]))
    for needed, name in SHAPES:
        if needed <= keys:
            return f"It looks like {name}, which is not read yet."
    if {"from", "text", "messages"} <= keys and "content" not in keys:
        return "It looks like a Telegram export, which is not read yet."
    if "messages" not in keys:
        return "It is JSON, but it holds no lists of messages."
    return "It is JSON, but its conversations could not be told apart. Put one on each line."
