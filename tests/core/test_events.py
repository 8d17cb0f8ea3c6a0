"""Events: numbered per topic in commit order, without gaps, inside the change's transaction."""

from __future__ import annotations

import threading
from typing import ClassVar

import pytest
from django.db import DatabaseError, connection, transaction
from pydantic import ValidationError

from core.events import LiveEvent, last_seq, news, publish, since
from core.models import Event, Topic


class Moved(LiveEvent):
    kind: ClassVar[str] = "moved"
    to: int


class Ended(LiveEvent):
    kind: ClassVar[str] = "ended"


@pytest.mark.django_db(transaction=True)
def test_publishing_outside_a_transaction_is_refused() -> None:
    with pytest.raises(transaction.TransactionManagementError):
        publish("analysis:1", Moved(to=1))
    assert not Event.objects.exists()
    assert not Topic.objects.exists()


@pytest.mark.django_db
def test_numbers_begin_at_one_and_belong_to_the_topic() -> None:
    assert last_seq("analysis:1") == 0
    assert publish("analysis:1", Moved(to=1), Moved(to=2)) == 2
    assert publish("analysis:2", Ended()) == 1
    assert publish("analysis:1", Ended()) == 3
    assert last_seq("analysis:1") == 3
    rows = list(since("analysis:1", 1))
    assert [(row["seq"], row["kind"], row["payload"]) for row in rows] == [
        (2, "moved", {"to": 2}),
        (3, "ended", {}),
    ]
    assert len(list(since("analysis:1", 0, limit=2))) == 2
    assert list(since("analysis:9", 0)) == []


@pytest.mark.django_db
def test_a_rollback_leaves_no_gap() -> None:
    publish("analysis:1", Ended())

    def fall() -> None:
        publish("analysis:1", Ended(), Ended())
        raise RuntimeError

    with pytest.raises(RuntimeError):
        transaction.atomic(fall)()
    assert publish("analysis:1", Ended()) == 2
    assert [row["seq"] for row in since("analysis:1", 0)] == [1, 2]


@pytest.mark.django_db
def test_news_names_every_kind_however_many_events() -> None:
    publish("analysis:1", Ended())
    publish("analysis:1", *(Moved(to=number) for number in range(600)))
    publish("analysis:1", Ended())
    assert news("analysis:1", 0) == (602, {"moved", "ended"})
    assert news("analysis:1", 5) == (602, {"moved", "ended"})
    assert news("analysis:1", 601) == (602, {"ended"})
    assert news("analysis:1", 602) == (602, frozenset())


def test_payloads_are_typed() -> None:
    with pytest.raises(ValidationError):
        Moved(to="somewhere")  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        Ended(extra=1)  # type: ignore[call-arg]


@pytest.mark.django_db(transaction=True)
def test_concurrent_publishers_leave_no_gap_and_no_double() -> None:
    each, publishers = 15, 3
    barrier = threading.Barrier(publishers)
    given: list[int] = []
    errors: list[BaseException] = []
    seen: list[list[int]] = []

    def work() -> None:
        try:
            barrier.wait(5)
            for number in range(each):
                with transaction.atomic():
                    given.append(publish("analysis:7", Moved(to=number)))
        except DatabaseError as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(publishers)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        # A reader never sees a number before all lower ones.
        seen.append([row["seq"] for row in since("analysis:7", 0)])
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert sorted(given) == list(range(1, each * publishers + 1))
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in seen)
    assert last_seq("analysis:7") == each * publishers
