"""The tree over the base clusters: themes on top, every cluster under exactly one parent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from pydantic import Field

from analyses.pipeline.base import Context, Matrix, StageParams
from analyses.pipeline.hierarchy_level import Node, build_level
from analyses.pipeline.records import HierarchyInputs, TreeNode
from analyses.pipeline.shape import level_targets


class HierarchyParams(StageParams):
    """``top`` themes over ``levels`` levels (clusters included); ``None`` goes by the number."""

    top: int | None = Field(default=None, ge=2, le=100)
    levels: int | None = Field(default=None, ge=1, le=6)


class HierarchyStage:
    """Arranges named clusters in a tree. With three clusters or fewer they are the themes."""

    key: ClassVar[str] = "hierarchy"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("name",)
    Params: ClassVar[type[StageParams]] = HierarchyParams

    def __init__(self, params: HierarchyParams | None = None) -> None:
        self.params = params or HierarchyParams()

    async def run(self, inputs: HierarchyInputs, context: Context) -> AsyncIterator[TreeNode]:
        """Yield the nodes of the finished tree, parents before children, keys ascending."""
        context.check()
        levels = [_leaves(inputs)]
        for target in self.targets(len(inputs.names)):
            children = levels[-1]
            if target >= len(children):
                continue
            parents, links = await build_level(children, target, context)
            if not 1 < len(parents) < len(children):
                continue
            levels[-1] = [
                replace(child, parent=parent) for child, parent in zip(children, links, strict=True)
            ]
            levels.append(parents)
        for node in _numbered(levels):
            yield node

    def targets(self, base: int) -> list[int]:
        """Wanted sizes of the levels above ``base`` clusters, from the lowest up."""
        return level_targets(base, self.params.levels, self.params.top)


def _leaves(inputs: HierarchyInputs) -> list[Node]:
    matrix: Matrix = np.asarray(inputs.centroids, dtype=np.float32)
    return [
        Node(index, name, inputs.descriptions[index], matrix[index], inputs.sizes[index])
        for index, name in enumerate(inputs.names)
    ]


@dataclass(frozen=True, slots=True)
class _Placed:
    node: Node
    parent: int | None


def _numbered(levels: Sequence[Sequence[Node]]) -> list[TreeNode]:
    """The tree from its levels (base first), numbered breadth first, larger nodes first."""
    result: list[TreeNode] = []
    above: dict[int, int] = {}
    for depth, nodes in enumerate(reversed(levels), start=1):
        is_base = depth == len(levels)
        placed = [
            _Placed(node, above[node.parent] if node.parent is not None else None) for node in nodes
        ]
        placed.sort(key=lambda p: (p.parent or 0, -p.node.size, p.node.key))
        above = {}
        for entry in placed:
            key = len(result)
            above[entry.node.key] = key
            leaf = entry.node.key if is_base else None
            name, text = entry.node.name, entry.node.description
            result.append(TreeNode(key, entry.parent, depth, name, text, leaf))
    return result
