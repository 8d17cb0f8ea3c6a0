"""The shape of a new key. It is never shown again, not even when the form is refused."""

from __future__ import annotations

from django import forms


class KeyForm(forms.Form):
    """Another key for a provider; ``keep_old`` leaves the present one beside it."""

    key = forms.CharField(
        label="New key",
        max_length=500,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Enter the new key."},
    )
    keep_old = forms.BooleanField(
        label="Keep the old one until it is removed",
        required=False,
        initial=True,
        help_text="The new key is used; the old one is tried when the new one is refused.",
    )
