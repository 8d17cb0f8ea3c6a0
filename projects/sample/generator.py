"""The shipped sample: support conversations of Ostrelo, an invented maker of home sensors.

Every sentence is written by hand (``phrases/``); this program only chooses, orders and fills in.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from copy import deepcopy
from datetime import date
from typing import Any

from projects.sample.compose import Order, Writer, Written
from projects.sample.people import Person
from projects.sample.schedule import Calendar, crowd, message_times, sizes
from projects.sample.text import mistype
from projects.sample.topics import (
    OFF_TOPIC,
    PLANTED_NEW,
    PLANTED_RISE,
    PLANTED_SINGLE_USER,
    TOPICS,
    Topic,
)

Row = dict[str, Any]

_PER = 1200
_EXACT_COPIES = 8
_NEAR_COPIES = 10
_JUNK = 14
_CONCERN_SHARE = 0.012
_PERSONAL_SHARE = 0.25
_TWO_TOPICS_SHARE = 0.085
_CHANNELS = ("chat", "email", "app")
_CHANNEL_SHARES = (62, 22, 16)
_CONCERNS = {
    "billing": ("legal",),
    "delivery": ("legal",),
    "plans": ("legal",),
    "privacy": ("legal",),
    "devices": ("loss", "safety"),
    "connections": ("loss",),
}
#: Topics that must not turn up as a second matter: their place in time or among people is planted.
_NOT_SECOND = frozenset({PLANTED_RISE, PLANTED_NEW, PLANTED_SINGLE_USER, "hot_adapter"})


def generate(seed: int = 7, count: int = 1200, end: date = date(2026, 1, 1)) -> Iterator[Row]:
    """Yield ``count`` conversations in the order of their start, the same for equal arguments.

    The three months run up to midnight (UTC) before ``end``, so with today as ``end`` nothing
    lies in the future. A row has ``id``, ``messages`` (``role``, ``content``, ``ts`` in ISO 8601
    with zone), ``metadata`` and ``labels``. The labels are the planted truth: ``topic`` and
    ``theme`` always, and where they apply ``also`` (a second topic), ``outcome``, ``concern``,
    ``personal`` (kinds of detail given), ``copy_of`` (exact) and ``near_copy_of``.
    """
    if count < 0:
        raise ValueError("count must not be negative")
    rng = random.Random(seed)  # noqa: S311 - a repeatable sample, nothing secret
    exact, near, junk = (
        round(count * part / _PER) for part in (_EXACT_COPIES, _NEAR_COPIES, _JUNK)
    )
    rows = _originals(count - exact - near, junk, end, rng)
    rows += _copies(rows, exact, near, rng)
    rows.sort(key=lambda row: (row["messages"][0]["ts"], row["id"]))
    yield from _numbered(rows)


def _originals(number: int, junk: int, end: date, rng: random.Random) -> list[Row]:
    plan: list[Topic | None] = [None] * junk
    wanted = sizes(number - junk)
    for topic in TOPICS:
        plan += [topic] * wanted[topic.key]
    rng.shuffle(plan)
    heavy, seats = crowd(len(plan), rng)
    writer, calendar = Writer(rng), Calendar(end, rng)
    rows = []
    for index, (subject, seat) in enumerate(zip(plan, seats, strict=True)):
        single = subject is not None and subject.key == PLANTED_SINGLE_USER
        person = heavy if single and rng.random() < 0.9 else seat
        order = _order(person, subject, calendar, rng)
        rows.append(_row(f"draft-{index:06d}", order, writer.write(order), end, rng))
    return rows


def _order(person: Person, topic: Topic | None, calendar: Calendar, rng: random.Random) -> Order:
    others = [one for one in TOPICS if one.key not in _NOT_SECOND]
    also = rng.choice(others) if rng.random() < _TWO_TOPICS_SHARE else None
    concerns = _CONCERNS.get(topic.theme, ()) if topic else ()
    return Order(
        person=person,
        topic=topic,
        start=calendar.moment(topic),
        channel=rng.choices(_CHANNELS, _CHANNEL_SHARES)[0] if topic else "chat",
        also=None if also is None or topic is None or also.theme == topic.theme else also,
        concern=rng.choice(concerns) if concerns and rng.random() < _CONCERN_SHARE else "",
        personal=rng.random() < _PERSONAL_SHARE,
    )


def _row(key: str, order: Order, written: Written, end: date, rng: random.Random) -> Row:
    roles = [role for role, _ in written.messages]
    times = message_times(order.start, roles, order.channel, end, rng)
    return {
        "id": key,
        "messages": [
            {"role": role, "content": text, "ts": at.isoformat()}
            for (role, text), at in zip(written.messages, times, strict=True)
        ],
        "metadata": {
            "language": order.person.language,
            "kind": "support",
            "user": order.person.key,
            "channel": order.channel,
            "product": order.topic.product if order.topic else "none",
            "plan": order.person.plan,
            "country": order.person.country,
        },
        "labels": _labels(order, written),
    }


def _labels(order: Order, written: Written) -> dict[str, Any]:
    topic = order.topic
    labels: dict[str, Any] = {
        "topic": topic.key if topic else OFF_TOPIC,
        "theme": topic.theme if topic else OFF_TOPIC,
        "outcome": written.outcome,
    }
    if order.also and written.outcome == "resolved":
        labels["also"] = order.also.key
    if order.concern or labels["topic"] == "hot_adapter":
        labels["concern"] = order.concern or "safety"
    if written.personal:
        labels["personal"] = sorted(set(written.personal))
    return labels


def _copies(rows: list[Row], exact: int, near: int, rng: random.Random) -> list[Row]:
    """Rows that came in twice: some to the letter, some typed anew by the same person."""
    plain = [row for row in rows if len(row["messages"]) > 2]
    chosen = rng.sample(plain, min(exact + near, len(plain)))
    made = []
    for index, row in enumerate(chosen):
        copy = deepcopy(row)
        copy["id"] = f"{row['id']}-again"
        if index < exact:
            copy["labels"]["copy_of"] = row["id"]
        else:
            copy["labels"]["near_copy_of"] = row["id"]
            _alter(copy["messages"], index, rng)
        made.append(copy)
    return made


def _alter(messages: list[dict[str, str]], index: int, rng: random.Random) -> None:
    """A small change: slips of the keyboard, capitals gone, or the last message missing."""
    first = messages[0]
    ways = (
        mistype(first["content"], rng, 0.2) + " ",
        first["content"].lower() + "!",
        first["content"] + " 😕",
    )
    first["content"] = ways[index % len(ways)]
    if index % 2:
        messages.pop()


def _numbered(rows: list[Row]) -> Iterator[Row]:
    """Give the rows their final ids in order of time, and make the references follow."""
    names = {row["id"]: f"ostrelo-{number:05d}" for number, row in enumerate(rows, 1)}
    for row in rows:
        row["id"] = names[row["id"]]
        for link in ("copy_of", "near_copy_of"):
            if link in row["labels"]:
                row["labels"][link] = names[row["labels"][link]]
        yield row
