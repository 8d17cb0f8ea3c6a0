"""Names of people: after an introduction, in an answer, in a greeting, in a speaker label.

A name that was introduced anywhere is then removed from every turn of the conversation. Rules
only, no model: names nobody introduces stay, which is why summaries are told to leave out names
and the last check reads every cluster text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from analyses.pipeline.redaction.addresses import Found
from analyses.pipeline.redaction.words import (
    AMBIGUOUS,
    GIVEN_NAMES,
    NOT_NAMES,
    NOT_PEOPLE,
    PARTICLES,
    ROLE_WORDS,
)

KEPT_ROLES = frozenset({"customer", "agent", "user", "assistant", "system", "tool"})
"""Roles of the data schema; never a speaker's name."""

_WORD = r"[^\W\d_][\w'’\-]{0,30}+"
_CAP = r"[A-ZÀ-ÖØ-ÞĀĂĄĆČĎĐĒĖĘĚĞĢĪĮİĶĻŁŃŅŇŌŐŒŘŚŞŠŢŤŪŮŰŲŹŻŽΑ-ΩА-Я]" + r"[\w'’\-]{0,30}+"
_WORDS = re.compile(_WORD)

# Followed by a name whatever its case. Linear: literal words, then the position is handed on.
_STRONG = re.compile(
    r"\b(?:my (?:full |first |last |sur|family |given |real |user )?name(?:['’]?s| is| was)?"
    r"|(?:you )?(?:can|may) call me|just call me"
    r"|(?:customer|passenger|cardholder|contact|full|first|last)(?:['’]s)? name(?: is|(?=[ ]?[:=]))"
    r"|ich hei(?:ß|ss)e|mein (?:vor|nach)?name (?:ist|lautet)"
    r"|je m['’]\s?appelle|mon (?:pré)?nom (?:est|c['’]est)|je me nomme"
    r"|me llamo|mi (?:nombre|apellido)(?: completo)? es"
    r"|mi chiamo|il mio (?:nome|cognome) [èe]"
    r"|(?:eu )?me chamo|chamo-me|meu nome [ée]"
    r"|ik heet|mijn naam is|jag heter|mitt namn är|jeg he(?:t|dd)er|mit navn er"
    r"|nazywam się|mam na imię|jmenuji se|mă numesc|nimeni on|benim adım"
    r"|nama saya(?: adalah)?|tên tôi là|tôi tên là|mera naa?m"
    r"|меня зовут|мене звати)(?=[ :=\t])[ :=\t]{1,3}",
    re.IGNORECASE,
)
_FORM = re.compile(
    r"(?:^|[\n\x00]|[.;][ ])[ \t]{0,8}(?:name|nom|nombre|nome)(?:[ \t]{0,4}[:=][ \t]{0,4}|[ ](?:is )?)",
    re.IGNORECASE,
)
# In lower-case typing only a well-known name counts.
_TYPED = re.compile(
    rf"(?:\b(?:i am|i['’]?m|this is) (?P<said>{_WORD}(?: {_WORD})?)"
    rf"|(?:^|\x00)(?P<alone>{_WORD}(?: {_WORD}){{0,2}})[ ]?[.,!]?(?=$|\x00))"
)
# Fields of the records that tools hand to an assistant.
_FIELD = re.compile(
    r"[\"'](?:first|last|full|given|family|middle|customer|passenger|user)_?name[\"']\s{0,2}:\s{0,2}"
    r"[\"'](?P<name>[^\W\d_][^\"'\x00\n]{1,60})[\"']",
    re.IGNORECASE,
)
_OFFICE = re.compile(
    r"minist|pr[äée]sident|kanzler|abgeordn|kolleg|direct|direkt|vorsitz|sekret|secret|commiss"
    r"|sprecher|d[ée]put|diputad|rapporteur|portavoz|señor|chair|senator|council|congress",
    re.IGNORECASE,
)
# Followed by a name only if what follows looks like one.
_WEAK = re.compile(
    r"\b(?:(?i:i am|i['’]m|i m|this is|it['’]s|it is|here is|ich bin|hier ist|hier spricht"
    r"|je suis|c['’]est|yo soy|soy|habla|sono|parla|eu sou|sou|ik ben|jag är|jestem))[ ]"
    rf"(?P<name>{_CAP}(?:[ ]{_CAP}){{0,3}})"
    r"(?P<after>[ ]?(?:(?i:,|\.|!|$|from\b|with\b|at\b|here\b|speaking\b|calling\b|von\b|vom\b"
    r"|am apparat|de\b|del?\b|à l['’]appareil|da\b|and\b|und\b))?)"
)
_OF_ONESELF = ("i ", "i'm", "i’m", "je ", "yo ", "soy", "eu ", "sou ", "jag", "jestem")
_ANNOUNCED = re.compile(r"from|with|speaking|calling|here|am apparat|à l|vom", re.IGNORECASE)
_TITLES = (
    r"(?:(?:Mr|Mrs|Ms|Mx|Miss|Dr|Prof|Herrn?|Frau|Monsieur|Madame|Mme|Señora?|Sra?|Signora?|Sig"
    r"|Mevrouw|Meneer)\b\.?[ ])"
)
_TITLE = re.compile(rf"\b{_TITLES}{{1,3}}(?P<name>{_CAP}(?:[ ]{_CAP})?)")
# What may stand before the first word of a name: titles and initials.
_PREFIX = re.compile(rf"{_TITLES}{{0,3}}(?:[A-Z]\.[ ]?){{0,3}}")
_GREETED = re.compile(
    r"\b(?i:hi|hello|hey|dear|thanks|thank you|bye|goodbye|welcome|morning|afternoon|evening"
    r"|bonjour|salut|merci|hallo|danke|lieber?|hola|gracias|estimad[oa]|ciao|grazie|gentile|olá"
    rf"|obrigad[oa]|cher|chère)[ ]?,?[ ](?P<name>{_CAP}(?:[ ]{_CAP})?)"
)
_SIGNED = re.compile(
    r"(?i:regards|sincerely|cheers|best wishes|yours truly|grüße|gruß|cordialement|saludos"
    rf"|saluti|atenciosamente)[ ]?,?[ ]{{0,2}}\n\s{{0,3}}(?P<name>{_CAP}(?:[ ]{_CAP}){{0,2}})"
)
_SPEAKING = re.compile(
    rf"(?:^|\x00)(?P<name>{_CAP}(?:[ ]{_CAP})?)[ ](?:speaking|am Apparat)(?![\w])"
)
_ASKED = re.compile(
    r"(?:\byour (?:full |first |last |good |sur)?name|who am i (?:speaking|talking|chatting)"
    r"|name (?:please|on the (?:account|order|card|booking))|(?:what|which) name"
    r"|\b(?:ihr|ihren|deinen?) (?:vollständigen )?namen?|votre nom|ton nom|su nombre|tu nombre"
    r"|(?:il )?suo nome|seu nome|お名前|您的姓名|성함)[^\x00]{0,80}$",
    re.IGNORECASE,
)
_ANSWER = re.compile(
    r"(?i:(?:yes|yeah|sure|ok|okay|of course|certainly|hi|hello|ja|oui|sí|sì|sim|klar|it['’]s|it is"
    r"|its|es ist|c['’]est|es|è|é|gerne|bien sûr|claro)[ ,.!]{1,3}){0,3}"
    rf"(?P<name>{_WORD}(?:[ ]{_WORD}){{0,3}})[ ]?[.,!]?"
)
_EAST_ASIAN = re.compile(
    r"(?:我叫|我的名字是|我的名字叫|我姓)(?P<zh>[\u4e00-\u9fff]{2,3})(?![\u4e00-\u9fff]{2})"
    r"|(?:名前は|氏名は|名前:)[ ]?(?P<ja>[\u4e00-\u9fff\u3040-\u30ff・ ]{2,12}?)(?=です|と申|とい|だ|。|$|\x00)"
    r"|(?P<ja2>[\u4e00-\u9fff\u30a0-\u30ff・]{2,10})(?=と申します|と申し|といいます|と言います)"
    r"|(?:제|내) 이름은 (?P<ko>[\uac00-\ud7a3]{2,4}?)(?=입니다|이에요|예요|이야|야)"
    r"|저는 (?P<ko2>[\uac00-\ud7a3]{2,4}?)(?=이?라고 합니다)"
)
_EAST_HINT = re.compile(
    "我叫|我的名字|我姓|名前|氏名|と申|といいます|と言います|이름은|라고 합니다"
)
_DEVANAGARI = re.compile(
    r"मेरा नाम (?P<name>[\u0900-\u097f]{2,20}(?: [\u0900-\u097f]{2,20})?) (?:है|हे)"
)
_MOST_TERMS = 1200


