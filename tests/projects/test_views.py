"""Home, projects, data sets: what they show, in how many queries, and what they refuse."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from accounts.models import AuditEvent
from projects.models import Dataset, DatasetStatus, Import, ImportProblem, Project

pytestmark = pytest.mark.django_db
LINE = b'{"id": "1", "messages": [{"role": "user", "content": "Hello there"}]}\n'
HTMX = {"HTTP_HX_REQUEST": "true"}


def page(client, name: str, *args: object, **extra: object) -> str:
    answer = client.get(reverse(f"projects:{name}", args=args), **extra)
    assert answer.status_code == 200
    return answer.content.decode()


def test_first_run_says_how_to_begin(owner_client) -> None:
    html = page(owner_client, "home")
    assert "No projects yet" in html
    assert reverse("projects:new") in html


def test_viewer_is_not_offered_what_is_refused(viewer_client, project, dataset) -> None:
    for name, args in (
        ("home", []),
        ("overview", ["support"]),
        ("data", ["support"]),
        ("dataset", ["support", 1]),
    ):
        html = page(viewer_client, name, *args)
        for refused in (
            reverse("projects:new"),
            reverse("projects:upload", args=["support"]),
            reverse("providers:list"),
            reverse("projects:conversation", args=["support", 1, 0]),
            "Analyse</a>",
        ):
            assert refused not in html


def test_member_of_nothing_is_told_so(outsider_client, project) -> None:
    html = page(outsider_client, "home")
    assert "You belong to no workspace yet" in html
    assert project.name not in html


def test_new_project_gets_an_address_of_its_own(analyst_client, project) -> None:
    for _ in range(2):
        answer = analyst_client.post(reverse("projects:new"), {"name": "Support"})
        assert answer.status_code == 302
    slugs = set(Project.objects.values_list("slug", flat=True))
    assert len(slugs) == 3
    assert AuditEvent.objects.filter(action="project.created").count() == 2


def test_form_keeps_what_was_typed_and_says_what_is_wrong(analyst_client) -> None:
    answer = analyst_client.post(reverse("projects:new"), {"name": " ", "description": "Kept"})
    assert answer.status_code == 422
    html = answer.content.decode()
    assert "Kept" in html
    assert 'href="#id_name"' in html
    assert 'aria-invalid="true"' in html


def test_upload_leads_to_the_data_set_that_is_being_read(analyst_client, project) -> None:
    answer = analyst_client.post(
        reverse("projects:upload", args=["support"]),
        {"file": SimpleUploadedFile("june.jsonl", LINE), "name": ""},
    )
    assert answer.headers["Location"] == reverse("projects:dataset", args=["support", 1])
    dataset = Dataset.objects.get()
    assert (dataset.name, dataset.status) == ("june.jsonl", DatasetStatus.IMPORTING)
    html = analyst_client.get(answer.headers["Location"]).content.decode()
    assert "every 1s" in html
    assert "Look again" in html


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "Choose a file first"),
        ({"file": SimpleUploadedFile("empty.jsonl", b"")}, "The file is empty"),
    ],
)
def test_upload_refuses_in_words(analyst_client, project, files, words) -> None:
    answer = analyst_client.post(reverse("projects:upload", args=["support"]), files)
    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert not Dataset.objects.exists()


def test_data_set_while_it_is_read_is_a_fragment_for_htmx(analyst_client, project) -> None:
    dataset = Dataset.objects.create(project=project, number=1, name="June")
    Import.objects.create(
        dataset=dataset, filename="june.csv", size=200, bytes_read=50, accepted=7, rejected=2
    )
    html = page(analyst_client, "dataset", "support", 1, **HTMX)
    assert "<html" not in html
    assert 'id="dataset"' in html
    assert "25%" in html
    whole = page(analyst_client, "dataset", "support", 1)
    assert "<html" in whole
    assert 'id="dataset"' in whole


def test_ready_data_set_stops_asking(analyst_client, dataset) -> None:
    html = page(analyst_client, "dataset", "support", 1)
    assert "every 1s" not in html
    assert "Spanish" in html
    assert "c-0" in html
    assert f"{reverse('analyses:new', args=['support'])}?dataset=1" in html


def test_problems_show_line_and_reason_and_never_act(analyst_client, dataset) -> None:
    record = dataset.imports.get()
    record.rejected = 1
    record.save()
    ImportProblem.objects.create(
        record=record, line=1234, kind="json", reason="Not JSON.", excerpt="<img src=x onerror=1>"
    )
    html = page(analyst_client, "dataset", "support", 1)
    assert "1,234" in html
    assert "Not JSON." in html
    assert "<img" not in html


def test_failed_data_set_says_why(analyst_client, project) -> None:
    dataset = Dataset.objects.create(
        project=project, number=1, name="June", status=DatasetStatus.FAILED
    )
    Import.objects.create(dataset=dataset, filename="june.pdf", error="This is a PDF.")
    html = page(analyst_client, "dataset", "support", 1)
    assert "The file could not be read." in html
    assert "This is a PDF." in html


def test_empty_data_set_is_a_useful_page(analyst_client, project, make_dataset) -> None:
    make_dataset(project, size=0)
    html = page(analyst_client, "dataset", "support", 1)
    assert "No conversations in this file" in html
    assert "Analyse</a>" not in html


def test_opening_a_conversation_is_recorded_and_escaped(analyst, analyst_client, dataset) -> None:
    row = dataset.conversations.first()
    row.messages[0]["content"] = "<script>alert(1)</script>\n\n{{ settings.SECRET_KEY }}"
    row.save()
    html = page(analyst_client, "conversation", "support", 1, 0)
    assert "<script>alert" not in html
    assert "{{ settings.SECRET_KEY }}" in html
    event = AuditEvent.objects.get(action="conversation.opened")
    assert (event.actor, event.object_id) == (analyst, str(row.pk))


def test_query_counts_do_not_grow(
    analyst_client, workspace, project, make_dataset, django_assert_max_num_queries
) -> None:
    for number in range(8):
        made = Project.objects.create(workspace=workspace, name=f"P{number}", slug=f"p{number}")
        make_dataset(made, size=1)
        make_dataset(project, size=1)
    for name, args, limit in (
        ("home", [], 10),
        ("list", [], 10),
        ("overview", ["support"], 14),
        ("data", ["support"], 12),
        ("dataset", ["support", 1], 13),
        ("jobs", ["support"], 15),
        ("trash", ["support"], 13),
    ):
        page(analyst_client, name, *args)
        with django_assert_max_num_queries(limit):
            page(analyst_client, name, *args)


def test_fragment_pays_nothing_for_the_shell(
    analyst_client, project, django_assert_max_num_queries
) -> None:
    dataset = Dataset.objects.create(project=project, number=1, name="June")
    Import.objects.create(dataset=dataset, filename="june.csv", size=200, bytes_read=50)
    page(analyst_client, "dataset", "support", 1)
    with django_assert_max_num_queries(6):  # session, person, data set, import, problems, role
        page(analyst_client, "dataset", "support", 1, **HTMX)


def test_shell_shows_only_the_persons_own(
    analyst_client, project, other_project, other_owner_client
) -> None:
    assert "Secret" not in page(analyst_client, "home")
    assert "Support" not in page(other_owner_client, "home")


def test_other_pages_keep_the_project_looked_at_last(analyst_client, workspace, project) -> None:
    Project.objects.create(workspace=workspace, name="Newest", slug="newest")
    page(analyst_client, "overview", "support")
    html = analyst_client.get(reverse("accounts:profile")).content.decode()
    assert "<b>Support</b><small>Project" in html
