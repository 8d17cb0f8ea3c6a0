"""The list of models a provider has, asked for live, to choose from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from django.core import signing
from django.http import HttpRequest

from accounts.models import User, Workspace
from core.errors import AppError, Invalid
from core.figures import thousands
from providers import prices, services
from providers.forms import ProviderForm
from providers.models import Provider
from providers.selectors.detail import unit_price
from providers.services import ModelInput
from providers.services.inputs import MOST_MODELS

SALT = "providers.models"
KEPT_SECONDS = 24 * 3600
"""How long a list that was loaded goes with its form."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A model to choose. ``price`` is in words, ``priced`` whether it is known."""

    name: str
    chat: bool
    embed: bool
    note: str
    price: str
    priced: bool
    listed: bool


@dataclass(slots=True)
class Choices:
    """What the list of models shows. ``packed`` travels with the form, so that a refused form
    shows the same list without asking again; ``text`` says how loading went."""

    rows: tuple[Choice, ...] = ()
    packed: str = ""
    text: str = ""
    bad: bool = False

    @property
    def unpriced(self) -> int:
        """How many have no known price."""
        return sum(not row.priced for row in self.rows)


def load(
    user: User, workspace: Workspace, form: ProviderForm, provider: Provider | None
) -> dict[str, ModelInput]:
    """Ask the provider for its models; raises :class:`Invalid` naming the field at fault."""
    found = services.fetch_models(
        actor=user, workspace=workspace, given=form.given(), provider=provider
    )
    return {one.model: one for one in found}


def choices(
    form: ProviderForm,
    found: Mapping[str, ModelInput],
    *,
    base_url: str = "",
    kind: str = "",
) -> Choices:
    """The rows to choose from: what the provider listed, then what is ticked besides."""
    ticked = {name: ticks(form, name) for name in ("chat", "embed")}
    if found and not form.is_bound and not form.provider:
        ticked = {name: names & set(found) for name, names in ticked.items()}
    extra = sorted((ticked["chat"] | ticked["embed"]) - set(found))
    listed = [*found.values(), *(ModelInput(model=name) for name in extra)]
    own = own_prices(form.provider)
    rows = tuple(
        choice(one, ticked, own.get(one.model) or list_price(one, base_url, kind), found)
        for one in listed
    )
    return Choices(rows, packed=pack(found.values()) if found else "")


def choice(
    one: ModelInput,
    ticked: Mapping[str, set[str]],
    price: str,
    found: Mapping[str, ModelInput],
) -> Choice:
    """One row."""
    sizes = []
    if one.context_tokens:
        sizes.append(f"{thousands(one.context_tokens)} tokens of context")
    if one.dimensions:
        sizes.append(f"{thousands(one.dimensions)} dimensions")
    return Choice(
        one.model,
        one.model in ticked["chat"],
        one.model in ticked["embed"],
        ", ".join(sizes),
        price or "unpriced",
        bool(price),
        one.model in found,
    )


def ticks(form: ProviderForm, name: str) -> set[str]:
    """The names ticked in a form, as sent or as stored."""
    if form.is_bound:
        field = form.fields[name]
        value = field.widget.value_from_datadict(form.data, form.files, name)
        return {text for text in (value or []) if 0 < len(text) <= 120}
    return set(form.initial.get(name, []))


def own_prices(provider: Provider | None) -> dict[str, str]:
    """What an owner entered, by model."""
    if provider is None:
        return {}
    rows = provider.deployments.filter(price_in__isnull=False)
    return {row.model: in_and_out(row.price_in, row.price_out) for row in rows}


def list_price(one: ModelInput, base_url: str, kind: str) -> str:
    """The provider's own or the public list's price in words, empty where neither knows one."""
    if kind in prices.FREE_KINDS:
        return "free"
    if one.price_in is not None:
        return in_and_out(one.price_in, one.price_out)
    found = prices.list_prices(one.model, base_url)
    return in_and_out(found.tokens_in, found.tokens_out) if found else ""


def in_and_out(price_in: Decimal | float | None, price_out: Decimal | float | None) -> str:
    """For example "$0.15 in, $0.60 out"."""
    if price_in is None:
        return ""
    return f"{unit_price(price_in)} in" + (f", {unit_price(price_out)} out" if price_out else "")


def pack(found: Iterable[ModelInput]) -> str:
    """The list as one signed value of a hidden field: nobody but us can have made it."""
    rows = [
        {key: str(value) if isinstance(value, Decimal) else value for key, value in told.items()}
        for told in map(asdict, list(found)[: 5 * MOST_MODELS])
    ]
    return signing.dumps(rows, salt=SALT, compress=True)


def unpack(request: HttpRequest) -> dict[str, ModelInput]:
    """The list that came with a form; none when it is missing, old or not ours."""
    try:
        rows = signing.loads(request.POST.get("found", ""), salt=SALT, max_age=KEPT_SECONDS)
    except signing.BadSignature:
        return {}
    made = [ModelInput(**exact(row)) for row in rows]
    return {one.model: one for one in made}


def exact(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the list with its prices as decimals again."""
    return {
        key: Decimal(value) if key.startswith("price_") and value is not None else value
        for key, value in row.items()
    }


def loading_text(count: int) -> str:
    """How loading went, in words."""
    if not count:
        return "The provider answers, and lists no models. Type their names below."
    models = "1 model" if count == 1 else f"{thousands(count)} models"
    return f"{models} found. Choose what to use."


def refused(error: AppError) -> Choices:
    """Nothing to choose from, and why."""
    text = " ".join(error.fields.values()) if isinstance(error, Invalid) else ""
    return Choices(text=text or error.text, bad=True)