_PARTICIPLE = re.compile(r"[a-z]{3}(?:ed|ing)$")


def _possible(word: str) -> bool:
    bare = word.lower().replace("’", "'").removesuffix("'s")
    if word[0].isupper() and bare in AMBIGUOUS:
        return True
    if len(bare) < 2 or bare in NOT_NAMES or _OFFICE.search(bare):
        return False
    # In lower-case typing a participle after "my name is" is no name: "associated", "missing".
    return not (word[0].islower() and _PARTICIPLE.search(bare) and bare not in GIVEN_NAMES)


def _name_at(text: str, start: int) -> int:
    """End of the name that starts at ``start``, or ``start`` when what stands there is none.

    Up to four words: once the first is capitalised the others have to be (particles aside);
    in lower-case typing two words at most.
    """
    end, count, capital = start, 0, False
    prefix = _PREFIX.match(text, start)
    position = prefix.end() if prefix else start
    while count < 4:
        match = _WORDS.match(text, position)
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
    if not _possible(word) or (count == 0 and word.lower() in NOT_PEOPLE):
        return False
    return word[0].isupper() if capital else count < 2


def _given(name: str) -> bool:
    return name.split()[0].lower().replace("’", "'").removesuffix("'s") in GIVEN_NAMES


def _people(name: str) -> bool:
    """Whether no word of a capitalised sequence is known to be something else."""
    words = name.lower().split()
    known = (word in NOT_PEOPLE or word in NOT_NAMES or word in ROLE_WORDS for word in words)
    return not any(known) and not _OFFICE.search(name)


