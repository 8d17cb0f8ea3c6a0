"""A person at the pages, as a process that lives through every kill: ``python -m`` this module.

Reads one JSON object a line and answers with one. It calls the services that the pages call.
"""

import json
import sys
from decimal import Decimal

import django

django.setup()

from accounts.models import Role, User  # noqa: E402  # needs the set-up above
from accounts.services import claim_first_owner, first_owner_link  # noqa: E402
from analyses import services  # noqa: E402
from analyses.models import AnalysisSession  # noqa: E402
from core.errors import AppError  # noqa: E402
from projects.models import Project  # noqa: E402
from providers.models import Provider  # noqa: E402
from providers.services import ProviderInput, save_provider  # noqa: E402
from templates_app.models import TemplateVersion  # noqa: E402

EMAIL = "ann@example.org"


def owner():
    found = User.objects.filter(memberships__role=Role.OWNER).first()
    if found is None:
        token = first_owner_link().rstrip("/").rpartition("/")[2]
        found = claim_first_owner(
            token=token, name="Ann", email=EMAIL, password="correct horse bat"
        )
    return User.objects.get(email=EMAIL)


def begin(number, url, concurrency, seconds, reconciles, limit):
    """A provider with a model of its own, so that no earlier answer fits, and an analysis."""
    actor = owner()
    project = Project.objects.get(is_sample=True)
    provider = save_provider(
        actor=actor,
        workspace=project.workspace,
        given=ProviderInput(
            name=f"Script {number}",
            base_url=url,
            key="sk-script",
            chat_model=f"script-{number}",
            embedding_model=f"vectors-{number}",
            price_in=Decimal(1),
            price_out=Decimal(2),
            embedding_price=Decimal(1),
            concurrency=concurrency,
            first_byte_timeout=seconds,
            total_timeout=seconds,
        ),
    )
    Provider.objects.filter(pk=provider.pk).update(reconciles=reconciles)
    session = services.start_session(
        actor=actor,
        project=project,
        dataset=project.datasets.get(),
        template_version=TemplateVersion.objects.filter(template__key="customer-support")
        .order_by("-number")
        .first(),
        chat=provider.deployments.get(embeds=False),
        embedding=provider.deployments.get(embeds=True),
        concurrency=concurrency,
        limit=limit,
    )
    return session.pk


def wish(session, what):
    """Pause, resume, or try again what failed."""
    row = AnalysisSession.objects.get(pk=session)
    getattr(services, what)(actor=owner(), session=row)
    return AnalysisSession.objects.get(pk=session).status


DOES = {"begin": begin, "wish": wish}

for line in sys.stdin:
    order = json.loads(line)
    try:
        answer = {"ok": DOES[order.pop("do")](**order)}
    except AppError as error:
        answer = {"refused": error.text}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
