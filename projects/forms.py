"""Shapes of what people enter about projects and files."""

from __future__ import annotations

from django import forms

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
