"""Readers: what they take, what they refuse, and that nothing brings them down."""

from __future__ import annotations

import gzip
import io
import json
import re
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projects.documents import Document
from projects.readers import BY_KEY, json_rows, opening, recognise
from projects.readers.base import Parsed, Problem, Unreadable

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")

ROW = {"id": "a", "messages": [{"role": "customer", "content": "Où est ma commande ? « déçu »"}]}


def lines(count: int, **changes: object) -> str:
    return "".join(
        json.dumps({**ROW, "id": f"c{n}", **changes}, ensure_ascii=False) + "\n"
        for n in range(count)
    )


@pytest.fixture
def read(tmp_path: Path):
    """``read(content)``: the reader's key, the documents and the problems."""

    def go(content: bytes | str, name: str = "upload") -> tuple[str, list[Document], list[Problem]]:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        reader, _ = recognise(path)
        found = list(reader.read(path))
        documents = [item.document for item in found if isinstance(item, Parsed)]
        return reader.key, documents, [item for item in found if isinstance(item, Problem)]

    return go


def outcome(path: Path) -> tuple[list[Parsed | Problem], str]:
    """What a file gives, or why it was refused."""
    try:
        reader, _ = recognise(path)
        return list(reader.read(path)), ""
    except Unreadable as error:
        return [], error.text


# --- Encodings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends_are_found_by_content(read, encoding, ending):
    key, documents, problems = read(lines(3).replace("\n", ending).encode(encoding))
    assert (key, problems) == ("jsonl", [])
    assert [document.id for document in documents] == ["c0", "c1", "c2"]
    assert documents[2].messages[0].content == ROW["messages"][0]["content"]


def test_a_western_line_inside_a_utf8_file_keeps_its_accents(read):
    japanese = lines(2, messages=[{"role": "x", "content": "こんにちは世界"}]).encode()
    _, documents, problems = read(japanese + lines(1).encode("cp1252"))
    assert not problems
    assert documents[0].messages[0].content == "こんにちは世界"
    assert documents[2].messages[0].content == ROW["messages"][0]["content"]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1251", "Здравствуйте, где мой заказ? Я жду уже неделю"),
        ("shift_jis", "注文した商品がまだ届いていません。確認してください"),
    ],
)
def test_other_encodings_are_refused_rather_than_garbled(read, encoding, text):
    row = lines(20, messages=[{"role": "x", "content": text * 9}])
    with pytest.raises(Unreadable, match="Save it as UTF-8"):
        read(row.encode(encoding))


# --- Files of other kinds -------------------------------------------------------------------------


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.txt", "hello")
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n \n\r\n", "empty"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "a PDF document"),
        (_zip(), "zip archive"),
        (b"MZ\x90\x00\x03" + bytes(range(256)) * 20, "a Windows program"),
        (bytes(range(256)) * 64, "a binary file"),
        (gzip.compress(gzip.compress(lines(2).encode())), "gzip twice"),
        (b"<!doctype html><html><body>hello</body></html>", "a web page"),
        (b"WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n", "a subtitle file"),
        (b"Dear all,\nplease find attached.\n", "plain text"),
        (b'[{"mapping": {}, "current_node": "x"}]', "a ChatGPT export"),
        (b'{"a": 1}\n{"a": 2}\n', "no lists of messages"),
        (b"a,b,c\n1,2,3\n4,5,6\n", "no column for the conversation, the speaker, the text"),
        (gzip.compress(lines(200).encode())[:300], "cut off or damaged"),
    ],
)
def test_a_file_of_another_kind_is_named(read, content, words):
    with pytest.raises(Unreadable) as caught:
        read(content)
    assert words in caught.value.text
    assert len(caught.value.text) < 300


def test_gzip_is_found_by_content_and_a_bomb_is_refused(read, monkeypatch):
    assert len(read(gzip.compress(lines(5).encode()), "plain.jsonl")[1]) == 5
    monkeypatch.setattr(opening, "BOMB_FROM", 100_000)
    with pytest.raises(Unreadable, match="times its size"):
        read(gzip.compress(lines(1, messages=[{"role": "a", "content": "a" * 900_000}]).encode()))
    monkeypatch.setattr(opening, "MAX_UNPACKED", 300_000)
    monkeypatch.setattr(opening, "BOMB_FROM", 10**9)
    with pytest.raises(Unreadable, match="larger than"):
        read(gzip.compress(lines(4000).encode()))


# --- JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "kind", "reason"),
    [
        ('{"id": "x", "messages": [', "not_json", "not JSON"),
        ("[" * 100_000, "not_json", "nested too deeply"),
        ('{"id": "x", "messages": [], "n": NaN}', "not_json", "NaN is not JSON"),
        ("just words", "not_json", "not JSON"),
        ("[1, 2]", "not_object", "not a JSON object"),
        ("   ", "blank", "blank"),
        ('{"id": "x"}', "wrong_shape", "no messages"),
        ('{"id": "x", "messages": [{"role": "a", "content": " "}]}', "empty", "says anything"),
        (lines(1, id="i" * 300).strip(), "wrong_shape", "200"),
    ],
)
def test_a_bad_line_is_counted_with_its_number_and_reason(read, bad, kind, reason):
    _, documents, problems = read(lines(2) + bad + "\n" + lines(1))
    assert len(documents) == 3
    (problem,) = problems
    assert (problem.line, problem.kind) == (3, kind)
    assert reason in problem.reason


