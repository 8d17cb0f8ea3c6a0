"""What ``manage.py analyze`` sets up for itself: somebody to act, a place, a provider.

The person at the terminal owns the database, so these ask for no role.
"""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from django.conf import settings

from accounts.models import Membership, Role, User, Workspace
from accounts.services import ensure_workspace
from analyses import plan
from analyses.models import AnalysisSession, SessionStatus
from analyses.services.sessions import resume, start_session
from core import work
from core.errors import AppError, Conflict
from core.models import WorkStatus
from projects.models import Dataset, DatasetStatus, Import, Project
from projects.services import create_project, upload
from providers import keys
from providers.addresses import AddressRefused, check_base_url
from providers.models import ModelDeployment, Provider, ProviderKind
from templates_app.models import TemplateVersion

REACH_SECONDS = 5.0
"""How long a server may take to accept a connection before it counts as unreachable."""

EMAIL = "command-line@localhost.invalid"
PROJECT = "Command line"


class Plain(AppError):
    """Something wrong with what was typed; the sentence stands alone, for there is no form."""

    code, status = "plain", 422


@dataclass(frozen=True, slots=True)
class Target:
    """Where models are called; all empty for the local engine. ``batches``: the server at the base
    URL takes them, as the person at the terminal says."""

    provider: str = ""
    base_url: str = ""
    model: str = ""
    embedding_model: str = ""
    key: str = ""
    batches: bool = False


def actor(workspace: Workspace | None = None) -> User:
    """The person at the terminal, as a member of a workspace, by default the first."""
    user = User.objects.filter(email=EMAIL).first()
    if user is None:
        user = User.objects.create_user(EMAIL, None, name="Command line")
    Membership.objects.get_or_create(
        user=user, workspace=workspace or ensure_workspace(), defaults={"role": Role.ANALYST}
    )
    return user


def project(user: User) -> Project:
    """Where command line analyses are kept."""
    workspace = ensure_workspace()
    found = Project.objects.filter(workspace=workspace, name=PROJECT, created_by=user).first()
    return found or create_project(actor=user, workspace=workspace, name=PROJECT)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, by which it is recognised when the command is started again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_dataset(where: Project, digest: str) -> Dataset | None:
    """The data set read from this very file before."""
    return where.datasets.filter(status=DatasetStatus.READY, imports__sha256=digest).first()


def import_of(user: User, where: Project, path: Path, digest: str) -> Import:
    """The import of a file: one that a killed command left behind, or a new one."""
    left = Import.objects.filter(dataset__project=where, sha256=digest)
    work.reap(left)
    waiting = left.filter(status=WorkStatus.PENDING).first()
    if waiting is not None:
        return waiting
    return upload(actor=user, project=where, file=path, name=path.name, wake=False)


def imported(record: Import) -> Dataset:
    """The data set of an import that has ended. Raises ``Conflict`` with the reason if it failed."""
    dataset: Dataset = record.dataset
    dataset.refresh_from_db()
    if dataset.status == DatasetStatus.READY and record.status == WorkStatus.DONE:
        return dataset
    if record.error:
        raise Plain(why=record.error)
    raise Conflict(why="Another command is reading this file now. Wait until it has ended.")


def check_reachable(chat: ModelDeployment | None) -> None:
    """Open a connection to the provider, so that a wrong address is said at once.

    Raises ``Plain``. Asks nothing, costs nothing; left out where calls go through a proxy.
    """
    if chat is None or getproxies():
        return
    parts = urlsplit(chat.provider.base_url)
    if not parts.hostname:
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), timeout=REACH_SECONDS).close()
    except OSError as error:
        cause = error.strerror or str(error)
        raise Plain(
            why=f"Nothing answers at {chat.provider.base_url}: {cause.lower()}. "
            "Check the address and that the server runs."
        ) from error


def template(key: str) -> TemplateVersion:
    """The newest version of a template by its key or name. Raises ``Plain`` if unknown."""
    versions = TemplateVersion.objects.filter(template__workspace=None).order_by("-number")
    found = (
        versions.filter(template__key=key).first()
        or versions.filter(template__name__iexact=key).first()
    )
    if found is None:
        known = ", ".join(versions.values_list("template__key", flat=True).distinct())
        raise Plain(why=f"There is no template “{key}”. Known: {known}.")
    return found


