"""What every page's shell shows: the project, its pages, what is running.

Everything is read on first use, so a fragment pays only for what it looks at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Count, Q
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.functional import cached_property

from accounts.models import Membership, Role, User
from accounts.selectors import current_membership
from accounts.services import reaches
from analyses.models import ENDED, AnalysisSession, SessionStatus
from core.figures import count_of
from projects.models import Project
from projects.selectors.jobs import Entry, in_work

THEMES = frozenset({"light", "dark"})
LISTED_PROJECTS = 12
LISTED_RUNNING = 4
LISTED_NEWS = 5
LAST_PROJECT = "project"  # session key: the project whose pages were looked at last
WORK = frozenset({"clock", "trash"})  # icons of the pages about work, below those of the project
MOVING = frozenset({"queued", "running", "pending", "leased"})
ON_PHONE = 4  # links in the bottom bar, besides "More"


@dataclass(frozen=True)
class Link:
    """A place to go. ``key`` is pressed after G; ``also`` are addresses of pages that belong to it."""

    name: str
    icon: str
    href: str
    key: str = ""
    count: int | None = None
    current: bool = False
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Running:
    """An analysis that has not ended, with how far it is."""

    name: str
    href: str
    project: str
    state: str
    percent: int
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


def shell(request: HttpRequest) -> dict[str, Any]:
    """Context processor. Costs nothing until a template looks at it."""
    return {"shell": Shell(request)}


class Shell:
    """Everything around the page itself: five queries in all for a member."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @cached_property
    def theme(self) -> str:
        """The person's choice in this browser, empty to follow the system."""
        theme = self._request.COOKIES.get("theme", "")
        return theme if theme in THEMES else ""

    @cached_property
    def user(self) -> User | None:
        """The signed-in person."""
        user = getattr(self._request, "user", None)
        return user if isinstance(user, User) else None

    @cached_property
    def membership(self) -> Membership | None:
        """The person's place in the workspace. One query."""
        return current_membership(self.user) if self.user else None

    def _reaches(self, role: Role) -> bool:
        return self.membership is not None and reaches(Role(self.membership.role), role)

    @property
    def may_change(self) -> bool:
        """Whether the person may upload and start things in this workspace."""
        return self._reaches(Role.ANALYST)

    @property
    def may_manage(self) -> bool:
        """Whether the person owns this workspace."""
        return self._reaches(Role.OWNER)

    @cached_property
    def projects(self) -> list[Project]:
        """The newest projects, for the switcher. One query."""
        return list(Project.objects.for_user(self.user)[:LISTED_PROJECTS]) if self.user else []

    @cached_property
    def project(self) -> Project | None:
        """The project of the address, else the one looked at last, else the newest."""
        match = self._request.resolver_match
        slug = match.kwargs.get("slug") if match else None
        slug = slug or self._request.session.get(LAST_PROJECT)
        found = next((row for row in self.projects if row.slug == slug), None)
        if found is None and slug and self.user:
            found = Project.objects.for_user(self.user).filter(slug=slug).first()
        if found is not None and self._request.session.get(LAST_PROJECT) != found.slug:
            self._request.session[LAST_PROJECT] = found.slug
        return found or next(iter(self.projects), None)

    @cached_property
    def _counts(self) -> dict[str, int]:
        if self.project is None:
            return {"datasets": 0, "analyses": 0}
        return Project.objects.filter(pk=self.project.pk).aggregate(
            datasets=Count("datasets", filter=Q(datasets__deleted_at=None), distinct=True),
            analyses=Count(
                "analyses",
                filter=Q(analyses__deleted_at=None, analyses__dataset__deleted_at=None),
                distinct=True,
            ),
        )

    @property
    def datasets(self) -> int:
        """How many data sets the project has."""
        return self._counts["datasets"]

    @cached_property
    def running(self) -> list[Running]:
        """Analyses, jobs and imports that have not ended, newest first. Three queries."""
        if self.user is None:
            return []
        entries = in_work(Project.objects.for_user(self.user), limit=LISTED_RUNNING)
        return [_running(entry) for entry in entries]

    @cached_property
    def news(self) -> list[Row]:
        """What ended lately in any project. One query, only on pages that show it."""
        if self.user is None:
            return []
        ended = AnalysisSession.objects.for_user(self.user).filter(status__in=ENDED)
        return [_row(row) for row in ended.select_related("project")[:LISTED_NEWS]]

    @cached_property
    def project_analyses(self) -> list[Row]:
        """The newest analyses of this project. One query, only on pages that show it."""
        if self.project is None:
            return []
        rows = AnalysisSession.objects.kept().filter(project=self.project)
        rows = rows.select_related("project")
        return [_row(row) for row in rows[:LISTED_NEWS]]

    @property
    def project_links(self) -> list[Link]:
        """The pages of the project."""
        return [link for link in self._pages if link.icon not in WORK]

    @property
    def work_links(self) -> list[Link]:
        """Where long work and deleted things are."""
        return [link for link in self._pages if link.icon in WORK]

    @cached_property
    def _pages(self) -> list[Link]:
        if self.project is None:
            return []
        slug, counts = self.project.slug, self._counts
        analyses = _address("analyses:list", slug)
        return self._mark(
            Link("Overview", "home", _address("projects:overview", slug)),
            Link("Analyses", "chart-dots", analyses, "a", counts["analyses"]),
            Link("Data", "database", _address("projects:data", slug), "d", counts["datasets"]),
            Link("Jobs", "clock", _address("projects:jobs", slug), "j"),
            Link("Trash", "trash", _address("projects:trash", slug)),
        )

    @cached_property
    def workspace_links(self) -> list[Link]:
        """The pages of the workspace that the person may open."""
        links = []
        if self.may_change:
            links.append(Link("Providers", "plug-connected", _address("providers:list"), "p"))
        if self.may_manage:
            links.append(Link("Members", "users", _address("accounts:members")))
            tabs = (_address("providers:answers"), _address("providers:books"))
            links.append(Link("Limits", "hand-stop", _address("providers:limits"), also=tabs))
        return self._mark(*links)

    @property
    def dock_links(self) -> list[Link]:
        """What the phone's bottom bar holds besides "More"."""
        return [*self.project_links, *self.workspace_links][:ON_PHONE]

    def _mark(self, *links: Link) -> list[Link]:
        """Mark the link with the longest address that the page's own begins with."""
        path = self._request.path
        here = [
            link
            for link in links
            if link.href and path.startswith((link.href, *filter(None, link.also)))
        ]
        best = max(here, key=lambda link: len(link.href), default=None)
        return [replace(link, current=link is best) for link in links if link.href]

    @cached_property
    def palette(self) -> list[Group]:
        """Where the person may go and what they may do, in groups."""
        groups = [
            Group("This project", [*self.project_links, *self.work_links]),
            Group("Projects", [_project_link(row) for row in self.projects]),
            Group("Running now", [Link(row.name, "chart-dots", row.href) for row in self.running]),
            Group("Workspace", self.workspace_links),
            Group("Actions", [link for link in self._actions() if link.href]),
        ]
        return [group for group in groups if group.links]

    def _actions(self) -> list[Link]:
        links = [Link("Your profile", "user", _address("accounts:profile"))] if self.user else []
        if self.may_change:
            links.append(Link("New project", "plus", _address("projects:new")))
        if self.may_change and self.project is not None:
            slug = self.project.slug
            links.append(Link("Upload a file", "upload", _address("projects:upload", slug)))
            links.append(Link("New analysis", "player-play", _address("analyses:new", slug)))
        if self.may_manage:
            links.append(Link("Add a provider", "plug-connected", _address("providers:new")))
        return links


def _project_link(project: Project) -> Link:
    return Link(project.name, "folder", _address("projects:overview", project.slug))


def _running(entry: Entry) -> Running:
    percent = int(entry.percent or 0)
    moving = entry.state in MOVING
    return Running(
        name=entry.name,
        href=entry.href,
        project=entry.project,
        state=f"{percent}%" if moving and percent else entry.state_text,
        percent=percent,
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
