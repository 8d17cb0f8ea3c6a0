"""A question to a route: the slow first model is overtaken, a failed one is named, nobody pays
unseen, and nothing is kept."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User, Workspace
from providers.clients.scripted import Act, Scenario, ScriptedClient, Step
from providers.gateway import hedge
from providers.models import LlmAttempt, LlmCall, ModelDeployment, Provider, SpendLimit
from providers.runner import routed

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous"),
]
URL = "/providers/routes/ask/try/"
HTMX = {"HX-Request": "true"}
SOON = 0.2


class ByModel(ScriptedClient):
    """Plays a scenario of its own for each model."""

    def __init__(self, **scenarios: Scenario) -> None:
        super().__init__(Scenario())
        self._each = {name: ScriptedClient(one) for name, one in scenarios.items()}

    async def chat(self, deployment: Any, wire: Any) -> Any:
        return await self._each[deployment.model].chat(deployment, wire)


@pytest.fixture
def models(workspace: Workspace) -> list[ModelDeployment]:
    """Two providers with a priced model each."""
    found = []
    for name in ("one", "two"):
        row = Provider.objects.create(
            workspace=workspace, name=f"P-{name}", kind="scripted", preset="scripted"
        )
        made = ModelDeployment.objects.create(
            provider=row, model=name, price_in=Decimal(1), price_out=Decimal(2)
        )
        found.append(made)
    return found


def play(monkeypatch: pytest.MonkeyPatch, **scenarios: Scenario) -> None:
    monkeypatch.setattr(hedge, "LONGEST_WAIT", SOON)
    monkeypatch.setattr(
        "providers.runner.gateways.open_clients", lambda count: {"scripted": ByModel(**scenarios)}
    )


def down() -> Scenario:
    return Scenario(mix=(Step(act=Act.SERVER_ERROR),))


def ask(client: Client, **form: Any) -> Any:
    return client.post(URL, {"text": "What is <b>this</b>?", **form}, headers=HTMX)


def api(client: Client, purpose: str = "ask", text: str = "What is this?") -> Any:
    return client.post(
        f"/api/v1/routes/{purpose}/try", {"text": text}, content_type="application/json"
    )


def test_a_slow_first_model_is_overtaken_and_both_are_paid(
    analyst_client: Client,
    analyst: User,
    models: list[ModelDeployment],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    play(monkeypatch, one=Scenario(latency=20.0), two=Scenario())
    html = ask(analyst_client).content.decode()
    assert "P-two · two answered after" in html
    assert "A second model was asked after 0." in html
    assert "both are paid: $" in html
    assert "Asked before" not in html
    won = LlmCall.objects.get(state="ok")
    assert (won.model, won.user_id, won.purpose) == ("two", analyst.pk, "ask")
    lost = LlmAttempt.objects.get()
    assert (lost.model, lost.in_doubt) == ("one", True)
    assert not LlmCall.objects.exclude(response="").exists(), "nothing of it is kept"
    said = api(analyst_client).json()
    assert (said["model"], said["hedged"], said["failed"]) == ("two", True, [])
    paid = LlmCall.objects.filter(state="ok").latest("pk").cost
    spent = LlmAttempt.objects.latest("pk").cost
    assert paid is not None
    assert spent is not None
    assert said["extra"] == pytest.approx(float(spent), abs=1e-7)
    assert said["cost"] == pytest.approx(float(paid + spent), abs=1e-7)
    assert said["hedged_after"] >= SOON / 2


def test_a_first_model_that_is_down_is_named_and_the_second_answers(
    analyst_client: Client, models: list[ModelDeployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, one=down(), two=Scenario())
    said = api(analyst_client).json()
    assert (said["provider"], said["hedged"], said["extra"]) == ("P-two", False, 0.0)
    assert said["answer"]
    assert [(one["provider"], one["model"]) for one in said["failed"]] == [("P-one", "one")]
    assert said["failed"][0]["text"].startswith("The provider reported a fault.")
    html = ask(analyst_client).content.decode()
    assert "P-two · two answered after" in html


def test_without_scripts_a_whole_page_says_who_failed_and_why(
    analyst_client: Client, models: list[ModelDeployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Scenario(mix=(Step(act=Act.UNAUTHORIZED),))
    play(monkeypatch, one=gone, two=gone)
    answer = analyst_client.post(URL, {"text": "<script>alert(1)</script>"})
    html = answer.content.decode()
    assert answer.status_code == 502
    assert "No model of this route answered." in html
    assert "P-one · one: The provider refused the API key." in html
    assert "&lt;script&gt;alert(1)" in html
    assert "<script>alert" not in html
    refused = api(analyst_client)
    assert refused.status_code == 502
    assert refused.json()["code"] == "unanswered"


def test_the_answer_is_shown_as_text(
    analyst_client: Client, models: list[ModelDeployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, one=Scenario(), two=Scenario())
    monkeypatch.setattr(
        "providers.clients.plausible.answer", lambda *how: {"answer": "<img src=x onerror=y>"}
    )
    html = ask(analyst_client).content.decode()
    assert "&lt;img src=x onerror=y&gt;" in html
    assert "<img" not in html


def test_a_limit_is_respected(
    analyst_client: Client,
    workspace: Workspace,
    models: list[ModelDeployment],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    play(monkeypatch, one=Scenario(), two=Scenario())
    SpendLimit.objects.create(
        workspace=workspace,
        scope=f"workspace:{workspace.pk}",
        period="day",
        amount=Decimal("0.00000001"),
    )
    html = ask(analyst_client).content.decode()
    assert "limit" in html
    assert "answered after" not in html
    assert not LlmCall.objects.filter(sends__gt=0).exists()


def test_only_analysts_and_purposes_answered_in_words(
    analyst_client: Client, viewer_client: Client, models: list[ModelDeployment]
) -> None:
    assert ask(viewer_client).status_code == 403
    assert api(viewer_client).status_code == 403
    assert analyst_client.get("/providers/routes/embeddings/try/").status_code == 404
    assert api(analyst_client, purpose="embeddings").status_code == 422
    assert "1 to 2,000 characters" in ask(analyst_client, text=" ").content.decode()
    assert api(analyst_client, text="x" * 2_001).status_code == 422
    html = analyst_client.get(reverse("providers:list")).content.decode()
    assert 'action="/providers/routes/facets/try/"' in html
    html = analyst_client.get(reverse("providers:list"), {"purpose": "embeddings"}).content.decode()
    assert "Try this route" not in html


def test_a_person_waits_no_longer_than_the_providers_times(
    analyst_client: Client, models: list[ModelDeployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Scenario(latency=20.0)
    play(monkeypatch, one=slow, two=slow)
    monkeypatch.setattr(routed, "MOST_SECONDS", 0.6)
    assert "did not answer in time" in ask(analyst_client).content.decode()
    assert json.loads(api(analyst_client).content)["code"] == "unanswered"
