"""Numbers that belong to a person: cards, accounts, national numbers, phones.

One linear pass finds stretches of seven and more digits; everything else works on those stretches
only, so a conversation without them costs next to nothing. Order numbers, dates, prices and the
like are told apart by their shape and by the words in front of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import phonenumbers

from analyses.pipeline.redaction import checks
from analyses.pipeline.redaction.addresses import Found
from analyses.pipeline.redaction.hostile import holds

_GAP = r"[ \t\u00a0\u2009\u202f.()/\u2010-\u2015-]"
_RUN = re.compile(rf"(?<![0-9A-Za-z_])[+(]{{0,2}}[0-9](?:{_GAP}{{0,3}}[0-9]){{6,}}(?![0-9A-Za-z])")
_GROUP = re.compile(r"[0-9]+")
_SEPARATORS = re.compile(r"[ .-]")
_NOT_DIGIT = re.compile(r"[^0-9]+")

# The last of these words before a number says what it is.
_CONTEXT = re.compile(
    r"(?P<phone>\b(?:phone|telephone|mobile|cell|cellphone|whats ?app|tel|fax|sms|landline|hotline"
    r"|call|text|ring|reach|dial|ph|contact(?: no| num| number)?|(?:the|my|our|his|her|their) number|telefon\w*|handy\w*|mobil\w*|rufnummer|ruf|anruf\w*"
    r"|rückruf\w*|téléphone|portable|appel\w*|joindre|tél|teléfono|móvil|celular|llám\w*|l?lam(?:ar|a|ad|e|en)(?:me|nos)?"
    r"|telefono|cellulare|chiam\w*|telefone|telemóvel|lig\w*)\b|電話|携帯|电话|手机|전화|телефон)"
    r"|(?P<order>\b(?:order|orders|ordered|ref|reference|invoice|booking|reservation|confirmation"
    r"|ticket|case|tracking|parcel|shipment|package|awb|policy|serial|model|sku|item|product|part"
    r"|article|pnr|id|nr|no|num|isbn|ean|upc|imei|transaction|txn|bug|issue|error|commande|facture"
    r"|suivi|colis|bestell\w*|auftrag\w*|rechnung\w*|sendung\w*|vorgang\w*|kunden\w*|pedido|factura"
    r"|envío|ordine|fattura|spedizione|encomenda)\b|#|№|訂單|订单|注文|주문)"
    r"|(?P<price>[$€£¥₹]|\b(?:usd|eur|gbp|inr|rs|chf|total|price|cost|amount)\b)"
)
_MONEY_AFTER = re.compile(
    r"\s?(?:[$€£¥₹%元円원块]|(?:usd|eur|euros?|gbp|inr|chf|dollars?|pounds?|rupees|km|kg|mb|gb|bytes|ms"
    r"|rows|users|people)\b)",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"(?:(?:19|20)[0-9]{2}[-./][0-9]{1,2}[-./][0-9]{1,2}"
    r"|[0-9]{1,2}[-./][0-9]{1,2}[-./](?:19|20)?[0-9]{2}(?![0-9])"
    r"|(?<![0-9])(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?![0-9])"
    r"|(?<![0-9])(?:19|20)[0-9]{2}[ ]?[-\u2013/][ ]?(?:19|20)[0-9]{2}(?![0-9]))"
)
_US_SHAPE = re.compile(
    r"(?<![0-9])(?:\+?1[ .-]?)?(?:\([0-9]{3}\)[ ]?|[0-9]{3}[ .-])[0-9]{3}[ .-][0-9]{4}(?![0-9])"
)
_SEPARATED = re.compile(_GAP)
# Where a number written without a country code is tried, by whether it starts with the trunk 0.
_TRUNK_REGIONS = ("GB", "DE", "FR", "IT", "NL", "AU", "JP", "CH", "AT", "BE", "SE", "ZA", "TR")
_OPEN_REGIONS = ("US", "ES", "PT", "IN", "BR", "PL", "IT", "MX", "CN", "DK", "SG")
_BEFORE = 72
_LONGEST_MATCHED = 400


def _ranges(*pairs: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    return pairs


# Issuer prefixes and lengths (ISO/IEC 7812-1; the networks' published ranges).
_CARDS: tuple[tuple[tuple[tuple[int, int], ...], int, frozenset[int]], ...] = (
    (_ranges((4, 4)), 1, frozenset({13, 16, 19})),
    (_ranges((34, 34), (37, 37)), 2, frozenset({15})),
    (_ranges((51, 55)), 2, frozenset({16})),
    (_ranges((2221, 2720)), 4, frozenset({16})),
    (_ranges((36, 36), (38, 39)), 2, frozenset({14})),
    (_ranges((300, 305)), 3, frozenset({14})),
    (_ranges((3528, 3589)), 4, frozenset({16, 17, 18, 19})),
    (_ranges((62, 62), (65, 65)), 2, frozenset({16, 17, 18, 19})),
    (_ranges((6011, 6011), (6440, 6499)), 4, frozenset({16, 17, 18, 19})),
    (_ranges((50, 50), (56, 58), (60, 61), (63, 64), (66, 69)), 2, frozenset({16, 18, 19})),
)
_CARD_WORD = re.compile(r"card|visa|master|amex|karte|carte|tarjeta|carta|cartão|credit|debit")
_FOURS = re.compile(r"[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}")
_CVV = re.compile(
    r"\b(?:cvv2?|cvc2?|security code|prüfziffer)\b[^0-9\x00]{0,12}([0-9]{3,4})(?![0-9])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Rule:
    """A national number: its shape as written, its check, the words it needs in front (if any)."""

    shape: re.Pattern[str]
    check: Callable[[str], bool]
    context: re.Pattern[str] | None = None


def _rule(shape: str, check: Callable[[str], bool], context: str = "") -> _Rule:
    return _Rule(re.compile(shape), check, re.compile(context) if context else None)


_NATIONAL = (
    _rule(r"[0-9]{3}-[0-9]{2}-[0-9]{4}", checks.ssn),
    _rule(r"[0-9]{3} ?[0-9]{2} ?[0-9]{4}", checks.ssn, r"\bssn\b|social security"),
    _rule(r"[0-9]{3}[ -][0-9]{3}[ -][0-9]{3}", checks.luhn, r"\bsin\b|social insurance"),
    _rule(r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}|[0-9]{11}", checks.cpf),
    _rule(r"[0-9]{2} [0-9]{3} [0-9]{3} [0-9]{3}|[0-9]{11}", checks.steuer_id),
    _rule(r"[12] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}", checks.insee),
    _rule(r"[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}", checks.aadhaar),
    _rule(r"[0-9]{12}", checks.aadhaar, r"aadh?aa?r|\buid"),
    _rule(r"[0-9]{4}\.?[0-9]{2}\.?[0-9]{3}|[0-9]{9}", checks.bsn, r"\bbsn\b|burgerservice|sofi"),
    _rule(r"[0-9]{11}", checks.pesel, r"pesel"),
    _rule(r"(?:[0-9]{2})?[0-9]{6}-?[0-9]{4}", checks.personnummer, r"person\w*nummer|\bpnr\b"),
    _rule(r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}\.[0-9]{2}", checks.belgian),
)

_CODE = re.compile(
    r"(?<![0-9A-Za-z])(?:(?:"
    r"(?P<cf>[A-Za-z]{6}[0-9L-Vl-v]{2}[A-EHLMPR-Ta-ehlmpr-t][0-9L-Vl-v]{2}[A-Za-z][0-9L-Vl-v]{3}[A-Za-z])"
    r"|(?P<nino>(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]"
    r" ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D])"
    r"|(?P<dni>[XYZxyz]-?[0-9]{7}[- ]?[A-Za-z]|[0-9]{2}\.?[0-9]{3}\.?[0-9]{3}[- ]?[A-Za-z])"
    r"|(?P<china>[0-9]{17}[0-9Xx])"
    r")(?![0-9A-Za-z])"
    r"|(?P<iban>[A-Za-z]{2}[0-9]{2}(?=[ -]?[0-9A-Za-z]{3})))"
)
_PASSPORT = re.compile(
    r"\b(?:passport|reisepass\w*|passeport|pasaporte|passaporto|driver'?s? licen[cs]e|national id"
    r"|personalausweis\w*|ausweis\w*)(?: ?(?:number|no|nr|num|n°|#))?[.:]?(?: (?:is|ist|es|est|è))?"
    r"[ :#]{1,3}(?P<value>(?=[A-Z]{0,3}[0-9])[A-Z0-9]{6,12})\b",
    re.IGNORECASE,
)
_BORN = re.compile(
    r"\b(?:dob|d\.o\.b\.|date of birth|birth ?date|birthday is|born on|geburtsdatum|geboren am"
    r"|date de naissance|née? le|fecha de nacimiento|nac[ií] el|data di nascita|nat[oa] il"
    r"|data de nascimento)\b[ :]{1,3}(?:is |ist |es |est |è )?"
    r"(?P<value>[0-9]{1,4}[-./ ]{1,2}(?:[0-9]{1,2}|[^\W\d_]{3,9})[-./, ]{1,2}[0-9]{1,4}"
    r"|[^\W\d_]{3,9} [0-9]{1,2}(?:st|nd|rd|th)?,? [0-9]{4})",
    re.IGNORECASE,
)

# A number of four and more digits behind the words that say what it is.
_TOLD = r"(?:[ ](?:number|numbers|no|num|nr|digits))?\b[^0-9\x00\n]{0,16}?"
_DIGITS_TOLD = r"(?P<value>[0-9](?:[ -]?[0-9]){3,22})(?![0-9A-Za-z])"
_SSN_TOLD = re.compile(
    rf"\b(?:ssn|social security|s\.s\.n\.?|national insurance){_TOLD}{_DIGITS_TOLD}",
    re.IGNORECASE,
)
_CARD_TOLD = re.compile(
    r"\b(?:card|karte|carte|tarjeta|carta|cc)[ ]?(?:number|numbers|no|num|nr|ending|ends|nummer)\b"
    rf"[^0-9\x00\n]{{0,16}}?{_DIGITS_TOLD}",
    re.IGNORECASE,
)
_ACCOUNT_TOLD = re.compile(
    r"\b(?:(?:account|acct|a/c|ac)[ ]?(?:number|numbers|no|num|nr|ending|ends)|kontonummer|kontonr"
    rf"|numéro de compte|número de cuenta|numero di conto)\b[^0-9\x00\n]{{0,16}}?{_DIGITS_TOLD}",
    re.IGNORECASE,
)


def _plain(text: str) -> str:
    return _NOT_DIGIT.sub("", text)


def is_card(digits: str) -> bool:
    """Whether the digits are a card number: a network's prefix and length, and Luhn."""
    for ranges, width, lengths in _CARDS:
        if len(digits) in lengths and any(a <= int(digits[:width]) <= b for a, b in ranges):
            return len(set(digits)) > 1 and checks.luhn(digits)
    return False


