"""What every stage promises, checked on every stage of the registry with one set of tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from analyses.pipeline import STAGES
from analyses.pipeline.base import CallFailed, Stopped
from analyses.pipeline.prepare import PrepareParams, prepare_one
from analyses.pipeline.records import (
    AnalysisTable,
    FacetSpec,
    FacetsRead,
    GroupFacts,
    HierarchyInputs,
    ItemFailed,
    MapInputs,
    NameInputs,
    ReportInputs,
    TreeNode,
)
from tests.analyses.pipeline.fakes import ScriptedChat, collect, make_context, plain, source

ORDER = (
    "prepare",
    "facets",
    "embed",
    "cluster",
    "name",
    "hierarchy",
    "privacy",
    "map",
    "insights",
    "report",
)
KEYS = pytest.mark.parametrize("key", ORDER)
TOPICS = (
    "Cancel a subscription before it renews",
    "Track a parcel that has not arrived",
    "Reset the password of an account",
)
SPEC = FacetSpec(key="resolved", label="Resolved", question="Done?", kind="boolean")


def topics(count: int) -> list[str]:
    """Texts around three topics, no two alike."""
    return [f"{TOPICS[i % 3]}, case {i}" for i in range(count)]


def vectors(count: int) -> np.ndarray:
    """Unit vectors around three centres, shape ``(count, 16)``."""
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(3, 16))
    rows = centres[np.arange(count) % 3] + 0.1 * rng.normal(size=(count, 16))
    norms = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return np.asarray(rows / norms, dtype=np.float32).reshape(count, 16)


def labels(count: int) -> np.ndarray:
    return np.asarray(np.arange(count) % min(3, max(1, count)), dtype=np.int32)


def centroids(count: int) -> np.ndarray:
    return vectors(count)[: min(3, count)]


def nodes(count: int) -> list[TreeNode]:
    """One theme over a leaf per cluster, or nothing for nothing."""
    if not count:
        return []
    leaves = range(min(3, count))
    return [
        TreeNode(0, None, 1, "Solve account matters", "People asked for help."),
        *(TreeNode(10 + i, 0, 2, TOPICS[i], "People asked.", leaf=i) for i in leaves),
    ]


def groups(count: int) -> dict[int, list[int]]:
    found = {0: list(range(count))} if count else {}
    for leaf in range(min(3, count)):
        found[10 + leaf] = np.flatnonzero(labels(count) == leaf).tolist()
    return found


def table(count: int) -> AnalysisTable:
    start = datetime(2025, 3, 1, tzinfo=UTC)
    return AnalysisTable(
        nodes=nodes(count),
        groups=groups(count),
        specs=[SPEC],
        facets={"resolved": [i % 3 != 0 for i in range(count)]},
        started=[start + timedelta(hours=7 * i) for i in range(count)],
        users=[f"u{i % 17}" for i in range(count)],
        languages=["en" if i % 4 else "de" for i in range(count)],
        shown=frozenset(groups(count)),
    )


def names_of(count: int) -> NameInputs:
    return NameInputs(topics(count), topics(count), vectors(count), labels(count), centroids(count))


def tree_of(count: int) -> HierarchyInputs:
    many = [f"{text} by way {i}" for i, text in enumerate(topics(count))]
    return HierarchyInputs(many, ["People asked."] * count, vectors(count), [30] * count)


def facts(count: int) -> list[GroupFacts]:
    return [
        GroupFacts(i, None, 1, text, "People asked.", 30 + i, 20)
        for i, text in enumerate(topics(count))
    ]


def report_of(count: int) -> ReportInputs:
    return ReportInputs(
        read=count,
        failed=0,
        total=count,
        vectors=vectors(count),
        labels=labels(count),
        nodes=nodes(count),
        groups=groups(count),
    )


# How to make inputs of ``count`` conversations (clusters, for the stages that see clusters).
INPUTS: dict[str, Callable[[int], Any]] = {
    "prepare": lambda n: [source(text, position=i) for i, text in enumerate(topics(n))],
    "facets": lambda n: [
        prepare_one(source(text, position=i), PrepareParams()) for i, text in enumerate(topics(n))
    ],
    "embed": topics,
    "cluster": vectors,
    "name": names_of,
    "hierarchy": tree_of,
    "privacy": facts,
    "map": lambda n: MapInputs(vectors(n), labels(n)),
    "insights": table,
    "report": report_of,
}
ASKS_A_MODEL = ("facets", "name", "hierarchy", "privacy")
# A layout of this size is drawn without the compiled method, which takes seconds to warm.
SIZE = {"map": 8, "insights": 90}


def small(key: str) -> Any:
    return INPUTS[key](SIZE.get(key, 24))


def test_the_registry_holds_every_stage_in_order() -> None:
    assert tuple(STAGES) == ORDER
    assert len(STAGES) == len(ORDER)
    assert "facets" in STAGES
    with pytest.raises(KeyError):
        STAGES["nothing"]


def test_importing_the_package_imports_no_stage() -> None:
    code = (
        "import sys, analyses.pipeline as p; list(p.STAGES);"
        "print([m for m in ('numpy', 'sklearn', 'faiss', 'pacmap', 'django') if m in sys.modules])"
    )
    heavy = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert heavy.stdout.strip() in ("[]", "['numpy']")


@KEYS
def test_a_stage_says_what_it_is(key: str) -> None:
    stage = STAGES[key]
    assert stage.key == key
    assert stage.version >= 1
    assert set(stage.needs) <= set(ORDER[: ORDER.index(key)])


@KEYS
def test_params_survive_a_json_round_trip_and_refuse_change(key: str) -> None:
    params = STAGES[key].Params()
    again = STAGES[key].Params.model_validate_json(params.model_dump_json())
    assert again == params
    assert again.model_config["frozen"]
    with pytest.raises(ValueError, match="extra"):
        STAGES[key].Params.model_validate({**params.model_dump(mode="json"), "surely_unknown": 1})


@KEYS
async def test_the_same_seed_gives_the_same_records(key: str) -> None:
    runs = [
        await collect(STAGES[key](), small(key), make_context(seed=11, concurrency=1))
        for _ in range(2)
    ]
    assert runs[0]
    assert plain(runs[0]) == plain(runs[1])


@KEYS
@pytest.mark.parametrize("count", [0, 1, 2])
async def test_hardly_any_input_is_no_error(key: str, count: int) -> None:
    records = await collect(STAGES[key](), INPUTS[key](count), make_context())
    if key in ("prepare", "facets", "privacy", "hierarchy"):
        assert len(records) >= count


@KEYS
async def test_a_stage_stops_promptly(key: str) -> None:
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return True

    chat = ScriptedChat()
    with pytest.raises(Stopped):
        await collect(STAGES[key](), small(key), make_context(chat, should_stop=stop))
    assert calls <= 2
    assert chat.requests == []


@pytest.mark.parametrize("key", ASKS_A_MODEL)
async def test_a_stop_asked_for_while_calls_are_out_is_heard(key: str) -> None:
    chat = ScriptedChat(delay=0.02)
    context = make_context(chat, should_stop=lambda: len(chat.requests) >= 1, concurrency=1)
    with pytest.raises(Stopped):
        await collect(STAGES[key](), small(key), context)
    assert len(chat.requests) <= 2


@pytest.mark.parametrize("key", ASKS_A_MODEL)
async def test_failing_calls_are_failed_records_not_a_lost_run(key: str) -> None:
    """Every call fails; the stage still answers for everything it was given and says so."""
    chat = ScriptedChat(fail=lambda request: True)
    inputs = small(key)
    records = await collect(STAGES[key](), inputs, make_context(chat))
    assert chat.requests
    if key == "facets":
        assert len(records) == len(inputs)
        assert all(isinstance(record, ItemFailed) for record in records)
    elif key == "name":
        named = {record.index: record for record in records}
        assert set(named) == {0, 1, 2}
        assert all(record.name and record.failed == "timeout" for record in named.values())
    elif key == "hierarchy":
        leaves = [node.leaf for node in records if node.leaf is not None]
        assert sorted(leaves) == list(range(len(inputs.names)))
    else:
        assert len(records) == len(inputs)
        assert all("failed (timeout)" in record.note for record in records)


@pytest.mark.parametrize("key", ASKS_A_MODEL)
async def test_one_failing_call_leaves_the_others_alone(key: str) -> None:
    chat = ScriptedChat()
    chat.fail = lambda request: len(chat.requests) == 1
    records = await collect(STAGES[key](), small(key), make_context(chat, concurrency=1))
    if key == "facets":
        assert sum(isinstance(record, ItemFailed) for record in records) == 1
        assert sum(isinstance(record, FacetsRead) for record in records) == len(records) - 1
    assert records


@pytest.mark.parametrize("key", ASKS_A_MODEL)
async def test_a_failure_that_would_repeat_ends_the_stage(key: str) -> None:
    error = CallFailed("auth", "The key was refused.", fatal=True)
    chat = ScriptedChat(fail=lambda request: True, error=error)
    with pytest.raises(CallFailed, match="refused"):
        await collect(STAGES[key](), small(key), make_context(chat))


@KEYS
async def test_progress_never_runs_backwards_or_over(key: str) -> None:
    seen: list[tuple[int, int]] = []
    context = make_context(report=lambda done, total: seen.append((done, total)))
    await collect(STAGES[key](), small(key), context)
    assert all(0 <= done <= total for done, total in seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
