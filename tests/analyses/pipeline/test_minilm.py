"""MiniLM in numpy: against a plain reference, text by text and head by head, and without files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from analyses.pipeline import minilm
from analyses.pipeline.base import Context
from analyses.pipeline.embed import EmbedStage
from analyses.pipeline.local import LocalEngine
from analyses.plan import RunParams

TEXTS = [
    "The package never arrived.",
    "My parcel is lost",
    "How do I reset my password?",
    " ",
    "ok",
]

REFERENCE = [-0.046093, 0.065203, -0.015866, 0.053235, -0.005257, -0.040763]

installed = pytest.mark.skipif(
    not minilm.available(), reason="the extra of requirements-minilm.txt is not installed"
)


def plain(model: minilm.MiniLm, text: str) -> np.ndarray:
    """The same model as a textbook has it: one text, one head and one token at a time, float64."""
    w = {name: np.asarray(value, dtype=np.float64) for name, value in model.weights.items()}

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return np.array([w[f"{name}.weight"] @ row + w[f"{name}.bias"] for row in x])

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        rows = [(row - row.mean()) / math.sqrt(row.var() + 1e-12) for row in x]
        return np.array([row * w[f"{name}.weight"] + w[f"{name}.bias"] for row in rows])

    gelu = np.vectorize(lambda value: value * 0.5 * (1 + math.erf(value / math.sqrt(2))))
    x = np.array(
        [
            w["embeddings.word_embeddings.weight"][token]
            + w["embeddings.position_embeddings.weight"][place]
            + w["embeddings.token_type_embeddings.weight"][0]
            for place, token in enumerate(model.ids(text))
        ]
    )
    x = norm(x, "embeddings.LayerNorm")
    for layer in range(6):
        name = f"encoder.layer.{layer}"
        q, k, v = (linear(x, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        heads = []
        for head in range(12):
            part = slice(32 * head, 32 * head + 32)
            scores = np.exp(q[:, part] @ k[:, part].T / math.sqrt(32))
            heads.append(scores / scores.sum(axis=1, keepdims=True) @ v[:, part])
        mixed = linear(np.concatenate(heads, axis=1), f"{name}.attention.output.dense")
        x = norm(x + mixed, f"{name}.attention.output.LayerNorm")
        wide = gelu(linear(x, f"{name}.intermediate.dense"))
        x = norm(x + linear(wide, f"{name}.output.dense"), f"{name}.output.LayerNorm")
    mean = x.mean(axis=0)
    return mean / np.linalg.norm(mean)


@installed
def test_a_batch_with_padding_equals_the_plain_loops() -> None:
    model = minilm.load()
    found = model.vectors(TEXTS)
    assert found.shape == (5, 384)
    assert found.dtype == np.float32
    for row, text in zip(found, TEXTS, strict=True):
        if text.strip():
            assert np.abs(row - plain(model, text)).max() < 2e-6
        else:
            assert not row.any()


@installed
def test_the_first_values_are_those_computed_once_and_noted() -> None:
    """From :func:`plain`, so that another model under the same name is noticed."""
    found = minilm.load().vectors(TEXTS[:1])[0, :6]
    assert np.allclose(found, REFERENCE, atol=1e-5)


@installed
def test_tokens_are_those_of_the_vocabulary_and_long_texts_are_cut() -> None:
    ids = minilm.load().ids
    # [CLS] my parcel is lost [SEP], by their line in the model's vocab.txt.
    assert ids("My parcel is lost") == [101, 2026, 20463, 2003, 2439, 102]
    assert len(ids("word " * 1000)) == minilm.MAX_TOKENS
    assert ids("word " * 1000)[-1] == 102


@installed
def test_the_same_in_other_words_is_nearer_than_another_subject() -> None:
    package, parcel, password, *_ = minilm.load().vectors(TEXTS)
    assert package @ parcel > 2 * (package @ password)


@installed
async def test_the_port_serves_the_embed_stage() -> None:
    context = Context(chat=LocalEngine(), embed=minilm.MiniLmEmbedder())
    (block,) = [block async for block in EmbedStage().run(TEXTS, context)]
    assert np.allclose(np.linalg.norm(block.matrix, axis=1), [1, 1, 1, 0, 1], atol=1e-5)


def test_without_the_files_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package_of_models")
    assert not minilm.available()
    with pytest.raises(minilm.MiniLmMissing, match=r"requirements-minilm\.txt"):
        minilm.load()
    (tmp_path / "half_a_package" / "model").mkdir(parents=True)
    (tmp_path / "half_a_package" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(minilm, "PACKAGE", "half_a_package")
    assert minilm.model_folder() is None


def test_an_analysis_keeps_its_own_vectors_unless_told_otherwise() -> None:
    assert RunParams().vectors == "auto"
    assert RunParams.model_validate({"vectors": "minilm"}).vectors == "minilm"
    with pytest.raises(ValueError, match="vectors"):
        RunParams.model_validate({"vectors": "word2vec"})
