"""Fields of provider forms: prices, names of models, headers whose values never come back."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.utils import flatatt
from django.utils.html import format_html
from django.utils.safestring import SafeString
from typing_extensions import override

MOST_NAMES = 200


class PriceField(forms.DecimalField):
    """US dollars per million tokens; empty for unknown."""

    def __init__(self, label: str, **more: Any) -> None:
        super().__init__(
            label=label,
            max_digits=12,
            decimal_places=6,
            required=more.pop("required", False),
            min_value=Decimal(0),
            error_messages={
                "min_value": "Enter 0 or more.",
                "invalid": "Enter an amount in US dollars.",
            },
            widget=forms.NumberInput(attrs={"step": "any", "placeholder": "Unknown"}),
            **more,
        )


class NamesField(forms.MultipleChoiceField):
    """Names of models that were ticked; any name is taken, the service checks it."""

    @override
    def valid_value(self, value: str) -> bool:
        """Whether a name can be one at all."""
        return 0 < len(value) <= 120

    @override
    def validate(self, value: Any) -> None:
        """No more than a provider may offer."""
        super().validate(value)
        if len(value) > MOST_NAMES:
            raise ValidationError(f"Choose at most {MOST_NAMES} models.")


class HeadersWidget(forms.Textarea):
    """Shows the names alone: what stands behind the colon is never sent back to the page."""

    @override
    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """The text area with every line cut behind its colon."""
        lines = str(value or "").splitlines()
        names = [f"{line.partition(':')[0].strip()[:100]}:" for line in lines if ":" in line]
        given = self.build_attrs(self.attrs, {**(attrs or {}), "name": name})
        return format_html("<textarea{}>\n{}</textarea>", flatatt(given), "\n".join(names))


class HeadersField(forms.CharField):
    """``Name: value``, one a line; a name without a value keeps what is stored under it."""

    widget = HeadersWidget

    @override
    def to_python(self, value: Any) -> dict[str, str | None]:  # type: ignore[override]
        """Names with values, ``None`` where the stored one is to stay."""
        found: dict[str, str | None] = {}
        for line in str(value or "").splitlines():
            if not line.strip():
                continue
            name, colon, rest = line.partition(":")
            if not colon:
                raise ValidationError("Write each header as Name: value.")
            found[name.strip()] = rest.strip() or None
        return found

    @override
    def validate(self, value: Any) -> None:
        """Whether one is needed is for the service to say."""

    @override
    def run_validators(self, value: Any) -> None:
        """The service checks names and values."""


def names_alone(headers: Mapping[str, str]) -> str:
    """The stored headers as the field shows them."""
    return "\n".join(f"{name}:" for name in sorted(headers))
