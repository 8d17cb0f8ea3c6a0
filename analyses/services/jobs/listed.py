"""Kinds of jobs about the lines of a list of data sets or analyses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.db.models import QuerySet
from typing_extensions import override

from projects.services.kinds import OneByOne, Wanted


class Listed(OneByOne):
    """Base of kinds whose items are chosen by number, or by name and state."""

    chosen: ClassVar[Callable[..., QuerySet[Any, Any]]]
    """What a selection of the list stands for; see :mod:`analyses.selectors.chosen`."""

    def rows(self, wanted: Wanted) -> QuerySet[Any, Any]:
        """The lines that are meant."""
        return self.chosen(wanted.project, wanted.ids, wanted.filter)

    @override
    def select(self, wanted: Wanted) -> QuerySet[Any, Any]:
        """Their keys and names."""
        return self.rows(wanted).values_list("pk", "name")
