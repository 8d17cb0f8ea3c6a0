"""The prepare stage: redaction, language, tokens, truncation, hostile texts."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import pytest

from analyses.pipeline.base import Stopped
from analyses.pipeline.language import UNDETERMINED, detect_language
from analyses.pipeline.prepare import PrepareParams, PrepareStage, prepare_one, shorten
from analyses.pipeline.records import Prepared, Source, Turn
from analyses.pipeline.redaction import apply_spans
from analyses.pipeline.tokens import VOCABULARY, count_tokens, cut_tokens
from tests.analyses.pipeline.fakes import collect, make_context, source

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"


def test_tokens_are_counted_as_the_published_vocabulary_does() -> None:
    """Counts for o200k_base in OpenAI's cookbook, "How to count tokens with tiktoken"."""
    assert VOCABULARY.exists()
    assert count_tokens("") == 0
    assert count_tokens("hello world") == 2
    assert count_tokens("antidisestablishmentarianism") == 6
    assert count_tokens("お誕生日おめでとう") == 8
    assert count_tokens("<|endoftext|>") > 1


def test_counting_takes_any_text() -> None:
    for text in ("\ud800", "\x00" * 500, "e" + "\u0301" * 100_000, "a" * 60_000):
        assert count_tokens(text) > 0


def test_a_cut_keeps_both_ends_at_word_borders() -> None:
    text = "alpha " + " ".join(f"word{i}" for i in range(5_000)) + " omega"
    short = cut_tokens(text, 200)
    assert 150 <= count_tokens(short) <= 205
    assert short.startswith("alpha word0 ")
    assert short.endswith(" omega")
    assert set(short.split()) <= set(text.split()) | {"[...]"}
    assert cut_tokens("short text", 200) == "short text"


def test_a_cut_of_a_text_without_spaces_still_fits() -> None:
    for text in ("x" * 60_000, "日本語" * 20_000, "\u0301" * 300_000):
        assert count_tokens(cut_tokens(text, 100)) <= 110


def test_details_and_names_of_speakers_are_gone_and_spans_point_at_the_original() -> None:
    turns = (
        Turn("Anna Schmidt", "My e-mail is anna@example.com"),
        Turn("agent", "Thanks Anna, calling 415-555-1234."),
    )
    ready = prepare_one(Source(7, turns), PrepareParams())
    assert ready.position == 7
    assert [turn.role for turn in ready.turns] == ["Speaker 1", "agent"]
    assert ready.turns[0].text == "My e-mail is [email removed]"
    assert ready.turns[1].text == "Thanks [name removed], calling [phone removed]."
    assert turns[0].text[ready.spans[0].start : ready.spans[0].end] == "anna@example.com"
    assert ready.kept == (0, 2)
    assert ready.dropped == (0, 0)
    assert ready.tokens == sum(count_tokens(turn.text) for turn in ready.turns)


def test_a_long_conversation_loses_its_middle_at_turn_borders() -> None:
    texts = [f"turn number {index} " + "lorem ipsum " * 20 for index in range(100)]
    ready = prepare_one(source(*texts), PrepareParams(max_tokens=600))
    first, last = ready.dropped
    assert ready.turns[0].text == texts[0]
    assert ready.turns[-1].text == texts[-1]
    assert [turn.text for turn in ready.turns] == texts[:first] + texts[last:]
    assert 400 < ready.tokens <= 600
    assert first > 100 - last > 0


def test_one_monster_turn_is_cut_and_the_others_survive() -> None:
    ready = prepare_one(
        source("I want a refund", "data " * 50_000, "thank you"), PrepareParams(max_tokens=500)
    )
    assert [turn.text for turn in ready.turns][::2] == ["I want a refund", "thank you"]
    assert ready.tokens <= 500
    alone = prepare_one(source("begin " + "data " * 50_000 + "end"), PrepareParams(max_tokens=500))
    assert alone.tokens <= 500
    assert alone.turns[0].text.startswith("begin data")
    assert alone.turns[0].text.endswith("data end")


