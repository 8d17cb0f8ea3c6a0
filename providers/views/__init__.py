"""Pages of providers: the list, one provider, the routes and the limits."""

from providers.views.detail import edit, new, test
from providers.views.limits import limits
from providers.views.listing import provider_list, switch

__all__ = ["edit", "limits", "new", "provider_list", "switch", "test"]
