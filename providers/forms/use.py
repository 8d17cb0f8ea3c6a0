"""The shape of what an owner enters about limits of use."""

from __future__ import annotations

from typing import Any

from django import forms

MOST = 2**50
WHOLE = "Enter a whole number, or nothing for no limit."


class UseForm(forms.Form):
    """Whose use is limited, and how far; both numbers empty end the limit."""

    scope = forms.ChoiceField(label="Who", choices=())
    requests_per_minute = forms.IntegerField(
        label="Calls a minute",
        required=False,
        min_value=0,
        max_value=2**31 - 1,
        widget=forms.NumberInput(attrs={"placeholder": "No limit"}),
        error_messages={"invalid": WHOLE},
    )
    tokens_per_day = forms.IntegerField(
        label="Tokens a day",
        required=False,
        min_value=0,
        max_value=MOST,
        widget=forms.NumberInput(attrs={"placeholder": "No limit"}),
        error_messages={"invalid": WHOLE},
    )

    def __init__(self, *args: Any, scopes: list[tuple[str, Any]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scope"].choices = scopes  # type: ignore[attr-defined]
