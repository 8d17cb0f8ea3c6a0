"""Opening a file as text: unpacking within bounds, finding its encoding, walking its lines."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from typing_extensions import override

from projects.readers.base import Unreadable
from projects.readers.kinds import binary_kind

HEAD_BYTES = 256 * 1024
"""How much of a file is looked at to recognise it."""

MAX_LINE = 16 * 1024 * 1024
"""Longest line read, in characters; longer ones are reported and skipped."""

MAX_UNPACKED = 8 * 1024**3
"""Most bytes a compressed file may unpack to."""

BOMB_FROM = 64 * 1024**2
BOMB_RATIO = 200
"""A file that unpacks to more than this many times its size is refused. Conversations as JSON pack
5 to 20 times; the format allows 1032 (zlib manual, "zlib technical details")."""

# The longest first: the mark of UTF-32 begins with the one of UTF-16.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

FALLBACK = "openclio.cp1252"
"""Name of the error handler that reads bytes which are not UTF-8 as Windows-1252."""

FOREIGN_SHARE = 0.25
"""A Western text has fewer accented letters than this among its letters; one in another alphabet,
read as Windows-1252, has nothing else."""

GIVE_BYTES = 64 * 1024


def _western(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error(FALLBACK, _western)


class _Unpacked(io.RawIOBase):
    """A gzip stream that refuses to grow out of proportion."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._stream = gzip.GzipFile(fileobj=packed)
        self._given = 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._given += len(data)
        if self._given > MAX_UNPACKED:
            raise Unreadable("too_large", limit="8 GB unpacked")
        if self._given > max(BOMB_FROM, BOMB_RATIO * self._packed.tell()):
            raise Unreadable(
                why=f"It unpacks to more than {BOMB_RATIO} times its size, which conversations "
                "never do. Unpack it yourself and look inside before you upload it."
            )
        return len(data)

    @override
    def close(self) -> None:
        self._stream.close()
        self._packed.close()
        super().close()


def _raw(path: Path) -> IO[bytes]:
    packed = path.open("rb")
    is_gzip = packed.read(2) == b"\x1f\x8b"
    packed.seek(0)
    return io.BufferedReader(_Unpacked(packed), GIVE_BYTES) if is_gzip else packed


def head_bytes(path: Path, most: int = HEAD_BYTES) -> bytes:
    """The first bytes, unpacked. Raises :class:`Unreadable` for damaged gzip."""
    with _damage_named(), _raw(path) as raw:
        return raw.read(most)


def encoding_of(head: bytes) -> tuple[str, str]:
    """Encoding and error handler for a file that begins with ``head``.

    Marks win; then UTF-16 by where its zero bytes lie; then UTF-8, whose stray bytes are read as
    Windows-1252; then Windows-1252. Raises :class:`Unreadable` where all of them would make
    something up.
    """
    for mark, name in MARKS:
        if head.startswith(mark):
            return name, FALLBACK if name == "utf-8-sig" else "replace"
    wide = _wide(head)
    if wide:
        return wide, "replace"
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(head)
    stray = text.count("\ufffd")
    if stray == 0 or sum(char > "\x7f" for char in text) >= 2 * stray:
        return "utf-8", FALLBACK
    if _looks_western(head):
        return "cp1252", "replace"
    raise Unreadable(
        why="Its text is in an encoding other than UTF-8, UTF-16 and Windows-1252. "
        "Save it as UTF-8 and try again."
    )


def _wide(head: bytes) -> str:
    """UTF-16 without a mark: the ASCII in it leaves zeros in every second byte, and only there."""
    sample = head[:4096]
    half = len(sample) // 2
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if odd > 0.1 * half and even <= 0.02 * half:
        return "utf-16-le"
    if even > 0.1 * half and odd <= 0.02 * half:
        return "utf-16-be"
    return ""


def _looks_western(head: bytes) -> bool:
    try:
        text = head.decode("cp1252")
    except UnicodeDecodeError:
        return False
    letters = [char for char in text if char.isalpha()]
    return sum(char > "\x7f" for char in letters) <= FOREIGN_SHARE * len(letters)


@contextmanager
def _damage_named() -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Unreadable(
            why=f"The compressed file is cut off or damaged ({error}). "
            "Compress or download it again; nothing was imported."
        ) from error
    except OSError as error:
        raise Unreadable(why=f"The file could not be opened: {error.strerror}.") from error


@contextmanager
def open_text(path: Path) -> Iterator[io.TextIOWrapper]:
    """The file as text, unpacked if it is gzip, in its own encoding.

    Lines end at ``\\n`` alone (texts contain U+2028), or at ``\\r`` in a file that has only those.
    Raises :class:`Unreadable` for damaged gzip and for binary files.
    """
    head = head_bytes(path)
    encoding, errors = encoding_of(head)
    found = head.decode(encoding, "replace")
    newline = "\r" if "\r" in found and "\n" not in found else "\n"
    with (
        _damage_named(),
        _raw(path) as raw,
        io.TextIOWrapper(raw, encoding=encoding, errors=errors, newline=newline) as text,
    ):
        yield text


def head_of(path: Path) -> str:
    """The beginning of a file as text, with its first line whole unless that is too long.

    Raises :class:`Unreadable` for binary files, naming what they are.
    """
    kind = binary_kind(head_bytes(path, 4096))
    if kind:
        raise Unreadable("unknown_format", why=kind)
    with open_text(path) as file:
        head = file.read(HEAD_BYTES)
        if "\n" not in head and "\r" not in head:
            head += file.readline(MAX_LINE)
    return head


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1, without their ends; one over :data:`MAX_LINE` is cut."""
    with open_text(path) as file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE and not line.endswith(("\n", "\r")):
                skip_rest(file)
            yield number, line.rstrip("\r\n")


def skip_rest(file: io.TextIOWrapper) -> None:
    """Read on to the end of a line that is too long, in bounded pieces."""
    while rest := file.readline(GIVE_BYTES):
        if rest.endswith(("\n", "\r")):
            return
