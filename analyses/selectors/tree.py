"""The clusters of an analysis as a tree that may be shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from analyses.models import AnalysisSession, Cluster

FIELDS = (
    "id", "session_id", "parent_id", "key", "level", "leaf", "name", "description", "size",
    "users", "hue", "order", "x", "y", "provisional", "kept", "gain", "shown", "withheld_for",
    "model",
)  # fmt: skip


@dataclass(slots=True)
class Node:
    """One group that may be shown. ``count`` is its size, or what matches under filters."""

    cluster: Cluster
    count: int
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)
    bar: int = 0
    """Length of the size bar in percent of the largest theme."""
    few: bool = False
    """Under filters: too few are left to say how many."""

    @property
    def key(self) -> int:
        """The key that addresses carry."""
        return self.cluster.key

    @property
    def theme(self) -> Node:
        """The theme this group lies in; a theme is its own."""
        return self.parent.theme if self.parent else self

    def walk(self) -> Iterator[Node]:
        """This node and everything below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def leaves(self) -> Iterator[Node]:
        """The base clusters below, or the node itself when it is one."""
        return (node for node in self.walk() if node.cluster.leaf is not None)


@dataclass(slots=True)
class Tree:
    """Everything that may be shown, and how much may not."""

    roots: list[Node]
    by_key: dict[int, Node]
    provisional: bool
    hidden_groups: int = 0
    hidden_conversations: int = 0
    reasons: set[str] = field(default_factory=set)
    """Why groups are withheld: conversations, users, text."""

    @property
    def themes(self) -> int:
        """How many themes are shown."""
        return len(self.roots)

    @property
    def groups(self) -> int:
        """How many base clusters are shown."""
        return sum(1 for node in self.by_key.values() if not node.children)

    def walk(self) -> Iterator[Node]:
        """All nodes, parents first."""
        for root in self.roots:
            yield from root.walk()


def tree_of(session: AnalysisSession) -> Tree:
    """The final tree, or the provisional one while there is no other. One query.

    A group is shown when it and all groups around it are; what is withheld is only counted.
    """
    rows = list(Cluster.objects.filter(session=session).only(*FIELDS))
    final = [row for row in rows if not row.provisional]
    return _build(final or rows, provisional=not final)


def _build(rows: list[Cluster], *, provisional: bool) -> Tree:
    below: dict[int | None, list[Cluster]] = {}
    for row in rows:
        below.setdefault(row.parent_id, []).append(row)
    tree = Tree(roots=[], by_key={}, provisional=provisional)
    tree.roots = _children(None, below, tree)
    _measure(tree)
    return tree


def _children(
    parent: Node | None, below: Mapping[int | None, list[Cluster]], tree: Tree
) -> list[Node]:
    nodes = []
    for row in below.get(parent.cluster.pk if parent else None, []):
        if not row.shown:
            tree.hidden_groups += 1
            tree.hidden_conversations += row.size
            tree.reasons.add(row.withheld_for)
            continue
        node = Node(cluster=row, count=row.size, parent=parent)
        node.children = _children(node, below, tree)
        tree.by_key[row.key] = node
        nodes.append(node)
    return sorted(nodes, key=lambda node: (-node.count, node.cluster.order))


def _measure(tree: Tree) -> None:
    largest = max((root.count for root in tree.roots), default=0)
    for node in tree.walk():
        node.bar = round(100 * node.count / largest) if largest else 0


def recount(tree: Tree, by_leaf: Mapping[int, int]) -> None:
    """Replace sizes by what matches a filter. ``by_leaf`` maps cluster primary keys to counts."""

    def count(node: Node) -> int:
        own = by_leaf.get(node.cluster.pk, 0)
        node.count = own + sum(count(child) for child in node.children)
        return node.count

    for root in tree.roots:
        count(root)
    _measure(tree)
