"""JSON door of templates."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router

from templates_app import selectors
from templates_app.schemas import TemplateOut

router = Router(tags=["Templates"])


@router.get("", response=list[TemplateOut])
def list_templates(request: HttpRequest) -> Any:
    """The templates you may use, shipped ones first."""
    return selectors.templates(request.auth).prefetch_related("versions__facets")
