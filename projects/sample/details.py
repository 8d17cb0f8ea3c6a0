"""The details of one conversation: order numbers, days, amounts, devices, places."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from projects.sample.people import Person, personal

_MONTHS = {
    "en": "January February March April May June July August September October November December",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre "
    "diciembre",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
}
_WEEKDAYS = {
    "en": "Monday Tuesday Wednesday Thursday Friday",
    "es": "lunes martes miércoles jueves viernes",
    "de": "Montag Dienstag Mittwoch Donnerstag Freitag",
    "fr": "lundi mardi mercredi jeudi vendredi",
}
_DEVICES = {
    "en": ("Leaf air monitor", "Dial thermostat", "Sense sensor", "Beam lamp", "Hub", "Clamp"),
    "es": ("medidor Leaf", "termostato Dial", "sensor Sense", "hub", "contador Clamp"),
    "de": ("Luftmesser Leaf", "Thermostat Dial", "Sense-Sensor", "Hub", "Stromzähler Clamp"),
    "fr": ("moniteur Leaf", "thermostat Dial", "capteur Sense", "hub", "compteur Clamp"),
}
_ROOMS = {
    "en": "in the kitchen|in the hall|in the cellar|upstairs|in the nursery|in the shed",
    "es": "en la cocina|en el sótano|en el dormitorio|en el taller|en el pasillo",
    "de": "im Keller|in der Küche|im Flur|im Schlafzimmer|in der Werkstatt",
    "fr": "dans la cuisine|à la cave|dans l'entrée|dans la chambre|à l'atelier",
}
_CITIES = {
    "GB": "Leeds|Bristol|Cardiff|Norwich|Dundee|Exeter",
    "US": "Denver|Portland|Tucson|Omaha|Albany|Savannah",
    "ES": "Valencia|Zaragoza|Málaga|Bilbao|Oviedo",
    "DE": "Kassel|Bremen|Leipzig|Freiburg|Münster",
    "FR": "Nantes|Lille|Dijon|Grenoble|Brest",
}
_AGENTS = {
    "en": "Maya|Tom|Ines|Ravi|Chloe|Ben|Sofia|Anders",
    "es": "Nuria|Pablo|Inés|Hugo",
    "de": "Lena|Jonas|Svenja|Emre",
    "fr": "Léa|Karim|Manon|Hugo",
}
_CARRIERS = ("Swiftvan", "Parcelow", "Blauwagen", "NordKurier", "TransLoop")
_FILES = ("readings_2024.csv", "export-final(2).csv", "scan0042.pdf", "IMG_2217.jpg", "log.csv")
_OLD_FIRMWARE = ("3.6.2", "3.7.0", "3.7.1")
_APP_VERSIONS = ("6.1.0", "6.1.2", "6.2", "6.2.1", "6.3")
#: Release that the planted new topic is about.
NEW_FIRMWARE = "3.8"


def _months_back(start: datetime, back: int) -> int:
    return (start.month - 1 - back) % 12


class Details(dict[str, str]):
    """Slot values of one conversation, made on first use and then kept.

    ``k`` and ``past`` are the exceptions: a fresh number and a fresh month at every use.
    """

    def __init__(self, rng: random.Random, person: Person, start: datetime) -> None:
        super().__init__(personal(person, rng))
        self._rng = rng
        self._person = person
        self._start = start
        self["plan"] = person.plan
        self["fwnew"] = NEW_FIRMWARE

    def __missing__(self, name: str) -> str:
        if name == "k":
            return str(self._rng.randrange(2, 7))
        if name == "past":
            return self._month()
        self[name] = value = _MAKERS[name](self)
        return value

    def _number(self, low: int, high: int) -> str:
        return str(self._rng.randrange(low, high))

    def _one_of(self, table: dict[str, str], key: str) -> str:
        return self._rng.choice(table[key].split("|"))

    def _month(self) -> str:
        months = _MONTHS[self._person.language].split()
        return months[_months_back(self._start, self._rng.randrange(1, 5))]

    def _next_month(self) -> str:
        return _MONTHS[self._person.language].split()[(self._start.month + 1) % 12]

    def _weekday(self) -> str:
        ahead = [self._start + timedelta(days=days) for days in range(1, 8)]
        days = [day.weekday() for day in ahead if day.weekday() < 5]
        return _WEEKDAYS[self._person.language].split()[self._rng.choice(days[:4])]

    def _date(self, near: int, far: int) -> str:
        day = self._start - timedelta(days=self._rng.randrange(near, far))
        month = _MONTHS[self._person.language].split()[day.month - 1]
        if self._person.country == "US":
            return f"{month} {day.day}"
        joint = {"es": " de ", "de": ". "}.get(self._person.language, " ")
        number = "1er" if self._person.language == "fr" and day.day == 1 else str(day.day)
        return f"{number}{joint}{month}"

    def _amount(self, low: int, high: int) -> str:
        euros = self._rng.randrange(low, high)
        cents = self._rng.choice(("00", "50", "90", "99", "95"))
        if self._person.country in {"GB", "US"}:
            return f"{'£' if self._person.country == 'GB' else '$'}{euros}.{cents}"
        return f"{euros},{cents} €"

    def _code(self) -> str:
        letters = "".join(self._rng.choices("ABCDEFGHKLMNPRTUVWXZ", k=2))
        return f"{letters}{self._rng.randrange(10**6, 10**7)}"

    def _time(self) -> str:
        return f"{self._rng.randrange(6, 23)}:{self._rng.choice(('00', '10', '25', '40', '52'))}"


_MAKERS: dict[str, Callable[[Details], str]] = {
    "n": lambda d: d._number(2, 10),
    "pct": lambda d: d._number(41, 98),
    "temp": lambda d: d._number(22, 32),
    "temp2": lambda d: d._number(16, 22),
    "temp3": lambda d: d._number(80, 110),
    "order": lambda d: f"OS-{d._number(20000, 99999)}",
    "case": lambda d: f"C-{d._number(310000, 399999)}",
    "tracking": Details._code,
    "amount": lambda d: d._amount(29, 240),
    "amount2": lambda d: d._amount(5, 28),
    "date": lambda d: d._date(2, 7),
    "date2": lambda d: d._date(7, 16),
    "month": Details._month,
    "next": Details._next_month,
    "weekday": Details._weekday,
    "time": Details._time,
    "version": lambda d: d._rng.choice(_APP_VERSIONS),
    "fw": lambda d: d._rng.choice(_OLD_FIRMWARE),
    "file": lambda d: d._rng.choice(_FILES),
    "carrier": lambda d: d._rng.choice(_CARRIERS),
    "device": lambda d: d._rng.choice(_DEVICES[d._person.language]),
    "room": lambda d: d._one_of(_ROOMS, d._person.language),
    "city": lambda d: d._one_of(_CITIES, d._person.country),
    "agent": lambda d: d._one_of(_AGENTS, d._person.language),
}
