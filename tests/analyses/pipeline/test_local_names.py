"""Names without a model: what is wanted, what is wrong, what is talked about."""

from pathlib import Path

import numpy as np
import pytest

from analyses.pipeline.local.candidates import said
from analyses.pipeline.local.grammar import (
    article,
    base_form,
    noun_phrases,
    plural,
    singular,
    tokens,
)
from analyses.pipeline.local.groups import dedupe, group_by_vectors, theme_text
from analyses.pipeline.local.names import keyphrase_name
from analyses.pipeline.local.renames import rename_groups

DATA = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"


def name(members, outsiders=(), **more):
    return keyphrase_name({"member_hints": members, "outsider_hints": list(outsiders), **more})[0]


OTHERS = ["Find a hotel", "Book a hotel room", "Play a song", "Check my balance"] * 5


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (["Find a dentist in town", "Find me a dentist", "Find a good dentist"] * 4,
         "Find a dentist"),
        (["Reset my password", "Reset a forgotten password", "Reset password"] * 4,
         "Reset a password"),
        (["Buy bus tickets", "Buy a bus ticket", "Buy bus tickets for two"] * 4,
         "Buy bus tickets"),
        (["My card payment has been declined", "The card payment was declined again"] * 5,
         "Report a declined card payment"),
        (["The parcel has not arrived", "my parcel still hasn't arrived"] * 5,
         "Report a parcel that does not arrive"),
        (["I was charged twice this month", "you debited two payments, charged twice"] * 5,
         "Report a double charge"),
        (["Talk about dogs and music", "Talk about dogs, cars and food"] * 5,
         "Talk about dogs"),
        (["Mein Passwort zurücksetzen geht nicht", "Ich möchte das Passwort zurücksetzen"] * 5,
         "Reset a password"),
        (["Quiero cancelar mi suscripción", "cancelar la suscripción por favor"] * 5,
         "Cancel a subscription"),
    ],
)  # fmt: skip
def test_names_read_as_a_person_would_write_them(members, expected):
    assert name(members, OTHERS).startswith(expected)


def test_what_the_neighbours_say_too_does_not_name_a_group():
    members = ["Book a flight with a window seat", "Book a flight and a window seat"] * 6
    others = ["Book a flight with a meal", "Book a flight to the sea"] * 6
    assert "window seat" in name(members, others)


def test_names_of_single_things_stay_out():
    members = ["Book a table at Luigi's for Anna Kim", "Book a table at Momo House"] * 4
    found, description = keyphrase_name({"member_hints": members, "size": 8})
    for text in (found, description):
        assert not {"Luigi", "Anna", "Kim", "Momo"} & set(text.replace("'", " ").split())
    assert found == "Book a table"


def test_nothing_to_name_is_said():
    assert name([""]) == "Say nothing"
    assert name(["旅行と料理の話", "旅行の予定"] * 3) == "Ask about travel"
    assert name(["謎謎", "謎謎"]) == "Ask in Chinese about 謎謎"


def test_descriptions_are_two_sentences_of_counts():
    _, text = keyphrase_name({"member_hints": ["Find a dentist"] * 6, "size": 1234})
    assert text.startswith("In 1,234 conversations people wanted to find a dentist.")
    assert text.count(".") == 2


def test_renaming_tells_groups_apart():
    groups = [
        {"index": 3, "name": "Find a movie", "description": "x",
         "hints": ["Find a movie at the cinema"] * 6},
        {"index": 9, "name": "Find a movie", "description": "y",
         "hints": ["Find a movie with subtitles", "Find a movie with subtitles in English"] * 3},
    ]  # fmt: skip
    answers = {entry["index"]: entry["name"] for entry in rename_groups({"rename": groups})}
    assert answers == {3: "Find a movie", 9: "Find a movie with subtitles"}


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        ([("Find a dentist", 40), ("Find a salon", 30)], "Find dentists and salons"),
        ([("Book a bus ticket", 40), ("Buy bus tickets", 30)], "Book or buy bus tickets"),
        (
            [("Talk about dogs and food", 9), ("Talk about cats", 5)],
            "Talk about dogs, cats and food",
        ),
        ([("Report a declined card", 9), ("Ask about a card", 8)], "Cards"),
    ],
)
def test_themes_are_worded_from_their_clusters(children, expected):
    entries = [{"name": name, "size": size} for name, size in children]
    found, description = theme_text(entries, [])
    assert found == expected
    assert str(sum(size for _, size in children)) in description


def test_groups_hold_at_least_two_and_everything_once():
    rng = np.random.default_rng(0)
    for count in (2, 4, 9, 40):
        groups = group_by_vectors(rng.normal(size=(count, 6)), max(2, count // 4))
        assert sorted(i for group in groups for i in group) == list(range(count))
        assert all(len(group) > 1 for group in groups)


def test_like_proposals_are_merged_and_none_is_lost():
    parents = [{"key": i, "name": n, "description": "x"}
               for i, n in enumerate(["Find hotels", "Find hotel rooms", "Find hotels", "Pay bills"])]  # fmt: skip
    themes = dedupe({"parents": parents, "bounds": [1, 3]})["themes"]
    assert sorted(key for theme in themes for key in theme["replaces"]) == [0, 1, 2, 3]
    assert len(themes) <= 3


@pytest.mark.parametrize(
    ("one", "many"),
    [("dentist", "dentists"), ("city", "cities"), ("bus", "buses"), ("child", "children"),
     ("box", "boxes"), ("day", "days"), ("movie", "movies")],
)  # fmt: skip
def test_plurals_go_both_ways(one, many):
    assert plural(one) == many
    assert singular(many) == one
    assert plural(many) == many


def test_small_grammar():
    assert plural("money") == "money"
    for pronoun in ("itself", "yourself", "themselves"):
        assert plural(pronoun) == singular(pronoun) == pronoun
    assert (article("hour"), article("user"), article("apple"), article("API key")) == (
        "an", "a", "an", "an")  # fmt: skip
    assert (base_form("booked"), base_form("cancelling"), base_form("table")) == (
        "book", "cancel", "")  # fmt: skip
    phrases = noun_phrases(tokens("a new rental car for my trip with Anna"))
    assert [phrase.key for phrase in phrases] == [("rental", "car"), ("trip",)]
    assert said("Find a dentist").acts == {("find", ("dentist",))}


@pytest.mark.skipif(not DATA.is_dir(), reason="labelled data is not beside the repository")
@pytest.mark.shared
async def test_agreement_with_the_labels_of_support_sgd():
    from bench import quality

    rows = [row for row in quality.load("support_sgd") if len(row["labels"]["services"]) == 1]
    assert len(rows) == 681
    texts = await quality.read_texts(rows)
    for one in quality.SETS[:2]:
        result = quality.score(one, rows, texts)
        assert result.bar is not None
        assert result.nmi >= result.bar, f"{result.name}: {result.nmi:.3f}"
        assert result.nmi > result.plain_nmi
