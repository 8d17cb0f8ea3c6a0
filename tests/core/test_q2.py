"""The one door to the queue, and the canary that goes through it."""

import os
import pydoc
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from core import q2, tasks
from core.models import Beat


@pytest.fixture
def pool(monkeypatch, tmp_path, settings):
    """This process stands for a worker of the pool `here`."""
    monkeypatch.setenv(q2.POOL_VARIABLE, "here")
    settings.RUN_DIR = tmp_path
    return "here"


@pytest.mark.django_db
def test_a_wake_up_names_a_function_that_exists_and_carries_its_arguments():
    q2.wake("core.tasks.canary", "somewhere")
    task = OrmQ.objects.get().task
    assert pydoc.locate(task["func"]) is tasks.canary
    assert task["args"] == ("somewhere",)


@pytest.mark.django_db
def test_a_wake_up_is_gone_with_the_transaction_that_is_rolled_back():
    with transaction.atomic():
        q2.wake("core.tasks.canary", "somewhere")
        assert q2.waiting() == 1
        transaction.set_rollback(True)
    assert q2.waiting() == 0


@pytest.mark.django_db
def test_fetched_tasks_do_not_wait():
    q2.wake("core.tasks.canary", "a")
    q2.wake("core.tasks.canary", "b")
    assert q2.waiting() == 2
    first = OrmQ.objects.first()
    first.lock = first.lock.replace(year=first.lock.year + 1)
    first.save()
    assert q2.waiting() == 1


@pytest.mark.django_db
def test_a_canary_leaves_a_beat_for_its_own_pool(pool):
    tasks.canary(pool)
    first = Beat.objects.get(name="canary:here").beat_at
    tasks.canary(pool)
    assert Beat.objects.get(name="canary:here").beat_at > first
    assert q2.waiting() == 0


@pytest.mark.django_db
def test_a_task_for_one_pool_is_taken_by_that_pool_alone(pool, monkeypatch):
    monkeypatch.setattr(Conf, "POLL", 0)
    q2.wake("core.tasks.canary", "elsewhere", only="elsewhere")
    q2.wake("core.tasks.canary", "here", only="here")
    q2.wake("core.tasks.canary", "anybody")
    assert q2.waiting() == 1
    broker = get_broker()
    taken = [broker.dequeue() for _ in range(3)]
    assert [SignedPackage.loads(rows[0][1])["args"] for rows in taken if rows] == [
        ("here",),
        ("anybody",),
    ]
    monkeypatch.setenv(q2.POOL_VARIABLE, "elsewhere")
    ((pk, payload),) = broker.dequeue()
    assert SignedPackage.loads(payload)["args"] == ("elsewhere",)
    broker.acknowledge(pk)
    assert OrmQ.objects.count() == 2


@pytest.mark.django_db
def test_what_waits_for_a_pool_that_is_gone_is_forgotten():
    q2.wake("core.tasks.canary", "gone", only="gone")
    q2.wake("core.tasks.canary", "anybody")
    q2.forget_lost(timezone.now() - timedelta(days=1))
    assert OrmQ.objects.count() == 2
    q2.forget_lost(timezone.now())
    assert q2.waiting() == OrmQ.objects.count() == 1


def test_a_worker_is_busy_between_begin_and_end(pool):
    assert q2.busy_workers(pool) == 0
    q2._begin()
    assert q2.busy_workers(pool) == 1
    assert q2.busy_workers("elsewhere") == 0
    q2._end()
    assert q2.busy_workers(pool) == 0
    q2._end()


def test_a_worker_that_is_stopped_dead_or_overdue_is_not_busy(pool, settings):
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    marker = settings.RUN_DIR / f"busy-{pool}-{worker.pid}"
    try:
        marker.touch()
        assert q2.busy_workers(pool) == 1
        worker.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        assert q2.busy_workers(pool) == 0
        worker.send_signal(signal.SIGCONT)
        long_ago = time.time() - settings.TASK_SECONDS - 60
        os.utime(marker, (long_ago, long_ago))
        assert q2.busy_workers(pool) == 0
    finally:
        worker.kill()
        worker.wait()
    marker.touch()
    assert q2.busy_workers(pool) == 0


def test_no_task_is_handed_out_twice_while_it_may_still_run():
    """A lock starts at fetch: it must outlast everything fetched before it."""
    queue = settings.Q_CLUSTER
    assert queue["queue_limit"] <= queue["workers"]
    assert queue["retry"] > (queue["queue_limit"] + 2) * queue["timeout"]
