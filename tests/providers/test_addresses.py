from __future__ import annotations

import socket

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from providers.addresses import (
    AddressRefused,
    GuardedResolver,
    address_rule,
    check_base_url,
)

NEVER = [
    "file:///etc/passwd",
    "gopher://example.com/",
    "ftp://example.com/v1",
    "//example.com/v1",
    "example.com/v1",
    "",
    "http://",
    "http:///v1",
    "http://user@example.com/v1",
    "http://user:sk-key@example.com/v1",
    "http://example.com@169.254.169.254/v1",
    "http://example.com/v1?key=sk-1",
    "http://example.com/v1#x",
    "http://example.com:0/v1",
    "http://example.com:99999/v1",
    "http://exa mple.com/v1",
    "http://example.com\\@127.0.0.1/v1",
    "http://example.com/\r\nHost: x",
    "http://169.254.169.254/latest",
    "http://169.254.170.2/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://[fd00:ec2::254]/",
    "http://[fe80::1]/",
    "http://[::ffff:169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::]/",
    "http://metadata.google.internal/",
    "http://METADATA.google.internal./",
    "http://metadata/",
    "http://0.0.0.0/",
    "http://[::]/",
    "http://224.0.0.1/",
    "http://127.1/v1",
    "http://0x7f000001/v1",
    "http://0x7f.1/v1",
    "http://2130706433/v1",
    "http://017700000001/v1",
    "http://0177.0.0.1/v1",
]
PRIVATE = [
    "http://127.0.0.1:11434/v1",
    "http://localhost:11434/v1",
    "http://api.localhost/v1",
    "http://[::1]:8000/v1",
    "http://10.0.0.5/v1",
    "http://172.16.3.4/v1",
    "http://192.168.1.20:1234/v1",
    "http://100.64.0.1/v1",
    "http://[fd12::1]/v1",
    "http://[::ffff:10.0.0.1]/v1",
    "http://[::ffff:127.0.0.1]/v1",
    "http://[64:ff9b::7f00:1]/v1",
]
PUBLIC = [
    ("https://api.openai.com/v1", "https://api.openai.com/v1"),
    (" HTTPS://API.Mistral.ai/v1/ ", "https://api.mistral.ai/v1"),
    ("http://93.184.216.34:8080/V1/", "http://93.184.216.34:8080/V1"),
    ("https://[2606:4700::1111]/v1", "https://[2606:4700::1111]/v1"),
    ("https://10.example.com/v1", "https://10.example.com/v1"),
]


@pytest.mark.parametrize("url", NEVER)
@pytest.mark.parametrize("allow_private", [False, True])
def test_never_called(url: str, allow_private: bool) -> None:
    with pytest.raises(AddressRefused):
        check_base_url(url, allow_private=allow_private)


@pytest.mark.parametrize("url", PRIVATE)
def test_private_only_where_an_operator_allows_it(url: str) -> None:
    with pytest.raises(AddressRefused, match="operator"):
        check_base_url(url, allow_private=False)
    assert check_base_url(url, allow_private=True) == url


@pytest.mark.parametrize(("url", "normal"), PUBLIC)
def test_public_addresses_pass(url: str, normal: str) -> None:
    assert check_base_url(url, allow_private=False) == normal


class Rebinding(AbstractResolver):
    """Answers with the next address of a list each time."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=one, port=port, family=socket.AF_INET, proto=0, flags=0
            )
            for one in self.addresses.pop(0).split()
        ]

    async def close(self) -> None:
        return


async def test_a_name_is_checked_at_every_look_up() -> None:
    inner = Rebinding("93.184.216.34", "127.0.0.1", "93.184.216.34 10.0.0.1")
    guard = GuardedResolver(allow_private=False, inner=inner)
    assert (await guard.resolve("example.com", 443))[0]["host"] == "93.184.216.34"
    for _ in range(2):
        with pytest.raises(AddressRefused):
            await guard.resolve("example.com", 443)


async def test_metadata_is_refused_even_where_private_is_allowed() -> None:
    guard = GuardedResolver(allow_private=True, inner=Rebinding("10.1.1.1", "169.254.169.254"))
    assert await guard.resolve("inside.example", 80)
    with pytest.raises(AddressRefused):
        await guard.resolve("inside.example", 80)


LOCAL_MODELS = [
    "http://127.0.0.1:11434/v1",
    "http://localhost:11434/v1",
    "HTTP://LOCALHOST:1234",
    "http://[::1]:8080/v1",
    "http://127.0.0.1:8000/v1",
]
NO_LOCAL_MODELS = [
    "http://127.0.0.1/v1",
    "http://127.0.0.1:5432/v1",
    "http://127.0.0.1:11435/v1",
    "http://10.0.0.5:11434/v1",
    "http://169.254.169.254:11434/v1",
    "http://localhost.example.com:11434/v1",
    "http://127.0.0.1.example.com:11434/v1",
    "http://127.1:11434/v1",
    "http://0.0.0.0:11434/v1",
    "http://[::]:11434/v1",
    "http://localhost:99999/v1",
    "http://[::1:11434/v1",
    "",
]


@pytest.mark.parametrize("url", LOCAL_MODELS)
def test_known_model_servers_of_this_machine_need_their_own_permission_alone(url: str) -> None:
    assert not address_rule(url, private=False, local_models=False)
    allow = address_rule(url, private=False, local_models=True)
    assert check_base_url(url, allow_private=allow)


@pytest.mark.parametrize("url", NO_LOCAL_MODELS)
def test_nothing_else_comes_in_with_local_models(url: str) -> None:
    assert not address_rule(url, private=False, local_models=True)


def test_private_permission_never_reaches_metadata() -> None:
    url = "http://169.254.169.254/v1"
    allow = address_rule(url, private=True, local_models=True)
    with pytest.raises(AddressRefused):
        check_base_url(url, allow_private=allow)


async def test_localhost_must_lead_to_this_machine() -> None:
    guard = GuardedResolver(allow_private=True, inner=Rebinding("127.0.0.1", "10.0.0.1"))
    assert await guard.resolve("localhost", 11434)
    with pytest.raises(AddressRefused, match="localhost"):
        await guard.resolve("LOCALHOST.", 11434)
