"""Shapes of what people enter about themselves and each other."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.password_validation import validate_password
from typing_extensions import override

from accounts.models import Role, User

PASSWORD_HELP = "At least 10 characters. A few unrelated words are easy to keep."  # noqa: S105


class SignInForm(AuthenticationForm):
    """E-mail address and password."""

    error_messages = {
        "invalid_login": "This e-mail address and password do not belong together. Try again.",
        "inactive": "This account is closed. Ask an owner of the workspace.",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "E-mail address"
        self.fields["username"].widget = forms.EmailInput(
            attrs={"autocomplete": "username", "autofocus": True, "maxlength": 254}
        )

    def clean_username(self) -> str:
        """Addresses are kept in small letters."""
        return str(self.cleaned_data["username"]).strip().lower()


class PasswordForm(forms.Form):
    """A name and a first password, for people who arrive by a link."""

    name = forms.CharField(max_length=120, widget=forms.TextInput(attrs={"autocomplete": "name"}))
    password = forms.CharField(
        help_text=PASSWORD_HELP,
        max_length=200,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    @override
    def clean(self) -> dict[str, Any]:
        """Refuse passwords that are short, common, or made of the person's own details."""
        data = super().clean() or {}
        if data.get("password"):
            user = User(email=data.get("email", ""), name=data.get("name", ""))
            try:
                validate_password(data["password"], user)
            except forms.ValidationError as error:
                self.add_error("password", error)
        return data


class WelcomeForm(PasswordForm):
    """The first owner."""

    email = forms.EmailField(
        label="E-mail address",
        help_text="You will sign in with it. Nothing is sent to it.",
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )
    field_order = ["name", "email", "password"]


class ProfileForm(forms.Form):
    """What a person may change about themselves."""

    name = forms.CharField(max_length=120, widget=forms.TextInput(attrs={"autocomplete": "name"}))


class KeyForm(forms.Form):
    """A key for programs."""

    key_name = forms.CharField(
        label="Name", max_length=80, help_text="What it is for, such as “Nightly upload”."
    )
    role = forms.ChoiceField(
        choices=Role.choices,
        label="May do what a",
        help_text="Never more than you may do yourself.",
    )


class InviteForm(forms.Form):
    """A person to add to the workspace."""

    email = forms.EmailField(label="E-mail address")
    role = forms.ChoiceField(choices=Role.choices)

    def clean_email(self) -> str:
        """Addresses are kept in small letters."""
        return str(self.cleaned_data["email"]).lower()


class RoleForm(forms.Form):
    """A member's new role."""

    role = forms.ChoiceField(choices=Role.choices)
