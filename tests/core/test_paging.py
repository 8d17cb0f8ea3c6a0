"""Pages by keyset."""

from __future__ import annotations

import pytest

from accounts.models import Workspace
from core.errors import Invalid
from core.paging import MOST, page
from projects.models import Project


@pytest.fixture
def seven(workspace: Workspace) -> list[str]:
    names = [f"p{number}" for number in range(7)]
    for name in names:
        Project.objects.create(workspace=workspace, name=name, slug=name)
    return names


def walk(limit: int, **how: bool) -> list[list[str]]:
    pages, cursor = [], None
    while True:
        found = page(Project.objects.all(), cursor, limit, **how)
        pages.append([row.name for row in found["items"]])
        cursor = found["next"]
        if cursor is None:
            return pages


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
@pytest.mark.parametrize("newest_first", [True, False])
def test_pages_hold_every_row_once_in_order(
    seven: list[str], limit: int, newest_first: bool
) -> None:
    pages = walk(limit, newest_first=newest_first)
    flat = [name for one in pages for name in one]
    assert flat == (seven[::-1] if newest_first else seven)
    assert all(len(one) == limit for one in pages[:-1])
    assert pages[-1]


def test_new_rows_between_pages_shift_nothing(seven: list[str], workspace: Workspace) -> None:
    first = page(Project.objects.all(), None, 3)
    Project.objects.create(workspace=workspace, name="late", slug="late")
    second = page(Project.objects.all(), first["next"], 3)
    assert [row.name for row in second["items"]] == ["p3", "p2", "p1"]


@pytest.mark.django_db
def test_nothing() -> None:
    assert page(Project.objects.all(), None, 50) == {"items": [], "next": None}


def test_limits_are_kept_in_bounds(seven: list[str]) -> None:
    assert len(page(Project.objects.all(), None, 0)["items"]) == 1
    assert len(page(Project.objects.all(), None, -5)["items"]) == 1
    assert len(page(Project.objects.all(), None, 10**9)["items"]) == 7
    assert MOST == 200


@pytest.mark.django_db
@pytest.mark.parametrize(
    "cursor", ["x", "-1", "1.5", "²", "１２", " 1", "1 OR 1=1", "9" * 19, "9" * 5000, "\x00"]
)
def test_cursors_that_are_not_ours_are_refused(cursor: str) -> None:
    with pytest.raises(Invalid) as caught:
        page(Project.objects.all(), cursor, 5)
    assert caught.value.fields.keys() == {"cursor"}


def test_another_number_can_be_the_key(workspace: Workspace, dataset: object) -> None:
    from projects.models import Conversation

    rows = Conversation.objects.all()
    first = page(rows, None, 5, newest_first=False, by="position")
    second = page(rows, first["next"], 5, newest_first=False, by="position")
    assert [row.position for row in [*first["items"], *second["items"]]] == list(range(10))