def _introduced(text: str) -> Iterator[tuple[int, int]]:
    for pattern in (_STRONG, _FORM):
        for match in pattern.finditer(text):
            end = _name_at(text, match.end())
            if end > match.end():
                yield match.end(), end
    if "name" in text:
        for match in _FIELD.finditer(text):
            yield match.span("name")


def _weakly(text: str) -> Iterator[tuple[int, int]]:
    for match in _WEAK.finditer(text):
        start = match.start("name")
        end = _name_at(text, start)
        if end <= start:
            continue
        name = text[start:end]
        intro = text[match.start() : start].lower()
        announced = bool(_ANNOUNCED.search(match.group("after"))) and not intro.startswith("it")
        in_full = " " in name and match.group("after") and intro.startswith(_OF_ONESELF)
        if _people(name) and (_given(name) or announced or in_full):
            yield start, end


def _typed(text: str) -> Iterator[tuple[int, int]]:
    """Well-known names in lower case after "i am", and in turns that hold nothing else."""
    for match in _TYPED.finditer(text):
        group = match.lastgroup or ""
        first, *rest = match.group(group).split()
        if first.lower() in GIVEN_NAMES and first.lower() not in AMBIGUOUS:
            start = match.start(group)
            if group == "alone" and not all(_possible(word) for word in rest):
                continue
            yield start, _name_at(text, start)


def _addressed(text: str) -> Iterator[tuple[int, int]]:
    for match in _TITLE.finditer(text):
        if _people(match.group("name")):
            yield match.span("name")
    for match in _GREETED.finditer(text):
        if _given(match.group("name")):
            start = match.start("name")
            yield start, max(_name_at(text, start), start + len(match.group("name").split()[0]))
    for pattern in (_SIGNED, _SPEAKING):
        for match in pattern.finditer(text):
            if _people(match.group("name")):
                yield match.span("name")


def _eastern(text: str) -> Iterator[tuple[int, int]]:
    if not text.isascii():
        if _EAST_HINT.search(text):
            for match in _EAST_ASIAN.finditer(text):
                yield match.span(match.lastgroup or 0)
        if "मेरा नाम" in text:
            for match in _DEVANAGARI.finditer(text):
                yield match.span("name")


