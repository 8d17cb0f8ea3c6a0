"""What the JSON door of providers takes and gives. Secrets go in and never come out."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from ninja import Field, Schema
from pydantic import SecretStr

Price = Annotated[Decimal, Field(ge=0, le=100_000, decimal_places=6)]
Key = Annotated[SecretStr, Field(max_length=500)]
Name = Annotated[str, Field(min_length=1, max_length=80)]
Rate = Annotated[int, Field(ge=1, le=2**31 - 1)]


class ModelIn(Schema):
    """A model to offer; a price of null is looked up in the public list."""

    model: str = Field(min_length=1, max_length=120)
    embeds: bool = False
    price_in: Price | None = None
    price_out: Price | None = None
    price_cached: Price | None = None
    context_tokens: Rate | None = None
    dimensions: Rate | None = None
    offers_batches: bool = False


class _Settings(Schema):
    """What both adding and changing take."""

    key: Key | None = Field(default=None, description="Write-only. Empty removes it.")
    proxy: Key | None = Field(default=None, description="Write-only. Empty removes it.")
    headers: dict[str, SecretStr | None] | None = Field(
        default=None, description="Write-only values; null keeps the stored one."
    )
    ca_certificates: str | None = Field(default=None, max_length=200_000)
    requests_per_minute: Rate | None = None
    tokens_per_minute: Rate | None = None


class ProviderIn(_Settings):
    """A provider to add. ``preset`` fills in the base URL; ``blanks`` are what it leaves open,
    such as Azure's ``resource``."""

    name: Name
    preset: str = Field(default="compatible", max_length=20)
    base_url: str | None = Field(default=None, max_length=300)
    blanks: dict[str, str] = {}
    models: list[ModelIn] = []
    concurrency: int = Field(default=16, ge=1, le=512)
    connect_timeout: float = Field(default=5.0, ge=0.1, le=60)
    first_byte_timeout: float = Field(default=30.0, ge=0.5, le=600)
    total_timeout: float = Field(default=120.0, ge=1, le=1200)
    enabled: bool = True
    reconciles: bool = False


class ProviderChange(_Settings):
    """What to change; what is left out stays as it is."""

    name: Name | None = None
    base_url: str | None = Field(default=None, max_length=300)
    models: list[ModelIn] | None = None
    concurrency: int | None = Field(default=None, ge=1, le=512)
    connect_timeout: float | None = Field(default=None, ge=0.1, le=60)
    first_byte_timeout: float | None = Field(default=None, ge=0.5, le=600)
    total_timeout: float | None = Field(default=None, ge=1, le=1200)
    enabled: bool | None = None
    reconciles: bool | None = None


class PriceOut(Schema):
    """A price from a moment on, US dollars per million tokens."""

    effective_from: datetime
    price_in: Decimal
    price_out: Decimal
    price_cached: Decimal | None


class ModelOut(Schema):
    """A model with its state. ``price`` is in words; capabilities are null until known."""

    id: int = Field(alias="deployment.pk")
    model: str = Field(alias="deployment.model")
    embeds: bool = Field(alias="deployment.embeds")
    retired: bool = Field(alias="deployment.retired")
    context_tokens: int | None = Field(alias="deployment.context_tokens")
    dimensions: int | None = Field(alias="deployment.dimensions")
    supports_schema: bool | None = Field(alias="deployment.supports_schema")
    supports_tools: bool | None = Field(alias="deployment.supports_tools")
    supports_streaming: bool | None = Field(alias="deployment.supports_streaming")
    offers_batches: bool = Field(alias="deployment.offers_batches")
    probed_at: datetime | None = Field(alias="deployment.probed_at")
    price: str = Field(alias="price.text")
    price_source: str = Field(alias="price.source")
    unpriced_calls: int = Field(alias="unpriced")
    prices: list[PriceOut] = Field(alias="dated")
    state: str
    reason: str
    next_probe: datetime | None

    @staticmethod
    def resolve_state(row: Any) -> str:
        """Its state, ``retired`` where it is not offered."""
        return row.health.state if row.health else "retired"

    @staticmethod
    def resolve_reason(row: Any) -> str:
        """Why it is not used."""
        return row.health.reason if row.health else ""

    @staticmethod
    def resolve_next_probe(row: Any) -> datetime | None:
        """When it is tried again."""
        found: datetime | None = row.health.next_probe if row.health else None
        return found


class KeyOut(Schema):
    """Whether a key is stored, and its last characters."""

    stored: bool
    ending: str


class ProviderOut(Schema):
    """A provider. Of its secrets only that they are stored."""

    id: UUID
    name: str
    kind: str
    preset: str
    base_url: str
    enabled: bool
    reconciles: bool
    key: KeyOut
    spare_key: KeyOut
    key_changed_at: datetime | None
    proxy: bool
    headers: list[str]
    ca_certificates: bool
    concurrency: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    connect_timeout: float
    first_byte_timeout: float
    total_timeout: float
    state: str
    reason: str
    since: datetime | None
    next_probe: datetime | None
    checked_at: datetime | None
    check_ok: bool | None
    check_text: str
    models: list[ModelOut]


class ListedModel(Schema):
    """A model that the provider's own list has."""

    model: str
    embeds: bool
    context_tokens: int | None
    price_in: Decimal | None
    price_out: Decimal | None


class KeyIn(Schema):
    """Another key; ``keep_old`` leaves the present one beside it until it is removed."""

    key: Annotated[SecretStr, Field(min_length=1, max_length=500)]
    keep_old: bool = True


class TestIn(Schema):
    """One model by its id, or the first of each sort."""

    model: int | None = None


class TestOut(Schema):
    """What a trial call showed; ``takes_schema`` is null where no chat was tried."""

    ok: bool
    text: str
    latency_ms: int
    takes_schema: bool | None
    dimensions: int
    error_class: str | None


class RestIn(Schema):
    """Why a model is taken out of use; for the page."""

    note: str = Field(default="", max_length=300)


class PriceIn(Schema):
    """A price from a moment on, now without one; US dollars per million tokens."""

    price_in: Price
    price_out: Price = Decimal(0)
    price_cached: Price | None = None
    effective_from: datetime | None = None


class Repriced(Schema):
    """How many calls were priced, their cost in US dollars, and how many are still without."""

    calls: int
    cost: Decimal
    left: int
