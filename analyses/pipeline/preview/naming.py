"""Provisional names: keyphrases, no model, and kept for as long as they are still true."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analyses.pipeline.base import Labels, Matrix
from analyses.pipeline.local.names import distinguishing, keyphrase_name
from analyses.pipeline.name import NameParams, Sample, draw_samples
from analyses.pipeline.name_rules import TOO_SIMILAR, clean_name, set_apart, similarity
from analyses.pipeline.preview.grouping import directions
from analyses.pipeline.records import NameInputs

PARAMS = NameParams(members=40, outsiders=40)
"""Fewer texts than the final names get: forty clusters have to be named in a few tenths."""

GROWN = 2
"""A name is looked at again once its cluster has grown this many times."""

STEADY = 0.4
"""A cluster keeps its name while this share of it (of the union) is as it was."""


def keeps_name(size: int, named_at: int, steady: float) -> bool:
    """Whether an old name still stands for a cluster of ``size`` conversations."""
    return bool(named_at) and steady >= STEADY and size < GROWN * named_at


def name_groups(
    texts: Sequence[str],
    hints: Sequence[str],
    vectors: Matrix,
    labels: Labels,
    old: Sequence[str],
    seed: int,
) -> list[str]:
    """A name for every group ``0 … k-1``; groups with a name in ``old`` keep it.

    ``labels`` may hold -1 for rows in no group. No two names of the list read alike.
    """
    count = len(old)
    if all(old):
        return list(old)
    centroids = directions(
        np.stack([vectors[labels == group].sum(axis=0) for group in range(count)])
    )
    padded = list(hints) if len(hints) == len(texts) else [""] * len(texts)
    inputs = NameInputs(texts, padded, vectors, labels, centroids)
    samples = draw_samples(inputs, PARAMS, seed)
    names = list(old)
    for group in np.argsort(-np.bincount(labels[labels >= 0], minlength=count), kind="stable"):
        if not names[group]:
            names[group] = _fresh(samples[group], [name for name in names if name])
    return names


def _fresh(sample: Sample, taken: Sequence[str]) -> str:
    """A keyphrase name, told apart from those already given."""
    name = clean_name(keyphrase_name(sample)[0]) or "Other conversations"
    if any(similarity(name, other) >= TOO_SIMILAR for other in taken):
        return set_apart(name, distinguishing(sample), taken)
    return name
