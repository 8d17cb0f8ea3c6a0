"""What a kind of job has to say about itself. Apps write subclasses and register them."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from django.db import Error, transaction
from django.db.models import QuerySet
from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import override

from accounts.models import Role, User
from core.errors import AppError, Invalid
from core.jobs import registry
from core.work import LeaseLost
from projects.models import ItemState, Job, JobItem, Project

log = logging.getLogger("openclio.jobs")

Ref = tuple[int, str]
"""Primary key of an item and what people call it."""


class Settings(BaseModel):
    """What a job is told besides its items; kinds add fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which items, and how. Without ``ids`` everything that matches ``filter`` is meant.

    ``ids`` are the numbers people see: of data sets and analyses in their project, positions of
    conversations in their data set.
    """

    project: Project
    settings: Any
    ids: tuple[int, ...] | None = None
    filter: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Field:
    """A choice on the page before the start. ``sort`` is number, select or check."""

    name: str
    label: str
    sort: str
    value: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    hint: str = ""


class Run(Protocol):
    """One worker's hold on a job."""

    job: Job

    def hold(self) -> None:
        """Lock the job's row inside a transaction; raises ``LeaseLost`` when it is not ours."""

    def settle(self, items: Sequence[JobItem], state: str, error: str = "") -> None:
        """Record what became of items, in the transaction that did their work."""

    def note(self, **result: Any) -> None:
        """Add to the job's ``result``, in the transaction of what it tells of."""


class Kind(ABC):
    """Base of kinds. ``chunk`` does some items, ``finish`` what comes after the last one."""

    key: ClassVar[str] = ""
    role: ClassVar[Role] = Role.ANALYST
    settings: ClassVar[type[Settings]] = Settings
    size: ClassVar[int] = 200
    """Items handed to ``chunk`` at once."""
    undoable: ClassVar[bool] = False
    stoppable: ClassVar[bool] = True
    """Whether stopping half-way makes sense; what can be undone is undone instead."""

    @abstractmethod
    def select(self, wanted: Wanted) -> QuerySet[Any, Any] | Iterable[Ref]:
        """The items as :data:`Ref`, in a stable order. Raises ``Invalid`` and ``NotFound``."""

    def count(self, wanted: Wanted) -> int:
        """How many items there would be: the dry run."""
        found = self.select(wanted)
        return found.count() if isinstance(found, QuerySet) else sum(1 for _ in found)

    @abstractmethod
    def title(self, wanted: Wanted, count: int) -> str:
        """What the list of jobs calls it."""

    def says(self, wanted: Wanted, count: int) -> list[str]:
        """What a person should know before: what happens, what is lost, what it costs."""
        return []

    def phrase(self, wanted: Wanted) -> str:
        """What a person has to type before something is lost for good; empty for nothing."""
        return ""

    def fields(self, wanted: Wanted) -> list[Field]:
        """What a person may still choose before the start."""
        return []

    def begin(self, job: Job) -> None:  # noqa: B027 - a hook
        """What happens at once, in the transaction that makes the job and its items."""

    @abstractmethod
    def chunk(self, run: Run, items: Sequence[JobItem]) -> None:
        """Do some items in transactions that hold the job and settle them. Must be idempotent."""

    def finish(self, run: Run) -> None:  # noqa: B027 - a hook
        """What comes after the last item, outside a transaction."""

    def sweep(self) -> None:  # noqa: B027 - a hook
        """Called about once a minute: what became due by the passing of time."""


class OneByOne(Kind):
    """Base of kinds whose items are done each on its own, so that one failure harms no other."""

    @abstractmethod
    def item(self, run: Run, item: JobItem) -> str:
        """Do one item inside a transaction that already holds the job; returns its state.

        Must be idempotent. An ``AppError`` becomes the item's reason.
        """

    @override
    def chunk(self, run: Run, items: Sequence[JobItem]) -> None:
        """One after the other."""
        for item in items:
            do_one(self, run, item)


class Undoable(Kind):
    """Base of kinds whose work can be taken back."""

    undoable = True

    @abstractmethod
    def undo(self, job: Job) -> int:
        """Take back what was done, inside a transaction; returns how many items came back."""


def kind_of(key: str) -> Kind:
    """The handler of a kind; raises ``Invalid`` for one that nobody does."""
    found = registry.kind(key)
    if not isinstance(found, Kind):
        raise Invalid(fields={"kind": "There is no such kind of job."})
    return found


def settings_of(kind: Kind, given: Mapping[str, Any]) -> Any:
    """Settings in the kind's own shape; raises ``Invalid`` with a sentence for each field."""
    try:
        return kind.settings.model_validate(given)
    except ValidationError as error:
        fields = {
            ".".join(map(str, row["loc"])) or "settings": row["msg"] for row in error.errors()
        }
        raise Invalid(fields=fields) from error


def settings_for(kind: Kind, job: Job) -> Any:
    """The settings a job was made with."""
    return settings_of(kind, job.params.get("settings", {}))


def actor_of(job: Job) -> User:
    """The person a job works for; refuses when the account is gone."""
    if job.created_by is None:
        raise AppError("plain", why="The account that asked for this is gone.")
    return job.created_by


def do_one(kind: OneByOne, run: Run, item: JobItem) -> None:
    """One item in a transaction of its own; its failure is written down, not raised."""
    try:
        with transaction.atomic():
            run.hold()
            run.settle([item], kind.item(run, item))
        return
    except AppError as error:
        reason = error.text
    except (Error, LeaseLost):
        raise
    except Exception as error:
        log.exception("Item %s of job %s failed.", item.ref, run.job.pk)
        reason = f"{type(error).__name__} on our side."
    with transaction.atomic():
        run.settle([item], ItemState.FAILED, reason)
