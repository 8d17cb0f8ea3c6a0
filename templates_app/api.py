"""JSON door of templates."""

from __future__ import annotations

from typing import Any

from ninja import Router

from accounts.schemas import ApiRequest
from templates_app import selectors
from templates_app.schemas import TemplateOut

router = Router(tags=["Templates"])


@router.get("", response=list[TemplateOut])
def list_templates(request: ApiRequest) -> Any:
    """The templates you may use, shipped ones first."""
    return selectors.templates(request.auth).prefetch_related("versions__facets")
