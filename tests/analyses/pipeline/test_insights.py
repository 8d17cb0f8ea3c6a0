from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

import pytest

from analyses.pipeline.base import Context, Stopped
from analyses.pipeline.insights import InsightParams, InsightsStage, find_insights, wording
from analyses.pipeline.records import AnalysisTable, FacetSpec, TreeNode

SPECS = (
    FacetSpec(key="summary", label="Summary", question="?", kind="text"),
    FacetSpec(
        key="sentiment", label="Sentiment", question="?", kind="category",
        choices=("positive", "neutral", "negative"),
    ),
    FacetSpec(key="concern", label="Concern", question="?", kind="score"),
    FacetSpec(key="resolved", label="Resolved", question="?", kind="boolean"),
    FacetSpec(key="channel", label="Channel", question="?", kind="category"),
)  # fmt: skip
START = datetime(2026, 3, 3, 9, 30, tzinfo=UTC)
SPAN = 92
TOPICS = 30
RISING, NEW = 11, 23


def table(seed: int, *, size: int = 1200, planted: bool = True, factor: float = 5.0):
    """Thirty topics in eight themes over three months, with facets that differ by topic."""
    dice = random.Random(seed)
    weight = [dice.uniform(0.6, 1.8) for _ in range(TOPICS)]
    bad, risky, open_ = ({t: dice.random() ** 3 for t in range(TOPICS)} for _ in range(3))
    channel = {t: dice.random() for t in range(TOPICS)}
    topics, started, users, languages = [], [], [], []
    values: dict[str, list] = {spec.key: [] for spec in SPECS}
    for row in range(size):
        # Traffic grows by a third over the months and halves at weekends.
        while True:
            at = START + timedelta(days=SPAN * dice.random())
            busy = (0.75 + 0.25 * (at - START).days / SPAN) * (0.5 if at.weekday() > 4 else 1)
            if dice.random() < busy:
                break
        age = SPAN - (at - START).total_seconds() / 86400
        shares = list(weight)
        shares[NEW] = (4.0 if age < 17 else 0.0) if planted else 1.0
        shares[RISING] = factor if planted and age < 19 else 1.0
        topic = dice.choices(range(TOPICS), shares)[0]
        topics.append(topic if dice.random() > 0.03 else dice.randrange(TOPICS))
        zone = dice.choice([UTC, timezone(timedelta(hours=9)), None])
        stamp = at.astimezone(zone) if zone else at.replace(tzinfo=None)
        started.append(None if dice.random() < 0.04 else stamp)
        users.append(f"u{dice.randrange(700)}")
        languages.append(dice.choices(["en", "es", "de", "ja"], [7, 2, 1, 1])[0])
        values["summary"].append(f"text {row}")
        mood = "negative" if dice.random() < bad[topic] else dice.choice(["neutral", "positive"])
        values["sentiment"].append(mood if dice.random() > 0.02 else None)
        grave = dice.random() < 0.15 * risky[topic]
        values["concern"].append(float(dice.choice([4, 5] if grave else [1, 1, 2, 3])))
        values["resolved"].append(dice.random() > 0.1 + 0.5 * open_[topic])
        values["channel"].append("phone" if dice.random() < channel[topic] else "chat")
    return _table(topics, started, users, languages, values)