def deployments(target: Target) -> tuple[ModelDeployment | None, ModelDeployment | None]:
    """Chat and embedding deployments for the target; ``(None, None)`` for the local engine."""
    workspace = ensure_workspace()
    if target.base_url:
        provider = _provider(workspace, target)
        embedding = None
        if target.embedding_model:
            embedding = _deployment(provider, target.embedding_model, embeds=True)
        chat = _deployment(provider, target.model, embeds=False)
        if target.batches and not chat.offers_batches:
            chat.offers_batches = True
            chat.save(update_fields=["offers_batches"])
        return chat, embedding
    if target.provider:
        return _named(workspace, target.provider)
    return None, None


def _provider(workspace: Workspace, target: Target) -> Provider:
    try:
        address = check_base_url(target.base_url, allow_private=True)
    except AddressRefused as error:
        raise Plain(why=error.message) from error
    provider, _ = Provider.objects.get_or_create(
        workspace=workspace,
        name=f"Command line: {address}"[:80],
        defaults={"kind": ProviderKind.OPENAI, "base_url": address},
    )
    provider.key_encrypted = keys.encrypt(target.key, settings.ENCRYPTION_KEYS)
    provider.key_hint = keys.hint(target.key)
    provider.save(update_fields=["key_encrypted", "key_hint"])
    return provider


def _deployment(provider: Provider, model: str, *, embeds: bool) -> ModelDeployment:
    found, _ = ModelDeployment.objects.get_or_create(provider=provider, model=model, embeds=embeds)
    return found


def _named(
    workspace: Workspace, name: str
) -> tuple[ModelDeployment | None, ModelDeployment | None]:
    provider = Provider.objects.filter(workspace=workspace, name__iexact=name).first()
    if provider is None:
        known = ", ".join(
            Provider.objects.filter(workspace=workspace).values_list("name", flat=True)
        )
        raise Plain(why=f"There is no provider “{name}”. Known: {known or 'none yet'}.")
    offered = provider.deployments.filter(retired=False)
    chat = offered.filter(embeds=False).first()
    if chat is None:
        raise Plain(why=f"The provider “{name}” offers no chat model.")
    return chat, offered.filter(embeds=True).first()


def session_for(
    user: User,
    dataset: Dataset,
    version: TemplateVersion,
    chat: ModelDeployment | None,
    embedding: ModelDeployment | None,
    *,
    limit: int | None,
    concurrency: int | None,
    fresh: bool,
    by_route: bool = False,
    batches: bool = False,
) -> tuple[AnalysisSession, bool]:
    """The analysis of this file with these settings, and whether it existed before.

    With ``by_route`` the portal's routes say who answers, and no model is named; with ``batches``
    conversations are read in the provider's batches. An earlier one goes on where it stopped
    unless ``fresh`` asks for a new beginning.
    """
    identity = plan.identity_of(
        dataset.pk,
        version.pk,
        chat and chat.pk,
        embedding and embedding.pk,
        limit,
        plan.PIPELINE_VERSION,
        *(["by route"] if by_route else []),
        *(["batches"] if batches else []),
    )
    earlier = dataset.project.analyses.filter(params__identity=identity).order_by("-number").first()
    if earlier and not fresh and earlier.status != SessionStatus.CANCELLED:
        return _continued(user, earlier, concurrency), True
    session = start_session(
        actor=user,
        project=dataset.project,
        dataset=dataset,
        template_version=version,
        chat=chat,
        embedding=embedding,
        by_route=by_route,
        name=dataset.name,
        limit=limit,
        concurrency=concurrency,
        params={"identity": identity, "bulk": batches},
        wake=False,
    )
    return session, False


def _continued(user: User, session: AnalysisSession, concurrency: int | None) -> AnalysisSession:
    """Lift a pause or a block; calls at once may differ from the first start."""
    if concurrency:
        session.params = {**session.params, "concurrency": concurrency}
        session.save(update_fields=["params"])
    stopped = (
        SessionStatus.PAUSED,
        SessionStatus.PAUSING,
        SessionStatus.BLOCKED,
        SessionStatus.FAILED,
    )
    if session.status in stopped:
        return resume(actor=user, session=session)
    return session
