"""What the tests of providers' pages share: secrets to look for, a provider, and every page."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Workspace
from providers.models import ModelDeployment, Provider

KEY = "sk-a-very-secret-key-4f2c"
NEXT = "sk-the-one-that-follows-88aa"
PROXY = "http://proxyuser:proxypass77@proxy.example.org:3128"
VALUE = "tenant-value-5520"
TIMES = {
    "concurrency": "4",
    "connect_timeout": "2",
    "first_byte_timeout": "2",
    "total_timeout": "2",
    "enabled": "on",
}


@pytest.fixture
def provider(workspace: Workspace) -> Provider:
    """A provider inside this program, with a chat and an embedding model."""
    row = Provider.objects.create(
        workspace=workspace, name="Script", kind="scripted", preset="scripted"
    )
    ModelDeployment.objects.create(provider=row, model="scripted-1")
    ModelDeployment.objects.create(provider=row, model="scripted-embed", embeds=True)
    return row


def page(client: Client, name: str, *args: Any, **data: Any) -> str:
    """The words of a page."""
    answer = client.get(reverse(f"providers:{name}", args=args), data)
    assert answer.status_code == 200, (name, answer.status_code)
    return answer.content.decode()


def every_page(client: Client, provider: Provider) -> list[str]:
    """Every page that shows something of a provider, for whom may see it."""
    model = provider.deployments.first()
    assert model is not None
    urls = [
        reverse("providers:detail", args=[provider.pk]),
        reverse("providers:detail", args=[provider.pk]) + "?by=model",
        reverse("providers:edit", args=[provider.pk]),
        reverse("providers:prices", args=[provider.pk, model.pk]),
        *(reverse(f"providers:{name}") for name in ("list", "answers", "limits", "books", "new")),
    ]
    return [client.get(url).content.decode() for url in urls]
