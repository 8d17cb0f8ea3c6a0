"""The most typical clause of a group."""

from __future__ import annotations

import pytest

from analyses.pipeline.local.clauses import clauses_of, opening, typical_clause

HUBS = [
    "Hi, the hub won't connect to my wireless network since the move.\nHello, how can I help?",
    "Our hub won't connect to the wireless network anymore.",
    "the new hub never connects to wireless, the light blinks",
    "Hub refuses to connect. Wireless network works for my phone.",
    "I moved house and the hub won't connect to the wireless network.",
    "My hub can't find the wireless network at Rosenweg.",
    "hub lost the network and won't connect",
]
INVOICES = [
    f"My invoice number {n} shows the wrong address, please send a new one." for n in range(7)
]


def test_the_clause_is_made_of_words_that_members_share_and_outsiders_do_not():
    clause = typical_clause(HUBS, INVOICES)
    assert "hub" in clause.lower()
    assert "connect" in clause.lower()
    assert "rosenweg" not in clause.lower()


def test_one_persons_words_never_make_a_clause():
    odd = [f"The neighbour called Number{n} painted fence{n} in colour{n} alone." for n in range(8)]
    assert typical_clause(odd, INVOICES) == ""


def test_few_members_and_other_languages_give_none():
    assert typical_clause(HUBS[:3], INVOICES) == ""
    assert typical_clause(["[[de]]\nhub network connect"] * 9, INVOICES) == ""


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("Hi, I was charged twice for one order", "charged twice for one order"),
        ("I can't open the return label", "cannot open the return label"),
        ("How do I cancel my yearly subscription?", "cancel yearly subscription"),
    ],
)
def test_greetings_and_the_speaker_are_left_out(text, clause):
    assert clause in list(clauses_of(text))


def test_the_serving_side_is_passed_over():
    text = "Good morning, how can I help you today?\nMy parcel went to the wrong depot."
    assert opening(text).startswith("My parcel")
