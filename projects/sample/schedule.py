"""Decides who writes about what and when: sizes, people, days, hours, the planted changes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from math import ceil

from projects.sample.people import Person, make_person
from projects.sample.topics import PLANTED_NEW, PLANTED_RISE, TOPICS, Topic

#: The span of the sample, and the two windows in which something changes, in days.
SPAN_DAYS = 91
RISE_DAYS = 21
NEW_DAYS = 17
#: Share of the rising topic that falls into its last three weeks: four times the earlier pace.
_RISE_SHARE = 0.54
_WEEKDAY_PACE = (1.25, 1.15, 1.1, 1.05, 1.0, 0.6, 0.45)
_HOUR_PACE = {
    6: 1, 7: 3, 8: 7, 9: 10, 10: 11, 11: 10, 12: 8, 13: 8, 14: 9,
    15: 9, 16: 8, 17: 7, 18: 7, 19: 8, 20: 6, 21: 4, 22: 2, 23: 1,
}  # fmt: skip
_LANGUAGES = ("en", "es", "de", "fr")
_LANGUAGE_SHARES = (62, 15, 13, 10)
#: Of every 1,200 conversations about 700 come from people who wrote just once or twice.
_PEOPLE_SHARE = 0.6


def sizes(total: int) -> dict[str, int]:
    """How many of ``total`` conversations each topic gets, by largest remainder."""
    weight = sum(topic.weight for topic in TOPICS)
    exact = {topic.key: total * topic.weight / weight for topic in TOPICS}
    counts = {key: int(value) for key, value in exact.items()}
    by_rest = sorted(exact, key=lambda key: (counts[key] - exact[key], key))
    for key in by_rest[: total - sum(counts.values())]:
        counts[key] += 1
    return counts


def crowd(count: int, rng: random.Random) -> tuple[Person, list[Person]]:
    """One heavy user apart, then one person for each of ``count`` conversations, shuffled.

    Everybody appears at least once; the rest of the places goes to a few who write often.
    """
    number = ceil(count * _PEOPLE_SHARE)
    people = [
        make_person(index + 2, rng.choices(_LANGUAGES, _LANGUAGE_SHARES)[0], rng)
        for index in range(number)
    ]
    pull = [1 / (rank + 3) ** 0.7 for rank in range(number)]
    seats = people + (rng.choices(people, pull, k=count - number) if people else [])
    rng.shuffle(seats)
    return make_person(1, "en", rng), seats


class Calendar:
    """Hands out the moments at which conversations start, before ``end``."""

    def __init__(self, end: date, rng: random.Random) -> None:
        self._end = end
        self._rng = rng
        self._rising = 0

    def moment(self, topic: Topic | None) -> datetime:
        """When the next conversation about ``topic`` starts: by weekday and hour (UTC)."""
        first, last = self._window(topic.key if topic else "")
        days = [self._end - timedelta(days=back) for back in range(last, first + 1)]
        day = self._rng.choices(days, [_WEEKDAY_PACE[one.weekday()] for one in days])[0]
        hour = self._rng.choices(list(_HOUR_PACE), list(_HOUR_PACE.values()))[0]
        minute, second = self._rng.randrange(60), self._rng.randrange(60)
        return datetime.combine(day, time(hour, minute, second, tzinfo=UTC))

    def _window(self, key: str) -> tuple[int, int]:
        """First and last day, counted back from the end, on which a conversation may fall."""
        if key == PLANTED_NEW:
            return NEW_DAYS, 1
        if key == PLANTED_RISE:
            return (RISE_DAYS, 1) if self._rises() else (SPAN_DAYS, RISE_DAYS + 1)
        return SPAN_DAYS, 1

    def _rises(self) -> bool:
        """True for the planned share of the rising topic exactly, so that chance cannot hide it."""
        self._rising += 1
        return int(self._rising * _RISE_SHARE) > int((self._rising - 1) * _RISE_SHARE)


def message_times(
    start: datetime, roles: Sequence[str], channel: str, end: date, rng: random.Random
) -> list[datetime]:
    """A time for every message: seconds to minutes apart in a chat, hours by e-mail.

    A conversation that would run past the end is moved back as a whole.
    """
    times = [start]
    for role in roles[1:]:
        low, high = (900, 30000) if channel == "email" else (15, 240 if role == "agent" else 170)
        times.append(times[-1] + timedelta(seconds=rng.randrange(low, high)))
    limit = datetime.combine(end, time(0, 0), tzinfo=UTC) - timedelta(minutes=1)
    late = times[-1] - limit
    return [one - late for one in times] if late > timedelta(0) else times
