"""What changed with time: rises, peaks, new groups and languages on the way up.

A group is compared with its own earlier level **and** with all traffic. Both have to have risen:
the count in a window given the group's size and all traffic (exact hypergeometric test), and the
group's own conversations a day (conditional Poisson test). The larger of the two chances counts
(intersection-union test, Berger 1982, Technometrics 24, 295). Given all traffic, a day cut short
at either end of the data cannot look like a fall or a rise; for the daily rates such days are left
out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from analyses.pipeline.insights import wording
from analyses.pipeline.insights.columns import MISSING, Columns, Group, Mask, day_date
from analyses.pipeline.insights.finds import Find, significant
from analyses.pipeline.insights.params import InsightParams
from analyses.pipeline.records import InsightFound, InsightKind, TreeNode
from analyses.pipeline.statistics import enrichments, more_often, wilson

SHORTEST = 10
"""Days the data has to span before anything is said about change."""

LEAST = 60
"""Conversations with a time that it takes."""

TAILS = (7, 14, 21, 28, 42)
"""Lengths in days of the windows at the end of the data that are tried for a rise."""

PEAKS = (1, 3, 7)
"""Lengths in days of the windows tried for a peak that has passed."""

STRAYS = 0.2
"""Share of a new group that may be older: about 3 % of all assignments are wrong (Clio, C.1.3),
and the wrong ones fall on small groups as well."""

FRESH = 12
"""A group is new, and not just rising, if its share has at least grown this many times."""

AGES = 0.5
"""A group is new only if at least this share of all conversations came before it."""

RATIO = 1.5
"""A share that grew by less than half is not worth a line."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Window:
    """Days ``start`` to ``end``, both included, and how many windows it was the best of."""

    start: int
    end: int
    tried: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """All traffic by day. ``daily`` and its running sum start at day ``first``."""

    first: int
    last: int
    daily: Counts

    @property
    def years(self) -> bool:
        """Whether the data spans more than one calendar year."""
        return day_date(self.first).year != day_date(self.last).year

    def counts(self, days: Counts) -> Counts:
        """Conversations per day for a subset, given as day numbers."""
        return np.bincount(days - self.first, minlength=self.daily.size).astype(np.int64)

    def whole_days(self, window: Window) -> float:
        """Days of the window, without the two at the ends of the data, which may be cut short."""
        start, end = max(window.start, self.first + 1), min(window.end, self.last - 1)
        return float(max(end - start + 1, 0))


@dataclass(frozen=True, slots=True)
class Change:
    """A group's best window: its count there, before and elsewhere, with all traffic's."""

    window: Window
    p: float
    count: int
    traffic: int
    other: int
    other_traffic: int

    @property
    def now(self) -> float:
        """The group's share of all conversations in the window."""
        return self.count / max(self.traffic, 1)

    @property
    def before(self) -> float:
        """The group's share of all conversations outside the window."""
        return self.other / max(self.other_traffic, 1)

    @property
    def ratio(self) -> float:
        """How many times the share has grown; half a conversation stands in for none."""
        return self.now / max(self.before, 0.5 / max(self.other_traffic, 1))


