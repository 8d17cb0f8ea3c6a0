"""The shape of what an owner enters about a provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from typing_extensions import override

from providers.clients.presets import Blank, Preset, preset
from providers.forms.fields import HeadersField, NamesField, PriceField, names_alone
from providers.models import Provider, ProviderKind
from providers.services import ModelInput, ProviderInput
from providers.services.adding import stored_models

SECRET = forms.PasswordInput
HIDDEN = {"autocomplete": "off", "spellcheck": "false"}
PLAIN = (
    "name",
    "base_url",
    "concurrency",
    "connect_timeout",
    "first_byte_timeout",
    "total_timeout",
    "requests_per_minute",
    "tokens_per_minute",
    "ca_certificates",
    "enabled",
    "reconciles",
)
FOLDED = (
    "concurrency",
    "requests_per_minute",
    "tokens_per_minute",
    "connect_timeout",
    "first_byte_timeout",
    "total_timeout",
    "proxy",
    "ca_certificates",
    "headers",
)
CHAT_OR_NONE = "Choose a chat model, or type its name."


class ProviderForm(forms.Form):
    """A provider, with what its preset needs. No stored secret comes back into the form, and
    none that was typed: after an error the fields for secrets are empty again.

    ``chat`` and ``embed`` are the models ticked in the list; ``chat_model`` and
    ``embedding_model`` are for names that are not in it.
    """

    preset = forms.CharField(required=False, max_length=20, widget=forms.HiddenInput)
    name = forms.CharField(max_length=80, help_text="As it appears in lists.")
    base_url = forms.CharField(
        label="Base URL",
        max_length=300,
        widget=forms.URLInput(attrs={"placeholder": "https://api.example.com/v1"}),
        help_text="The part before /chat/completions, usually ending in /v1.",
    )
    key = forms.CharField(
        label="Key",
        max_length=500,
        required=False,
        strip=True,
        widget=SECRET(attrs={"autocomplete": "off"}),
    )
    remove_key = forms.BooleanField(label="Remove the stored key", required=False)
    chat = NamesField(required=False)
    embed = NamesField(required=False)
    chat_model = forms.CharField(
        label="Another chat model",
        max_length=120,
        required=False,
        widget=forms.TextInput(attrs=HIDDEN),
        help_text="Its exact name, if the list does not have it. "
        "Reads conversations and names clusters.",
    )
    embedding_model = forms.CharField(
        label="Another embedding model",
        max_length=120,
        required=False,
        widget=forms.TextInput(attrs=HIDDEN),
        help_text="Without an embedding model, vectors are made on this machine.",
    )
    price_in = PriceField("Price, tokens in")
    price_out = PriceField("Price, tokens out")
    embedding_price = PriceField("Price, embedding")
    concurrency = forms.IntegerField(
        label="Calls at once", min_value=1, max_value=512, initial=16, help_text="At most."
    )
    requests_per_minute = forms.IntegerField(
        label="Requests a minute",
        min_value=1,
        max_value=2**31 - 1,
        required=False,
        help_text="Empty for no limit.",
    )
    tokens_per_minute = forms.IntegerField(
        label="Tokens a minute",
        min_value=1,
        max_value=2**31 - 1,
        required=False,
        help_text="Empty for no limit.",
    )
    connect_timeout = forms.FloatField(
        label="Connect within", min_value=0.1, max_value=60, initial=5, help_text="Seconds."
    )
    first_byte_timeout = forms.FloatField(
        label="Begin to answer within",
        min_value=0.5,
        max_value=600,
        initial=30,
        help_text="Seconds.",
    )
    total_timeout = forms.FloatField(
        label="Answer within", min_value=1, max_value=1200, initial=120, help_text="Seconds."
    )
    proxy = forms.CharField(
        max_length=500,
        required=False,
        widget=SECRET(attrs={"autocomplete": "off", "placeholder": "http://host:port"}),
    )
    remove_proxy = forms.BooleanField(label="Remove the stored proxy", required=False)
    ca_certificates = forms.CharField(
        label="CA certificates",
        required=False,
        max_length=200_000,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text="In PEM form, trusted besides the system's.",
    )
    headers = HeadersField(
        label="Extra headers",
        required=False,
        help_text="One a line, as Name: value. Values are stored encrypted and never shown "
        "again; a stored one stays while its line does.",
    )
    reconciles = forms.BooleanField(
        label="Ask the provider about calls that were cut off",
        required=False,
        help_text=(
            "For OpenAI and servers with stored completions. A call whose answer was lost is "
            "looked up instead of paid twice. The provider then keeps the conversations' text."
        ),
    )
    enabled = forms.BooleanField(label="Use for new analyses", required=False, initial=True)

    def __init__(
        self,
        *args: Any,
        provider: Provider | None = None,
        chosen: Preset | None = None,
        **kwargs: Any,
    ) -> None:
        self.provider, self.chosen = provider, chosen
        kwargs["initial"] = initial_of(provider) if provider else initial_from(chosen)
        super().__init__(*args, **kwargs)
        self.blanks: tuple[Blank, ...] = ()
        for name in self._needless():
            del self.fields[name]
        if chosen and not provider:
            self._ask_blanks(chosen)
        self._explain_secrets()

    def _needless(self) -> list[str]:
        """Fields that this provider has no use for."""
        kept, chosen = self.provider, self.chosen
        gone = []
        if kept is None or not kept.key_encrypted:
            gone.append("remove_key")
        if kept is None or not kept.proxy_encrypted:
            gone.append("remove_proxy")
        if kept is not None:
            gone += ["price_in", "price_out", "embedding_price"]
        if (kept.kind if kept else chosen.kind if chosen else "") == ProviderKind.SCRIPTED:
            gone += ["base_url", "key", "proxy", "ca_certificates", "headers", "reconciles"]
        return [name for name in gone if name in self.fields]

    def _ask_blanks(self, chosen: Preset) -> None:
        """A field for each part of the base URL that only the owner knows."""
        if not chosen.blanks:
            return
        self.blanks = chosen.blanks
        del self.fields["base_url"]
        for blank in chosen.blanks:
            self.fields[blank.name] = forms.RegexField(
                rf"\A(?:{blank.pattern})\Z",
                label=blank.label,
                help_text=blank.help,
                error_messages={"invalid": f"This is not a {blank.label.lower()}."},
            )

    def _explain_secrets(self) -> None:
        kept = self.provider
        if "key" in self.fields:
            self.fields["key"].help_text = key_help(kept, self.chosen)
            needed = kept is None and self.chosen is not None and self.chosen.needs_key
            self.fields["key"].required = needed
            self.fields["key"].error_messages["required"] = "Enter the key."
        if "proxy" in self.fields:
            stored = kept is not None and bool(kept.proxy_encrypted)
            self.fields["proxy"].help_text = (
                "One is stored. Left empty, it stays."
                if stored
                else "Stored encrypted and never shown again."
            )

    @property
    def key_matters(self) -> bool:
        """Whether the key is asked for up front."""
        return "key" in self.fields and (
            self.provider is not None
            or self.chosen is None
            or self.chosen.needs_key
            or self.chosen.key == "compatible"
        )

    @override
    def clean(self) -> dict[str, Any]:
        """Checks that need more than one field."""
        data = super().clean() or {}
        if not self.is_loading and not (data.get("chat") or data.get("chat_model")):
            self.add_error("chat_model", CHAT_OR_NONE)
        for name, value in (data.get("headers") or {}).items():
            stored = self.provider.extra_headers if self.provider else {}
            if value is None and name not in stored:
                self.add_error("headers", f"Enter the value of {name[:100]}.")
        return data

    @property
    def blank_fields(self) -> list[forms.BoundField]:
        """The fields that fill the base URL's blanks."""
        return [self[blank.name] for blank in self.blanks]

    @property
    def wrong_within(self) -> bool:
        """Whether something folded away is wrong, so that it is shown."""
        return any(name in self.errors for name in FOLDED)

    @property
    def is_loading(self) -> bool:
        """Whether the person asks for the list of models and does not save yet."""
        return "load" in self.data

    def given(self, found: Mapping[str, ModelInput] | None = None) -> ProviderInput:
        """The checked values as the service takes them.

        ``found`` is what the provider's own list says of models, by name.
        """
        data = dict(self.cleaned_data)
        kept = self.provider
        chosen = preset(data.pop("preset", "")) if kept is None else preset(kept.preset)
        models = self._models(data, found or {})
        for name in ("chat", "embed", "chat_model", "embedding_model", *PRICES):
            data.pop(name, None)
        for name in ("key", "proxy"):
            remove = data.pop(f"remove_{name}", False)
            if name in data:
                data[name] = data[name] or ("" if remove else None)
        if self.blanks:
            data["base_url"] = self._filled(data)
        data.setdefault("base_url", kept.base_url if kept else "")
        data["kind"] = kept.kind if kept else chosen.kind if chosen else ProviderKind.OPENAI
        data["preset"] = chosen.key if chosen else ""
        return ProviderInput(**data, models=models)

    def _filled(self, data: dict[str, Any]) -> str:
        filled = {blank.name: data.pop(blank.name) for blank in self.blanks}
        return self.chosen.url(filled) if self.chosen else ""

    def _models(self, data: Mapping[str, Any], found: Mapping[str, ModelInput]) -> list[ModelInput]:
        """What is to be offered: typed names first, with what is known of each."""
        stored = stored_models(self.provider)
        made: dict[tuple[str, bool], ModelInput] = {}
        for embeds, typed, ticked in (
            (False, "chat_model", "chat"),
            (True, "embedding_model", "embed"),
        ):
            names = [data.get(typed) or "", *data.get(ticked, [])]
            for name in filter(None, names):
                known = stored.get((name, embeds)) or _listed(found.get(name), name, embeds)
                made.setdefault((name, embeds), known or ModelInput(model=name, embeds=embeds))
            own = made.get((data.get(typed) or "", embeds))
            if own and self.provider is None:
                made[own.model, embeds] = _priced(own, data)
        return list(made.values())


