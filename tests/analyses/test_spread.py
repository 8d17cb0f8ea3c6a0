"""Which conversations a sample spread over a data set takes, and the prompts counted before."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from django.utils import timezone

from analyses import plan
from analyses.models import AnalysisSession
from analyses.selectors import estimating
from analyses.selectors.asked import places_of
from projects.models import Dataset
from projects.services.trash import recount
from templates_app.models import TemplateVersion


def places(total: int, of: int, *, seed: int = 1, gone: tuple[int, ...] = ()) -> list[int]:
    """Positions in the data set, in the order of the analysis."""
    params = plan.RunParams(limit=total, spread_over=of, left_out=list(gone))
    found = plan.places(params, total=total, seed=seed, first=0, last=total)
    assert list(found.values()) == list(range(total))
    return list(found)


@pytest.mark.parametrize(
    ("total", "of"), [(1, 1), (1, 300), (60, 300), (299, 300), (7, 1000), (1000, 1_000_003)]
)
def test_one_of_every_equal_stretch(total: int, of: int) -> None:
    for seed in range(5):
        found = places(total, of, seed=seed)
        assert all(left < right for left, right in pairwise(found))
        stretches = [(i * of // total, (i + 1) * of // total) for i in range(total)]
        assert all(a <= at < b for at, (a, b) in zip(found, stretches, strict=True))


@pytest.mark.parametrize("of", [1, 60])
def test_a_sample_of_all_is_all(of: int) -> None:
    assert places(of, of) == list(range(of))
    assert places(60, of) == list(range(60)), "never fewer than were asked for"


def test_the_seed_alone_decides() -> None:
    assert places(60, 300, seed=4) == places(60, 300, seed=4)
    assert places(60, 300, seed=4) != places(60, 300, seed=5)


def test_every_place_of_a_stretch_is_drawn_about_as_often() -> None:
    counts = [0] * 5
    for seed in range(200):
        for at in places(10, 50, seed=seed):
            counts[at % 5] += 1
    assert all(abs(count - 400) < 80 for count in counts), counts  # four standard deviations


def test_a_part_gives_the_same_as_the_whole() -> None:
    params = plan.RunParams(limit=60, spread_over=300, left_out=[3, 4, 150])
    whole = plan.places(params, total=60, seed=9, first=0, last=60)
    parts: dict[int, int] = {}
    for first in range(0, 60, 7):
        parts |= plan.places(params, total=60, seed=9, first=first, last=min(60, first + 7))
    assert parts == whole


def test_deleted_ones_are_passed_over() -> None:
    gone = (0, 1, 2, 40, 97, 98, 99)
    found = places(31, 93, gone=gone)
    assert len(set(found)) == 31
    assert not set(found) & set(gone)
    assert max(found) < 100
    kept = [at for at in range(100) if at not in gone]
    assert places(93, 93, gone=gone) == kept


def test_an_analysis_knows_its_own_places(
    start: Callable[..., AnalysisSession], dataset: Dataset
) -> None:
    session = start(limit=4, params={"spread_over": 12})
    own = places_of(session, 0, 4)
    assert list(own) == places(4, 12, seed=session.seed)
    assert places_of(session, 2, 3) == {list(own)[2]: 2}


def test_counted_prompts_leave_deleted_conversations_out(
    larger: Dataset, version: TemplateVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deleted one is not even rendered, and its place is taken by one that is there."""
    larger.conversations.filter(position__lt=150).update(deleted_at=timezone.now())
    recount(larger)
    seen: list[int] = []
    render = estimating.probe

    def noted(source, *rest):  # type: ignore[no-untyped-def]
        seen.append(source.position)
        return render(source, *rest)

    monkeypatch.setattr(estimating, "probe", noted)
    assert len(estimating.probes_of(larger, version, 20, "en")) == 20
    assert seen == list(range(150, 170)), "the first twenty that are left"
    seen.clear()
    found = estimating.probes_of(larger, version, 50, "en")
    assert (len(found), seen) == (50, list(range(150, 200)))
