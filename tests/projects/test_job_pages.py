"""Pages and API of jobs and the trash: the same rules behind both doors."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest
from django.urls import reverse

from accounts.models import Role
from core.jobs import registry
from core.models import WorkStatus
from projects import runner
from projects.models import Dataset, Job, JobItem

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folders(tmp_path, settings) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"


def url(name: str, *args: object) -> str:
    return reverse(f"projects:{name}", args=["support", *args])


def words(answer) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def test_a_deletion_is_done_at_once_and_offers_undo(analyst_client, dataset, project):
    sent = {"kind": "delete_datasets", "id": dataset.number, "next": url("data")}
    answer = analyst_client.post(url("job-start"), sent, follow=True)
    assert "Deleted 1 data set." in words(answer)
    undo = re.search(r'action="([^"]+/undo/)"', answer.content.decode())
    assert undo
    assert dataset.name not in words(analyst_client.get(url("data")))
    assert dataset.name in words(analyst_client.get(url("trash")))
    back = analyst_client.post(undo[1], {"next": url("data")}, follow=True)
    assert dataset.name in words(back)


def test_everything_is_counted_before_it_is_done(analyst_client, project, make_dataset):
    for _ in range(30):
        make_dataset(project, size=1)
    page = analyst_client.get(url("data"))
    assert "All 30 data sets that match" in words(page)
    answer = analyst_client.post(url("job-start"), {"kind": "delete_datasets", "all": "1"})
    assert "Delete 30 data sets?" in words(answer)
    assert not Job.objects.exists()
    sent = {"kind": "delete_datasets", "all": "1", "confirm": "1", "uid": str(uuid4())}
    for _ in range(2):
        analyst_client.post(url("job-start"), sent)
    assert Job.objects.get().total == 30
    assert not Dataset.objects.filter(deleted_at=None).exists()


def test_nothing_chosen_says_so(analyst_client, dataset):
    answer = analyst_client.post(url("job-start"), {"kind": "delete_datasets"})
    assert "Nothing matches" in words(answer)
    answer = analyst_client.post(url("job-start"), {"kind": "delete_datasets", "id": "x"})
    assert answer.status_code == 422


def test_deleting_for_good_wants_the_name(owner_client, dataset):
    owner_client.post(url("job-start"), {"kind": "delete_datasets", "id": 1})
    sent = {"kind": "purge", "s.what": "datasets", "id": 1}
    page = owner_client.post(url("job-start"), sent)
    assert f"Type “{dataset.name}” to confirm" in words(page)
    wrong = owner_client.post(url("job-start"), {**sent, "confirm": "1", "typed": "june"})
    assert wrong.status_code == 422
    assert "Nothing was deleted" in words(wrong)
    done = owner_client.post(
        url("job-start"), {**sent, "confirm": "1", "typed": dataset.name}, follow=True
    )
    assert "Delete 1 data set for good" in words(done)
    runner.run_job(Job.objects.get(kind="purge").pk)
    assert not Dataset.objects.exists()
    assert "The trash is empty" in words(owner_client.get(url("trash")))


def test_the_trash_puts_back(analyst_client, dataset, viewer_client):
    analyst_client.post(url("job-start"), {"kind": "delete_datasets", "id": 1})
    assert "Restore" not in words(viewer_client.get(url("trash")))
    analyst_client.post(url("restore"), {"what": "datasets", "number": 1})
    dataset.refresh_from_db()
    assert dataset.deleted_at is None
    again = analyst_client.post(url("restore"), {"what": "datasets", "number": 1})
    assert again.status_code == 404


@pytest.fixture
def partial(project, dataset, analyst) -> Job:
    job = Job.objects.create(
        project=project,
        kind="delete_conversations",
        title="Delete 70 conversations",
        params={"settings": {"dataset": 1}},
        status=WorkStatus.DONE,
        total=70,
        done=10,
        failed=60,
        created_by=analyst,
    )
    JobItem.objects.bulk_create(
        JobItem(job=job, ref=n, label=f"<b>c-{n}</b>", state="failed", error="It is <i>busy</i>.")
        for n in range(60)
    )
    return job


def test_what_failed_is_listed_with_reasons_and_never_called_complete(analyst_client, partial):
    page = analyst_client.get(url("job", partial.uid))
    said = words(page)
    assert "Complete in part" in said
    assert "60 items failed" in said
    assert "Page 1 of 2" in said
    assert b"<i>busy</i>" not in page.content
    assert "Retry what failed" in said
    listed = words(analyst_client.get(url("jobs")))
    assert "10 of 70 · 60 failed" in listed
    answer = analyst_client.post(url("job-act", partial.uid, "retry"))
    assert Job.objects.exclude(pk=partial.pk).get().total == 60
    assert answer.status_code == 302
    assert analyst_client.post(url("job-act", partial.uid, "dance")).status_code == 404


def test_a_page_at_work_asks_again_and_an_ended_one_does_not(analyst_client, partial):
    assert b'hx-trigger="every' not in re.sub(
        rb'<div id="side-running".*', b"", analyst_client.get(url("job", partial.uid)).content
    )
    Job.objects.update(status=WorkStatus.PENDING)
    page = analyst_client.get(url("jobs"), headers={"HX-Request": "true"})
    assert b'hx-trigger="every 2s"' in page.content
    assert "Stop" not in words(page)  # a deletion is undone instead


def test_the_list_goes_on_with_older_ones(analyst_client, project, analyst):
    for n in range(30):
        Job.objects.create(
            project=project, kind="export", title=f"Job {n:02}", status="done", created_by=analyst
        )
    first = analyst_client.get(url("jobs"))
    older = re.search(r'rel="next" href="([^"]+)"', first.content.decode())
    assert older
    second = analyst_client.get(url("jobs") + older[1].replace("&amp;", "&"))
    seen = [set(re.findall(r"Job \d\d", words(page))) for page in (first, second)]
    assert len(seen[0]) == 25
    assert len(seen[0] | seen[1]) == 30


def test_jobs_of_strangers_are_nowhere(other_owner_client, partial):
    assert partial.title not in words(other_owner_client.get("/jobs/"))
    assert partial.title not in words(other_owner_client.get("/jobs/short/"))
    assert other_owner_client.get(url("job", partial.uid)).status_code == 404


def api(*parts: object) -> str:
    return "/".join(["/api/v1/projects/support/jobs", *map(str, parts)])


def post(client, path: str, **body: object):
    return client.post(path, body, content_type="application/json")


def test_the_api_counts_starts_once_and_takes_back(analyst_client, dataset):
    wish = {"kind": "delete_conversations", "settings": {"dataset": 1}, "ids": [1, 2]}
    plan = post(analyst_client, api(), **wish, dry_run=True)
    assert (plan.status_code, plan.json()["total"]) == (200, 2)
    first, second = (
        analyst_client.post(
            api(), wish, content_type="application/json", headers={"Idempotency-Key": "k1"}
        )
        for _ in range(2)
    )
    assert first.status_code == 202
    assert first.json()["id"] == second.json()["id"]
    job = Job.objects.get()
    runner.run_job(job.pk)
    state = analyst_client.get(api(job.uid)).json()
    assert (state["job"]["status"], state["job"]["done"]) == ("done", 2)
    assert [item["label"] for item in state["items"]["items"]] == ["c-1", "c-2"]
    assert analyst_client.get(api(job.uid) + "?state=failed").json()["items"]["items"] == []
    undone = post(analyst_client, api(job.uid, "undo"))
    assert undone.json()["undone_at"]
    dataset.refresh_from_db()
    assert dataset.conversation_count == 12
    assert analyst_client.get(api()).json()["items"][0]["id"] == str(job.uid)


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "dance", "ids": [1]},
        {"kind": "delete_datasets"},
        {"kind": "delete_datasets", "filter": {"colour": "red"}},
        {"kind": "delete_datasets", "ids": [9]},
        {"kind": "delete_conversations", "ids": [1], "settings": {"speed": 1}},
        {"kind": "delete_datasets", "ids": ["x"]},
    ],
)
def test_the_api_refuses_what_makes_no_sense(analyst_client, dataset, body):
    assert post(analyst_client, api(), **body).status_code == 422
    assert not Job.objects.exists()


def test_every_kind_is_done_by_somebody():
    from projects.models import JobKind

    assert {kind.key for kind in registry.kinds()} == set(JobKind.values)
    assert all(kind.role in Role.values for kind in registry.kinds())
