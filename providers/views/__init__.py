"""Pages of providers: the list, one provider, the routes and the limits."""

from providers.views.adding import models, new
from providers.views.answers import answers, forget, keep
from providers.views.books import books, books_csv
from providers.views.detail import (
    detail,
    drop_spare_key,
    edit,
    replace_key,
    rest_model,
    test,
)
from providers.views.limits import limits
from providers.views.listing import (
    events,
    fragments,
    provider_list,
    rest_all,
    return_all,
    spend,
    switch,
    test_all,
)
from providers.views.prices import drop_price, prices, reprice
from providers.views.routes import change as change_route
from providers.views.routes import route
from providers.views.routing import try_route
from providers.views.trying import try_it
from providers.views.use import use

__all__ = [
    "answers",
    "books",
    "books_csv",
    "change_route",
    "detail",
    "drop_price",
    "drop_spare_key",
    "edit",
    "events",
    "forget",
    "fragments",
    "keep",
    "limits",
    "models",
    "new",
    "prices",
    "provider_list",
    "replace_key",
    "reprice",
    "rest_all",
    "rest_model",
    "return_all",
    "route",
    "spend",
    "switch",
    "test",
    "test_all",
    "try_it",
    "try_route",
    "use",
]