@pytest.mark.parametrize(
    ("row", "content"),
    [
        ({"messages": [{"role": "a", "content": "a\x00b"}]}, "ab"),
        ({"messages": [{"role": "a", "content": [{"type": "text", "text": "hi"}]}]}, "hi"),
        ({"messages": {"0": {"role": "a", "content": "hi"}}}, "hi"),
        ({"messages": ["customer: hi"]}, "hi"),
        ({"messages": [{"content": 42}]}, "42"),
        ({"messages": [{"role": {"type": "bot"}, "content": {"en": "hi"}}]}, "hi"),
    ],
)
def test_rows_whose_meaning_is_certain_are_repaired(read, row, content):
    _, documents, problems = read(lines(1) + json.dumps(row) + "\n")
    assert not problems
    assert documents[1].messages[0].content == content
    assert documents[1].id == "line-2"


def test_lone_surrogates_and_double_encoding_are_repaired(read):
    broken = '{"id": "s", "messages": [{"role": "a", "content": "I\\ud83d am"}]}\n'
    twice = json.dumps(json.dumps(ROW)) + "\n"
    _, documents, problems = read(lines(1) + broken + twice)
    assert not problems
    assert documents[1].messages[0].content == "I? am"
    assert documents[2].id == "a"


def test_a_line_over_the_limit_is_reported_and_passed_over(read, monkeypatch):
    monkeypatch.setattr(opening, "MAX_LINE", 1000)
    monkeypatch.setattr(json_rows, "MAX_LINE", 1000)
    monkeypatch.setattr(opening, "GIVE_BYTES", 64)
    long = lines(1, messages=[{"role": "a", "content": "x" * 5000}])
    _, documents, problems = read(lines(1) + long + lines(1))
    assert len(documents) == 2
    assert [(problem.line, problem.kind) for problem in problems] == [(2, "too_long")]


@pytest.mark.parametrize("step", [40, 100_000])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("form", ["array", "one after another"])
def test_values_across_lines_are_read_whatever_the_step(read, monkeypatch, step, indent, form):
    monkeypatch.setattr(json_rows, "STEP", step)
    rows = [{**ROW, "id": f"r{n}"} for n in range(30)]
    if form == "array":
        text = json.dumps(rows, indent=indent)
    else:
        text = "\n".join(json.dumps(row, indent=2) for row in rows)
    _, documents, problems = read("\ufeff" + text)
    assert not problems
    assert [document.id for document in documents] == [f"r{n}" for n in range(30)]


def test_a_cut_array_says_where(read):
    text = json.dumps([ROW] * 20, indent=1)
    with pytest.raises(Unreadable, match=r"begins on line \d+ .*Nothing was imported"):
        read(text[: len(text) // 2])


def test_openai_messages_keep_calls_and_typed_text(read):
    row = {
        "model": "m-1",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Book"}, {"type": "image_url"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"function": {"name": "book", "arguments": '{"seat": "4A"}'}}],
            },
            {"role": "tool", "content": "done"},
        ],
    }
    key, (document,), problems = read(json.dumps(row) + "\n")
    assert (key, problems) == ("openai-messages", [])
    assert [said.content for said in document.messages] == [
        "Book",
        '[book({"seat": "4A"})]',
        "done",
    ]
    assert document.metadata == {"model": "m-1"}


# --- CSV ------------------------------------------------------------------------------------------

HEADER = "Conversation ID,Speaker,Message Text,Time\n"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_rows_of_a_conversation_may_be_interleaved(read, delimiter):
    rows = HEADER + "a,x,hello,\nb,y,hi,2026-06-01T09:00:00\na,z,bye,\n"
    key, documents, problems = read(rows.replace(",", delimiter))
    assert (key, problems) == ("csv", [])
    assert {d.id: [said.content for said in d.messages] for d in documents} == {
        "b": ["hi"],
        "a": ["hello", "bye"],
    }


def test_excels_delimiter_line_and_quoted_line_breaks(read):
    text = 'sep=;\nid;role;text\na;x;"one\ntwo; three"\na;y;"say ""hi"""\n'
    _, (document,), problems = read(text)
    assert not problems
    assert [said.content for said in document.messages] == ["one\ntwo; three", 'say "hi"']


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ("b,x", "ragged"),
        ("b,x,text,,more", "ragged"),
        ("b,x,Fine, that is all", "unquoted"),
        (",x,nobody,", "no_id"),
        (",,,", "blank"),
        (HEADER.strip(), "header"),
    ],
)
def test_a_bad_row_is_counted_with_its_line(read, row, kind):
    _, documents, problems = read(f"{HEADER}a,x,hello,\n{row}\na,y,bye,\n")
    assert [len(document.messages) for document in documents] == [2]
    assert [(problem.line, problem.kind) for problem in problems] == [(3, kind)]


