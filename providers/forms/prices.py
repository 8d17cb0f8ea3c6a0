"""The shape of a price an owner enters, and from when it holds."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django import forms

from providers.forms.fields import PriceField


class PriceForm(forms.Form):
    """What a model costs from a day on (UTC); an empty day is now."""

    price_in = PriceField("Tokens in", required=True)
    price_out = PriceField("Tokens out")
    price_cached = PriceField("Cached tokens in")
    since = forms.DateField(
        label="From",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text="The start of that day, UTC. Empty: from now on.",
    )

    def __init__(self, *args: Any, embeds: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if embeds:
            del self.fields["price_out"]
            del self.fields["price_cached"]
        else:
            self.fields["price_out"].required = True

    def given(self) -> dict[str, Any]:
        """The checked values as the service takes them."""
        data = self.cleaned_data
        day = data.get("since")
        return {
            "price_in": data["price_in"],
            "price_out": data.get("price_out") or Decimal(0),
            "price_cached": data.get("price_cached"),
            "effective_from": datetime(day.year, day.month, day.day, tzinfo=UTC) if day else None,
        }
