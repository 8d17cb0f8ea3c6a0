"""The shape of what an owner changes about a route: one small step at a time."""

from __future__ import annotations

from typing import Any

from django import forms

from providers.models import ModelDeployment, Semantic, Strategy
from providers.selectors.routes import RoutePlan
from providers.services.routes import MOST_DAYS, MOST_WEIGHT

STEPS = {"up": -1, "down": 1}
Targets = list[tuple[ModelDeployment, int]]


class RouteForm(forms.Form):
    """One change of a route; what is not named stays. ``order`` lists models, the first one first.

    ``move`` is a model and a direction, such as "12:up". ``restore`` goes back to every model
    that is on, in the order they were added.
    """

    strategy = forms.ChoiceField(choices=Strategy.choices, required=False)
    order = forms.RegexField(r"^\d{1,18}(,\d{1,18}){0,40}$", required=False)
    move = forms.RegexField(r"^\d{1,18}:(up|down)$", required=False)
    add = forms.IntegerField(required=False)
    remove = forms.IntegerField(required=False)
    restore = forms.BooleanField(required=False)
    semantic = forms.ChoiceField(choices=Semantic.choices, required=False)
    cache = forms.BooleanField(required=False)
    cache_days = forms.IntegerField(
        min_value=1,
        max_value=MOST_DAYS,
        required=False,
        error_messages={
            "min_value": f"Enter 1 to {MOST_DAYS:,} days, or nothing.",
            "max_value": f"Enter 1 to {MOST_DAYS:,} days, or nothing.",
            "invalid": "Enter a whole number of days, or nothing.",
        },
    )

    def __init__(
        self, data: Any, *, plan: RoutePlan, others: tuple[ModelDeployment, ...] = ()
    ) -> None:
        super().__init__(data)
        self._plan = plan
        self._others = {model.pk: model for model in others}
        for target in plan.targets:
            self.fields[f"weight-{target.deployment.pk}"] = forms.IntegerField(
                min_value=1, max_value=MOST_WEIGHT, required=False
            )

    def targets(self) -> Targets:
        """The models as they are to be, each with its weight."""
        data = self.cleaned_data
        if data["restore"] or not (self._plan.chosen or self._names_models()):
            return []
        found = self._weighed()
        for name, change in (("order", ordered), ("move", moved), ("remove", removed)):
            if data[name]:
                found = change(found, data[name])
        added = self._others.get(data["add"] or 0)
        return [*found, (added, 1)] if added else found

    def _names_models(self) -> bool:
        """Whether the change is about the models: only then is a list of them kept."""
        weights = (name for name in self.fields if name.startswith("weight-"))
        names = ("order", "move", "add", "remove", *weights)
        return any(self.cleaned_data.get(name) for name in names)

    def rules(self) -> dict[str, Any]:
        """Strategy, and how stored answers are used again."""
        data = self.cleaned_data
        return {
            "strategy": data["strategy"] or self._plan.strategy.value,
            "semantic": data["semantic"] or self._plan.semantic.value,
            "cache_days": data["cache_days"] if data["cache"] else self._plan.cache_days,
        }

    def _weighed(self) -> Targets:
        given = self.cleaned_data
        return [
            (one.deployment, given.get(f"weight-{one.deployment.pk}") or one.weight)
            for one in self._plan.targets
        ]


def ordered(targets: Targets, order: str) -> Targets:
    """The models in the order given; one that is not named stays behind those that are."""
    places = {int(pk): place for place, pk in enumerate(order.split(","))}
    return sorted(targets, key=lambda one: places.get(one[0].pk, len(places)))


def moved(targets: Targets, move: str) -> Targets:
    """One model a place up or down; at an end it stays."""
    pk, _, way = move.partition(":")
    found = list(targets)
    place = next((i for i, one in enumerate(found) if one[0].pk == int(pk)), None)
    if place is None:
        return found
    to = place + STEPS[way]
    if 0 <= to < len(found):
        found[place], found[to] = found[to], found[place]
    return found


def removed(targets: Targets, pk: int) -> Targets:
    """Without one model. The last one stays: a route without models would mean every model."""
    left = [one for one in targets if one[0].pk != pk]
    return left or targets
