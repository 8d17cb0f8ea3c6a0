"""Signing in, the links that create accounts, and a person's own page."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse

from accounts import services
from accounts.models import ApiKey, Role, User
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db
SIGN_IN = "/sign-in/"


def sign_in(client: Client, email: str, password: str = PASSWORD, **more: str):
    return client.post(SIGN_IN, {"username": email, "password": password, **more})


def test_signs_in_whatever_the_case_of_the_address(client, owner) -> None:
    answer = sign_in(client, owner.email.upper())
    assert answer.headers["Location"] == "/"
    assert client.get("/").status_code == 200


def test_wrong_password_says_so_and_keeps_the_address(client, owner) -> None:
    answer = sign_in(client, owner.email, "wrong")
    assert answer.status_code == 200
    assert "do not belong together" in answer.content.decode()
    assert owner.email in answer.content.decode()


@pytest.mark.parametrize(
    ("wanted", "followed"),
    [
        ("/p/support/", "/p/support/"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("javascript:alert(1)", "/"),
    ],
)
def test_next_stays_on_this_site(client, owner, wanted, followed) -> None:
    assert sign_in(client, owner.email, next=wanted).headers["Location"] == followed


def test_repeated_failures_close_the_door_even_to_the_right_password(client, owner) -> None:
    answers = [sign_in(client, owner.email, "wrong") for _ in range(6)]
    assert answers[-1].status_code == 429
    assert "Too many tries" in answers[-1].content.decode()
    assert sign_in(client, owner.email).status_code == 429
    assert "_auth_user_id" not in client.session


def test_sign_out_is_a_post(owner_client) -> None:
    assert owner_client.get(reverse("accounts:sign-out")).status_code == 405
    owner_client.post(reverse("accounts:sign-out"))
    assert owner_client.get("/").status_code == 302


def test_welcome_creates_the_owner_and_signs_in(client) -> None:
    link = services.first_owner_link()
    assert client.get(link).status_code == 200
    details = {"name": "Mara", "email": "mara@example.org"}
    weak = client.post(link, {**details, "password": "password12"})
    assert weak.status_code == 422
    assert "too common" in weak.content.decode()
    answer = client.post(link, {**details, "password": "seven grey herons"})
    assert answer.headers["Location"] == "/"
    assert client.get("/").context["user"].email == "mara@example.org"
    assert Client().get(link).status_code == 404


def test_pages_with_secrets_are_not_kept_by_browsers(client) -> None:
    answer = client.get(services.first_owner_link())
    assert "no-store" in answer.headers["Cache-Control"]
    # The token is in the address, which must not travel to other sites.
    assert answer.headers["Referrer-Policy"] == "same-origin"


def test_invitation_page_sets_the_password_and_signs_in(owner_client, workspace) -> None:
    answer = owner_client.post(
        reverse("accounts:add-member"), {"email": "New@example.org", "role": "analyst"}
    )
    link = re.search(r"http://testserver(/invitation/[^<\"]+)", answer.content.decode())[1]
    visitor = Client()
    assert "new@example.org" in visitor.get(link).content.decode()
    assert visitor.post(link, {"name": "New", "password": "seven grey herons"}).status_code == 302
    user = User.objects.get(email="new@example.org")
    assert services.role_of(user, workspace) == Role.ANALYST
    assert visitor.get("/").status_code == 200
    assert Client().get(link).status_code == 404


def test_a_used_link_says_so_and_where_to_go(client) -> None:
    old, new = services.first_owner_link(), services.first_owner_link()
    page = client.get(old)
    assert page.status_code == 404
    assert "This link was used or replaced" in page.content.decode()
    assert "manage.py setup" in page.content.decode()
    assert SIGN_IN not in page.content.decode(), "nobody can sign in yet"
    details = {"name": "Mara", "email": "mara@example.org", "password": "seven grey herons"}
    client.post(new, details)
    for link in (new, reverse("accounts:invitation", args=["MQ", "used"])):
        page = Client().get(link)
        assert page.status_code == 404
        assert "This link was used or replaced" in page.content.decode()
        assert SIGN_IN in page.content.decode()


def test_key_is_on_the_page_once(analyst_client) -> None:
    answer = analyst_client.post(
        reverse("accounts:create-key"), {"key_name": "Nightly", "role": "viewer"}
    )
    secret = re.search(r"oc_[\w-]{30,}", answer.content.decode())[0]
    assert services.authenticate(secret) is not None
    page = analyst_client.get(reverse("accounts:profile")).content.decode()
    assert secret not in page
    assert ApiKey.objects.get().prefix in page


def test_names_are_escaped(owner, owner_client) -> None:
    owner_client.post(reverse("accounts:profile"), {"name": "<script>alert(1)</script>"})
    page = owner_client.get("/").content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_theme_is_remembered_and_drawn_by_the_server(client, owner_client) -> None:
    owner_client.post(reverse("accounts:theme"), {"theme": "dark", "next": "/projects/"})
    assert 'data-theme="dark"' in owner_client.get("/").content.decode()
    owner_client.post(reverse("accounts:theme"), {"theme": "system"})
    assert "data-theme=" not in owner_client.get("/").content.decode()
    owner_client.post(reverse("accounts:theme"), {"theme": '"><script>'})
    assert owner_client.cookies["theme"].value == "system"


def test_members_page_needs_a_fixed_number_of_queries(
    owner, owner_client, workspace, django_assert_max_num_queries
) -> None:
    for number in range(30):
        services.invite(
            actor=owner, workspace=workspace, email=f"p{number}@example.org", role=Role.VIEWER
        )
    with django_assert_max_num_queries(10):
        assert owner_client.get(reverse("accounts:members")).status_code == 200


@pytest.mark.parametrize("path", ["/", "/sign-in/", "/nowhere/"])
def test_pages_hold_no_inline_script_or_handler(client, path) -> None:
    page = client.get(path, follow=True).content.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"\son\w+=", page)
    assert "<style" not in page


def test_sign_in_tells_where_the_first_link_is(client, owner) -> None:
    assert "Nobody owns" not in client.get(SIGN_IN).content.decode()
    owner.memberships.all().delete()
    assert "Nobody owns" in client.get(SIGN_IN).content.decode()


def test_removing_asks_first_and_works_without_scripts(owner_client, analyst) -> None:
    html = owner_client.get(reverse("accounts:members")).content.decode()
    pk = analyst.memberships.get().pk
    assert f'id="remove-{pk}"' in html
    owner_client.post(reverse("accounts:change-member", args=[pk]), {"remove": "1"})
    assert not analyst.memberships.exists()
