"""Row 9: a host's clock is an hour off, hosts disagree, or the database's own clock jumps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from analyses import services
from analyses.models import AnalysisSession, Batch, SessionStatus
from analyses.runner.worker import Worker
from core import work
from core.models import WorkStatus
from projects.models import Dataset
from providers.clients.scripted import Scenario
from providers.models import ModelDeployment
from tests.analyses.worker.support import Told, run, worker_run
from tests.faults.support import check_ledger, close_connections

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


@contextmanager
def host_clock(step: timedelta) -> Iterator[None]:
    """This host's clock is off by ``step``; the database's is not."""
    real_now, real_time = timezone.now, time.time
    with (
        mock.patch("django.utils.timezone.now", side_effect=lambda: real_now() + step),
        mock.patch("time.time", side_effect=lambda: real_time() + step.total_seconds()),
    ):
        yield


@contextmanager
def database_clock(step: timedelta) -> Iterator[None]:
    """The clock of statements jumps: on SQLite that is the host's own."""
    seconds = int(step.total_seconds())
    shifted = (
        f"STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW', '{seconds:+d} seconds')"
        if connection.vendor == "sqlite"
        else f"(STATEMENT_TIMESTAMP() + interval '{seconds} seconds')"
    )

    def as_sql(self: Now, compiler: Any, connection: Any, **_: Any) -> tuple[str, list[Any]]:
        return shifted, []

    names = {"sqlite": "as_sqlite", "postgresql": "as_postgresql"}
    with mock.patch.object(Now, names[connection.vendor], as_sql):
        yield


@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_a_run_on_a_host_whose_clock_is_off_completes(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    step: timedelta,
) -> None:
    with host_clock(step):
        session = run(start(talks(24), chat=model))
        services.tick()
    session.refresh_from_db()
    assert session.status == SessionStatus.COMPLETED, session.detail
    assert set(session.batches.values_list("attempt", flat=True)) == {1}
    check_ledger(session, told)


@pytest.mark.parametrize("step", [timedelta(minutes=5), -timedelta(minutes=5), HOUR, -HOUR])
def test_hosts_that_disagree_take_nothing_from_each_other(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession], step: timedelta
) -> None:
    session = start(talks(24))
    batch = work.claim(Batch.objects.filter(session=session), owner="elsewhere:1:1")
    assert batch is not None
    with host_clock(step):
        services.tick()
        assert work.renew(Batch, {batch.pk: batch.fence}) == set()
        services.tick()
    batch.refresh_from_db()
    assert (batch.status, batch.owner) == (WorkStatus.LEASED, "elsewhere:1:1")
    work.finish(batch)


def test_a_lease_written_by_a_host_an_hour_ahead_still_runs_out(
    talks: Callable[..., Dataset], start: Callable[..., AnalysisSession]
) -> None:
    """Its end is the database's time plus the lease, not the host's: nobody waits an hour."""
    session = start(talks(24))
    with host_clock(HOUR):
        batch = work.claim(Batch.objects.filter(session=session), owner="elsewhere:1:1")
    assert batch is not None
    assert batch.lease_until is not None
    assert batch.lease_until < timezone.now() + 2 * work.LEASE


@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_a_jump_of_the_databases_clock_is_kept_harmless_by_the_fence(
    talks: Callable[..., Dataset],
    start: Callable[..., AnalysisSession],
    model: ModelDeployment,
    told: Told,
    step: timedelta,
) -> None:
    """A step ahead ends every lease early: work is taken from the living, and nothing is lost."""
    told.play(Scenario(latency=0.03))
    session = start(talks(60), chat=model)

    def jump() -> None:
        with database_clock(step):
            services.tick()
        close_connections()

    async def disturbed() -> None:
        running = asyncio.create_task(Worker(session_id=session.pk, idle_exit=0.5).run())
        while told.requests < 10:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(jump)
        await running

    worker_run(disturbed())
    retried = session.batches.filter(retried=True).exists()
    assert retried is (step > timedelta(0))
    session = run(session)
    assert session.status == SessionStatus.COMPLETED, session.detail
    check_ledger(session, told)
