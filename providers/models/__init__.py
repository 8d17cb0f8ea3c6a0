"""Where models are called, with what limits and prices, how they do, and every call made."""

from providers.models.batches import BulkState, ProviderBatch, ProviderBatchLine
from providers.models.calls import CacheDay, CallState, LlmAttempt, LlmCall, SemanticEntry
from providers.models.health import (
    BreakerState,
    DeploymentHealth,
    HealthChange,
    HealthSlot,
    Member,
)
from providers.models.providers import ModelDeployment, ModelPrice, Provider, ProviderKind
from providers.models.routes import Purpose, Route, RouteTarget, Semantic, Strategy
from providers.models.spending import Period, SpendBook, SpendLimit, UseBook, UseLimit

__all__ = [
    "BreakerState",
    "BulkState",
    "CacheDay",
    "CallState",
    "DeploymentHealth",
    "HealthChange",
    "HealthSlot",
    "LlmAttempt",
    "LlmCall",
    "Member",
    "ModelDeployment",
    "ModelPrice",
    "Period",
    "Provider",
    "ProviderBatch",
    "ProviderBatchLine",
    "ProviderKind",
    "Purpose",
    "Route",
    "RouteTarget",
    "Semantic",
    "SemanticEntry",
    "SpendBook",
    "SpendLimit",
    "Strategy",
    "UseBook",
    "UseLimit",
]
