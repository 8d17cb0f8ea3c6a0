"""Redaction of hostile text, and the rules its spans keep."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.pipeline.records import Span, Turn
from analyses.pipeline.redaction import (
    KINDS,
    checks,
    redact_turns,
    segments,
)
from tests.analyses.pipeline.test_redaction import HARMLESS, LABELLED

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"

# Text, and what has to be removed from it: ``(kind, exact stretch)``.


HOSTILE = {
    "letters": "a" * 60_000,
    "digits": "1" * 60_000,
    "digits and gaps": "1 2-3." * 20_000,
    "at signs": "@" * 100_000,
    "local parts": "a.b+c-" * 20_000 + "@",
    "labels": "a@" + "b." * 40_000,
    "colons": "a:" * 40_000 + "::" * 10_000,
    "brackets": "(" * 100_000 + "1" * 10,
    "urls": "http://" + "a/?&token" * 20_000,
    "schemes": "a+" * 50_000 + "://x",
    "marks": "e" + "\u0301" * 1_000_000,
    "names": "my name is " * 5_000,
    "capitals": "I am " + "Ab " * 30_000,
    "greetings": "Hi " * 30_000 + "Sarah",
    "ibans": "DE89 " * 20_000,
    "jwt": "eyJ" + "abc." * 30_000,
    "keys": "-----BEGIN " * 5_000,
    "dates": "born on 1" * 10_000,
    "quotes": '"first_name": "' * 10_000,
    "signatures": "\n\nBest, Anna " * 8_000,
    "first said": "Hi, Anna here " * 8_000,
    "presented": "you're talking to " * 5_000 + "Anna",
    "houses": "12 Old Mill " * 10_000,
    "streets": "Calle de la Calle de la 1, " * 6_000,
    "towns": "Am Weg 1, 12345 " * 8_000,
    "numbered": "1 " * 50_000 + "Street",
    "titles": "Dr. A. " * 15_000,
    "mixed": "\x00\ud800\u202e\u200b@1" * 20_000,
    "blank": " " * 200_000 + "\n" * 100_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_read_in_linear_time(name: str) -> None:
    """Measured in CPU time, so that a busy machine does not matter; most take milliseconds.

    One quadratic rule would need 10^9 steps here, far more than the bound.
    """
    start = time.process_time()
    redact_turns((Turn("user", HOSTILE[name]),))
    assert time.process_time() - start < 6


text_like = st.text(
    alphabet=st.one_of(
        st.sampled_from("aA1 @.-+:/()\n0459\u200b\u202e\ud800\x00İß王"), st.characters()
    ),
    max_size=80,
)
fragments = st.sampled_from([text for text, _ in LABELLED] + HARMLESS)
turn_lists = st.lists(
    st.builds(
        Turn,
        role=st.sampled_from(["customer", "agent", "Anna Schmidt", "İlker"]),
        text=st.one_of(text_like, fragments, st.builds(str.__add__, fragments, text_like)),
    ),
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(turn_lists)
def test_spans_are_ordered_inside_their_texts_and_never_overlap(turns: list[Turn]) -> None:
    spans = redact_turns(turns)
    assert spans == redact_turns(turns)
    last: dict[int, int] = {}
    for span in spans:
        assert span.kind in KINDS
        assert last.get(span.turn, 0) <= span.start < span.end <= len(turns[span.turn].text)
        last[span.turn] = span.end
    for index, turn in enumerate(turns):
        own = [span for span in spans if span.turn == index]
        assert "".join(piece for piece, _ in segments(turn.text, own)) == turn.text


def test_segments_name_the_kind_and_ignore_spans_that_do_not_fit() -> None:
    text = "to a@b.co now"
    spans = [Span(0, 3, 9, "email"), Span(0, 5, 8, "name"), Span(0, 10, 99, "phone")]
    assert segments(text, spans) == [("to ", None), ("a@b.co", "email"), (" now", None)]


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (checks.luhn, "4111111111111111", "4111111111111112"),
        (checks.iban, "DE89370400440532013000", "DE88370400440532013000"),
        (checks.aadhaar, "234123412346", "234123412347"),
        (checks.steuer_id, "86095742719", "86095742718"),
        (checks.insee, "255081416802538", "255081416802539"),
        (checks.insee, "180022A00401174", "180022A00401175"),
        (checks.dni, "12345678Z", "12345678A"),
        (checks.cpf, "52998224725", "52998224724"),
        (checks.codice_fiscale, "RSSMRA85T10A562S", "RSSMRA85T10A562T"),
        (checks.bsn, "111222333", "111222334"),
        (checks.pesel, "44051401359", "44051401358"),
        (checks.china_id, "11010519491231002X", "110105194912310021"),
        (checks.personnummer, "8112289874", "8112289873"),
        (checks.belgian, "85073003328", "85073003329"),
        (checks.ssn, "536904399", "666904399"),
    ],
)
def test_check_digits(check: object, good: str, bad: str) -> None:
    assert check(good)  # type: ignore[operator]
    assert not check(bad)  # type: ignore[operator]
