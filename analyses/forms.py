"""The shapes of what a person enters for an analysis."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms

from analyses.selectors import starting
from projects.models import Dataset, Project
from providers.models import ModelDeployment, Period
from templates_app.models import TemplateVersion


def version_label(version: TemplateVersion) -> str:
    """The template's name and, from the second on, its version."""
    many = version.number > 1
    return f"{version.template}, version {version.number}" if many else str(version.template)


class NewAnalysisForm(forms.Form):
    """What to read, with what, and how much of it. An empty ``reader`` is the local engine."""

    dataset: forms.ModelChoiceField[Dataset] = forms.ModelChoiceField(
        queryset=Dataset.objects.none(), label="Data set", empty_label=None
    )
    version: forms.ModelChoiceField[TemplateVersion] = forms.ModelChoiceField(
        queryset=TemplateVersion.objects.none(), label="Template", empty_label=None
    )
    reader: forms.ModelChoiceField[ModelDeployment] = forms.ModelChoiceField(
        queryset=ModelDeployment.objects.none(),
        required=False,
        label="Who reads",
        widget=forms.RadioSelect,
    )
    embedding: forms.ModelChoiceField[ModelDeployment] = forms.ModelChoiceField(
        queryset=ModelDeployment.objects.none(),
        required=False,
        label="Vectors",
        empty_label="Made on this machine",
    )
    limit = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=10_000_000,
        label="Only the first",
        help_text="Conversations. Leave empty to read all of them.",
    )
    name = forms.CharField(
        required=False, max_length=160, help_text="Only for you and your project."
    )
    uid = forms.UUIDField(required=False, widget=forms.HiddenInput)

    def __init__(self, project: Project, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        versions = starting.versions_for(project)
        choices: dict[str, Any] = {
            "dataset": starting.datasets_of(project),
            "version": TemplateVersion.objects.filter(
                pk__in=[version.pk for version in versions]
            ).select_related("template"),
            "reader": starting.deployments_for(project),
            "embedding": starting.deployments_for(project, embeds=True),
        }
        for name, rows in choices.items():
            self.fields[name].queryset = rows  # type: ignore[attr-defined]
        self.fields["version"].label_from_instance = version_label  # type: ignore[attr-defined]
        for name in ("dataset", "version", "embedding", "limit", "name"):
            self.fields[name].widget.attrs["class"] = "field"


class LimitForm(forms.Form):
    """The most that may be spent, in US dollars, and on what."""

    kind = forms.ChoiceField(
        choices=[("analysis", "this analysis"), ("project", "project"), ("workspace", "workspace")],
        widget=forms.HiddenInput,
    )
    period = forms.ChoiceField(choices=Period.choices, widget=forms.HiddenInput)
    amount = forms.DecimalField(
        label="New limit",
        min_value=Decimal(0),
        max_digits=9,
        decimal_places=2,
        help_text="US dollars. The analysis pauses by itself when it is reached.",
        widget=forms.NumberInput(attrs={"class": "field", "inputmode": "decimal"}),
    )


class ProvidersForm(forms.Form):
    """Who reads from now on, and who is asked when that one does not answer."""

    chat: forms.ModelChoiceField[ModelDeployment] = forms.ModelChoiceField(
        queryset=ModelDeployment.objects.none(), label="Who reads", empty_label=None
    )
    fallback: forms.ModelChoiceField[ModelDeployment] = forms.ModelChoiceField(
        queryset=ModelDeployment.objects.none(),
        required=False,
        label="When that one does not answer",
        empty_label="Wait for it",
    )

    def __init__(self, project: Project, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("chat", "fallback"):
            self.fields[name].queryset = starting.deployments_for(project)  # type: ignore[attr-defined]
            self.fields[name].widget.attrs["class"] = "field"
