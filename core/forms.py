"""Forms that a service has the last word about."""

from __future__ import annotations

from django.forms import Form

from core.errors import AppError, Invalid


def refuse(form: Form, error: AppError) -> None:
    """Put a service's refusal beside the fields it names, else above the form.

    A server that cannot take it now (5xx) has no form to mend: the error is raised again.
    """
    if error.status >= 500:
        raise error
    fields = error.fields if isinstance(error, Invalid) else {}
    for name, text in fields.items():
        form.add_error(name if name in form.fields else None, text)
    if not fields:
        form.add_error(None, error.text)


def status_of(form: Form) -> int:
    """422 for a refused form, so that programs and htmx can tell it from a fresh page."""
    return 422 if form.is_bound and form.errors else 200
