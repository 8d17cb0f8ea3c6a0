from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from analyses.pipeline.base import Context, Stopped
from analyses.pipeline.cluster import assign_clusters
from analyses.pipeline.records import ReportInputs, TreeNode
from analyses.pipeline.report import ReportParams, ReportStage


async def no_call(_):
    raise AssertionError("the report asks nobody")


CONTEXT = Context(chat=no_call, embed=no_call)


def inputs(size: int = 300, groups: int = 6, spread: float = 0.05, rest: int = 4) -> ReportInputs:
    """Blobs, their clusters and a tree of two themes with three clusters each."""
    dice = np.random.default_rng(0)
    centres = np.eye(24, dtype=np.float32)[:groups]
    rows = centres[np.arange(size) % groups] + spread * dice.normal(size=(size, 24))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    rows[:rest] = 0
    labels = assign_clusters(rows, groups, 7).labels
    nodes, members = [], {}
    for theme in range(2):
        nodes.append(TreeNode(100 + theme, None, 1, f"Theme {theme}", ""))
        members[100 + theme] = np.flatnonzero((labels >= 0) & (labels % 2 == theme)).tolist()
    for label in range(groups):
        nodes.append(TreeNode(label, 100 + label % 2, 2, f"Cluster {label}", "", leaf=label))
        members[label] = np.flatnonzero(labels == label).tolist()
    return ReportInputs(
        read=size, failed=3, total=size + 5, vectors=rows, labels=labels, nodes=nodes,
        groups=members, totals={"tokens_in": np.int64(12), "cost": math.nan, "by": (1, 2)},
    )  # fmt: skip


async def card(data: ReportInputs, **params) -> dict:
    records = [r async for r in ReportStage(ReportParams(**params)).run(data, CONTEXT)]
    assert len(records) == 1
    return json.loads(json.dumps(records[0].figures, allow_nan=False))


async def test_counts_add_up():
    found = await card(inputs())
    assert found["adds_up"]
    assert found["problems"] == []
    assert [level["conversations"] for level in found["levels"]] == [296, 296]
    assert [level["groups"] for level in found["levels"]] == [2, 6]
    assert found["rest"] == {"count": 4, "share": pytest.approx(4 / 300, abs=1e-6)}
    assert found["conversations"] == {
        "total": 305, "read": 300, "failed": 3, "waiting": 2,
        "coverage": pytest.approx(300 / 305, abs=1e-6),
    }  # fmt: skip
    assert (found["clusters"], found["themes"]) == (6, 2)
    assert found["totals"]["tokens_in"] == 12
    assert found["totals"]["cost"] is None
    assert found["totals"]["by"] == [1, 2]
    assert found["warnings"] == []


async def test_lost_and_doubled_conversations_are_flagged():
    good = inputs()
    lost = {**good.groups, 2: good.groups[2][1:]}
    found = await card(replace(good, groups=lost))
    assert not found["adds_up"]
    assert any("Level 2" in problem for problem in found["problems"])
    assert any("Group 100" in problem for problem in found["problems"])
    assert any("do not add up" in warning for warning in found["warnings"])
    twice = {**good.groups, 1: [*good.groups[1][1:], good.groups[1][1]]}
    found = await card(replace(good, groups=twice))
    assert found["problems"] == ["Group 1 holds a conversation twice."]
    found = await card(replace(good, read=299))
    assert not found["adds_up"]


async def test_clear_groups_are_stable_and_noise_is_not():
    clear = await card(inputs())
    assert clear["stability"]["mean"] > 0.95
    assert clear["stability"]["resamples"] == 5
    noise = await card(inputs(spread=3.0))
    assert noise["stability"]["mean"] < 0.4
    assert any("differently" in warning for warning in noise["warnings"])


async def test_rows_are_bounded():
    bounded = await card(inputs(size=600), rows=60, resamples=2)
    assert bounded["stability"]["resamples"] == 2


async def test_duplicates_largest_and_failures_are_told():
    good = inputs()
    nodes = [
        replace(node, name="Reset the passwords" if node.key == 1 else "reset a password")
        if node.key in (1, 3)
        else node
        for node in good.nodes
    ]
    found = await card(replace(good, nodes=nodes, failed=100, total=400))
    assert [group["nodes"] for group in found["duplicate_names"]] == [[1, 3]]
    assert any("100 of 400" in warning for warning in found["warnings"])
    assert any("used more than once" in warning for warning in found["warnings"])
    assert found["largest"]["share"] == pytest.approx(50 / 300, abs=1e-3)
    labels = np.where(np.arange(300) < 250, 0, 1).astype(np.int32)
    two = [TreeNode(i, None, 1, f"Cluster {i}", "", leaf=i) for i in range(2)]
    groups = {i: np.flatnonzero(labels == i).tolist() for i in range(2)}
    found = await card(replace(good, labels=labels, nodes=two, groups=groups))
    assert found["adds_up"]
    assert any("83%" in warning for warning in found["warnings"])


@pytest.mark.parametrize("size", [0, 1, 2, 15])
async def test_small_and_empty(size):
    labels = np.zeros(size, dtype=np.int32)
    nodes = [TreeNode(0, None, 1, "All", "", leaf=0)] if size else []
    data = ReportInputs(
        read=size, failed=0, total=size, vectors=np.ones((size, 4), np.float32), labels=labels,
        nodes=nodes, groups={0: list(range(size))} if size else {},
    )  # fmt: skip
    found = await card(data)
    assert found["adds_up"]
    assert found["stability"] is None
    assert found["warnings"] == []


async def test_stops_promptly():
    stopping = Context(chat=no_call, embed=no_call, should_stop=lambda: True)
    with pytest.raises(Stopped):
        _ = [r async for r in ReportStage().run(inputs(), stopping)]
