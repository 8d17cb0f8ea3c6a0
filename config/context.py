"""What every page's shell shows: the project, its pages, what is running. Built on first use."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from django.db.models import Count
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.functional import SimpleLazyObject, cached_property

from accounts.models import Membership, Role, User
from accounts.selectors import current_membership
from accounts.services import reaches
from analyses.models import ENDED, AnalysisSession, SessionStatus
from core.figures import count_of, share
from projects.models import Project

THEMES = frozenset({"light", "dark"})
LISTED_PROJECTS = 12
LISTED_RUNNING = 4
LISTED_NEWS = 5
LAST_PROJECT = "project"  # session key: the project whose pages were looked at last


@dataclass(frozen=True)
class Link:
    """A place to go. ``under`` are the namespaces and names of pages that belong to it."""

    name: str
    icon: str
    href: str
    key: str = ""
    count: int | None = None
    current: bool = False


@dataclass(frozen=True)
class Running:
    """An analysis that has not ended, with how far it is."""

    name: str
    href: str
    project: str
    state: str
    percent: float
    tone: str


@dataclass(frozen=True)
class Row:
    """An analysis in a short list."""

    name: str
    href: str
    text: str
    status: str
    state: str


@dataclass(frozen=True)
class Group:
    """A titled part of the palette."""

    name: str
    links: list[Link]


@dataclass
class Shell:
    """Everything around the page itself."""

    user: User | None = None
    theme: str = ""
    membership: Membership | None = None
    project: Project | None = None
    projects: list[Project] = field(default_factory=list)
    datasets: int = 0
    running: list[Running] = field(default_factory=list)
    project_links: list[Link] = field(default_factory=list)
    workspace_links: list[Link] = field(default_factory=list)
    dock_links: list[Link] = field(default_factory=list)
    palette: list[Group] = field(default_factory=list)

    @property
    def may_change(self) -> bool:
        """Whether the person may upload and start things in this workspace."""
        return self.membership is not None and reaches(Role(self.membership.role), Role.ANALYST)

    @property
    def may_manage(self) -> bool:
        """Whether the person owns this workspace."""
        return self.membership is not None and reaches(Role(self.membership.role), Role.OWNER)

    @cached_property
    def news(self) -> list[Row]:
        """What ended lately in any project. One query, only on pages that show it."""
        assert self.user is not None
        ended = AnalysisSession.objects.for_user(self.user).filter(status__in=ENDED)
        return [_row(session) for session in ended.select_related("project")[:LISTED_NEWS]]

    @cached_property
    def project_analyses(self) -> list[Row]:
        """The newest analyses of this project. One query, only on pages that show it."""
        if self.project is None:
            return []
        rows = self.project.analyses.select_related("project")[:LISTED_NEWS]
        return [_row(session) for session in rows]


def shell(request: HttpRequest) -> dict[str, Any]:
    """Context processor. Costs nothing on fragments, which never look at it."""
    return {"shell": SimpleLazyObject(partial(build, request))}


def build(request: HttpRequest) -> Shell:
    """The shell of this request; four queries for members, none for strangers."""
    theme = request.COOKIES.get("theme", "")
    made = Shell(theme=theme if theme in THEMES else "")
    user = getattr(request, "user", None)
    if not isinstance(user, User):
        return made
    made.user = user
    made.membership = current_membership(user)
    made.projects = list(Project.objects.for_user(user)[:LISTED_PROJECTS])
    made.project = _current_project(request, user, made.projects)
    made.running = _running(user)
    if made.project is not None:
        made.project_links = _project_links(request, made)
    if made.membership is not None:
        made.workspace_links = _workspace_links(request, made.membership)
    made.dock_links = [*made.project_links[:3], *made.workspace_links[:1]]
    made.palette = _palette(made)
    return made


def _current_project(request: HttpRequest, user: User, listed: list[Project]) -> Project | None:
    """The project of the address, else the one looked at last, else the newest."""
    match = request.resolver_match
    kwargs = match.kwargs if match else {}
    slug = kwargs.get("slug") or request.session.get(LAST_PROJECT)
    found = next((project for project in listed if project.slug == slug), None)
    if found is None and slug:
        found = Project.objects.for_user(user).filter(slug=slug).first()
    if found is not None and request.session.get(LAST_PROJECT) != found.slug:
        request.session[LAST_PROJECT] = found.slug
    return found or next(iter(listed), None)


def _running(user: User) -> list[Running]:
    sessions = (
        AnalysisSession.objects.for_user(user)
        .exclude(status__in=ENDED)
        .select_related("project")[:LISTED_RUNNING]
    )
    return [_running_row(session) for session in sessions]


def _running_row(session: AnalysisSession) -> Running:
    part = session.read_count / session.total if session.total else 0.0
    moving = session.status in {SessionStatus.QUEUED, SessionStatus.RUNNING}
    return Running(
        name=session.name,
        href=_address("analyses:live", session.project.slug, session.number),
        project=session.project.name,
        state=share(round(part, 2)) if moving and part else session.get_status_display(),
        percent=100 * part,
        tone="" if moving else "warn",
    )


def _row(session: AnalysisSession) -> Row:
    page = "summary" if session.status == SessionStatus.COMPLETED else "live"
    return Row(
        name=session.name,
        href=_address(f"analyses:{page}", session.project.slug, session.number),
        text=f"{session.project.name} · {count_of(session.read_count, 'conversation')} read",
        status=session.status,
        state=session.get_status_display(),
    )


def _address(name: str, *args: object) -> str:
    """The address of a page, empty when this installation does not have it."""
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return ""


def _project_links(request: HttpRequest, made: Shell) -> list[Link]:
    assert made.project is not None
    slug = made.project.slug
    counts = Project.objects.filter(pk=made.project.pk).aggregate(
        datasets=Count("datasets", distinct=True), analyses=Count("analyses", distinct=True)
    )
    made.datasets = counts["datasets"]
    links = [
        Link("Overview", "home", _address("projects:overview", slug)),
        Link("Analyses", "chart-dots", _address("analyses:list", slug), "a", counts["analyses"]),
        Link("Data", "database", _address("projects:data", slug), "d", counts["datasets"]),
    ]
    return _mark([link for link in links if link.href], request.path)


def _workspace_links(request: HttpRequest, membership: Membership) -> list[Link]:
    role = Role(membership.role)
    links = []
    if reaches(role, Role.ANALYST):
        links.append(Link("Providers", "plug-connected", _address("providers:list"), "p"))
    if reaches(role, Role.OWNER):
        links.append(Link("Members", "users", _address("accounts:members")))
    return _mark([link for link in links if link.href], request.path)


def _mark(links: list[Link], path: str) -> list[Link]:
    """Mark the link with the longest address that the page's own begins with."""
    best = max((link for link in links if path.startswith(link.href)), key=_length, default=None)
    return [replace(link, current=link is best) for link in links]


