"""The tree: levels, guards, and models that answer badly."""

import numpy as np
import pytest

from analyses.pipeline.base import CallFailed, ChatAnswer, Context, Stopped
from analyses.pipeline.hierarchy import HierarchyParams, HierarchyStage, level_targets
from analyses.pipeline.hierarchy_level import merge_singles
from analyses.pipeline.local import LocalEngine
from analyses.pipeline.name_rules import too_similar
from analyses.pipeline.records import HierarchyInputs

ACTS = ("Book", "Cancel", "Change", "Track", "Find")


def base(count, themes=5, seed=0):
    """``count`` clusters around ``themes`` directions, named by direction and number."""
    rng = np.random.default_rng(seed)
    centre = np.eye(max(themes, 2), 24, dtype=np.float32)[np.arange(count) % themes]
    vectors = centre + 0.1 * rng.normal(size=(count, 24)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = [f"{ACTS[i % themes % 5]} a {chr(97 + i % 26) * 3}{chr(97 + i // 26)}"
             for i in range(count)]  # fmt: skip
    return HierarchyInputs(names, ["One. Two."] * count, vectors, [10 + i for i in range(count)])


async def tree(data, chat=None, params=None, **more):
    context = Context(chat=chat or LocalEngine(), embed=None, **more)
    return [node async for node in HierarchyStage(params).run(data, context)]


def check(nodes, count):
    """What must hold for every tree, whoever answered."""
    by_key = {node.key: node for node in nodes}
    assert len(by_key) == len(nodes)
    leaves = [node for node in nodes if node.leaf is not None]
    assert sorted(node.leaf for node in leaves) == list(range(count))
    children = {}
    for node in nodes:
        if node.parent is None:
            assert node.level == 1
        else:
            assert by_key[node.parent].level == node.level - 1
            assert node.parent < node.key
            children.setdefault(node.parent, []).append(node)
    for node in nodes:
        if node.leaf is None:
            assert len(children[node.key]) > 1
            assert node.name
    assert len({node.level for node in leaves}) <= 1
    levels = [sum(node.level == i for node in nodes) for i in range(1, 1 + max(
        (node.level for node in nodes), default=0))]  # fmt: skip
    assert levels == sorted(set(levels))
    for level in range(1, len(levels)):
        assert too_similar([n.name for n in nodes if n.level == level and n.leaf is None]) == []


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7, 15, 35, 45, 150, 200])
async def test_every_size_gives_a_sound_tree(count):
    nodes = await tree(base(count))
    check(nodes, count)
    depth = max((node.level for node in nodes), default=0)
    if count == 4 and depth == 1:
        return  # four clusters of which no two are near: they stay the themes
    assert depth == (0 if not count else 1 if count <= 3 else 2 if count <= 150 else 3)


async def test_thirty_five_clusters_make_about_eight_themes():
    nodes = await tree(base(35))
    themes = [node for node in nodes if node.parent is None]
    assert 4 <= len(themes) <= 12
    sizes = {node.key: 0 for node in themes}
    for node in nodes:
        if node.parent is not None:
            sizes[node.parent] += 10 + node.leaf
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True)


def test_targets_are_geometric():
    assert level_targets(35, None, None) == [8]
    assert level_targets(1000, 3, 10) == [100, 10]
    assert level_targets(4, None, None) == [2]


class Scripted(LocalEngine):
    """The local engine with one step answered by ``replies[step](payload)``."""

    def __init__(self, **replies):
        self.replies, self.steps = replies, []

    async def __call__(self, request):
        step = request.payload["step"]
        self.steps.append(step)
        if step in self.replies:
            return ChatAnswer(self.replies[step](request.payload), "scripted")
        return await super().__call__(request)


def boom(*_):
    raise CallFailed("timeout", "too slow")


