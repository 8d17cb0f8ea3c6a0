from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from providers.clients.scripted import Act, Scenario, ScriptedClient, Step
from providers.gateway.errors import CallError, ErrorClass, Fault
from providers.gateway.types import Deployment, Route, WireVectors
from tests.providers.support import SCOPE, Bench, scenario

TEXTS = [f"text number {i} about {'flights' if i % 2 else 'refunds'}" for i in range(300)]


class Odd(ScriptedClient):
    """Answers with whatever rows it is given."""

    def __init__(self, make: object) -> None:
        super().__init__()
        self.make = make

    async def embed(
        self, deployment: Deployment, texts: Sequence[str], *, base64: bool, timeout: float
    ) -> WireVectors:
        return WireVectors(np.asarray(self.make(texts), dtype=np.float32))  # type: ignore[operator]


async def test_full_batches_in_order_as_unit_vectors() -> None:
    bench = Bench(Scenario(jitter=0.02))
    result = await bench.gateway.embed(TEXTS, bench.route, SCOPE)
    assert (result.calls, bench.requests) == (3, [3])
    assert result.vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(result.vectors, axis=1), 1, atol=1e-6)
    alone = await bench.gateway.embed(TEXTS[200:201], bench.route, SCOPE)
    assert np.allclose(result.vectors[200], alone.vectors[0])
    assert result.cost == pytest.approx(result.tokens_in / 1e6)
    assert [row.purpose for row in bench.store.rows.values()] == ["embeddings"] * 4


async def test_no_texts_no_call() -> None:
    bench = Bench()
    assert (await bench.gateway.embed([], bench.route, SCOPE)).vectors.shape[0] == 0
    assert bench.requests == [0]


async def test_falls_back_to_numbers_where_base64_is_refused() -> None:
    bench = Bench(Scenario(base64=False))
    for _ in range(2):
        await bench.gateway.embed(TEXTS[:3], bench.route, SCOPE)
    assert bench.requests == [3]


async def test_faults_are_retried() -> None:
    bench = Bench(scenario(Act.DROPPED, Act.RATE_LIMIT))
    assert (await bench.gateway.embed(TEXTS, bench.route, SCOPE)).vectors.shape == (300, 256)
    assert bench.requests == [5]


async def test_empty_and_odd_texts_get_a_vector() -> None:
    bench = Bench()
    result = await bench.gateway.embed(["", "   ", "\ud800", "x" * 100_000], bench.route, SCOPE)
    assert np.isfinite(result.vectors).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda texts: [[float("nan"), 1.0]] * len(texts),
        lambda texts: [[float("inf"), 1.0]] * len(texts),
        lambda texts: [[1.0, 2.0]] * (len(texts) - 1),
        lambda texts: np.zeros((len(texts), 0)),
        lambda texts: np.ones((len(texts), 2 if len(texts) == 128 else 3)),
    ],
)
async def test_vectors_that_cannot_be_right_are_refused(make: object) -> None:
    bench = Bench(clients={"s0": Odd(make)})
    with pytest.raises(CallError) as caught:
        await bench.gateway.embed(TEXTS, bench.route, SCOPE)
    assert caught.value.error_class is ErrorClass.BAD_ANSWER


async def test_a_row_of_zeros_gets_the_neutral_direction() -> None:
    bench = Bench(clients={"s0": Odd(lambda texts: np.zeros((len(texts), 4)))})
    result = await bench.gateway.embed(["a"], bench.route, SCOPE)
    assert result.vectors.tolist() == [[0.5, 0.5, 0.5, 0.5]]


async def test_vectors_of_two_models_are_never_mixed() -> None:
    bench = Bench(Scenario(), Scenario(width=64))

    class Failing(ScriptedClient):
        async def embed(
            self, deployment: Deployment, texts: Sequence[str], *, base64: bool, timeout: float
        ) -> WireVectors:
            if texts[0] == TEXTS[128]:
                raise Fault(ErrorClass.SERVER, status=500)
            return await super().embed(deployment, texts, base64=base64, timeout=timeout)

    bench = Bench(Scenario(), Scenario(width=64), clients={"s0": Failing()})
    result = await bench.gateway.embed(TEXTS, bench.route, SCOPE)
    assert result.vectors.shape == (300, 64)


async def test_a_fatal_error_names_itself() -> None:
    bench = Bench(Scenario(mix=(Step(act=Act.UNAUTHORIZED),)))
    with pytest.raises(CallError) as caught:
        await bench.gateway.embed(TEXTS, bench.route, SCOPE)
    assert (caught.value.error_class, caught.value.fatal) == (ErrorClass.AUTH, True)


async def test_batches_share_the_limiter() -> None:
    most = now = 0

    class Counting(ScriptedClient):
        async def embed(
            self, deployment: Deployment, texts: Sequence[str], *, base64: bool, timeout: float
        ) -> WireVectors:
            nonlocal most, now
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.01)
            now -= 1
            return await super().embed(deployment, texts, base64=base64, timeout=timeout)

    bench = Bench(clients={"s0": Counting()})
    route = Route((replace(bench.route.targets[0], concurrency=2),))
    await bench.gateway.embed(TEXTS * 3, route, SCOPE)
    assert most == 2
