from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analyses.pipeline.statistics import (
    discoveries,
    enrichment,
    enrichments,
    more_often,
    newcombe,
    wilson,
)


@pytest.mark.parametrize(("count", "total"), [(0, 10), (1, 10), (81, 263), (10, 10), (15, 148)])
def test_wilson_agrees_with_scipy(count, total):
    ours = wilson(count, total)
    theirs = stats.binomtest(count, total).proportion_ci(method="wilson")
    assert ours.low == pytest.approx(theirs.low, abs=1e-12)
    assert ours.high == pytest.approx(theirs.high, abs=1e-12)


def test_wilson_of_nothing_is_everything():
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0, 1)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # Table II of Newcombe 1998, method 10.
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((5, 56, 0, 29), (-0.0381, 0.1926)),
        ((10, 10, 0, 10), (0.6075, 1.0)),
    ],
)
def test_newcombe_agrees_with_the_paper(counts, expected):
    found = newcombe(*counts)
    assert (round(found.low, 4), round(found.high, 4)) == expected


def test_enrichment_is_the_one_sided_fisher_test():
    table = [[8, 12], [22, 158]]
    exact = stats.fisher_exact(table, alternative="greater").pvalue
    assert enrichment(8, 20, 30, 200) == pytest.approx(exact)
    assert enrichment(0, 20, 30, 200) == 1.0
    many = enrichments(np.array([8, 1]), 20, np.array([30, 30]), 200)
    assert many[0] == pytest.approx(exact)
    assert many[1] == pytest.approx(enrichment(1, 20, 30, 200))


def test_more_often_compares_rates():
    assert more_often(20, 10, 20, 10) > 0.4
    assert more_often(40, 10, 20, 10) < 0.01
    assert more_often(0, 10, 20, 10) == 1.0
    # Twice the count in twice the time is the same rate.
    assert more_often(40, 20, 20, 10) > 0.4


def test_discoveries_follow_the_step_up_rule():
    # The example of Benjamini and Hochberg 1995, section 3.2: four rejections at 5 %.
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240,
         0.4262, 0.5719, 0.6528, 0.7590, 1.0]  # fmt: skip
    assert discoveries(p).sum() == 4
    shuffled = np.random.default_rng(0).permutation(15)
    assert (discoveries(np.array(p)[shuffled]) == discoveries(p)[shuffled]).all()
    assert discoveries([]).size == 0


def test_discoveries_keep_their_promise_on_noise():
    generator = np.random.default_rng(1)
    false = sum(discoveries(generator.random(100)).any() for _ in range(400))
    assert false / 400 < 0.08
