"""The gateway against LiteLLM's own proxy with mock answers: a real server that is not ours.

``make peers`` installs the proxy in an environment of its own and runs this.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from bench.peers import FOLDER
from providers.clients.openai_compatible import OpenAICompatibleClient
from providers.gateway.errors import CallError, ErrorClass
from providers.gateway.gateway import Gateway
from providers.gateway.probe import probe
from providers.gateway.types import Deployment, Route, Secret, Timeouts
from tests.providers.support import SCOPE, Bench, chat_call, deployment

PROXY = FOLDER / "bin" / "litellm"
KEY = "sk-openclio-test"
ANSWER = '{"request": "a refund", "sentiment": "neutral", "concern": 2}'
CONFIG = f"""
model_list:
  - model_name: mocked
    litellm_params: {{model: openai/gpt-4o-mini, api_key: x, mock_response: '{ANSWER}'}}
  - model_name: limited
    litellm_params: {{model: openai/gpt-4o-mini, api_key: x, mock_response: litellm.RateLimitError}}
litellm_settings: {{telemetry: false, num_retries: 0}}
general_settings: {{master_key: {KEY}}}
"""
SECONDS_TO_START = 90

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not PROXY.exists(), reason="needs LiteLLM's proxy: make peers"),
]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The proxy's base URL."""
    folder = tmp_path_factory.mktemp("litellm")
    config = folder / "config.yaml"
    config.write_text(CONFIG)
    port = _free_port()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [str(PROXY), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _wait(f"http://127.0.0.1:{port}/health/liveliness", process, folder / "log")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < give_up and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
        else:
            return
    pytest.fail(f"the proxy did not start: {log.read_text()[-500:]}")


def at(proxy: str, model: str, key: str = KEY, **changes: Any) -> Deployment:
    return deployment(
        kind="openai",
        base_url=proxy,
        model=model,
        embedding_model="",
        api_key=Secret(key),
        timeouts=Timeouts(5.0, 20.0, 30.0),
        **{"id": model, **changes},
    )


def door() -> Gateway:
    return Bench(clients={"openai": OpenAICompatibleClient()}).gateway


def ask(*targets: Deployment) -> Any:
    async def once() -> Any:
        gateway = door()
        try:
            return await gateway.chat(chat_call(), Route(targets), SCOPE)
        finally:
            await gateway.aclose()

    return asyncio.run(once())


def test_a_structured_question_is_answered(proxy: str) -> None:
    result = ask(at(proxy, "mocked"))
    assert result.data == {"request": "a refund", "sentiment": "neutral", "concern": 2}
    assert result.tokens_in > 0
    assert result.tokens_out > 0


def test_an_answer_is_streamed(proxy: str) -> None:
    async def read() -> str:
        gateway = door()
        try:
            stream = gateway.stream(chat_call(), Route((at(proxy, "mocked"),)), SCOPE)
            async with aclosing(stream) as pieces:
                return "".join([piece async for piece in pieces])
        finally:
            await gateway.aclose()

    assert asyncio.run(read()) == ANSWER


def test_a_limited_model_is_left_for_the_next(proxy: str) -> None:
    result = ask(at(proxy, "limited"), at(proxy, "mocked"))
    assert result.deployment == "mocked"


@pytest.mark.parametrize(
    ("model", "key", "expected"),
    [
        ("mocked", "sk-wrong", ErrorClass.AUTH),
        ("nobody-knows", KEY, ErrorClass.NOT_FOUND),
    ],
)
def test_refusals_are_named(proxy: str, model: str, key: str, expected: ErrorClass) -> None:
    with pytest.raises(CallError) as refused:
        ask(at(proxy, model, key))
    assert refused.value.error_class is expected
    assert "sk-" not in str(refused.value)


def test_the_trial_says_that_it_works(proxy: str) -> None:
    async def try_out() -> Any:
        client = OpenAICompatibleClient()
        try:
            return await probe(client, at(proxy, "mocked"))
        finally:
            await client.aclose()

    report = asyncio.run(try_out())
    assert report.ok, report.text
