"""The shipped sample: its shape, its planted truth, and that it can be found again."""

from __future__ import annotations

import random
import re
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import phonenumbers
import pytest

from projects.sample import (
    OFF_TOPIC,
    PLANTED_NEW,
    PLANTED_RISE,
    PLANTED_SINGLE_USER,
    THEMES,
    TOPICS,
    generate,
)
from projects.sample.details import Details
from projects.sample.library import LANGUAGES, common, phrases
from projects.sample.people import COUNTRIES, make_person, personal
from projects.sample.schedule import NEW_DAYS, RISE_DAYS, SPAN_DAYS
from projects.sample.text import Decks, contract, fill, join_greeting, mistype, run_on, spin

END = date(2026, 3, 10)
MIDNIGHT = datetime(2026, 3, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def rows():
    return list(generate(end=END))


def texts(row, role=None):
    return [m["content"] for m in row["messages"] if role in {None, m["role"]}]


def start(row):
    return datetime.fromisoformat(row["messages"][0]["ts"])


def of_topic(rows, key):
    return [row for row in rows if row["labels"]["topic"] == key]


def test_is_the_same_for_equal_arguments_and_another_for_another_seed(rows):
    assert list(generate(end=END)) == rows
    assert list(generate(seed=8, end=END)) != rows


@pytest.mark.parametrize("count", [0, 1, 2, 15, 50, 333])
def test_yields_as_many_as_asked(count):
    got = list(generate(count=count, end=END))
    assert len(got) == count == len({row["id"] for row in got})


def test_refuses_a_negative_count():
    with pytest.raises(ValueError, match="negative"):
        next(generate(count=-1))


def test_rows_follow_the_schema(rows):
    assert len(rows) == 1200
    for row in rows:
        assert set(row) == {"id", "messages", "metadata", "labels"}
        assert 1 < len(row["messages"]) <= 16
        assert row["messages"][0]["role"] == "customer"
        for message in row["messages"]:
            assert set(message) == {"role", "content", "ts"}
            assert message["role"] in {"customer", "agent"}
            assert message["content"].strip()
        assert row["metadata"]["kind"] == "support"
        assert row["metadata"]["language"] in LANGUAGES
        assert re.fullmatch(r"u-\d{4}", row["metadata"]["user"])


def test_no_template_mark_is_left(rows):
    marks = re.compile(r"[\[\]{}|]|  |\.\.(?!\.)")
    wrong = [text for row in rows for text in texts(row) if marks.search(text.replace("...", "…"))]
    assert wrong == []


def test_times_ascend_within_three_months_before_the_end(rows):
    for row in rows:
        times = [datetime.fromisoformat(message["ts"]) for message in row["messages"]]
        assert times == sorted(times)
        assert all(one.tzinfo for one in times)
        assert times[-1] < MIDNIGHT
        assert times[0] >= MIDNIGHT - timedelta(days=SPAN_DAYS + 3)
    starts = [row["messages"][0]["ts"] for row in rows]
    assert starts == sorted(starts)


def test_more_is_written_on_working_days_and_by_day(rows):
    days = Counter(start(row).weekday() for row in rows)
    assert min(days[day] for day in range(5)) > max(days[5], days[6])
    assert sum(start(row).hour < 6 for row in rows) < 12


def test_planted_topics_are_all_there_and_skewed(rows):
    sizes = Counter(row["labels"]["topic"] for row in rows)
    assert set(sizes) == {topic.key for topic in TOPICS} | {OFF_TOPIC}
    assert min(sizes.values()) >= 11
    assert 70 <= max(sizes.values()) <= 90
    themes = {topic.key: topic.theme for topic in TOPICS}
    assert set(themes.values()) == set(THEMES)
    for row in rows:
        label = row["labels"]["topic"]
        assert row["labels"]["theme"] == themes.get(label, OFF_TOPIC)


@pytest.mark.parametrize("seed", [7, 11, 23])
def test_one_topic_rises_and_one_is_new(seed):
    rows = list(generate(seed=seed, end=END))
    edge = MIDNIGHT - timedelta(days=RISE_DAYS)
    early = [row for row in rows if start(row) < edge]
    late = [row for row in rows if start(row) >= edge]
    before = len(of_topic(early, PLANTED_RISE)) / len(early)
    after = len(of_topic(late, PLANTED_RISE)) / len(late)
    assert 0.018 <= before <= 0.04
    assert 2.2 <= after / before <= 5
    new = of_topic(rows, PLANTED_NEW)
    assert 35 <= len(new) <= 45
    assert min(start(row) for row in new) >= MIDNIGHT - timedelta(days=NEW_DAYS + 2)


def test_one_topic_belongs_to_nearly_one_end_user(rows):
    users = Counter(row["metadata"]["user"] for row in of_topic(rows, PLANTED_SINGLE_USER))
    (_, top), *_ = users.most_common(1)
    assert sum(users.values()) >= 25
    assert top >= 0.75 * sum(users.values())
    assert len(users) < 10


def test_languages_and_end_users_are_mixed_as_planned(rows):
    languages = Counter(row["metadata"]["language"] for row in rows)
    assert 0.56 < languages["en"] / len(rows) < 0.68
    assert min(languages[one] for one in ("es", "de", "fr")) > 80
    users = Counter(row["metadata"]["user"] for row in rows)
    assert 640 <= len(users) <= 760
    assert sum(number >= 5 for number in users.values()) >= 10


def test_only_the_planted_copies_are_alike(rows):
    by_id = {row["id"]: row for row in rows}
    copies = [row for row in rows if "copy_of" in row["labels"]]
    near = [row for row in rows if "near_copy_of" in row["labels"]]
    assert (len(copies), len(near)) == (8, 10)
    for row in copies:
        assert row["messages"] == by_id[row["labels"]["copy_of"]]["messages"]
    for row in near:
        source = by_id[row["labels"]["near_copy_of"]]
        assert row["messages"] != source["messages"]
        assert row["messages"][1]["content"] == source["messages"][1]["content"]
    others = [row for row in rows if "copy_of" not in row["labels"]]
    topical = [row for row in others if row["labels"]["topic"] != OFF_TOPIC]
    whole = Counter("\n".join(texts(row)) for row in topical)
    assert [text for text, times in whole.items() if times > 1] == []


def test_some_concern_some_second_matter_some_personal_details(rows):
    assert 12 <= sum("concern" in row["labels"] for row in rows) <= 36
    assert 0.04 <= sum("also" in row["labels"] for row in rows) / len(rows) <= 0.08
    assert 0.2 <= sum("personal" in row["labels"] for row in rows) / len(rows) <= 0.3
    told = {kind for row in rows for kind in row["labels"].get("personal", ())}
    assert told == {"email", "phone", "name", "address", "card", "iban", "ip"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_personal_details_are_valid(language):
    rng = random.Random(1)
    for number in range(150):
        person = make_person(number, language, rng)
        mine = personal(person, rng)
        parsed = phonenumbers.parse(mine["phone"], person.country)
        assert phonenumbers.is_valid_number(parsed), mine["phone"]
        account = mine["iban"].replace(" ", "")
        assert int("".join(str(int(sign, 36)) for sign in account[4:] + account[:4])) % 97 == 1
        digits = [int(sign) for sign in mine["card"] if sign.isdigit()][::-1]
        doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
        assert (sum(digits[::2]) + sum(doubled)) % 10 == 0
        assert re.fullmatch(r"[a-z0-9.]+@[a-z]+\.(com|org|net|example)", mine["email"])


def strings(value):
    if isinstance(value, str):
        yield value
    else:
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_phrase_can_be_written(language):
    rng = random.Random(3)
    person = make_person(1, language, rng)
    assert person.country in COUNTRIES[language]
    details = Details(rng, person, datetime(2026, 3, 1, 12, tzinfo=UTC))
    details["team"] = "x"
    sources = [common(language), *(phrases(topic.key, language) for topic in TOPICS)]
    for template in (one for source in sources for one in strings(source)):
        assert template.count("[") == template.count("]"), template
        assert not set("[]{}|") & set(fill(spin(template, rng), details)), template


def test_there_is_enough_to_choose_from():
    for topic in TOPICS:
        for language in LANGUAGES:
            mine = phrases(topic.key, language)
            assert len(mine["problems"]) >= (8 if language == "en" else 3), (topic.key, language)
            assert len(mine["fixes"]) >= (5 if language == "en" else 3), (topic.key, language)
            assert all(len(lines) > 1 for key in ("ask", "steps") for lines in mine.get(key, ()))


def test_every_english_problem_names_the_answers_that_suit_it():
    for topic in TOPICS:
        mine = phrases(topic.key, "en")
        for kind, match in (("problems", "match"), ("short", "match_short")):
            assert len(mine[match]) == len(mine[kind]), topic.key
            assert all(0 <= int(one) < len(mine["fixes"]) for some in mine[match] for one in some)
            assert all(mine[match])


def test_no_problem_statement_serves_two_topics():
    seen = Counter(
        text
        for topic in TOPICS
        for language in LANGUAGES
        for text in phrases(topic.key, language)["problems"]
    )
    assert max(seen.values()) == 1


def test_planted_topics_can_be_found_again_but_not_trivially(rows):
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics import normalized_mutual_info_score
    from sklearn.preprocessing import normalize

    english = [
        row
        for row in rows
        if row["metadata"]["language"] == "en" and row["labels"]["topic"] != OFF_TOPIC
    ]
    said = [" ".join(texts(row, "customer")) for row in english]
    words = TfidfVectorizer(sublinear_tf=True, stop_words="english", min_df=2).fit_transform(said)
    points = normalize(TruncatedSVD(100, random_state=0).fit_transform(words))
    found = KMeans(len(TOPICS), n_init=8, random_state=0).fit_predict(points)
    score = normalized_mutual_info_score([row["labels"]["topic"] for row in english], found)
    assert 0.75 <= score <= 0.97


def test_text_tools():
    rng = random.Random(0)
    assert {spin("a[b|[c|d]]", rng) for _ in range(60)} == {"ab", "ac", "ad"}
    cards = ["x", "y", "z"]
    deck = Decks(rng)
    assert sorted(deck.deal(cards) for _ in range(3)) == cards
    assert mistype("order OS-1 u@example.com", rng, 1.0).endswith(" OS-1 u@example.com")
    assert mistype("the parcel", rng, 0.0) == "the parcel"
    assert contract("paso a el almacén, à le service") == "paso al almacén, au service"
    assert run_on(["no mail", "Call me!", "Bye"]) == "no mail. Call me! Bye"
    assert join_greeting("Hi,", "My hub", formal=False) == "Hi, my hub"
    assert join_greeting("Hi,", "Firmware", formal=False) == "Hi. Firmware"
    assert join_greeting("Hi,", "My hub", formal=True) == "Hi,\n\nMy hub"
