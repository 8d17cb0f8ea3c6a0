"""Street addresses in English, German, French and Spanish.

Conservative: a house number and a word for a kind of street have to stand together, and in lower
case a phrase that announces an address as well. A town or a postcode goes along with its street;
on its own a place stays, because subjects are made of places.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyses.pipeline.redaction.addresses import Found
from analyses.pipeline.redaction.hostile import holds
from analyses.pipeline.redaction.words import NOT_NAMES

_CAP = r"[A-ZÀ-ÖØ-Þ][\w'’-]{0,30}+"
_NAMED = rf"{_CAP}(?:[ -]{_CAP}){{0,2}}"
# What follows a street: a postcode with its town, or a town after a comma.
_TOWN = (
    rf"(?:,? (?:[A-Z]-)?[0-9]{{5}}(?: {_NAMED})?"
    rf"|,[ \n](?P<place>{_NAMED})(?:,? [A-Z]{{2}}\b)?(?:,? [0-9]{{5}}\b)?)?"
)
_KINDS = (
    "Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Close|Court|Crescent|Terrace|Row|Gardens|Grove"
    "|Boulevard|Blvd|Highway|Hwy|Parkway|Pkwy|Mews|Way"
)
_DOOR = re.compile(r"(?<!\w)(?:flat|apt\.?|apartment|unit|suite|no\.?) $")
# Patterns that begin with the house number.
_ENGLISH = re.compile(
    r"[0-9]{1,5}[A-Za-z]?(?:-[0-9]{1,5}|,? [0-9]{1,5}[A-Za-z]?)?,? (?:[NSEW]\.? )?"
    rf"(?:(?!(?:{_KINDS})\b){_CAP} |[0-9]{{1,3}}(?:st|nd|rd|th) ){{1,3}}(?:{_KINDS})\b(?:\.(?=[ ,]))?"
    rf"(?:,? (?:Apt\.?|Apartment|Unit|Suite|#) ?[0-9]{{1,5}}[A-Za-z]?)?{_TOWN}"
)
_TYPED = re.compile(
    r"[0-9]{1,5}[a-z]? (?:[a-z'’]{2,20} ){1,3}?"
    r"(?:street|st|road|rd|avenue|ave|lane|ln|drive|close|court|crescent|terrace|boulevard|blvd)\b"
)
_ANNOUNCED = re.compile(
    r"(?:liv(?:e|es|ing) (?:at|in)|address(?: is|:)|located at|moved to"
    r"|(?:ship|send|deliver)[a-z]*(?: it| this| them)? to) (?:flat )?$"
)
_OF = r"(?:d[eu] la |de l['’]|de los |de las |des |del |du |de |d['’]|las? |los? |el )"
_FRENCH = re.compile(
    r"[0-9]{1,4}(?: ?(?:bis|ter|quater))?,? (?:"
    rf"(?:rue|avenue|av\.|boulevard|bd|chemin|impasse|allée|quai) {_OF}?[^\W\d_][\w'’-]{{1,30}}+"
    rf"|(?:place|route|cours|square|passage) {_OF}?{_CAP})(?:[ -]{_OF}?{_CAP}){{0,3}}{_TOWN}"
)
# Patterns that end with it.
_HOUSE = r"[0-9]{1,4}(?: ?[a-z]\b)?(?![0-9.,]*[0-9])(?! ?[%€$£])"
_GERMAN = re.compile(
    r"(?<![\w-])(?:[A-ZÄÖÜ][\wß-]{2,30}?(?:straße|strasse|str\.|weg|allee|gasse|damm|ufer)"
    rf"|{_CAP}[ -](?:Straße|Strasse|Str\.|Allee)) ?{_HOUSE}{_TOWN}"
)
_GERMAN_TOWN = re.compile(
    r"(?<![\w-])(?:(?:Am|Im|An der|An den|Auf dem|Auf der|Zum|Zur) )?"
    rf"{_CAP} [0-9]{{1,4}}(?: ?[a-z]\b)?,? (?:D-)?[0-9]{{5}} {_CAP}(?:[ -]{_CAP})?"
)
_SPANISH = re.compile(
    r"(?<![\w-])(?:(?:[Cc]alle|C/|[Aa]venida|Avda\.?|[Pp]aseo|Plaza|Camino|Carretera|Ronda) ?"
    rf"{_OF}{{0,2}}[^\W\d_][\w'’-]{{1,30}}+(?: {_OF}{{0,2}}{_CAP}){{0,3}},? (?:n[.º°]{{1,2}} ?)?"
    rf"{_HOUSE}(?:, [0-9]{{1,2}} ?[ºª°](?: [A-Z]\b)?)?{_TOWN})"
)
_POSTCODE = re.compile(r" ?[a-z]?,? (?:D-)?[0-9]{5} ")
_GERMAN_ENDS = ("str", "weg", "allee", "gasse", "damm", "ufer")
_SPANISH_WORDS = ("calle", "c/", "avenida", "avda", "paseo", "plaza", "camino", "carret", "ronda")
_NUMBER = re.compile(r"[0-9]{1,5}")
_BEHIND = 60
_AHEAD = 90


def _whole(match: re.Match[str]) -> tuple[int, int]:
    """The borders of a match, without a town that is rather the next remark."""
    place = match.group("place")
    if place and any(word.lower() in NOT_NAMES for word in place.split()):
        return match.start(), match.start("place") - 2
    return match.span()


def _forwards(text: str, lower: str, start: int) -> Iterator[tuple[int, int]]:
    """Addresses whose house number stands at ``start``."""
    for pattern in (_ENGLISH, _FRENCH):
        if match := pattern.match(text, start):
            first, last = _whole(match)
            door = _DOOR.search(lower, max(0, start - 11), start)
            yield door.start() if door else first, last
            return
    match = _TYPED.match(lower, start)
    if match and _ANNOUNCED.search(lower, max(0, start - 40), start):
        yield match.span()


def _backwards(text: str, lower: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Addresses that name the street in front of the number at ``start``."""
    behind = lower[max(0, start - _BEHIND) : start]
    first, last = start - len(behind), end + _AHEAD
    close = behind[-8:]
    if holds(close, _GERMAN_ENDS):
        yield from (_whole(match) for match in _GERMAN.finditer(text, first, last))
    if holds(behind, _SPANISH_WORDS):
        yield from (_whole(match) for match in _SPANISH.finditer(text, first, last))
    if _POSTCODE.match(text, end):
        yield from (match.span() for match in _GERMAN_TOWN.finditer(text, first, last))


def streets(text: str, lower: str) -> Iterator[Found]:
    """Street addresses, from the number or the street to the town; kind ``address``."""
    for number in _NUMBER.finditer(text):
        start, end = number.span()
        before, after = text[start - 1 : start], text[end : end + 1]
        if before.isalnum() or before in ("-", "€", "$", "£", ":"):
            continue
        if after in (" ", ",") or after.isalpha() or after == "-":
            for first, last in _forwards(text, lower, start):
                yield first, last, "address"
        if before in (" ", ".") and after != ":":
            for first, last in _backwards(text, lower, start, end):
                yield first, last, "address"