def calendar(table: Columns) -> Calendar | None:
    """All traffic by day, or ``None`` when there is too little to speak of change."""
    days = table.days[table.days != MISSING]
    if days.size < LEAST:
        return None
    first, last = int(days.min()), int(days.max())
    # Stray dates (1970, a typo in the year) would stretch the calendar: keep the bulk's range.
    low, high = (int(edge) for edge in np.percentile(days, (0.5, 99.5)))
    margin = max(7, (high - low) // 4)
    first, last = max(first, low - margin), min(last, high + margin)
    if last - first + 1 < SHORTEST:
        return None
    inside = days[(days >= first) & (days <= last)]
    return Calendar(first, last, np.bincount(inside - first).astype(np.int64))


def changes(table: Columns, params: InsightParams) -> list[Find]:
    """Rises, peaks and new groups among the shown nodes, and languages on the way up."""
    times = calendar(table)
    if times is None:
        return []
    rises: list[tuple[Find, bool]] = []
    peaks: list[tuple[Find, bool]] = []
    for group in table.groups:
        days = _days(table, group.mask, times)
        fresh = _new(days, times, params)
        change = fresh or _rise(days, times)
        word = _new_find if fresh else _rise_find
        rises += _told(table, group, change, times, word, params)
        peaks += _told(table, group, _peak(days, times), times, _peak_find, params)
    found = significant(rises, params.false_changes) + significant(peaks, params.false_share)
    return found + _languages(table, times, params)


def _told(
    table: Columns,
    group: Group,
    change: Change | None,
    times: Calendar,
    word: Callable[[TreeNode, Change, Calendar], Find],
    params: InsightParams,
) -> list[tuple[Find, bool]]:
    """The change as a find, with the flag whether it is large enough to speak of."""
    if change is None or change.count < params.since:
        return []
    large = change.ratio >= RATIO and _many_people(table, group.mask, change, params)
    return [(word(group.node, change, times), large)]


def _days(table: Columns, mask: Mask, times: Calendar) -> Counts:
    days = table.days[mask]
    return days[(days >= times.first) & (days <= times.last)]


def _many_people(table: Columns, mask: Mask, change: Change, params: InsightParams) -> bool:
    """Whether more than a handful of end users stand behind the change."""
    window = change.window
    inside = mask & (table.days >= window.start) & (table.days <= window.end)
    people = table.people(inside)
    return people is None or people >= params.users


def _rise(days: Counts, times: Calendar) -> Change | None:
    """The best window that reaches to the end of the data and is at most half of it."""
    span = times.last - times.first + 1
    lengths = [length for length in TAILS if length <= span / 2]
    windows = [Window(times.last - length + 1, times.last, len(lengths)) for length in lengths]
    return _best(days, times, windows)


def _peak(days: Counts, times: Calendar) -> Change | None:
    """The best short window that had ended a week before the data ends."""
    windows: list[Window] = []
    span = times.last - times.first + 1
    for length in PEAKS:
        if length <= span / 8:
            step = max(1, length // 3)
            starts = range(times.first, times.last - 6 - length, step)
            windows += [Window(start, start + length - 1, 0) for start in starts]
    return _best(days, times, [replace(window, tried=len(windows)) for window in windows])


def _best(days: Counts, times: Calendar, windows: Sequence[Window]) -> Change | None:
    """The window with the smallest chance, corrected for how many of its sort were tried."""
    if not windows or days.size == 0:
        return None
    mine = np.concatenate([[0], np.cumsum(times.counts(days))])
    all_ = np.concatenate([[0], np.cumsum(times.daily)])
    starts = np.array([window.start - times.first for window in windows])
    ends = np.array([window.end - times.first + 1 for window in windows])
    counts, traffic = mine[ends] - mine[starts], all_[ends] - all_[starts]
    total = int(times.daily.sum())
    chance = enrichments(counts, int(days.size), traffic, total)
    chance = chance * np.array([window.tried for window in windows])
    at = int(chance.argmin())
    window, count = windows[at], int(counts[at])
    other = int(days.size) - count
    whole = times.whole_days(Window(times.first, times.last, 1))
    inside = times.whole_days(window)
    rate = more_often(count, max(inside, 1.0), other, max(whole - inside, 1.0))
    p = float(min(1.0, max(chance[at], rate)))
    return Change(window, p, count, int(traffic[at]), other, total - int(traffic[at]))


def _new(days: Counts, times: Calendar, params: InsightParams) -> Change | None:
    """The group's whole life as a window, if it began late enough; a few strays may be older.

    Each conversation among the first fifth may be the true first one; the chance is corrected for
    how many were tried.
    """
    ordered = np.sort(days)
    begins = np.unique(ordered[: int(STRAYS * ordered.size) + 1])
    found = _best(days, times, [Window(int(day), times.last, begins.size) for day in begins])
    if found is None or found.count < params.since or found.ratio < FRESH:
        return None
    return found if found.other_traffic >= AGES * times.daily.sum() else None


def _new_find(node: TreeNode, change: Change, times: Calendar) -> Find:
    since = wording.day(day_date(change.window.start), year=times.years)
    before = "none" if change.other == 0 else f"only {wording.number(change.other)}"
    text = (
        f"{wording.conversations(change.count)} since {since}, {before} before: "
        f"{wording.share(change.now)} of everything since then."
    )
    return _find("new", node.key, f"New: {node.name}", text, change, "change")


def _rise_find(node: TreeNode, change: Change, times: Calendar) -> Find:
    since = wording.day(day_date(change.window.start), year=times.years)
    title = f"{node.name}: up from {wording.share(change.before)} to {wording.share(change.now)}"
    text = (
        f"{wording.conversations(change.count)} of {wording.number(change.traffic)} since {since}, "
        f"{wording.number(change.other)} of {wording.number(change.other_traffic)} before."
    )
    return _find("rise", node.key, title, text, change, "change")


def _peak_find(node: TreeNode, change: Change, times: Calendar) -> Find:
    window = change.window
    start = wording.day(day_date(window.start), year=times.years)
    end = wording.day(day_date(window.end), year=times.years)
    when = f"on {start}" if window.start == window.end else f"from {start} to {end}"
    text = (
        f"{wording.share(change.now)} of all conversations {when} "
        f"({wording.number(change.count)} of {wording.number(change.traffic)}), "
        f"{wording.share(change.before)} at other times. It has passed since."
    )
    return _find("rise", node.key, f"{node.name}: a peak {when}", text, change, "change")


def _languages(table: Columns, times: Calendar, params: InsightParams) -> list[Find]:
    """Languages whose share has grown, with the theme where most of the growth is."""
    if len(table.languages) != table.total:
        return []
    names = np.array([wording.language(code) for code in table.languages], dtype=object)
    finds: list[tuple[Find, bool]] = []
    for name in sorted({str(name) for name in names} - {""}):
        mask = np.asarray(names == name, dtype=np.bool_)
        days = _days(table, mask, times)
        change = _rise(days, times) if days.size >= params.group else None
        if change is not None and change.count >= params.count:
            large = change.ratio >= 1.25 and change.now - change.before >= 0.02
            find = _language_find(table, name, mask, change, times)
            finds.append((find, large and _many_people(table, mask, change, params)))
    return significant(finds, params.false_share)


def _language_find(table: Columns, name: str, mask: Mask, change: Change, times: Calendar) -> Find:
    since = wording.day(day_date(change.window.start), year=times.years)
    title = f"{name} rose from {wording.share(change.before)} to {wording.share(change.now)}"
    text = (
        f"{wording.conversations(change.count)} of {wording.number(change.traffic)} since {since}, "
        f"{wording.number(change.other)} of {wording.number(change.other_traffic)} before."
    )
    node, where = _mostly(table, mask, change)
    if where:
        text += f" Most of the change is in {where}."
    return _find("language", node, title, text, change, f"change {name}", "language")


def _mostly(table: Columns, mask: Mask, change: Change) -> tuple[int | None, str]:
    """The theme that holds more than half of what a language gained, if there is one."""
    late = (table.days >= change.window.start) & (table.days <= change.window.end)
    early = (table.days < change.window.start) & (table.days != MISSING)
    scale = change.traffic / max(change.other_traffic, 1)
    gained = change.count - change.other * scale
    for group in table.groups:
        if group.node.level == 1:
            mine = mask & group.mask
            extra = int((mine & late).sum()) - int((mine & early).sum()) * scale
            if extra > gained / 2:
                return group.node.key, group.node.name
    return None, ""


def _find(
    kind: InsightKind,
    node: int | None,
    title: str,
    text: str,
    change: Change,
    about: str,
    facet: str = "",
) -> Find:
    interval = wilson(change.count, change.traffic)
    found = InsightFound(
        kind=kind,
        title=title,
        text=text,
        score=0.0,
        node=node,
        facet=facet,
        count=change.count,
        share=change.now,
        low=interval.low,
        high=interval.high,
    )
    return Find(found, change.p, change.ratio, about)
