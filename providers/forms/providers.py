"""The shape of what an owner enters about a provider."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms

from providers.models import ModelDeployment, Provider
from providers.services import ProviderInput


class PriceField(forms.DecimalField):
    """US dollars per million tokens; empty for unknown."""

    def __init__(self, label: str) -> None:
        super().__init__(
            label=label, max_digits=12, decimal_places=6, required=False, min_value=Decimal(0)
        )


class ProviderForm(forms.Form):
    """An OpenAI-compatible server. The stored key never comes back into the form."""

    name = forms.CharField(max_length=80, help_text="As it appears in lists.")
    base_url = forms.CharField(
        label="Base URL",
        max_length=300,
        widget=forms.URLInput(attrs={"placeholder": "https://api.example.com/v1"}),
        help_text="The part before /chat/completions, usually ending in /v1.",
    )
    key = forms.CharField(
        label="Key",
        max_length=500,
        required=False,
        strip=True,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
    )
    remove_key = forms.BooleanField(label="Remove the stored key", required=False)
    chat_model = forms.CharField(
        label="Chat model", max_length=120, help_text="Reads conversations and names clusters."
    )
    embedding_model = forms.CharField(
        label="Embedding model",
        max_length=120,
        required=False,
        help_text="Left empty, vectors are made on this machine.",
    )
    price_in = PriceField("Price, tokens in")
    price_out = PriceField("Price, tokens out")
    embedding_price = PriceField("Price, embedding")
    concurrency = forms.IntegerField(
        label="Calls at once", min_value=1, max_value=512, initial=16, help_text="At most."
    )
    connect_timeout = forms.FloatField(
        label="Connect within", min_value=0.1, max_value=60, initial=5, help_text="Seconds."
    )
    first_byte_timeout = forms.FloatField(
        label="Begin to answer within",
        min_value=0.5,
        max_value=600,
        initial=30,
        help_text="Seconds.",
    )
    total_timeout = forms.FloatField(
        label="Answer within", min_value=1, max_value=1200, initial=120, help_text="Seconds."
    )
    reconciles = forms.BooleanField(
        label="Ask the provider about calls that were cut off",
        required=False,
        help_text=(
            "For OpenAI and servers with stored completions. A call whose answer was lost is "
            "looked up instead of paid twice. The provider then keeps the conversations' text."
        ),
    )
    enabled = forms.BooleanField(label="Use for new analyses", required=False, initial=True)

    def __init__(self, *args: Any, provider: Provider | None = None, **kwargs: Any) -> None:
        if provider is not None:
            kwargs["initial"] = initial_of(provider)
        super().__init__(*args, **kwargs)
        has_key = provider is not None and bool(provider.key_encrypted)
        if not has_key:
            del self.fields["remove_key"]
        ending = f"ends in {provider.key_hint}" if provider and provider.key_hint else "stored"
        self.fields["key"].help_text = (
            f"The present key {ending}. Left empty, it stays."
            if has_key
            else "Stored encrypted and never shown again. Some local servers need none."
        )

    def given(self) -> ProviderInput:
        """The checked values as the service takes them."""
        data = dict(self.cleaned_data)
        remove = data.pop("remove_key", False)
        data["key"] = data["key"] or ("" if remove else None)
        return ProviderInput(**data)


def initial_of(provider: Provider) -> dict[str, Any]:
    """What the form shows of a stored provider: everything but its key."""
    shown = {
        name: getattr(provider, name)
        for name in (
            "name",
            "base_url",
            "concurrency",
            "connect_timeout",
            "first_byte_timeout",
            "total_timeout",
            "enabled",
            "reconciles",
        )
    }
    for row in provider.deployments.all():
        shown.update(_prices(row))
    return shown


def _prices(row: ModelDeployment) -> dict[str, Any]:
    if row.embeds:
        return {"embedding_model": row.model, "embedding_price": row.price_in}
    return {"chat_model": row.model, "price_in": row.price_in, "price_out": row.price_out}
