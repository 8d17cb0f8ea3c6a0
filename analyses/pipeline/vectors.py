"""Vectors without a model: weighted words, a truncated SVD, and a step towards the neighbours.

Deterministic: same texts, same seed, same vectors. The weights depend on all the texts, so the
port has to be handed all of them at once (``EmbedParams.whole``).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction import FeatureHasher

from analyses.pipeline.base import Matrix
from analyses.pipeline.local.embedding import marked_language
from analyses.pipeline.local.words import stop_words
from analyses.pipeline.neighbours import nearest

WIDTH = 100
"""Dimensions kept. Chosen on the development sets of bench/quality.py, like the other weights."""

LANGUAGE_ROWS = 20
"""Texts of a language needed to know its mean."""

SLOTS = 2**20
"""Columns of the hashed word counts; few words collide, and memory does not grow with the data."""

PAIRS = 0.6
"""Weight of two-word phrases beside single words."""

GRAMMAR = 0.75
"""Weight of English stop words. They carry how things are said, which tells services with the same
subject apart (bench/quality.py), but at full weight they outvote the subjects of short chats."""

CHUNK = 5_000
"""Texts whose words are held at once."""

SMALL = 128
"""Up to this many texts the decomposition is exact, through the texts' own products."""

SAMPLE = 20_000
"""Rows the decomposition is fitted on; the others are projected."""

NEIGHBOURS = 15
KEEP = 0.3
STEPS = 2
"""Smoothing: each step keeps KEEP of the own vector and takes the rest from NEIGHBOURS (Zhou et
al. 2003, "Learning with local and global consistency", without labels). It draws groups together
whose members say the same in other words."""

_WORD = re.compile(r"[^\W\d_]{2,}", re.UNICODE)
_UNSPACED = re.compile("[\u3041-\u3096\u30a1-\u30fc\u3005\u4e00-\u9fff\u0e00-\u0e7f]")


class LocalEmbedder:
    """The embedding port of the local engine. ``label`` names it where vectors are described."""

    label = "local vectors"

    def __init__(self, seed: int = 7) -> None:
        self.seed = seed

    async def __call__(self, texts: Sequence[str]) -> Matrix:
        """Unit vectors of ``texts``, ``(n, d)`` with d at most :data:`WIDTH`; blank: zero."""
        return await asyncio.to_thread(embed_texts, texts, self.seed)


def embed_texts(texts: Sequence[str], seed: int) -> Matrix:
    """See :class:`LocalEmbedder`; for threads and tests."""
    if not texts:
        return np.zeros((0, 1), dtype=np.float32)
    weighted, languages = _weighted_words(texts)
    reduced = _reduced(weighted, seed)
    del weighted  # as large as all that follows
    return _smoothed(_without_language(_units(reduced), languages))


def _weighted_words(texts: Sequence[str]) -> tuple[sparse.csr_matrix, list[str]]:
    """Unit rows of weighted words, and the language of every text."""
    counted = [_counted(texts[start : start + CHUNK]) for start in range(0, len(texts), CHUNK)]
    languages = [language for chunk in counted for language in chunk.languages]
    parts = []
    for weight in (1.0, GRAMMAR, PAIRS):
        counts = sparse.vstack([chunk.counts.pop(0) for chunk in counted], format="csr")
        parts.append(_weighted(counts) * np.float32(weight))
    return _unit_rows(sparse.hstack(parts, format="csr")), languages


class _Counted(NamedTuple):
    """The languages of some texts, and their counts of subject words, stop words and pairs."""

    languages: list[str]
    counts: list[sparse.csr_matrix]


def _counted(texts: Sequence[str]) -> _Counted:
    """Words become columns chunk by chunk: as strings those of 100,000 texts fill 600 MB."""
    small_words = stop_words()["en"]
    marked = [marked_language(text) for text in texts]
    tokens = [_tokens(text) for _, text in marked]
    content = [[word for word in found if word not in small_words] for found in tokens]
    grammar = [[word for word in found if word in small_words] for found in tokens]
    pairs = [[f"{one} {two}" for one, two in pairwise(found)] for found in content]
    counts = [_hashed(content), _hashed(grammar), _hashed(pairs)]
    return _Counted([language for language, _ in marked], counts)


def _hashed(tokens: Sequence[Sequence[str]]) -> sparse.csr_matrix:
    hasher = FeatureHasher(SLOTS, input_type="string", alternate_sign=False, dtype=np.float32)
    return hasher.transform(tokens).tocsr()


def _without_language(vectors: Matrix, languages: Sequence[str]) -> Matrix:
    """Vectors moved so that every language has the same mean, when there are several.

    What all texts of a language share is the language, not a subject.
    """
    groups = [np.flatnonzero(np.array(languages) == code) for code in sorted(set(languages))]
    if sum(len(rows) >= LANGUAGE_ROWS for rows in groups) < 2:
        return vectors
    moved = vectors.copy()
    spoken = np.einsum("ij,ij->i", vectors, vectors) > 0
    for rows in groups:
        if len(rows) >= LANGUAGE_ROWS:
            moved[rows] -= vectors[rows].mean(axis=0)
    moved[~spoken] = 0.0
    return _units(moved)


