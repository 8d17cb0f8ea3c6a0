"""Walking JSON: one value a line, or values one after another in an array or across lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from pydantic_core import from_json

from projects.readers.base import Problem, Unreadable, excerpt
from projects.readers.opening import MAX_LINE, numbered_lines, open_text

STEP = 256 * 1024
"""Characters read at a time while walking values."""

SPACE = " \t\r\n\ufeff"

LINES, VALUES = "lines", "values"

Row = tuple[int, str, Any]
"""Line number, name for a row without an id, and the value (or a :class:`Problem`)."""


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Raw tabs inside strings are let through; NaN is not, because databases refuse it.
_DECODER = json.JSONDecoder(strict=False, parse_constant=_refuse)


def parse(text: str) -> Any:
    """One text as JSON. Raises ``ValueError`` with a cause; ``NaN`` and deep nesting included."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return _parse_slowly(text)


def _parse_slowly(text: str) -> Any:
    """The forgiving parser, for lone surrogates and tabs, and for a cause in words."""
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except json.JSONDecodeError as error:
        cause = f"{error.msg[:1].lower()}{error.msg[1:]}".removesuffix(" at")
        raise ValueError(f"{cause} at character {error.colno}") from error


def layout_of(head: str) -> str:
    """Whether a file that begins with ``head`` has a value on each line, or values across lines."""
    lines = [line for line in head.lstrip(SPACE).split("\n", 6)[:6] if line.strip(SPACE)]
    for number, line in enumerate(lines):
        whole = number < len(lines) - 1 or len(head) < MAX_LINE
        value = _try(line.strip(SPACE)) if whole else None
        if isinstance(value, dict):
            return LINES
        if number == 0 and isinstance(value, list) and value and isinstance(value[0], dict):
            return VALUES
    return VALUES if head.lstrip(SPACE)[:1] in ("[", "{") and not _many_objects(lines) else LINES


def _many_objects(lines: list[str]) -> bool:
    """Whether lines begin like objects of their own although none could be parsed."""
    return sum(line.lstrip(SPACE).startswith('{"') for line in lines) > 1


def _try(text: str) -> Any:
    try:
        return parse(text)
    except ValueError:
        return None


def first_rows(head: str, most: int = 20) -> list[dict[str, Any]]:
    """The first complete objects of a file that begins with ``head``."""
    found: list[Any] = []
    if layout_of(head) == LINES:
        found = [_try(line.strip(SPACE)) for line in head.split("\n")[: most + 4]]
    else:
        place = _begin(head)
        while place < len(head) and len(found) < most:
            try:
                value, place = _DECODER.raw_decode(head, place)
            except (ValueError, RecursionError):
                break
            found.append(value)
            place = _skip(head, place)
    return [row for row in found if isinstance(row, dict)][:most]


def rows(path: Path, head: str) -> Iterator[Row]:
    """Every value of a file, or a :class:`Problem` for each line that is none.

    Raises :class:`Unreadable` where an array breaks off: what follows cannot be told apart.
    """
    return _lines(path) if layout_of(head) == LINES else _values(path)


def _lines(path: Path) -> Iterator[Row]:
    blank: list[int] = []
    for number, line in numbered_lines(path):
        text = line.strip(SPACE)
        if not text:
            # Blank lines at the end are an ending; those before it are lines not taken.
            blank = [blank[0] if blank else number, number]
            continue
        if blank:
            yield from _blanks(*blank)
            blank = []
        yield number, f"line-{number}", _value(number, text, len(line))


def _blanks(first: int, last: int) -> Iterator[Row]:
    for number in range(first, last + 1):
        yield number, "", Problem(number, "blank", "The line is blank.")


def _value(number: int, text: str, length: int) -> Any:
    if length > MAX_LINE:
        limit = f"{MAX_LINE // 1024**2} MB"
        return Problem(number, "too_long", f"The line is longer than {limit}.", excerpt(text))
    try:
        value = parse(text)
        return parse(value) if isinstance(value, str) and value.startswith("{") else value
    except ValueError as error:
        return Problem(number, "not_json", f"This line is not JSON: {error}.", excerpt(text))


def _values(path: Path) -> Iterator[Row]:
    """Objects of an array, or one after another, in flat memory; arrays end at their bracket."""
    with open_text(path) as file:
        text = file.read(STEP)
        place, line, number = _begin(text), 1 + text.count("\n", 0, _begin(text)), 0
        is_array = text.lstrip(SPACE).startswith("[")
        while True:
            text, place = _more(file, text, place)
            if place >= len(text) and is_array:
                raise Unreadable(why=_broken(ValueError("the closing bracket is missing"), line))
            if place >= len(text) or text[place] == "]":
                return
            text, value, end = _next(file, text, place, line)
            number += 1
            yield line, f"item-{number}", value
            following = _skip(text, end)
            line += text.count("\n", place, following)
            place = following


def _more(file: Any, text: str, place: int) -> tuple[str, int]:
    """Keep a step of text ahead; what was used is dropped. White space may be of any length."""
    while place >= len(text) or (place > STEP and len(text) - place < STEP):
        piece = file.read(STEP)
        text, place = text[place:] + piece, 0
        place = _skip(text, 0)
        if not piece:
            break
    return text, place


def _next(file: Any, text: str, place: int, line: int) -> tuple[str, Any, int]:
    """The value at ``place``, with as much more of the file as it needs."""
    while True:
        try:
            value, end = _DECODER.raw_decode(text, place)
        except RecursionError as error:
            raise Unreadable(why=f"Line {line}: it is nested too deeply.") from error
        except ValueError as error:
            piece = file.read(max(STEP, len(text) - place))
            if not piece or len(text) - place > MAX_LINE:
                raise Unreadable(why=_broken(error, line)) from error
            text += piece
            continue
        return text, value, end


def _broken(error: ValueError, line: int) -> str:
    cause = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return (
        f"The JSON breaks off or is damaged in the conversation that begins on line {line} "
        f"({cause}). Nothing was imported. Export it again, or put one conversation on each line."
    )


def _begin(text: str) -> int:
    """Where the first value starts: behind white space and the bracket of an array."""
    place = _skip(text, 0)
    return _skip(text, place + 1) if text[place : place + 1] == "[" else place


def _skip(text: str, place: int) -> int:
    """The next character that is neither white space nor a comma."""
    while place < len(text) and (text[place] in SPACE or text[place] == ","):
        place += 1
    return place
