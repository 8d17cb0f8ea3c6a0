"""Check digits of cards, accounts and national numbers. All take text without separators."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise


def luhn(digits: str) -> bool:
    """Luhn's formula (ISO/IEC 7812-1, annex B): payment cards, Swedish and Canadian numbers."""
    total = 0
    for place, char in enumerate(reversed(digits)):
        value = int(char)
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def _weighted(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


# Length of an IBAN by country: IBAN registry, ISO 13616 (SWIFT, release 99), common entries.
IBAN_LENGTHS = {
    code: length
    for length, codes in {
        15: "NO",
        16: "BE",
        18: "DK FI FO GL NL",
        19: "MK SI",
        20: "AT BA EE KZ LT LU XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "PT UA",
        26: "IS TR",
        27: "FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB PL SV",
        29: "BR PS QA",
        30: "JO KW MU",
        31: "MT",
        32: "LC",
    }.items()
    for code in codes.split()
}


def iban(text: str) -> bool:
    """ISO 13616: known country, its length, and remainder 1 modulo 97 (ISO 7064)."""
    code = text.upper()
    if IBAN_LENGTHS.get(code[:2]) != len(code):
        return False
    moved = code[4:] + code[:4]
    return int("".join(str(int(char, 36)) for char in moved)) % 97 == 1


_VERHOEFF_D = (
    "0123456789",
    "1234067895",
    "2340178956",
    "3401289567",
    "4012395678",
    "5987604321",
    "6598710432",
    "7659821043",
    "8765932104",
    "9876543210",
)
_VERHOEFF_P = (
    "0123456789",
    "1576283094",
    "5803796142",
    "8916043527",
    "9453126870",
    "4286573901",
    "2793806415",
    "7046913258",
)


def aadhaar(digits: str) -> bool:
    """India's Aadhaar: 12 digits, first 2-9, Verhoeff's scheme (Verhoeff 1969)."""
    if len(digits) != 12 or digits[0] in "01":
        return False
    check = 0
    for place, char in enumerate(reversed(digits)):
        check = int(_VERHOEFF_D[check][int(_VERHOEFF_P[place % 8][int(char)])])
    return check == 0


def steuer_id(digits: str) -> bool:
    """German tax number: 11 digits, ISO 7064 MOD 11,10; of the first ten digits exactly one
    value is repeated, twice or three times (BZSt, 2016 rule)."""
    if len(digits) != 11 or digits[0] == "0":
        return False
    counts = Counter(digits[:10]).values()
    if sorted(count for count in counts if count > 1) not in ([2], [3]):
        return False
    product = 10
    for char in digits[:10]:
        total = (int(char) + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == int(digits[10])


def insee(text: str) -> bool:
    """French NIR: sex, year, month, place, rank and a key modulo 97 (INSEE; Corsica 2A, 2B)."""
    body = text.upper().replace("2A", "19", 1).replace("2B", "18", 1)
    if len(body) != 15 or not body.isdigit() or body[0] not in "12":
        return False
    month = int(body[3:5])
    if not (1 <= month <= 12 or 20 <= month <= 42 or month >= 50):
        return False
    return 97 - int(body[:13]) % 97 == int(body[13:])


def dni(text: str) -> bool:
    """Spanish DNI and NIE: letter at the number modulo 23 (Real Decreto 1553/2005)."""
    code = text.upper()
    number = code[:-1].replace("X", "0").replace("Y", "1").replace("Z", "2")
    return (
        len(code) == 9
        and number.isdigit()
        and "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == (code[-1])
    )


def cpf(digits: str) -> bool:
    """Brazilian CPF: two check digits modulo 11 (Receita Federal)."""
    if len(digits) != 11 or len(set(digits)) == 1:
        return False
    for length in (9, 10):
        total = _weighted(digits, tuple(range(length + 1, 1, -1)))
        if total * 10 % 11 % 10 != int(digits[length]):
            return False
    return True


_CF_ODD_VALUES = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21)
# Digits and the first ten letters share their values.
_CF_ODD = dict(zip("0123456789", _CF_ODD_VALUES, strict=True)) | dict(
    zip(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (*_CF_ODD_VALUES, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
        strict=True,
    )
)


def codice_fiscale(text: str) -> bool:
    """Italian codice fiscale: 16 characters, letter modulo 26 (DM 23/12/1976)."""
    code = text.upper()
    total = sum(
        (int(char) if char.isdigit() else ord(char) - 65) if place % 2 else _CF_ODD[char]
        for place, char in enumerate(code[:15])
    )
    return len(code) == 16 and chr(65 + total % 26) == code[15]


def bsn(digits: str) -> bool:
    """Dutch BSN: 9 digits, weighted sum divisible by 11, last weight -1 (RvIG)."""
    return len(digits) == 9 and _weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def pesel(digits: str) -> bool:
    """Polish PESEL: 11 digits, weights 1 3 7 9, a possible month and day (gov.pl)."""
    if len(digits) != 11 or _weighted(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10:
        return False
    return 1 <= int(digits[2:4]) % 20 <= 12 and 1 <= int(digits[4:6]) <= 31


def china_id(text: str) -> bool:
    """Chinese resident number: 18 characters, ISO 7064 MOD 11-2 (GB 11643-1999)."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    if len(text) != 18 or not text[:17].isdigit():
        return False
    return "10X98765432"[_weighted(text[:17], weights) % 11] == text[17].upper()


def personnummer(digits: str) -> bool:
    """Swedish personnummer: YYMMDD and four digits, Luhn over the ten (SKV 704)."""
    if len(digits) not in (10, 12):
        return False
    ten = digits[-10:]
    return 1 <= int(ten[2:4]) <= 12 and 1 <= int(ten[4:6]) % 60 <= 31 and luhn(ten)


def belgian(digits: str) -> bool:
    """Belgian national number: 97 minus the first nine modulo 97, born 2000+ with a 2 in front."""
    if len(digits) != 11:
        return False
    body, key = digits[:9], int(digits[9:])
    return key in (97 - int(body) % 97, 97 - int("2" + body) % 97)


def ssn(digits: str) -> bool:
    """US social security number: 9 digits, no area 000, 666 or 9xx, no zero group (SSA)."""
    return (
        len(digits) == 9
        and digits[:3] not in ("000", "666")
        and digits[0] != "9"
        and digits[3:5] != "00"
        and digits[5:] != "0000"
    )


def sequential(digits: str) -> bool:
    """Whether the digits only count up or repeat: filler such as ``1111111`` or ``1234567``."""
    steps = {(int(b) - int(a)) % 10 for a, b in pairwise(digits)}
    return len(steps) <= 1 and steps <= {0, 1, 9}