def answers(turns: Sequence[tuple[str, str]]) -> Iterator[tuple[int, int, int]]:
    """``(turn, start, end)`` of bare names given right after somebody else asked for one.

    ``turns`` are ``(role, readable text)``.
    """
    for index, (role, text) in enumerate(turns[1:], start=1):
        asker, question = turns[index - 1]
        if asker == role or len(text) > 90 or not _ASKED.search(question[-160:]):
            continue
        match = _ANSWER.match(text.strip())
        if match is None or match.end() < len(text.strip()):
            continue
        name = match.group("name")
        if all(_possible(word) for word in name.split()):
            start = text.find(name)
            yield index, start, start + len(name)


def speaker_labels(roles: Sequence[str]) -> Mapping[str, str]:
    """Stable labels for roles that name a person: ``Speaker 1`` … in order of appearance.

    Roles made of known role words (``agent_2``, ``Project Manager``, ``Speaker 3``) keep
    their wording and are not in the result.
    """
    labels: dict[str, str] = {}
    for role in roles:
        if role not in labels and _names_person(role):
            labels[role] = f"Speaker {len(labels) + 1}"
    return labels


_ROLE_SPLIT = re.compile(r"[\W\d_]+")


def _names_person(role: str) -> bool:
    if role in KEPT_ROLES:
        return False
    words = [word for word in _ROLE_SPLIT.split(role.lower()) if word]
    return not all((len(word) == 1 and word.isascii()) or word in ROLE_WORDS for word in words)


_BRACKETS = re.compile(r"\([^()]{0,200}\)?\)?")


def label_name(role: str) -> str:
    """The name in a speaker label, without titles, offices and what stands in brackets."""
    words = _BRACKETS.sub(" ", role).replace(",", " ").split()
    kept = [
        word
        for word in words
        if not word.endswith(".")
        and word.lower() not in ROLE_WORDS
        and not _OFFICE.search(word)
        and not (len(words) > 1 and len(word) < 5 and word.isupper())
    ]
    return " ".join(kept)


def _term(bare: str) -> tuple[str, ...]:
    """The spellings under which a name or a part of one is looked for, none if it is no name."""
    low = bare.lower()
    if len(bare) < (3 if bare.isascii() else 2):
        return ()
    # Three capitals are an airport or a company rather than somebody's name.
    written = (bare, bare.capitalize(), bare.upper() if len(bare) > 3 else bare)
    if low in AMBIGUOUS and low not in PARTICLES:
        return written[1:]
    if low in NOT_NAMES or low in NOT_PEOPLE or low in ROLE_WORDS or low in PARTICLES:
        return ()
    if _OFFICE.search(low) and " " not in bare:
        return ()
    # Somebody's "Field" or "Marsh" is an everyday word in lower case; these are not.
    loose = bare.islower() or " " in bare or low in GIVEN_NAMES or not bare.isalpha()
    return (*written, low) if loose else written


def _terms(names: Sequence[str]) -> set[str]:
    terms: set[str] = set()
    for name in names:
        for part in {name, *_WORDS.findall(name)}:
            terms.update(_term(part.removesuffix("'s").removesuffix("’s").strip("'’-")))
    return terms


def _edge(char: str) -> bool:
    return not (char.isalnum() or char == "_") or char >= "\u3040"


def _occurrences(text: str, needle: str) -> Iterator[tuple[int, int]]:
    position = text.find(needle)
    while position >= 0:
        end = position + len(needle)
        before_ok = position == 0 or _edge(text[position - 1])
        if before_ok and (end == len(text) or _edge(text[end])):
            yield position, end
        position = text.find(needle, end)


def mentions(text: str, names: Sequence[str]) -> Iterator[Found]:
    """Every other place where one of ``names`` or a part of it stands as a word."""
    for term in sorted(_terms(names))[:_MOST_TERMS]:
        for start, end in _occurrences(text, term):
            yield start, end, "name"


def introductions(text: str) -> Iterator[Found]:
    """Names in a readable text that somebody introduces, signs or addresses."""
    for finder in (_introduced, _weakly, _typed, _addressed, _eastern):
        for start, end in finder(text):
            yield start, end, "name"
