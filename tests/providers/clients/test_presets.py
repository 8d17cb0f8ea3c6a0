from __future__ import annotations

import re
from dataclasses import fields

import pytest

from providers.addresses import LOCAL_PORTS, AddressRefused, check_base_url
from providers.clients.presets import PRESETS, Preset, preset
from providers.models import Provider, ProviderKind

REMOTE = [one for one in PRESETS if one.base_url and not one.local_port]


def test_every_provider_the_product_promises_is_there() -> None:
    assert [one.key for one in PRESETS] == [
        "openai",
        "azure",
        "anthropic",
        "google",
        "mistral",
        "openrouter",
        "groq",
        "together",
        "ollama",
        "vllm",
        "lmstudio",
        "llamacpp",
        "compatible",
        "scripted",
    ]
    assert all(preset(one.key) is one for one in PRESETS)
    assert preset("nothing") is None


@pytest.mark.parametrize("one", PRESETS, ids=lambda one: one.key)
def test_a_preset_fits_the_table_and_the_client(one: Preset) -> None:
    assert one.kind in ProviderKind.values
    assert len(one.key) <= Provider._meta.get_field("preset").max_length
    assert one.auth in ("bearer", "api-key", "x-api-key")
    assert one.text.endswith(".")
    assert one.key_text.endswith(".") or not one.needs_key
    assert {field.name for field in fields(one)} >= {"schema", "tools", "streaming"}
    named = set(re.findall(r"\{(\w+)\}", one.base_url))
    assert named == {blank.name for blank in one.blanks}


@pytest.mark.parametrize("one", REMOTE, ids=lambda one: one.key)
def test_addresses_elsewhere_are_public_and_encrypted(one: Preset) -> None:
    url = one.url({blank.name: "my-company" for blank in one.blanks})
    assert url.startswith("https://")
    assert check_base_url(url, allow_private=False) == url


def test_addresses_on_this_machine_are_loopback_at_their_own_port() -> None:
    local = [one for one in PRESETS if one.local_port]
    assert {one.local_port for one in local} == LOCAL_PORTS
    assert len(LOCAL_PORTS) == len(local) == 4
    for one in local:
        assert one.base_url == f"http://{one.local}/v1"
        assert not one.needs_key
        assert check_base_url(one.base_url, allow_private=True)
        with pytest.raises(AddressRefused):
            check_base_url(one.base_url, allow_private=False)


def test_a_blank_must_be_filled_and_cannot_change_the_host() -> None:
    azure = preset("azure")
    assert azure is not None
    with pytest.raises(KeyError):
        azure.url()
    pattern = azure.blanks[0].pattern
    assert re.fullmatch(pattern, "my-company-7")
    for bad in ("", "a.b", "evil.example/", "a@b", "a#", "-a", "x" * 64):
        assert not re.fullmatch(pattern, bad)