PRICES = ("price_in", "price_out", "embedding_price")


def _priced(one: ModelInput, data: Mapping[str, Any]) -> ModelInput:
    """A typed model with the prices typed beside it."""
    if one.embeds:
        return _with(one, price_in=data.get("embedding_price"))
    return _with(one, price_in=data.get("price_in"), price_out=data.get("price_out"))


def _listed(one: ModelInput | None, name: str, embeds: bool) -> ModelInput | None:
    """What the provider's list says of a model, as the sort the owner ticked it for."""
    return _with(one, model=name, embeds=embeds) if one else None


def _with(one: ModelInput, **changes: Any) -> ModelInput:
    values = {name: getattr(one, name) for name in ModelInput.__dataclass_fields__}
    return ModelInput(**{**values, **changes})


def key_help(provider: Provider | None, chosen: Preset | None) -> str:
    """What stands under the field of the key."""
    if provider is not None and provider.key_encrypted:
        ending = f"ends in {provider.key_hint}" if provider.key_hint else "is stored"
        return f"The present key {ending}. Left empty, it stays."
    where = f"{chosen.key_text} " if chosen and chosen.key_text else ""
    return f"{where}Stored encrypted and never shown again."


def initial_of(provider: Provider) -> dict[str, Any]:
    """What the form shows of a stored provider: nothing that is secret."""
    shown = {name: getattr(provider, name) for name in PLAIN}
    models = list(provider.deployments.filter(retired=False))
    shown["preset"] = provider.preset
    shown["headers"] = names_alone(provider.extra_headers)
    shown["chat"] = [row.model for row in models if not row.embeds]
    shown["embed"] = [row.model for row in models if row.embeds]
    return shown


def initial_from(chosen: Preset | None) -> dict[str, Any]:
    """What a preset fills in."""
    if chosen is None:
        return {}
    shown: dict[str, Any] = {"preset": chosen.key}
    if chosen.key != "compatible":
        shown["name"] = chosen.name
    if chosen.base_url and not chosen.blanks:
        shown["base_url"] = chosen.base_url
    if chosen.chat_model:
        shown["chat"] = [chosen.chat_model]
    if chosen.embedding_model:
        shown["embed"] = [chosen.embedding_model]
    return shown