def _table(topics, started, users, languages, values, shown=None):
    nodes, groups = [], {}
    for theme in range(8):
        nodes.append(TreeNode(100 + theme, None, 1, f"Theme {theme}", ""))
        groups[100 + theme] = [r for r, t in enumerate(topics) if t % 8 == theme]
    for topic in range(TOPICS):
        nodes.append(TreeNode(topic, 100 + topic % 8, 2, f"Topic {topic}", "", leaf=topic))
        groups[topic] = [r for r, t in enumerate(topics) if t == topic]
    return AnalysisTable(
        nodes=nodes, groups=groups, specs=SPECS, facets=values, started=started, users=users,
        languages=languages, shown=frozenset(groups) if shown is None else shown,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_planted_changes_rank_among_the_first_five(seed):
    first = find_insights(table(seed), InsightParams())[:5]
    assert any(found.kind == "new" and found.node == NEW for found in first)
    assert any(found.kind == "rise" and found.node == RISING for found in first)


def test_quiet_data_has_hardly_any_changes():
    told = Counter(
        found.kind
        for seed in range(20)
        for found in find_insights(table(seed, planted=False), InsightParams())
        if found.kind in ("rise", "new", "language")
    )
    # 20 tables, four families of tests at 5 % each: about one false find per family is expected.
    assert told.total() <= 4


def test_list_is_ranked_bounded_and_varied():
    found = find_insights(table(1), InsightParams())
    scores = [insight.score for insight in found]
    assert 5 <= len(found) <= 12
    assert scores == sorted(scores, reverse=True)
    assert max(Counter(insight.kind for insight in found).values()) <= 4
    assert max(Counter(insight.node for insight in found).values()) <= 2
    assert {"facet", "new", "rise"} <= {insight.kind for insight in found}


def test_counts_and_intervals_are_those_of_the_table():
    data = table(2)
    for found in find_insights(data, InsightParams(most=40)):
        assert found.share is not None
        assert 0 <= found.low <= found.share <= found.high <= 1
        if found.kind == "concern":
            rows = data.groups[found.node]
            assert found.count == sum(data.facets["concern"][r] >= 4 for r in rows)
            assert found.title.startswith(f"{found.count} conversations rated 4 or 5")
        if found.kind == "resolution":
            rows = data.groups[found.node]
            assert found.count == sum(not data.facets["resolved"][r] for r in rows)


def test_hidden_nodes_are_never_spoken_of():
    full = table(3)
    shown = full.shown - {NEW, RISING}
    data = AnalysisTable(
        **{name: getattr(full, name) for name in full.__slots__ if name != "shown"}, shown=shown
    )
    found = find_insights(data, InsightParams())
    assert found
    assert all(insight.node is None or insight.node in shown for insight in found)
    for insight in found:
        assert "Topic 23" not in insight.title + insight.text


def test_language_shift_names_the_theme_behind_it():
    data = table(4, planted=False)
    in_theme = set(data.groups[102])
    late = START + timedelta(days=SPAN - 25)
    languages = list(data.languages)
    for row, at in enumerate(data.started):
        moment = at and (at if at.tzinfo else at.replace(tzinfo=UTC))
        if row in in_theme and moment and moment > late:
            languages[row] = "ja"
    changed = AnalysisTable(
        **{name: getattr(data, name) for name in data.__slots__ if name != "languages"},
        languages=languages,
    )
    shift = [f for f in find_insights(changed, InsightParams()) if f.kind == "language"]
    assert shift[0].node == 102
    assert shift[0].title.startswith("Japanese rose from")
    assert "Theme 2" in shift[0].text


def test_a_passed_outage_is_told_as_a_peak():
    data = table(5, planted=False, size=1200)
    started = list(data.started)
    day = START + timedelta(days=40)
    for place, row in enumerate(data.groups[7]):
        if place % 2:
            started[row] = day + timedelta(minutes=place)
    changed = AnalysisTable(
        **{name: getattr(data, name) for name in data.__slots__ if name != "started"},
        started=started,
    )
    found = find_insights(changed, InsightParams())
    assert any(f.kind == "rise" and f.node == 7 and "peak on 12 April" in f.title for f in found)


def test_one_busy_user_is_not_a_rise():
    data = table(6)
    users = list(data.users)
    for row in data.groups[RISING]:
        users[row] = "the same"
    changed = AnalysisTable(
        **{name: getattr(data, name) for name in data.__slots__ if name != "users"}, users=users
    )
    assert all(
        f.node != RISING or f.kind != "rise" for f in find_insights(changed, InsightParams())
    )


def test_falling_traffic_alone_is_not_a_rise():
    """A steady group in a shrinking whole gains share, but has not risen."""
    dice = random.Random(3)
    topics, started = [], []
    for day in range(60):
        for _ in range(4):
            topics.append(0)
            started.append(START + timedelta(days=day, hours=dice.random() * 12))
        for _ in range(60 if day < 40 else 8):
            topics.append(dice.randrange(1, TOPICS))
            started.append(START + timedelta(days=day, hours=dice.random() * 12))
    data = _table(topics, started, [""] * len(topics), ["en"] * len(topics), {})
    assert not [f for f in find_insights(data, InsightParams()) if f.kind == "rise"]


@pytest.mark.parametrize("size", [0, 1, 2, 15, 50])
def test_little_data_gives_no_nonsense(size):
    found = find_insights(table(7, size=size), InsightParams())
    assert all(insight.count >= 5 for insight in found)


def test_missing_everything():
    rows = 200
    data = _table(
        [r % TOPICS for r in range(rows)], [None] * rows, [""] * rows, [""] * rows,
        {"concern": [None] * rows, "resolved": ["?"] * rows, "sentiment": [None] * rows},
    )  # fmt: skip
    assert find_insights(data, InsightParams()) == []


def test_zones_do_not_matter():
    data = table(8)
    moved = [
        at if at is None or at.tzinfo is None else at.astimezone(timezone(timedelta(hours=-11)))
        for at in data.started
    ]
    other = AnalysisTable(
        **{name: getattr(data, name) for name in data.__slots__ if name != "started"}, started=moved
    )
    assert find_insights(data, InsightParams()) == find_insights(other, InsightParams())


def test_a_date_from_1970_does_not_stretch_the_calendar():
    data = table(9)
    started = list(data.started)
    started[0] = datetime(1970, 1, 1, tzinfo=UTC)
    other = AnalysisTable(
        **{name: getattr(data, name) for name in data.__slots__ if name != "started"},
        started=started,
    )
    kinds = {(f.kind, f.node) for f in find_insights(other, InsightParams())[:5]}
    assert {("new", NEW), ("rise", RISING)} <= kinds


def test_hostile_names_and_answers_are_bounded():
    assert len(wording.answer("x" * 500)) == 60
    assert wording.answer("a\n\t b") == "a b"
    assert wording.share(0.0213) == "2.1%"
    assert wording.share(0.4) == "40%"
    assert wording.share(0.0001) == "under 0.1%"
    assert wording.language("pt-BR") == "Portuguese"


async def _nothing(_):
    raise AssertionError("insights ask no model")


async def test_stage_yields_in_order_and_stops():
    data = table(10)
    seen: list[tuple[int, int]] = []
    context = Context(chat=_nothing, embed=_nothing, report=lambda a, b: seen.append((a, b)))
    found = [insight async for insight in InsightsStage().run(data, context)]
    again = [insight async for insight in InsightsStage(InsightParams()).run(data, context)]
    assert found == again
    assert seen[len(found) - 1] == (len(found), len(found))
    stopping = Context(chat=_nothing, embed=_nothing, should_stop=lambda: True)
    with pytest.raises(Stopped):
        _ = [insight async for insight in InsightsStage().run(data, stopping)]
