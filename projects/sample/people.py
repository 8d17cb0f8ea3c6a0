"""Invented end users and their personal details.

Nothing here belongs to anybody: telephone numbers lie in ranges set aside for fiction or examples
(Ofcom and NANPA 555-01xx lists, BNetzA "Drama-Nummern", Arcep decision 2018-0881 for France; Spain
has none, its numbers follow the example of libphonenumber), cards are the published test numbers
of payment processors, IBANs use bank codes that no bank has, IP addresses come from RFC 5737 and
RFC 3849, mail domains from RFC 2606.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

COUNTRIES: dict[str, tuple[str, ...]] = {
    "en": ("GB", "US"),
    "es": ("ES",),
    "de": ("DE",),
    "fr": ("FR",),
}
_FIRST: dict[str, str] = {
    "en": "Amelia Oliver Grace Harriet Daniel Marcus Priya Callum Nadia Stephen Joanne Tobias "
    "Imogen Leroy Fiona Desmond Keisha Rhys Beatrice Wesley Anita Gordon Maureen Theo",
    "es": "Lucía Javier Marta Álvaro Carmen Sergio Elena Rubén Pilar Ignacio Noelia Andrés Rocío",
    "de": "Anke Jörg Sabine Lukas Miriam Holger Katrin Matthias Ute Felix Birgit Tim Renate",
    "fr": "Camille Julien Élodie Mathieu Chantal Théo Nathalie Luc Amandine Gérard Inès Bastien",
}
_LAST: dict[str, str] = {
    "en": "Whitcombe Harlow Okafor Pemberton Lindqvist Marsh Doyle Castellan Varma Thornbury "
    "Ashdown Kowalczyk Bright Fenwick Radley Osei Tillman Greaves Nakamura Hollis",
    "es": "Robledo Castaño Villar Ortega Montes Cifuentes Bermejo Lozano Prieto Aranda Quintana",
    "de": "Brandhorst Keller Steinbach Wiesner Lohmann Ahrens Vogt Reinhardt Pohl Dressler Kern",
    "fr": "Lemoine Garnier Chevallier Roussel Delmas Pelletier Marchand Vasseur Bonnet Carlier",
}
_STREETS: dict[str, tuple[str, ...]] = {
    "GB": ("{no} Larkspur Close, Milford Vale", "Flat {no}, Tanner's Row, Eastwick"),
    "US": ("{no}4 Juniper Hollow Rd, Cedar Bend", "{no}10 Old Mill Lane, Westbrook Falls"),
    "ES": ("Calle del Olivar {no}, 2º B, Villaluz", "Avenida de los Tilos {no}, Puerto Sereno"),
    "DE": ("Am Lindengrund {no}, 99999 Musterhagen", "Erlenweg {no}a, 00001 Neufelden"),
    "FR": ("{no} rue des Glycines, Saint-Aubier", "{no} bis chemin du Lavoir, Montclair"),
}
_CARDS = (
    "4242 4242 4242 4242",
    "4000056655665556",
    "5555 5555 5555 4444",
    "5200-8282-8282-8210",
    "3782 822463 10005",
    "6011 1111 1111 1117",
)
_PLANS = ("Ostrelo Home", "Ostrelo Plus", "Ostrelo Studio", "Ostrelo Team")
_STYLES = ("plain", "polite", "terse", "rambling", "angry")
_STYLE_WEIGHTS = (34, 22, 17, 14, 13)
_ASCII = str.maketrans("áéíóúñäöüßèêçÉÁ", "aeiounaousceceA"[:15])


@dataclass(frozen=True, slots=True)
class Person:
    """An invented end user. ``style`` is a manner of writing that stays with the person."""

    key: str
    language: str
    country: str
    first: str
    last: str
    style: str
    plan: str
    typos: float


def make_person(number: int, language: str, rng: random.Random) -> Person:
    """The end user with the running ``number``; all traits are drawn from ``rng``."""
    return Person(
        key=f"u-{number:04d}",
        language=language,
        country=rng.choice(COUNTRIES[language]),
        first=rng.choice(_FIRST[language].split()),
        last=rng.choice(_LAST[language].split()),
        style=rng.choices(_STYLES, _STYLE_WEIGHTS)[0],
        plan=rng.choice(_PLANS),
        typos=rng.choice((0.0, 0.0, 0.0, 0.03, 0.08)),
    )


def _phone(country: str, rng: random.Random) -> str:
    two = f"{rng.randrange(100):02d}"
    forms = {
        "GB": (f"020 7946 0{two}9", f"0161 496 0{two}3", f"+44 113 496 01{two}"),
        "US": (f"(202) 555-01{two}", f"+1 303-555-01{two}", f"415-555-01{two}"),
        "ES": (f"810 12 34 {two}", f"+34 612 34 56 {two}"),
        "DE": (f"030 23125 0{two}", f"+49 89 99998 1{two}", f"0171 39200 {two}"),
        "FR": (f"01 99 00 {two} 17", f"+33 2 61 91 {two} 05"),
    }
    return rng.choice(forms[country])


def iban(country: str, bban: str) -> str:
    """``bban`` with country and check digits after ISO 7064 (mod 97-10), in groups of four."""
    digits = "".join(str(int(letter, 36)) for letter in f"{bban}{country}00")
    whole = f"{country}{98 - int(digits) % 97:02d}{bban}"
    return " ".join(whole[at : at + 4] for at in range(0, len(whole), 4))


def _iban(country: str, rng: random.Random) -> str:
    account = f"{rng.randrange(10**8):08d}"
    bbans = {
        "GB": ("GB", f"ZZZZ000000{account}"),
        "US": ("GB", f"ZZZZ000000{account}"),
        "ES": ("ES", f"0000000000{account}00"),
        "DE": ("DE", f"0000000000{account}"),
        "FR": ("FR", f"0000000000000{account}00"),
    }
    return iban(*bbans[country])


def _email(person: Person, rng: random.Random) -> str:
    first, last = (part.lower().translate(_ASCII) for part in (person.first, person.last))
    local = rng.choice((f"{first}.{last}", f"{first[0]}.{last}", f"{last}{rng.randrange(60, 99)}"))
    return f"{local}@{rng.choice(('example.com', 'example.org', 'mail.example', 'example.net'))}"


def _ip(rng: random.Random) -> str:
    last = rng.randrange(2, 250)
    net = rng.choice(("192.0.2", "198.51.100", "203.0.113"))
    return rng.choice((f"{net}.{last}", f"{net}.{last}", f"2001:db8:{last:x}::{last + 7:x}"))


def personal(person: Person, rng: random.Random) -> dict[str, str]:
    """The person's details as they go into phrases, by slot name."""
    street = rng.choice(_STREETS[person.country])
    return {
        "name": f"{person.first} {person.last}",
        "first": person.first,
        "email": _email(person, rng),
        "phone": _phone(person.country, rng),
        "address": street.replace("{no}", str(rng.randrange(2, 90))),
        "card": rng.choice(_CARDS),
        "expiry": f"{rng.randrange(1, 13):02d}/{rng.randrange(28, 33)}",
        "iban": _iban(person.country, rng),
        "ip": _ip(rng),
        "custno": f"{rng.randrange(100000, 999999)}",
    }