@pytest.mark.parametrize("step", ["propose", "dedupe", "assign", "rename"])
async def test_a_failing_step_still_gives_a_complete_tree(step):
    nodes = await tree(base(45), Scripted(**{step: boom}))
    check(nodes, 45)
    assert sum(node.parent is None for node in nodes) >= 2


async def test_all_calls_failing_still_gives_a_tree():
    steps = dict.fromkeys(("propose", "dedupe", "assign", "rename"), boom)
    check(await tree(base(20), Scripted(**steps)), 20)


async def test_a_fatal_call_ends_the_stage():
    def fatal(_):
        raise CallFailed("auth", "bad key", fatal=True)

    with pytest.raises(CallFailed, match="bad key"):
        await tree(base(10), Scripted(propose=fatal))


async def test_an_invented_parent_is_asked_once_more_then_placed_by_distance():
    def invented(payload):
        return {"placements": [{"child": c["key"], "parent": "Nowhere"}
                               for c in payload["children"]]}  # fmt: skip

    chat = Scripted(assign=invented)
    nodes = await tree(base(20), chat, HierarchyParams(top=5))
    check(nodes, 20)
    assert "Nowhere" not in {node.name for node in nodes}
    assert chat.steps.count("assign") == 2
    placed = {node.leaf: node.parent for node in nodes if node.leaf is not None}
    assert all(placed[i] == placed[i % 5] for i in range(20))


async def test_the_model_s_word_counts_when_it_names_a_known_parent():
    def swap(payload):
        names = sorted(parent["name"] for parent in payload["parents"])
        return {"placements": [{"child": c["key"], "parent": names[c["key"] % len(names)]}
                               for c in payload["children"]]}  # fmt: skip

    nodes = await tree(base(20), Scripted(assign=swap))
    check(nodes, 20)
    placed = {node.leaf: node.parent for node in nodes if node.leaf is not None}
    themes = len(set(placed.values()))
    assert all(placed[i] == placed[i % themes] for i in range(20))


async def test_one_parent_for_all_is_no_level():
    def one(payload):
        keys = [c["key"] for c in payload["clusters"]]
        return {"themes": [{"name": "Do all", "description": "A. B.", "groups": keys}]}

    nodes = await tree(base(12), Scripted(propose=one))
    check(nodes, 12)
    assert sum(node.parent is None for node in nodes) >= 2


async def test_a_scripted_model_is_asked_few_rounds():
    chat = Scripted()
    await tree(base(45), chat)
    order = list(dict.fromkeys(chat.steps))
    assert order in (["propose", "dedupe", "assign", "rename"], ["propose", "assign", "rename"])
    assert chat.steps.count("assign") == 3
    assert chat.steps.count("propose") == 2


async def test_schemas_allow_known_keys_and_parents_only():
    seen = {}

    async def chat(request):
        seen.setdefault(request.payload["step"], request)
        return await LocalEngine()(request)

    await tree(base(12), chat)
    entry = seen["assign"].schema["properties"]["placements"]["items"]["properties"]
    assert entry["child"]["enum"] == list(range(12))
    known = {parent["name"] for parent in seen["assign"].payload["parents"]}
    assert set(entry["parent"]["enum"]) == known
    for request in seen.values():
        assert "vectors" not in request.messages[1].content


def test_single_children_join_the_nearest_other_parent():
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9], [0.8, 0.3]], dtype=np.float32)
    assert merge_singles([0, 0, 1, 1, 2], vectors) == [0, 0, 1, 1, 0]
    assert merge_singles([0, 0, 0], vectors[:3]) == [0, 0, 0]


async def test_same_seed_same_tree_a_stop_and_parameters():
    assert await tree(base(30)) == await tree(base(30))
    with pytest.raises(Stopped):
        await tree(base(30), should_stop=lambda: True)
    params = HierarchyParams(top=4, levels=2)
    assert HierarchyParams.model_validate_json(params.model_dump_json()) == params
    flat = await tree(base(9), params=HierarchyParams(levels=1))
    assert all(node.parent is None and node.leaf is not None for node in flat)
