"""The operators' admin: every list opens, searches and stays cheap, and nothing is editable."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from accounts.models import User
from core.admin import ReadOnlyAdmin
from projects.models import Dataset

pytestmark = pytest.mark.django_db
OURS = {"core", "accounts", "providers", "projects", "templates_app", "analyses"}
PAGES = [
    (model, page) for model, page in admin.site._registry.items() if model._meta.app_label in OURS
]
NAMES = [model._meta.label for model, _ in PAGES]


@pytest.fixture
def operator(db: None) -> Client:
    user = User.objects.create_superuser("op@example.org", "x")
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.mark.parametrize(("model", "page"), PAGES, ids=NAMES)
def test_list_opens_and_searches(
    model, page, operator, dataset: Dataset, django_assert_max_num_queries
) -> None:
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    with django_assert_max_num_queries(20):
        assert operator.get(url).status_code == 200
    if page.search_fields:
        answer = operator.get(url, {"q": "june"})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("model", "page"),
    [row for row in PAGES if isinstance(row[1], ReadOnlyAdmin)],
    ids=[name for name, row in zip(NAMES, PAGES, strict=True) if isinstance(row[1], ReadOnlyAdmin)],
)
def test_rows_can_be_read_and_not_changed(
    model, page, operator, dataset: Dataset, rf, admin_user
) -> None:
    request = rf.get("/")
    request.user = admin_user
    assert page.has_view_permission(request)
    assert not page.has_add_permission(request)
    assert not page.has_change_permission(request)
    assert not page.has_delete_permission(request)
    row = model.objects.first()
    if row is not None:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
        answer = operator.get(reverse(name, args=[row.pk]))
        assert answer.status_code == 200
        assert 'name="_save"' not in answer.content.decode()


def test_secrets_and_conversations_stay_out() -> None:
    shown = {
        (model._meta.label, field)
        for model, page in PAGES
        for field in {f.name for f in model._meta.fields} - set(page.exclude or ())
        if not page.fields or field in page.fields
    }
    for hidden in (
        ("providers.Provider", "key_encrypted"),
        ("providers.LlmCall", "response"),
        ("accounts.ApiKey", "digest"),
        ("accounts.User", "password"),
    ):
        assert hidden not in shown
    assert "projects.Conversation" not in NAMES