def test_a_quote_that_never_closes_costs_one_row(read):
    _, documents, problems = read(f'{HEADER}a,x,hello,\na,y,"bye,\nb,x,more,\nb,y,yes,\n')
    assert {document.id: len(document.messages) for document in documents} == {"a": 1, "b": 2}
    assert [(problem.line, problem.kind) for problem in problems] == [(3, "open_quote")]


def test_nul_and_huge_cells(read, monkeypatch):
    from projects.readers import csv_rows

    monkeypatch.setattr(csv_rows, "MAX_FIELD", 2000)
    monkeypatch.setattr(csv_rows, "MAX_LINE", 1000)
    _, documents, problems = read(f"{HEADER}a,x,he\x00llo,\na,y,{'z' * 5000},\na,z,bye,\n")
    assert [said.content for said in documents[0].messages] == ["hello", "bye"]
    assert problems


# --- Anything at all ------------------------------------------------------------------------------


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_no_bytes_bring_a_reader_down(tmp_path, data):
    whole = lines(3).encode() + HEADER.encode() + b'a,x,"hello",\n'
    cut = data.draw(st.binary(max_size=40))
    at = data.draw(st.integers(0, len(whole)))
    head = data.draw(st.sampled_from([b"", b"[", b"\xff\xfe", b"\x1f\x8b", b"sep=;\n", b"\n\n"]))
    path = tmp_path / "any"
    path.write_bytes(head + whole[:at] + cut + whole[at:])
    found, refusal = outcome(path)
    assert refusal or all(isinstance(item, Parsed | Problem) for item in found)


# --- The shared data ------------------------------------------------------------------------------


@needs_shared
@pytest.mark.shared
@pytest.mark.parametrize("name", ["support_sgd", "multilingual", "meetings_qmsum", "llm_chat"])
def test_clean_sets_are_read_whole(name):
    path = SHARED / f"{name}.jsonl.gz"
    with gzip.open(path, "rb") as file:
        expected = sum(1 for _ in file)
    reader, _ = recognise(path)
    found = list(reader.read(path))
    assert len(found) == expected
    assert all(isinstance(item, Parsed) for item in found)


@needs_shared
@pytest.mark.shared
@pytest.mark.parametrize(
    "name",
    [
        "messages.csv",
        "messages_semicolon_cp1252.csv",
        "messages_utf16.tsv",
        "openai_messages.jsonl",
        "content_blocks.jsonl",
    ],
)
def test_our_formats_give_what_their_manifest_says(name):
    manifest = json.loads((SHARED / "formats" / "manifest.json").read_text())
    (expected,) = [entry for entry in manifest if entry["file"] == name]
    reader, _ = recognise(SHARED / "formats" / name)
    found = list(reader.read(SHARED / "formats" / name))
    documents = [item.document for item in found if isinstance(item, Parsed)]
    assert len(documents) == len(found) == expected["conversations"]
    assert sum(len(document.messages) for document in documents) == expected["messages"]
    assert "\ufffd" not in "".join(said.content for d in documents for said in d.messages)


@needs_shared
@pytest.mark.shared
def test_every_line_of_the_damaged_set_is_taken_or_named():
    path = SHARED / "messy" / "messy.jsonl.gz"
    manifest = [
        json.loads(line) for line in (SHARED / "messy" / "manifest.jsonl").read_text().splitlines()
    ]
    reader, _ = recognise(path)
    found = {item.line: item for item in reader.read(path)}
    assert set(found) == {entry["line"] for entry in manifest}
    taken = {line for line, item in found.items() if isinstance(item, Parsed)}
    for entry in manifest:
        allowed = {entry["expect"], entry["also_ok"]}
        fits = (
            {"accept", "repair", "near", "duplicate"}
            if entry["line"] in taken
            else {
                "reject",
                "empty",
            }
        )
        assert allowed & fits, entry["kind"]


@needs_shared
@pytest.mark.shared
def test_files_wrong_in_one_way_are_read_or_refused_in_words():
    for entry in json.loads((SHARED / "messy" / "files.json").read_text())[1:]:
        found, refusal = outcome(SHARED / "messy" / entry["file"])
        count = re.fullmatch(
            r"(\d+) conversations(?: with their accents)?(, or .*| or .*)?", entry["expect"]
        )
        if refusal:
            assert count is None or count[2], entry["file"]
            assert refusal.endswith(".")
        elif count:
            assert sum(isinstance(item, Parsed) for item in found) == int(count[1]), entry["file"]


def test_a_lone_carriage_return_beside_a_nul_is_no_table() -> None:
    assert BY_KEY["csv"].sniff("\x00\r").confidence == 0
