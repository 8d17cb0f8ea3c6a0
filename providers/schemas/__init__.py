"""What the JSON doors of providers, routes, answers and limits take and give."""

from providers.schemas.answers import AnswersOut, ForgetIn, Forgotten
from providers.schemas.limits import LimitIn, PlaceOut, UseIn, UseOut
from providers.schemas.providers import (
    KeyIn,
    ListedModel,
    ModelOut,
    PriceIn,
    PriceOut,
    ProviderChange,
    ProviderIn,
    ProviderOut,
    Repriced,
    RestIn,
    TestIn,
    TestOut,
)
from providers.schemas.routes import RouteIn, RouteOut, RouteTried, RouteTry

__all__ = [
    "AnswersOut",
    "ForgetIn",
    "Forgotten",
    "KeyIn",
    "LimitIn",
    "ListedModel",
    "ModelOut",
    "PlaceOut",
    "PriceIn",
    "PriceOut",
    "ProviderChange",
    "ProviderIn",
    "ProviderOut",
    "Repriced",
    "RestIn",
    "RouteIn",
    "RouteOut",
    "RouteTried",
    "RouteTry",
    "TestIn",
    "TestOut",
    "UseIn",
    "UseOut",
]
