"""Health addresses, and the headers of every page."""

from datetime import timedelta

import pytest
from django.utils import timezone

from core.models import Beat


def test_live_needs_no_database(client):
    response = client.get("/live")
    assert response.status_code == 200
    assert response.json() == {"status": "live"}


@pytest.mark.django_db
@pytest.mark.parametrize(("age", "status"), [(None, 503), (5, 200), (300, 503)])
def test_ready_needs_a_worker_that_took_a_task_lately(client, age, status):
    if age is not None:
        Beat.objects.create(name="canary:a", beat_at=timezone.now() - timedelta(seconds=age))
    response = client.get("/ready")
    assert response.status_code == status
    assert response.json()["database"] is True
    assert response.json()["workers"] is (status == 200)


def test_health_is_read_only(client):
    assert client.post("/live").status_code == 405


def test_pages_load_and_run_nothing_from_elsewhere(client):
    headers = client.get("/live").headers
    policy = {
        name: sources
        for name, *sources in (
            part.split() for part in headers["Content-Security-Policy"].split(";")
        )
    }
    assert policy["script-src"] == ["'self'"]
    assert policy["style-src"] == ["'self'"]
    assert policy["default-src"] == ["'self'"]
    assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == ["'none'"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]
    assert headers["Cache-Control"] == "private, no-cache"


@pytest.mark.django_db
def test_only_the_admin_may_evaluate_scripts(client):
    page = client.get("/admin/login/")
    assert page.status_code == 200
    assert "'unsafe-eval'" in page.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]


def test_foreign_host_names_are_refused(client):
    assert client.get("/live", headers={"host": "evil.example"}).status_code == 400