def _length(link: Link) -> int:
    return len(link.href)


def _palette(made: Shell) -> list[Group]:
    """Where the person may go and what they may do, in groups."""
    groups = [Group("This project", [*made.project_links])]
    groups.append(
        Group(
            "Projects",
            [
                Link(project.name, "folder", _address("projects:overview", project.slug))
                for project in made.projects
            ],
        )
    )
    groups.append(
        Group("Running now", [Link(row.name, "chart-dots", row.href) for row in made.running])
    )
    groups.append(Group("Workspace", [*made.workspace_links]))
    groups.append(Group("Actions", _actions(made)))
    kept = [Group(group.name, [x for x in group.links if x.href]) for group in groups]
    return [group for group in kept if group.links]


def _actions(made: Shell) -> list[Link]:
    links = [Link("Your profile", "user", _address("accounts:profile"))]
    role = Role(made.membership.role) if made.membership else None
    if reaches(role, Role.ANALYST):
        links.append(Link("New project", "plus", _address("projects:new")))
        if made.project is not None:
            slug = made.project.slug
            links.append(Link("Upload a file", "upload", _address("projects:upload", slug)))
            links.append(Link("New analysis", "player-play", _address("analyses:new", slug)))
    if reaches(role, Role.OWNER):
        links.append(Link("Add a provider", "plug-connected", _address("providers:new")))
    return links
