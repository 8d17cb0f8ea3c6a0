"""The shapes of what a person enters for an analysis."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django import forms
from typing_extensions import override

from analyses.selectors import starting
from projects.models import Dataset, Project
from providers.models import ModelDeployment, Period
from templates_app.models import TemplateVersion

CLASSED = (
    *("dataset", "version", "embedding", "limit", "sample", "name"),
    *("fallback", "spend_limit", "budget"),
)
"""Fields that look like one; the others are drawn by the page."""


def version_label(version: TemplateVersion) -> str:
    """The template's name and, from the second on, its version."""
    many = version.number > 1
    return f"{version.template}, version {version.number}" if many else str(version.template)


if TYPE_CHECKING:
    _ModelField = forms.ModelChoiceField[ModelDeployment]
else:
    _ModelField = forms.ModelChoiceField


class WordField(_ModelField):
    """A model, or a word of ours for something else that can read."""

    def __init__(self, word: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.word = word

    @override
    def to_python(self, value: Any) -> Any:
        """The model, or the word."""
        return self.word if value == self.word else super().to_python(value)


class NewAnalysisForm(forms.Form):
    """What to read, with what, and how much of it. An empty ``reader`` is the local engine."""

    dataset: forms.ModelChoiceField[Dataset] = forms.ModelChoiceField(
        queryset=Dataset.objects.none(), label="Data set", empty_label=None
    )
    version: forms.ModelChoiceField[TemplateVersion] = forms.ModelChoiceField(
        queryset=TemplateVersion.objects.none(), label="Template", empty_label=None
    )
    reader = WordField(
        starting.ROUTE,
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
        label="How many",
        help_text="Conversations. Leave empty to read all of them.",
    )
    sample = forms.ChoiceField(
        required=False,
        choices=[("first", "The first of the file"), ("spread", "Spread over all of them")],
        label="Which ones",
        help_text="Only where not all are read.",
    )
    fallback: forms.ModelChoiceField[ModelDeployment] = forms.ModelChoiceField(
        queryset=ModelDeployment.objects.none(),
        required=False,
        label="If it does not answer, use",
        empty_label="Nobody: wait until it does",
    )
    local_last = forms.BooleanField(
        required=False,
        label="If no model answers, name the groups here",
        help_text="The local engine then names and arranges them, and a notice says so. It never "
        "reads conversations in a model's place.",
    )
    bulk = forms.BooleanField(
        required=False,
        label="In batches: half the price, within 24 hours",
        help_text="All conversations are handed to the provider together and read when it has the "
        "time. Names and themes come after that.",
    )
    spend_limit = forms.DecimalField(
        required=False,
        min_value=Decimal("0.01"),
        max_digits=10,
        decimal_places=2,
        label="Spending limit",
        help_text="In US dollars. It pauses by itself there; raise the limit and it goes on.",
    )
    budget = forms.DecimalField(
        required=False,
        min_value=Decimal("0.01"),
        max_digits=10,
        decimal_places=2,
        label="Spend at most",
        help_text="In US dollars.",
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
            "fallback": starting.deployments_for(project),
        }
        for name, rows in choices.items():
            self.fields[name].queryset = rows  # type: ignore[attr-defined]
        self.fields["version"].label_from_instance = version_label  # type: ignore[attr-defined]
        for name in CLASSED:
            self.fields[name].widget.attrs["class"] = "field"

    @property
    def sound(self) -> dict[str, Any]:
        """What was entered and can be used; whatever else was entered is left out."""
        self.is_valid()
        return {name: value for name, value in self.cleaned_data.items() if value}

    @property
    def untouched(self) -> bool:
        """Whether the spending limit is still the one that was proposed."""
        return (self.data.get("spend_limit") or "") == (self.data.get("suggested") or "")

    @property
    def chosen(self) -> starting.Chosen:
        """What is chosen so far, by what was entered or by what the form began with."""
        known = {**self.initial, **self.sound} if self.is_bound else self.initial
        reader = known.get("reader")
        return starting.Chosen(
            dataset=known.get("dataset"),
            version=known.get("version"),
            reader=str(reader.pk if isinstance(reader, ModelDeployment) else reader or ""),
            embedding=known.get("embedding"),
            limit=known.get("limit"),
            sampled=known.get("sample") == "spread",
            budget=known.get("budget"),
            bulk=bool(known.get("bulk")),
        )

    def of_plan(self, value: str) -> dict[str, Any]:
        """The fields that a plan of :mod:`analyses.selectors.plans` fills in."""
        reader, _, limit = value.partition(":")
        sampled = limit.isascii() and limit.isdecimal() and len(limit) < starting.MAX_DIGITS
        return {
            "reader": reader,
            "limit": int(limit) if sampled else None,
            "sample": "spread" if sampled else "first",
            "spend_limit": self.sound.get("budget"),
            "untouched": not reader,
        }


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

    chat = WordField(
        starting.LOCAL,
        queryset=ModelDeployment.objects.none(),
        label="Who reads",
        empty_label=None,
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
        models = [(row.pk, str(row)) for row in starting.deployments_for(project)]
        self.fields["chat"].choices = [  # type: ignore[attr-defined]
            *models,
            (starting.LOCAL, "Finish with the local engine"),
        ]
