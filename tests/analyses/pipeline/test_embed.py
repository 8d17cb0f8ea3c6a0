"""Embedding: batches, blank texts, wrong ports, and the local vectors."""

import time

import numpy as np
import pytest

from analyses.pipeline.base import Context, Stopped
from analyses.pipeline.embed import EmbedParams, EmbedStage, unit_rows
from analyses.pipeline.vectors import LocalEmbedder, embed_texts


class CountingPort:
    def __init__(self):
        self.sizes = []

    async def __call__(self, texts):
        self.sizes.append(len(texts))
        return np.array([[len(text) + 1, 2.0] for text in texts], dtype=np.float32)


async def blocks(texts, port, params=None, **more):
    stage = EmbedStage(params)
    return [b async for b in stage.run(texts, Context(chat=None, embed=port, **more))]


async def test_full_batches_in_order():
    port = CountingPort()
    found = await blocks([f"{'x' * i}" for i in range(1, 11)], port, EmbedParams(batch=4))
    assert port.sizes == [4, 4, 2]
    assert [block.start for block in found] == [0, 4, 8]
    matrix = np.concatenate([block.matrix for block in found])
    assert np.allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-6)
    assert (np.diff(matrix[:, 0]) > 0).all()


async def test_whole_asks_once_and_nothing_for_no_texts():
    port = CountingPort()
    await blocks(["a"] * 600, port, EmbedParams(whole=True))
    assert port.sizes == [600]
    assert await blocks([], port) == []
    assert port.sizes == [600]


async def test_blank_texts_have_no_direction():
    (block,) = await blocks(["words", "  \n"], CountingPort())
    assert np.linalg.norm(block.matrix[0]) == pytest.approx(1)
    assert not block.matrix[1].any()


@pytest.mark.parametrize("bad", [np.ones((1, 2)), np.ones(2), np.array([[1, np.nan], [1, 1]])])
def test_a_port_that_answers_wrongly_is_an_error(bad):
    with pytest.raises(ValueError, match=r"vectors|numbers"):
        unit_rows(bad, ["a", "b"])


async def test_a_stop_is_noticed():
    with pytest.raises(Stopped):
        await blocks(["a"], CountingPort(), should_stop=lambda: True)


TOPICS = (
    "cancel my subscription and refund the monthly fee please",
    "the parcel has not arrived and tracking shows no delivery",
    "reset my password because the login code never comes",
)


def corpus(count):
    rng = np.random.default_rng(1)
    words = " ".join(TOPICS).split()
    return [f"{TOPICS[i % 3]} {' '.join(rng.choice(words, 3))}" for i in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 40, 300])
def test_local_vectors_are_unit_rows_at_any_size(count):
    matrix = embed_texts([*corpus(count - 1), ""], 7)
    assert matrix.shape[0] == count
    assert matrix.dtype == np.float32
    assert np.allclose(np.linalg.norm(matrix[:-1], axis=1), 1, atol=1e-5)
    assert not matrix[-1].any()


def test_local_vectors_bring_the_same_subject_together():
    matrix = embed_texts(corpus(300), 7)
    same = np.arange(300) % 3
    means = np.stack([matrix[same == i].mean(axis=0) for i in range(3)])
    assert ((matrix @ means.T).argmax(axis=1) == same).mean() > 0.98


def test_local_vectors_repeat_and_follow_the_seed():
    assert np.array_equal(embed_texts(corpus(250), 3), embed_texts(corpus(250), 3))


def test_scripts_without_spaces_are_compared_by_pairs_of_signs():
    texts = [
        "旅行の計画を立てる",
        "旅行の予算を考える",
        "新しいゲームを買った",
        "ゲームの攻略を話す",
    ]
    matrix = embed_texts(texts, 7)
    assert matrix[0] @ matrix[1] > matrix[0] @ matrix[2]
    assert matrix[2] @ matrix[3] > matrix[1] @ matrix[3]


def test_languages_meet_where_their_concepts_do():
    english = ["refund order money back"] * 30 + ["password login account code"] * 30
    german = ["[[de]]\nrefund order"] * 30 + ["[[de]]\npassword login"] * 30
    matrix = embed_texts(english + german, 7)
    refunds, passwords = matrix[0], matrix[30]
    assert matrix[60] @ refunds > matrix[60] @ passwords + 0.3
    assert matrix[90] @ passwords > matrix[90] @ refunds + 0.3


async def test_two_thousand_texts_are_quick():
    texts = [" ".join(corpus(20)[i % 20 :]) for i in range(2000)]
    started = time.process_time()
    matrix = await LocalEmbedder(7)(texts)
    assert matrix.shape[0] == 2000
    assert time.process_time() - started < 3  # the bar is 1.5 s on a quiet core
