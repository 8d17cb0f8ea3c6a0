"""Reading text the way a person would see it, whatever bytes were put in between.

Zero-width and direction-changing characters, NULs, lone surrogates, tag characters and towers of
combining marks can split an address so that no rule sees it, or smuggle text past a reader
(Unicode TR #36 and #39; CVE-2021-42574 for direction overrides). :func:`readable` gives the view
without them together with the way back to the original characters.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

TURN_BREAK = "\x00"
"""Never part of a readable text, so it can stand between joined turns."""

_MARKS = "\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
# C0 and C1 controls but tab, line feed and carriage return; soft hyphen; zero-width and direction
# characters; interlinear marks; tag characters and supplementary variation selectors; lone
# surrogates. The joiners U+200C/D are letters' business in Persian and Indic scripts and in emoji,
# so they go only where they touch ASCII.
_HIDDEN = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff"
)
_NOISE = re.compile(
    f"[{_HIDDEN}]+"
    "|(?<=[!-~])[\u200c\u200d]+|[\u200c\u200d]+(?=[!-~])"
    f"|(?<=[{_MARKS}]{{3}})[{_MARKS}]+"
)
# A quick look: nearly every text has none of these. A mark alone is enough to take the long way.
_SUSPECT = re.compile(f"[{_HIDDEN}\u200c\u200d{_MARKS}]")
# First code points of the decimal digits people type in chats beside ASCII's.
_DIGITS = (0x0660, 0x06F0, 0x0966, 0x09E6, 0x0E50)
_WIDE = re.compile(
    "[\uff10-\uff19\uff20\uff21-\uff3a\uff41-\uff5a"
    "\u0660-\u0669\u06f0-\u06f9\u0966-\u096f\u09e6-\u09ef\u0e50-\u0e59]"
)
_NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    zero + value: 0x30 + value for zero in _DIGITS for value in range(10)
}


@dataclass(frozen=True, slots=True)
class View:
    """A readable text. ``cuts`` holds ``(position in the view, characters removed before it)``."""

    text: str
    cuts: tuple[tuple[int, int], ...] = ()

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The range of the original text behind ``text[start:end]`` (``start < end``)."""
        return start + self._removed(start), end + self._removed(end - 1)

    def _removed(self, position: int) -> int:
        if not self.cuts:
            return 0
        index = bisect_right(self.cuts, (position, 1 << 60))
        return self.cuts[index - 1][1] if index else 0


def readable(text: str) -> View:
    """``text`` without hidden characters, with the way back to the original positions.

    At most three combining marks in a row are kept. Linear in the length of the text.
    """
    if _SUSPECT.search(text) is None:
        return View(text)
    pieces: list[str] = []
    cuts: list[tuple[int, int]] = []
    length = removed = last = 0
    for match in _NOISE.finditer(text):
        pieces.append(text[last : match.start()])
        length += match.start() - last
        last = match.end()
        removed += last - match.start()
        cuts.append((length, removed))
    if not cuts:
        return View(text)
    pieces.append(text[last:])
    return View("".join(pieces), tuple(cuts))


def clean_text(text: str) -> str:
    """``text`` without hidden characters: what a model or an index is given."""
    return readable(text).text


def holds(text: str, hints: Iterable[str]) -> bool:
    """Whether one of ``hints`` is in ``text``: the cheap look before a pattern is tried.

    A plain loop: it runs many times for every conversation, and a generator takes twice as long.
    """
    for hint in hints:  # noqa: SIM110
        if hint in text:
            return True
    return False


def fold_width(text: str) -> str:
    """Full-width signs (Unicode block FF00) and other scripts' digits as ASCII; same length."""
    return text.translate(_NARROW) if _WIDE.search(text) else text
