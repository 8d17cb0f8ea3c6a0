"""Naming: samples, fallbacks, like names, and what a name may not hold."""

import numpy as np
import pytest

from analyses.pipeline.base import CallFailed, ChatAnswer, Context, Stopped
from analyses.pipeline.local import LocalEngine
from analyses.pipeline.name import NameParams, NameStage, draw_samples
from analyses.pipeline.name_rules import (
    clean_description,
    clean_name,
    set_apart,
    similarity,
    too_similar,
)
from analyses.pipeline.records import NameInputs

SUBJECTS = ("a dentist", "a bus ticket", "a hotel", "a song")


def inputs(each=30, clusters=4):
    """``clusters`` groups of ``each`` requests, vectors on separate axes, groups as neighbours."""
    labels = np.repeat(np.arange(clusters), each).astype(np.int32)
    vectors = np.eye(clusters, 8, dtype=np.float32)[labels]
    hints = [f"Find {SUBJECTS[label]} nearby" for label in labels]
    return NameInputs(hints, hints, vectors, labels, np.eye(clusters, 8, dtype=np.float32))


class Scripted:
    """Answers naming by ``name(payload)`` and renames by ``rename(group)``."""

    def __init__(self, name, rename=None):
        self.name, self.rename, self.requests = name, rename, []

    async def __call__(self, request):
        self.requests.append(request)
        if "rename" in request.payload:
            groups = [
                {"index": g["index"], "name": self.rename(g), "description": "Two. Sentences."}
                for g in request.payload["rename"]
            ]
            return ChatAnswer({"groups": groups}, "scripted")
        name = self.name(request.payload)
        return ChatAnswer({"name": name, "description": "One. Two."}, "scripted")


async def run(chat, data, params=None, **more):
    stage = NameStage(params)
    records = [r async for r in stage.run(data, Context(chat=chat, embed=None, **more))]
    return {record.index: record for record in records}, records


async def test_members_and_outsiders_never_mix():
    data = inputs()
    for index, sample in enumerate(draw_samples(data, NameParams(members=10, outsiders=10), 7)):
        assert len(sample["members"]) == 10
        assert set(sample["members"]) == {f"Find {SUBJECTS[index]} nearby"}
        assert len(sample["outsiders"]) == 10
        assert f"Find {SUBJECTS[index]} nearby" not in sample["outsiders"]
        assert sample["size"] == 30


def test_outsiders_are_the_nearest_rows_of_neighbouring_clusters():
    vectors = np.array([[1, 0], [1, 0], [0.9, 0.44], [0, 1], [-1, 0]], dtype=np.float32)
    labels = np.array([0, 0, 1, 1, 2], dtype=np.int32)
    centroids = np.array([[1, 0], [0.5, 0.86], [-1, 0]], dtype=np.float32)
    data = NameInputs(list("abcde"), list("abcde"), vectors, labels, centroids)
    assert draw_samples(data, NameParams(outsiders=2), 7)[0]["outsiders"] == ["c", "d"]


async def test_names_are_clean_and_labelled():
    chat = Scripted(lambda p: f'  "find {p["members"][0][5:]} for a@b.example 5551234567."\n')
    names, _ = await run(chat, inputs())
    assert names[0].name == "Find a dentist nearby for"
    assert names[0].model == "scripted"
    assert all(len(request.messages) == 2 for request in chat.requests)
    assert "Find a dentist nearby" in chat.requests[0].messages[1].content


async def test_a_failing_call_leaves_a_keyphrase_name():
    async def chat(request):
        raise CallFailed("timeout", "too slow")

    names, _ = await run(chat, inputs())
    assert names[1].failed == "timeout"
    assert names[1].name == "Find a bus ticket"
    assert len({record.name for record in names.values()}) == 4


async def test_a_fatal_call_ends_the_stage():
    async def chat(request):
        raise CallFailed("auth", "bad key", fatal=True)

    with pytest.raises(CallFailed, match="bad key"):
        await run(chat, inputs())


async def test_only_like_names_are_sent_again_and_the_later_record_wins():
    chat = Scripted(
        lambda p: "Find the dentists" if "dentist" in p["members"][0] else "Find a dentist"
        if "hotel" in p["members"][0] else f"Buy {p['members'][0][5:]}",
        lambda group: f"Do thing number{'abcd'[group['index']]}",
    )  # fmt: skip
    names, records = await run(chat, inputs())
    (again,) = [r for r in chat.requests if "rename" in r.payload]
    assert [group["index"] for group in again.payload["rename"]] == [0, 2]
    assert sorted(again.payload["taken"]) == ["Buy a bus ticket nearby", "Buy a song nearby"]
    assert names[0].name != names[2].name
    assert len(records) == 6


async def test_a_model_that_insists_is_overruled_within_bounds():
    chat = Scripted(lambda p: "Do the same", lambda group: "Do the same")
    names, _ = await run(chat, inputs())
    assert too_similar([names[i].name for i in range(4)]) == []
    assert sum("rename" in request.payload for request in chat.requests) == 2


async def test_same_seed_same_names_and_a_stop():
    one, _ = await run(LocalEngine(), inputs())
    two, _ = await run(LocalEngine(), inputs())
    assert one == two
    with pytest.raises(Stopped):
        await run(LocalEngine(), inputs(), should_stop=lambda: True)


async def test_one_cluster_one_row_and_none():
    data = NameInputs(
        ["Find a dentist"],
        ["Find a dentist"],
        np.ones((1, 1), dtype=np.float32),
        np.zeros(1, dtype=np.int32),
        np.ones((1, 1), dtype=np.float32),
    )
    names, _ = await run(LocalEngine(), data)
    assert names[0].name == "Find a dentist"
    empty = NameInputs([], [], np.zeros((0, 4)), np.zeros(0, dtype=np.int32), np.zeros((0, 4)))
    assert (await run(LocalEngine(), empty))[0] == {}


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("“Cancel a subscription.”", "Cancel a subscription"),
        ("track order #99881 for jo@x.example", "Track order for"),
        ("12345", ""),
        ("one two three four five six seven eight nine ten eleven",
         "One two three four five six seven eight nine ten"),
        ("line\none", "Line one"),
    ],
)  # fmt: skip
def test_clean_name(raw, clean):
    assert clean_name(raw) == clean


def test_descriptions_are_bounded_and_without_details():
    text = clean_description("Call +49 170 1234567 now. " + "word " * 400)
    assert "1234567" not in text
    assert len(text) <= 602


@pytest.mark.parametrize(
    ("one", "two", "alike"),
    [
        ("Find a dentist", "Find the dentists", True),
        ("Book flights", "Flights to book", True),
        ("Book a flight", "Book a hotel", False),
        ("Cancel an order", "Cancel a subscription", False),
    ],
)
def test_similarity(one, two, alike):
    assert (similarity(one, two) >= 0.9) is alike


def test_set_apart_uses_a_phrase_then_a_number():
    assert set_apart("Find a movie", ["online"], ["Find a movie"]) == "Find a movie – online"
    assert set_apart("Find it", [], ["Find it", "Find it (2)"]) == "Find it (3)"
