"""What is said of groups whose neighbours in the tree are withheld."""

from __future__ import annotations

import numpy as np

from analyses.pipeline.records import PrivacyVerdict, TreeNode
from analyses.runner.finals import UNNAMED, reworded

NODES = [
    TreeNode(0, None, 1, "Webhooks and parcels", "Both."),
    TreeNode(1, 0, 2, "Replay a missed webhook", "One customer alone.", leaf=0),
    TreeNode(2, 0, 2, "Track a parcel", "Many.", leaf=1),
    TreeNode(3, 0, 2, "Change a parcel", "Many.", leaf=2),
    TreeNode(4, None, 1, "Reset a password", "Many.", leaf=3),
]
GROUPS = {node.key: np.arange(10 * (node.key + 1)) for node in NODES}


def verdicts(*withheld: int) -> dict[int, PrivacyVerdict]:
    return {node.key: PrivacyVerdict(node.key, node.key not in withheld) for node in NODES}


def test_a_theme_is_named_from_its_shown_clusters_alone():
    found = {node.key: node for node in reworded(NODES, GROUPS, verdicts(1))}
    assert "webhook" not in (found[0].name + found[0].description).lower()
    assert "parcel" in found[0].name.lower()
    assert found[4] == NODES[4]


def test_nothing_changes_when_all_are_shown_and_nothing_is_said_when_none_is():
    assert reworded(NODES, GROUPS, verdicts()) == NODES
    found = {node.key: node for node in reworded(NODES, GROUPS, verdicts(1, 2, 3))}
    assert (found[0].name, found[0].description) == (UNNAMED, "")
