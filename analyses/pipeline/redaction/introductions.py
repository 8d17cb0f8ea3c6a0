"""Names where people introduce, address or sign: "my name is", "X speaking", "Best, X".

Two ways lead to a name. Phrases that are certain are looked for by their rarest word. For the
others every capitalised word is looked at once, and the word before it or the words behind it
decide which rule to try. Both keep the costly patterns away from most of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from analyses.pipeline.redaction import phrases
from analyses.pipeline.redaction.addresses import Found
from analyses.pipeline.redaction.words import (
    AMBIGUOUS,
    GIVEN_NAMES,
    NOT_NAMES,
    NOT_PEOPLE,
    OFFICE,
    PARTICLES,
    ROLE_WORDS,
)

Stretch = tuple[int, int]


def _bare(word: str) -> str:
    return word.lower().replace("’", "'").removesuffix("'s")


def possible(word: str) -> bool:
    """Whether a word may be part of a name at all."""
    bare = _bare(word)
    if word[0].isupper() and bare in AMBIGUOUS:
        return True
    if len(bare) < 2 or bare in NOT_NAMES or OFFICE.search(bare):
        return False
    # In lower-case typing a participle after "my name is" is no name: "associated", "missing".
    return not (word[0].islower() and phrases.PARTICIPLE.search(bare) and bare not in GIVEN_NAMES)


def _name_at(text: str, start: int) -> int:
    """End of the name that starts at ``start``, or ``start`` when what stands there is none.

    Up to four words: once the first is capitalised the others have to be (particles aside);
    in lower-case typing two words at most.
    """
    end, count, capital = start, 0, False
    prefix = phrases.PREFIX.match(text, start)
    position = prefix.end() if prefix else start
    while count < 4:
        match = phrases.WORDS.match(text, position)
        if match is None:
            break
        word = match.group()
        if count == 0:
            capital = word[0].isupper()
        if not _continues(word, count, capital):
            break
        count += 1
        if word.lower() not in PARTICLES:
            end = match.end()
        if text[match.end() : match.end() + 1] != " ":
            break
        position = match.end() + 1
    return end


def _continues(word: str, count: int, capital: bool) -> bool:
    if capital and count and word.lower() in PARTICLES:
        return True
    if not possible(word) or (count == 0 and word.lower() in NOT_PEOPLE):
        return False
    return word[0].isupper() if capital else count < 2


def _given(name: str) -> bool:
    return _bare(name.split()[0]) in GIVEN_NAMES


def _people(name: str) -> bool:
    """Whether no word of a capitalised sequence is known to be something else."""
    words = name.lower().split()
    known = (word in NOT_PEOPLE or word in NOT_NAMES or word in ROLE_WORDS for word in words)
    return not any(known) and not OFFICE.search(name)


def _places(lower: str, cues: tuple[str, ...]) -> Iterator[Stretch]:
    """Where one of ``cues`` stands."""
    for cue in cues:
        position = lower.find(cue)
        while position >= 0:
            end = position + len(cue)
            yield position, end
            position = lower.find(cue, end)


def _introduced(text: str, lower: str) -> Iterator[Stretch]:
    for cues, patterns in (
        (phrases.STRONG_CUES, (phrases.STRONG,)),
        (phrases.NAME_CUES, (phrases.STRONG, phrases.FORM)),
    ):
        for place, _ in _places(lower, cues):
            for pattern in patterns:
                window = max(0, place - phrases.BEFORE_CUE), place + phrases.BEHIND_CUE
                for match in pattern.finditer(text, *window):
                    if (end := _name_at(text, match.end())) > match.end():
                        yield match.end(), end
    if 'name"' in lower or "name'" in lower:
        for match in phrases.FIELD.finditer(text):
            yield match.span("name")


def _typed(text: str, lower: str) -> Iterator[Stretch]:
    """Well-known names in any case after "i am" or a thank-you, and alone in their turn."""
    for place, start in _places(lower, phrases.SAID):
        match = phrases.WORDS.match(lower, start)
        if match and not lower[place - 1 : place].isalnum() and _unmistakable(match.group()):
            yield start, _name_at(text, start)
    start = 0
    while start >= 0:
        match = phrases.ALONE.match(text, start)
        first, *rest = match.group("name").split() if match else [""]
        if _unmistakable(first) and all(possible(word) for word in rest):
            yield start, _name_at(text, start)
        start = text.find("\x00", start) + 1 or -1


def _unmistakable(word: str) -> bool:
    return word.lower() in GIVEN_NAMES and word.lower() not in AMBIGUOUS


def _opened(lower: str, start: int) -> bool:
    """Whether ``start`` follows a greeting."""
    return _cue(lower, start) in phrases.OPENING


def _at_start(text: str, start: int) -> bool:
    """Whether a sentence or a part of one starts here."""
    before = text[max(0, start - 3) : start].rstrip(" ")
    return not before or before[-1] in "\x00\n.!?,:;("


def _cue(lower: str, start: int) -> str:
    """The word before ``start``, over spaces, commas, marks and line breaks."""
    before = lower[max(0, start - 24) : start].rstrip(" ,.!:\n\t-–")
    word = before[before.rfind(" ") + 1 :]
    if "\n" in word or "\x00" in word:
        word = word[max(word.rfind("\n"), word.rfind("\x00")) + 1 :]
    return word


def _weakly(text: str, lower: str, start: int, _end: int) -> Iterator[Stretch]:
    for match in phrases.WEAK.finditer(text, max(0, start - 14), start + 140):
        first = match.start("name")
        end = _name_at(text, first)
        if end <= first:
            continue
        name = text[first:end]
        intro = match.group("intro").lower() + " "
        after = match.group("after").strip()
        announced = bool(phrases.ANNOUNCED.search(after)) and not intro.startswith("it")
        in_full = (
            " " in name and after and (intro.startswith(phrases.OF_ONESELF) or after == "again")
        )
        taken_up = after[:1] in (".", ",", "!", "d", "v") and intro.strip() in phrases.TAKEN_UP
        taken_up = bool(after) and taken_up and _opened(lower, match.start())
        if _people(name) and (_given(name) or announced or in_full or taken_up):
            yield first, end


def _greeted(text: str, lower: str, start: int, end: int) -> Iterator[Stretch]:
    if _given(text[start:end]) and not phrases.PAUSE.search(lower, max(0, start - 3), start):
        yield start, max(_name_at(text, start), end)


def _presented(text: str, lower: str, start: int, _end: int) -> Iterator[Stretch]:
    if lower[max(0, start - 18) : start - 1].endswith(phrases.PRESENTED):
        end = _name_at(text, start)
        if end > start and _people(text[start:end]):
            yield start, end


def _closed(text: str, lower: str, start: int, _end: int) -> Iterator[Stretch]:
    """ "Kind regards, Anna, Acme" at the end of a line."""
    end = _name_at(text, start)
    closed = end > start and phrases.LINE_END.match(text, end) and _people(text[start:end])
    if not closed or lower[start:end] in _POLITE:
        return
    cue = _cue(lower, start)
    if _given(text[start:end]) or (
        cue in phrases.CLOSINGS and _closing_alone(text, lower, start, cue)
    ):
        yield start, end


def _closing_alone(text: str, lower: str, start: int, cue: str) -> bool:
    """A short closing counts only where a sentence starts: not "an LG Oled"."""
    place = lower.rfind(cue, 0, start)
    if cue == "vous":
        return lower[max(0, place - 7) : place] == "bien à "
    return cue not in phrases.SHORT_CLOSINGS or _at_start(text, place)


def _first_said(text: str, lower: str, start: int, end: int) -> Iterator[Stretch]:
    """ "Anna Weber speaking", "Huber hier", "Maya from support"."""
    name = text[start:end]
    if not _at_start(text, start) or not _people(name) or not possible(name.split()[0]):
        return
    if lower.startswith(phrases.FIRM, end):
        if _given(name) or not name.endswith("ly"):
            yield start, end
    elif _given(name) or _opened(lower, start) or phrases.DESK.match(lower, end):
        yield start, end


_BY_CUE: tuple[tuple[frozenset[str], Callable[[str, str, int, int], Iterator[Stretch]]], ...] = (
    (phrases.WEAK_CUES, _weakly),
    (phrases.GREETING_CUES, _greeted),
    (frozenset(phrase.rsplit(" ", 1)[-1] for phrase in phrases.PRESENTED), _presented),
    (phrases.CLOSINGS | phrases.THANKS, _closed),
)
_BEHIND = phrases.FIRM + phrases.LOOSE
_POLITE = phrases.OPENING | phrases.CLOSINGS | phrases.THANKS
_ALL_CUES = frozenset().union(*(cues for cues, _ in _BY_CUE))


def _capitalised(text: str, lower: str) -> Iterator[Stretch]:
    """What the rules for capitalised words find, each word looked at once."""
    last = (0, 0)
    for match in phrases.CAPITAL.finditer(text):
        start, end = match.span()
        if start and text[start - 1].isalnum():
            continue
        yield from _after_cue(text, lower, start, end)
        if lower.startswith(_BEHIND, end):
            joined = text[last[1] : start] == " " and lower[slice(*last)] not in phrases.OPENING
            yield from _first_said(text, lower, last[0] if joined else start, end)
        last = (start, end)


def _after_cue(text: str, lower: str, start: int, end: int) -> Iterator[Stretch]:
    if lower[start:end] in phrases.TITLE_WORDS:
        title = phrases.TITLE.match(text, start)
        if title and _people(title.group("name")):
            yield title.span("name")
    cue = _cue(lower, start)
    if cue in _ALL_CUES:
        for cues, finder in _BY_CUE:
            if cue in cues:
                yield from finder(text, lower, start, end)


def _signed(text: str, lower: str) -> Iterator[Stretch]:
    """A name alone on the last line of a turn."""
    for match in phrases.SIGNED.finditer(text):
        name, cue = match.group("name"), _cue(lower, match.start())
        capital = name[0].isupper()
        known = _given(name) if capital else _unmistakable(name.split()[0])
        ends = capital and (
            cue in phrases.CLOSINGS or (cue in phrases.THANKS and not match.group("rest"))
        )
        if (
            (known or ends)
            and name.lower() not in _POLITE
            and _people(name)
            and all(possible(word) for word in name.split())
        ):
            yield match.span("name")


def _eastern(text: str) -> Iterator[Stretch]:
    if not text.isascii():
        if phrases.EAST_HINT.search(text):
            for match in phrases.EAST_ASIAN.finditer(text):
                yield match.span(match.lastgroup or 0)
        if "मेरा नाम" in text:
            for match in phrases.DEVANAGARI.finditer(text):
                yield match.span("name")


def beside(text: str, found: list[Found]) -> Iterator[Found]:
    """Full names in brackets behind an account, a card, a phone or an address in ``found``."""
    for _, end, kind in found:
        match = phrases.BESIDE.match(text, end) if kind not in ("ip", "link", "secret") else None
        if match and _people(match.group("name")):
            yield match.start("name"), match.end("name"), "name"


def introductions(text: str, lower: str) -> Iterator[Found]:
    """Names in a readable text that somebody introduces, signs or addresses."""
    for stretches in (
        _introduced(text, lower),
        _typed(text, lower),
        _capitalised(text, lower),
        _signed(text, lower),
        _eastern(text),
    ):
        for start, end in stretches:
            yield start, end, "name"