# How networks print their numbers, in digits per group.
_PRINTED = frozenset({(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (4, 4, 4, 1), (6, 13)})


def _cards(run: str, before: str) -> Iterator[tuple[int, int]]:
    """Card numbers made of whole groups of a run of digits."""
    groups = [match.span() for match in _GROUP.finditer(run)]
    index = 0
    while index < len(groups):
        digits, step = "", 1
        for last in range(index, min(index + 7, len(groups))):
            digits += run[slice(*groups[last])]
            if len(digits) > 19:
                break
            printed = tuple(b - a for a, b in groups[index : last + 1])
            if (len(printed) == 1 or printed in _PRINTED) and is_card(digits):
                yield groups[index][0], groups[last][1]
                step = last - index + 1
                break
        index += step
    # Mistyped by a digit it is still the person's card.
    if _CARD_WORD.search(before):
        yield from (match.span() for match in _FOURS.finditer(run))


def _national(run: str, before: str, kind: str) -> bool:
    # Written in the groups of its kind and with sound check digits it is no order number.
    if kind in ("order", "price") and run.isdigit():
        return False
    for rule in _NATIONAL:
        told = rule.context is None or rule.context.search(before)
        if told and rule.shape.fullmatch(run) and rule.check(_plain(run)):
            return True
    return False


@lru_cache(maxsize=4096)
def _valid(number: str, regions: tuple[str | None, ...]) -> bool:
    for region in regions:
        try:
            parsed = phonenumbers.parse(number, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(parsed):
            return True
    return False


def _international(run: str, digits: str) -> bool:
    if run.lstrip("(").startswith("+"):
        return 8 <= len(digits) <= 15
    return digits.startswith("00") and 10 <= len(digits) <= 17 and _valid("+" + digits[2:], (None,))


def _is_phone(run: str, kind: str, alone: bool) -> bool:
    digits = _plain(run)
    if kind in ("order", "price") or checks.sequential(digits):
        return False
    if _international(run, digits):
        return True
    if len(digits) > 15 or _DATE.search(run):
        return False
    if kind == "phone" or _US_SHAPE.fullmatch(run):
        return True
    if digits[0] == "0":
        return 9 <= len(digits) <= 12 and _valid(digits, _TRUNK_REGIONS)
    if _SEPARATED.search(run):
        return False
    # Ten digits in a row with no word in front: only a number that exists counts.
    return len(digits) == 10 and _valid(digits, ("US", "IN") if alone else ("US",))


def _several(run: str) -> Iterator[tuple[int, int]]:
    """Phones in a run that is too long to be one number."""
    shaped = [match.span() for match in _US_SHAPE.finditer(run)]
    if shaped or len(run) > _LONGEST_MATCHED:
        yield from shaped
        return
    for match in phonenumbers.PhoneNumberMatcher(run, "GB"):
        yield match.start, match.end


def _kind_before(lower: str, start: int) -> tuple[str, str]:
    before = lower[max(0, start - _BEFORE) : start]
    kind = ""
    for match in _CONTEXT.finditer(before):
        # An order word further away than a short phrase, or in another turn, says nothing, and a
        # sign counts only in front of the very number.
        reach = 3 if match.end() - match.start() == 1 else 24
        near = len(before) - match.end() <= reach and "\x00" not in before[match.end() :]
        if match.lastgroup == "phone" or near:
            kind = match.lastgroup or ""
    return kind, before


def _alone(text: str, start: int, end: int) -> bool:
    """Whether a number is all there is in its turn: the answer to a question."""
    return text[start - 1 : start] in ("", "\x00") and text[end : end + 1] in ("", "\x00")


def _classify(run: str, text: str, end: int, kind: str, before: str) -> Iterator[Found]:
    cards = list(_cards(run, before)) if kind != "order" or _CARD_WORD.search(before) else []
    yield from ((start, stop, "card") for start, stop in cards)
    if cards:
        return
    if _national(run, before, kind):
        yield 0, len(run), "id"
    elif _MONEY_AFTER.match(text, end):
        return
    elif _is_phone(run, kind, _alone(text, end - len(run), end)):
        yield 0, len(run), "phone"
    elif len(_GROUP.findall(run)) > 3 and len(run) > 17 and kind not in ("order", "price"):
        for start, stop in _several(run):
            yield start, stop, "phone"


def _trimmed(run: str, start: int) -> tuple[str, int]:
    """Drop an opening bracket that never closes: ``(2019-2020`` of a longer remark."""
    if run.startswith("(") and ")" not in run:
        return run[1:], start + 1
    return run, start


def digit_runs(text: str, lower: str) -> Iterator[Found]:
    """Cards, national numbers and phones among the runs of seven and more digits."""
    for match in _RUN.finditer(text):
        run, start = _trimmed(match.group(), match.start())
        kind, before = _kind_before(lower, start)
        for first, last, found in _classify(run, text, match.end(), kind, before):
            yield start + first, start + last, found


def _iban_end(text: str, start: int) -> int:
    """End of the IBAN that starts here, or -1: up to 34 characters, single spaces or dashes."""
    length = checks.IBAN_LENGTHS.get(text[start : start + 2].upper())
    code = ""
    for index in range(start, min(len(text), start + 48) if length else start):
        char = text[index]
        if char.isascii() and char.isalnum():
            code += char
            if len(code) == length:
                return index + 1 if checks.iban(code) else -1
        elif char not in " -" or text[index - 1] in " -":
            break
    return -1


# Five digits in a row, or the middle of a codice fiscale (where look-alike letters may stand in for
# digits, so that the word is asked for as well): cheaper than the codes, and part of each.
_CODED_LIKE = re.compile(r"[0-9](?:[ .-]?[0-9]){4}|[0-9]{2}[A-Za-z][0-9]{2}[A-Za-z]")
_CODE_CHECKS: dict[str, Callable[[str], bool]] = {
    "cf": checks.codice_fiscale,
    "dni": checks.dni,
    "china": checks.china_id,
    "nino": lambda code: True,
}


# Words one of which stands in any text that the pattern can match: a cheap look before a scan.
_BORN_WORDS = (
    *("born", "birth", "dob", "d.o.b", "gebor", "geburtsd", "naissance", "née ", "né ", "nacim"),
    *("nací", "naci", "nato il", "nata il", "nascita", "nascim"),
)
_ACCOUNT_WORDS = (
    *("account n", "account e", "accountn", "accounte", "acct", "a/c", "ac n", "ac e", "konton"),
    *("de compte", "de cuenta", "di conto"),
)
_CARD_WORDS = (
    *("card n", "card e", "cardn", "carde", "karte n", "karte e", "kartenu", "karteno", "carte n"),
    *("carte e", "carten", "tarjeta n", "tarjeta e", "carta n", "carta e", "cc n", "cc e", "ccn"),
)
_PASSPORT_WORDS = (
    *("passp", "passep", "pasap", "passap", "reisep", "licence", "license", "ausweis"),
    "national id",
)
_LABELLED = (
    (_PASSPORT_WORDS, _PASSPORT, "value", "id"),
    (_BORN_WORDS, _BORN, "value", "birthdate"),
    (("cvv", "cvc", "security code", "prüfziffer"), _CVV, 1, "card"),
    (("ssn", "s.s.n", "social sec", "national ins"), _SSN_TOLD, "value", "id"),
    (_CARD_WORDS, _CARD_TOLD, "value", "card"),
    (_ACCOUNT_WORDS, _ACCOUNT_TOLD, "value", "account"),
)


def _coded(text: str) -> Iterator[Found]:
    for match in _CODE.finditer(text):
        kind = match.lastgroup or ""
        if kind == "iban":
            end = _iban_end(text, match.start())
            if end > 0:
                yield match.start(), end, "iban"
        elif _CODE_CHECKS[kind](_SEPARATORS.sub("", match.group())):
            yield match.start(), match.end(), "id"


def codes(text: str, lower: str) -> Iterator[Found]:
    """IBANs, national numbers with letters, passports, birth dates and card security codes."""
    if _CODED_LIKE.search(text) or "codice" in lower:
        yield from _coded(text)
    for hints, pattern, group, kind in _LABELLED:
        if holds(lower, hints):
            for match in pattern.finditer(text):
                yield match.start(group), match.end(group), kind
