"""The shape of what an owner enters about limits."""

from __future__ import annotations

from decimal import Decimal

from django import forms

from providers.selectors import PlaceRow


class AmountField(forms.DecimalField):
    """US dollars; empty for no limit."""

    def __init__(self, label: str) -> None:
        super().__init__(
            label=label,
            max_digits=14,
            decimal_places=6,
            required=False,
            min_value=Decimal(0),
            widget=forms.NumberInput(attrs={"step": "any", "placeholder": "No limit"}),
            error_messages={
                "min_value": "Enter 0 or more.",
                "invalid": "Enter an amount in US dollars.",
            },
        )


class LimitForm(forms.Form):
    """The limits of one place; an empty field is no limit."""

    scope = forms.CharField(widget=forms.HiddenInput, max_length=40)
    day = AmountField("Limit a day")
    month = AmountField("Limit a month")

    def amounts(self) -> dict[str, Decimal | None]:
        """The checked amounts by period."""
        return {period: self.cleaned_data[period] for period in ("day", "month")}


def limit_form(row: PlaceRow, given: LimitForm) -> LimitForm:
    """The form of a place: as it was sent if it was, else with what is stored."""
    scope = row.place.scope
    if given.is_bound and given.data.get("scope") == scope:
        given.auto_id = f"{scope.replace(':', '-')}-%s"
        return given
    shown = {part.period: part.limit for part in row.periods if part.limit is not None}
    return LimitForm(
        initial={"scope": scope, **{period: plain(amount) for period, amount in shown.items()}},
        auto_id=f"{scope.replace(':', '-')}-%s",
    )


def plain(amount: Decimal) -> str:
    """An amount as people write it: no zeros behind the cents, no exponent."""
    text = f"{amount:.6f}".rstrip("0")
    return text if len(text.partition(".")[2]) >= 2 else f"{amount:.2f}"