@pytest.mark.parametrize("limit", [50, 51, 137, 1000])
def test_whatever_the_sizes_the_room_is_never_exceeded(limit: int) -> None:
    for sizes in ([1, 900, 1], [400] * 9, [1] * 700, [60, 1, 1, 60], [0, 0, 5000]):
        turns = [Turn("user", "word " * size) for size in sizes]
        kept, (first, last), tokens = shorten(turns, limit)
        assert tokens <= limit
        assert tokens == sum(count_tokens(turn.text) for turn in kept)
        assert len(kept) == len(turns) - (last - first)


def test_no_turns_and_blank_turns() -> None:
    empty = prepare_one(Source(0, ()), PrepareParams())
    assert (empty.turns, empty.tokens, empty.language, empty.kept) == ((), 0, UNDETERMINED, (0, 0))
    assert prepare_one(source("", "  "), PrepareParams()).language == UNDETERMINED


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("I would like to change the date of my flight to Boston", "en"),
        ("Ich möchte gerne meinen Vertrag zum Monatsende kündigen", "de"),
        ("Bonjour, je voudrais annuler ma commande d'hier soir", "fr"),
        ("Hola, quiero saber dónde está mi pedido por favor", "es"),
        ("我想取消昨天的订单", "zh"),
        ("予約を変更したいのですが", "ja"),
        ("주문을 취소하고 싶습니다", "ko"),
        ("ok", UNDETERMINED),
        ("123 456 +++", UNDETERMINED),
    ],
)
def test_language(text: str, code: str) -> None:
    assert detect_language([Turn("user", text)]) == code


def test_the_language_is_that_of_people_not_of_system_prompts() -> None:
    turns = [
        Turn("system", "You are a helpful assistant. Answer the questions of the customer. " * 5),
        Turn("user", "Ich möchte gerne meinen Vertrag zum Monatsende kündigen"),
    ]
    assert detect_language(turns) == "de"


def test_hostile_texts_pass_through_clean_and_bounded() -> None:
    texts = [
        "a\x00b\ud800c\u202ed\u200be",
        "x" + "\u0301" * 1_000_000,
        "y" * 60_000,
        "\n" * 100_000,
        "9" * 60_000,
    ]
    ready = prepare_one(source(*texts), PrepareParams(max_tokens=4000))
    joined = "".join(turn.text for turn in ready.turns)
    assert not set(joined) & set("\x00\ud800\u202e\u200b")
    assert ready.turns[0].text == "abcde"
    assert ready.turns[1].text == "x\u0301\u0301\u0301"
    assert ready.tokens <= 4000
    joined.encode("utf-8")


async def test_the_stage_yields_in_order_reports_and_stops_between_chunks() -> None:
    sources = [source(f"hello number {i}", position=i) for i in range(100)]
    seen: list[tuple[int, int]] = []
    context = make_context(report=lambda done, total: seen.append((done, total)))
    ready = await collect(PrepareStage(), sources, context)
    assert [item.position for item in ready] == list(range(100))
    assert seen[-1] == (100, 100)
    got: list[Prepared] = []

    async def gather() -> None:
        async for item in PrepareStage().run(sources, stopping):
            got.append(item)

    stopping = make_context(should_stop=lambda: len(got) >= 20)
    with pytest.raises(Stopped):
        await gather()
    assert 20 <= len(got) < 60


@pytest.mark.shared
def test_real_conversations_take_about_a_millisecond_and_keep_their_language() -> None:
    """CPU time; the bound leaves room for a machine several times slower than the one it was
    measured on (0.9 ms for redaction, 0.4 ms for the rest, of a mean of 21 turns)."""
    path = SHARED / "support_sgd.jsonl.gz"
    if not path.exists():
        pytest.skip("../shared/data/support_sgd.jsonl.gz is not here")
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        rows = [json.loads(line) for _, line in zip(range(150), lines, strict=False)]
    sources = [
        Source(i, tuple(Turn(m["role"], m["content"]) for m in row["messages"]))
        for i, row in enumerate(rows)
    ]
    prepare_one(sources[0], PrepareParams())
    start = time.process_time()
    ready = [prepare_one(item, PrepareParams()) for item in sources]
    assert (time.process_time() - start) / len(sources) < 0.008
    assert sum(item.language == "en" for item in ready) >= 149
    for item, original in zip(ready, sources, strict=True):
        for index, turn in enumerate(original.turns):
            spans = [span for span in item.spans if span.turn == index]
            assert apply_spans(turn.text, spans) == item.turns[index].text
