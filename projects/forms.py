"""Shapes of what people enter about projects and files."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.http import QueryDict

from core.errors import Invalid

ACCEPTED = ".jsonl,.ndjson,.json,.csv,.gz"


class ProjectForm(forms.Form):
    """A new project."""

    name = forms.CharField(
        max_length=120, help_text="What the conversations are about, such as “Support”."
    )
    description = forms.CharField(
        max_length=2000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Where the conversations come from and what you want to know.",
    )


class UploadForm(forms.Form):
    """A file of conversations."""

    file = forms.FileField(
        allow_empty_file=True,
        max_length=200,
        error_messages={"required": "Choose a file first."},
        widget=forms.ClearableFileInput(attrs={"accept": ACCEPTED}),
    )
    name = forms.CharField(
        max_length=160,
        required=False,
        help_text="Left empty, the data set is named after the file.",
    )


class JobRequest:
    """What a selection asks for: ``kind``, ``id`` (many) or ``all``, settings named ``s.…``,
    filters named ``m.…``; ``confirm`` and ``typed`` once the person was told what it means."""

    def __init__(self, data: QueryDict) -> None:
        self._data = data
        self.everything = data.get("all") == "1"
        self.confirmed = data.get("confirm") == "1"
        self.typed = data.get("typed", "").strip()

    @property
    def wish(self) -> dict[str, Any]:
        """Arguments of the service. Raises ``Invalid`` for ids that are none."""
        return {
            "kind": self._data.get("kind", ""),
            "settings": self._named("s."),
            "ids": None if self.everything else self.ids,
            "matching": self._named("m.") if self.everything else None,
        }

    @property
    def ids(self) -> list[int]:
        """The numbers chosen."""
        given = self._data.getlist("id")
        if not all(text.isascii() and text.isdecimal() and len(text) < 10 for text in given):
            raise Invalid(fields={"id": "These are no numbers we gave out."})
        return [int(text) for text in given]

    @property
    def uid(self) -> UUID | None:
        """The form's own number: sent twice it starts one job."""
        try:
            return UUID(self._data.get("uid", ""))
        except ValueError:
            return None

    @property
    def kept(self) -> list[tuple[str, str]]:
        """What the confirming form sends again."""
        left_out = {"confirm", "typed", "uid", "csrfmiddlewaretoken"}
        return [
            (name, value)
            for name, values in self._data.lists()
            if name not in left_out
            for value in values
        ]

    def ready(self, kind: Any, phrase: str) -> bool:
        """Whether nothing more has to be asked."""
        if phrase:
            return self.confirmed and self.typed == phrase
        return self.confirmed or (kind.undoable and not self.everything)

    def _named(self, prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, values in self._data.lists():
            given = [value for value in values if value != ""]
            if name.startswith(prefix) and given:
                found[name.removeprefix(prefix)] = given if len(given) > 1 else given[0]
        return found
