"""``manage.py analysis``: see how analyses stand, and pause, resume, stop or retry them."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from ninja.responses import NinjaJSONEncoder
from typing_extensions import override

from accounts.models import User
from analyses import services
from analyses.models import ENDED, AnalysisSession, Outcome, SessionStatus
from analyses.schemas import SessionDetail, SessionOut
from analyses.selectors.controls import possible
from analyses.selectors.notices import notice_of
from analyses.services import command_line
from core import figures
from core.errors import AppError, Conflict

REFUSED = 2
"""Exit status when the state does not allow it."""

BLOCKED = 3
"""Exit status when the analysis is blocked or failed and needs somebody."""

LOOK_EVERY = 1.0
"""Seconds between looks while waiting."""

RESTS = ENDED | {SessionStatus.BLOCKED, SessionStatus.PAUSED}
"""States in which waiting has an end."""

Wish = Callable[..., AnalysisSession]
WISHES: dict[str, Wish] = {
    "pause": services.pause,
    "resume": services.resume,
    "stop": services.cancel,
    "retry": services.retry_failed,
}


class Command(BaseCommand):
    """The same wishes as on the live page and in the API, for a terminal."""

    help = "List analyses, tell how one stands, and pause, resume, stop or retry it."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command's arguments and options."""
        parser.add_argument("action", choices=["list", "status", *WISHES])
        parser.add_argument("project", nargs="?", default="", metavar="PROJECT")
        parser.add_argument("number", nargs="?", type=int, metavar="NUMBER")
        parser.add_argument(
            "--conversation",
            action="append",
            metavar="ID",
            help="with retry: only this conversation that failed; may be given again",
        )
        parser.add_argument("--json", action="store_true", help="print what the API answers")
        parser.add_argument(
            "--wait", action="store_true", help="until it has ended, is paused or is blocked"
        )

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        """Do it; refusals and blocks have an exit status of their own."""
        if options["action"] == "list":
            self._list(_all(options["project"]), as_json=options["json"])
            return
        session = _one(options["project"], options["number"])
        if options["action"] in WISHES:
            session = self._wish(session, _wish_of(session, options))
        if options["wait"]:
            session = self._wait(session)
        self._tell(session, as_json=options["json"])
        if session.status in (SessionStatus.BLOCKED, SessionStatus.FAILED):
            raise CommandError(f"{_word(session)}. {_why(session)}", returncode=BLOCKED)

    def _wish(self, session: AnalysisSession, wish: Wish) -> AnalysisSession:
        actor: User = command_line.actor(session.project.workspace)
        try:
            return wish(actor=actor, session=session)
        except Conflict as error:
            session.refresh_from_db()
            text = f"{error.data.get('why', error.text)} {possible(session)}".strip()
            raise CommandError(f"{_word(session)}. {text}", returncode=REFUSED) from error
        except AppError as error:
            raise CommandError(
                str(error.data.get("why") or error.text), returncode=REFUSED
            ) from error

    def _wait(self, session: AnalysisSession) -> AnalysisSession:
        said = ""
        while session.status not in RESTS:
            line = f"{_word(session)}: {_far(session)}"
            if line != said:
                self.stderr.write(line)
                said = line
            time.sleep(LOOK_EVERY)
            session.refresh_from_db()
        return session

    def _list(self, rows: Iterable[AnalysisSession], *, as_json: bool) -> None:
        if as_json:
            found = [{"project": row.project.slug, **_shape(SessionOut, row)} for row in rows]
            self.stdout.write(_json(found))
            return
        lines = [
            (row.project.slug, str(row.number), _word(row), _far(row), _cost(row), row.name)
            for row in rows
        ]
        widths = [max((len(line[at]) for line in lines), default=0) for at in range(5)]
        for line in lines:
            cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
            self.stdout.write("  ".join([*cells, line[5]]))
        if not lines:
            self.stdout.write("There is no analysis.")

    def _tell(self, session: AnalysisSession, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(_json(_shape(SessionDetail, session)))
            return
        self.stdout.write(f"{session.name}: {_word(session).lower()}, {_far(session)}.")
        self.stdout.write(f"Cost {_cost(session)}.")
        notice = notice_of(session)
        for text in (
            notice.title if notice else "",
            notice.text if notice else "",
            possible(session),
        ):
            if text:
                self.stdout.write(text)


def _wish_of(session: AnalysisSession, options: dict[str, Any]) -> Wish:
    """The wish, narrowed to the conversations named, by the ids that the source gave them."""
    wish, ids = WISHES[options["action"]], options["conversation"]
    if not ids:
        return wish
    if options["action"] != "retry":
        raise CommandError("--conversation goes with retry alone.")
    failed = session.items.filter(outcome=Outcome.FAILED, conversation__external_id__in=ids)
    found = dict(failed.values_list("position", "conversation__external_id"))
    missing = sorted(set(ids).difference(found.values()))
    if missing:
        raise CommandError(f"No conversation “{missing[0]}” failed.", returncode=REFUSED)
    return partial(wish, positions=list(found))


def _all(slug: str) -> Iterable[AnalysisSession]:
    rows = AnalysisSession.objects.kept().select_related("project")
    return rows.filter(project__slug=slug) if slug else rows


def _one(slug: str, number: int | None) -> AnalysisSession:
    """The analysis; raises :class:`CommandError` when there is none."""
    if not slug or number is None:
        raise CommandError("Name the project and the number of the analysis: PROJECT NUMBER.")
    rows = AnalysisSession.objects.kept().select_related("project__workspace", "chat__provider")
    found = rows.filter(project__slug=slug, number=number).first()
    if found is None:
        raise CommandError(f"There is no analysis {number} in a project “{slug}”. See the list.")
    return found


def _word(session: AnalysisSession) -> str:
    return str(session.get_status_display())


def _why(session: AnalysisSession) -> str:
    notice = notice_of(session)
    return notice.title if notice else session.detail


def _far(session: AnalysisSession) -> str:
    failed = f", {session.failed_count:,} failed" if session.failed_count else ""
    return f"{session.read_count:,} of {session.total:,} read{failed}"


def _cost(session: AnalysisSession) -> str:
    doubt = f" and {figures.money(session.in_doubt)} in doubt" if session.doubt_count else ""
    return f"{figures.money(session.cost)}{doubt}"


def _shape(shape: type[SessionOut], session: AnalysisSession) -> dict[str, Any]:
    return shape.from_orm(session).model_dump()


def _json(found: object) -> str:
    """Written as the API writes it."""
    return json.dumps(found, cls=NinjaJSONEncoder, indent=2)