@lru_cache(maxsize=1)
def _skipped() -> frozenset[str]:
    """Stop words of languages other than English.

    In mixed data they tell languages apart, not topics; English ones get a weight of their own.
    """
    lists = stop_words()
    others = (words for language, words in lists.items() if language != "en")
    return frozenset(word for words in others for word in words) - lists["en"]


def _tokens(text: str) -> list[str]:
    """Words in lower case; scripts without spaces as overlapping pairs of signs."""
    skipped = _skipped()
    found: list[str] = []
    for word in _WORD.findall(text.lower()):
        if word.isascii() or not _UNSPACED.search(word):
            if word not in skipped:
                found.append(word)
        else:
            found.extend(word[i : i + 2] for i in range(len(word) - 1))
    return found


def _weighted(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Unit rows of log-scaled counts times inverse document frequency, rare and common cut."""
    rows = counts.shape[0]
    frequency = np.bincount(counts.indices, minlength=SLOTS)
    low = 1 if rows < 20 else 2 if rows < 200 else 3
    high = rows if rows < 20 else 0.5 * rows
    kept = np.flatnonzero((frequency >= low) & (frequency <= high))
    if not len(kept):
        kept = np.flatnonzero(frequency)
    counts = counts[:, kept]
    counts.data = 1 + np.log(counts.data)
    scale = np.log((1 + rows) / (1 + frequency[kept])) + 1
    return _unit_rows(counts @ sparse.diags(scale.astype(np.float32), format="csr"))


def _unit_rows(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    squares = sparse.csr_matrix((matrix.data**2, matrix.indices, matrix.indptr), matrix.shape)
    norms = np.sqrt(np.asarray(squares.sum(axis=1)).ravel())
    scale = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)
    return sparse.diags(scale.astype(np.float32), format="csr") @ matrix


def _reduced(matrix: sparse.csr_matrix, seed: int) -> Matrix:
    """Coordinates on the strongest directions, ``(n, d)``."""
    rows, columns = matrix.shape
    if columns == 0:
        return np.zeros((rows, 1), dtype=np.float32)
    if min(rows, columns) <= SMALL:
        return _exact(matrix)
    model = TruncatedSVD(WIDTH, random_state=seed, n_iter=4)
    if rows <= SAMPLE:
        return np.asarray(model.fit_transform(matrix), dtype=np.float32)
    chosen = np.sort(np.random.default_rng(seed).choice(rows, SAMPLE, replace=False))
    model.fit(matrix[chosen])
    return np.asarray(model.transform(matrix), dtype=np.float32)


def _exact(matrix: sparse.csr_matrix) -> Matrix:
    """All directions of a few texts (or few words), by the smaller product's eigenvectors."""
    if matrix.shape[0] > matrix.shape[1]:
        return np.asarray(matrix.todense(), dtype=np.float32)
    products = np.asarray((matrix @ matrix.T).todense(), dtype=np.float64)
    values, directions = np.linalg.eigh(products)
    order = np.argsort(-values)[:WIDTH]
    lengths = np.sqrt(np.maximum(values[order], 0))
    signs = np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(len(values))])
    return np.asarray(directions[:, order] * lengths * signs[order], dtype=np.float32)


def _units(matrix: npt.NDArray[np.float32]) -> Matrix:
    """Rows scaled to length one, in place; those next to zero become zero."""
    norms = np.sqrt(np.einsum("ij,ij->i", matrix, matrix))[:, None]
    matrix *= np.divide(1, norms, out=np.zeros_like(norms), where=norms > 1e-9)
    return matrix


def _smoothed(vectors: Matrix) -> Matrix:
    """Vectors moved towards their neighbours; too few texts have no neighbourhoods."""
    count = min(NEIGHBOURS, len(vectors) // 10)
    if count < 3:
        return vectors
    links = _links(vectors, count)
    moved = vectors
    for _ in range(STEPS):
        # In place: for 100,000 texts every further copy is 40 MB.
        moved = _units(links @ moved)
        moved *= 1 - KEEP
        moved += KEEP * vectors
        moved = _units(moved)
    return moved


def _links(vectors: Matrix, count: int) -> sparse.csr_matrix:
    """Symmetric neighbour weights, scaled by both ends' degrees."""
    rows = len(vectors)
    found, scores = nearest(vectors, vectors, count + 1)
    starts = np.arange(0, found.size + 1, found.shape[1], dtype=np.int32)
    weights = np.maximum(scores, 0, out=scores).ravel()
    columns = found.ravel().astype(np.int32)
    del found, scores
    links = sparse.csr_matrix((weights, columns, starts), shape=(rows, rows))
    links.sum_duplicates()  # a place that could not be filled repeats the best hit
    links = (links + links.T) / 2
    degrees = np.asarray(links.sum(axis=1)).ravel()
    scale = np.divide(1, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
    half = sparse.diags(scale.astype(np.float32), format="csr")
    return sparse.csr_matrix(half @ links @ half, dtype=np.float32)
