"""How well the local engine's clusters agree with labels people gave.

Usage: ``python -m bench.quality [SET …]``. Reads the labelled sets beside the repository
(``../shared/data``), runs prepare, facets and embedding with the local engine, clusters with k set
to the number of labels, and prints the mean over five seeds. Labels are used for scoring only.
The weights of the local vectors and clusters were chosen while looking at these very sets, and the
dictionary while looking at the shipped sample's clusters, so the figures are not held-out ones.
The column "plain" is TF-IDF, SVD(100) and the same k-means on the raw messages.
Writes ``bench/results/quality.json``.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.preprocessing import normalize

from analyses.pipeline.base import Context, Matrix
from analyses.pipeline.cluster import assign_clusters
from analyses.pipeline.facets import FacetsStage
from analyses.pipeline.local import LocalEngine, embedding_text
from analyses.pipeline.prepare import PrepareStage
from analyses.pipeline.records import FacetsRead, Source, Turn
from analyses.pipeline.vectors import LocalEmbedder, embed_texts
from projects.sample import generate

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "bench" / "results"
SAMPLE = "shipped sample"
SEEDS = (1, 2, 3, 4, 5)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Labelled:
    """One labelling of one set: which rows, and which label each has."""

    name: str
    file: str
    label: Callable[[Row], str | None]
    bar: float | None = None


def _single(key: str) -> Callable[[Row], str | None]:
    """The label of rows with exactly one service."""

    def label(row: Row) -> str | None:
        labels = row["labels"]
        return str(labels[key][0]) if len(labels.get("services", ())) == 1 else None

    return label


def _plain(key: str) -> Callable[[Row], str | None]:
    def label(row: Row) -> str | None:
        value = row["labels"].get(key)
        return str(value) if value else None

    return label


SETS = (
    Labelled("sgd services, single", "support_sgd", _single("services"), 0.93),
    Labelled("sgd domains, single", "support_sgd", _single("domains"), 0.95),
    Labelled("sgd primary intent, all", "support_sgd", _plain("primary_intent")),
    Labelled("multidogo domain", "support_multidogo", _plain("domain")),
    Labelled("multidogo primary intent", "support_multidogo", _plain("primary_intent")),
    Labelled("banking77 intent", "intents_banking77", _plain("primary_intent")),
    Labelled("arena topic cluster", "llm_chat", _plain("cluster")),
    Labelled("sample topic, 4 languages", SAMPLE, _plain("topic")),
    Labelled("sample theme, 4 languages", SAMPLE, _plain("theme")),
)


@dataclass(frozen=True, slots=True)
class Score:
    """Agreement over the seeds, and the same for plain TF-IDF, SVD(100) and k-means."""

    name: str
    rows: int
    k: int
    nmi: float
    nmi_low: float
    nmi_high: float
    ari: float
    purity: float
    plain_nmi: float
    bar: float | None
    seconds: float


def load(file: str) -> list[Row]:
    """Rows of one shared set (lines are split on the line feed only), or the shipped sample."""
    if file == SAMPLE:
        return list(generate())
    with gzip.open(DATA / f"{file}.jsonl.gz", "rt", encoding="utf-8", newline="\n") as stream:
        return [json.loads(line) for line in stream if line.strip()]


async def read_texts(rows: Sequence[Row]) -> list[str]:
    """What the local engine would embed for every row ("" where reading failed)."""
    context = Context(chat=LocalEngine(), embed=LocalEmbedder())
    sources = [
        Source(i, tuple(Turn(str(m["role"]), str(m["content"] or "")) for m in row["messages"]))
        for i, row in enumerate(rows)
    ]
    prepared = [item async for item in PrepareStage().run(sources, context)]
    turns = {item.position: item.turns for item in prepared}
    texts = [""] * len(rows)
    async for read in FacetsStage().run(prepared, context):
        if isinstance(read, FacetsRead):
            texts[read.position] = embedding_text(turns[read.position], read.values)
    return texts


def plain_vectors(rows: Sequence[Row], seed: int) -> Matrix:
    """The baseline: scikit-learn's TF-IDF of all messages, 100 dimensions, unit rows."""
    texts = ["\n".join(str(m["content"] or "") for m in row["messages"]) for row in rows]
    counts = TfidfVectorizer(stop_words="english", min_df=2).fit_transform(texts)
    width = min(100, min(counts.shape) - 1)
    reduced = TruncatedSVD(width, random_state=seed).fit_transform(counts)
    return np.asarray(normalize(reduced), dtype=np.float32)


def purity(labels: Sequence[str], found: Sequence[int]) -> float:
    """Share of rows that carry the commonest label of their cluster."""
    groups: dict[int, Counter[str]] = {}
    for label, cluster in zip(labels, found, strict=True):
        groups.setdefault(int(cluster), Counter())[label] += 1
    return sum(group.most_common(1)[0][1] for group in groups.values()) / len(labels)


def score(one: Labelled, rows: Sequence[Row], texts: Sequence[str]) -> Score:
    """Cluster the rows that carry the label, once per seed."""
    kept = [i for i, row in enumerate(rows) if one.label(row)]
    labels = [str(one.label(rows[i])) for i in kept]
    k = len(set(labels))
    chosen = [texts[i] for i in kept]
    started = time.process_time()
    found = [assign_clusters(embed_texts(chosen, seed), k, seed).labels for seed in SEEDS]
    seconds = (time.process_time() - started) / len(SEEDS)
    baseline = [
        assign_clusters(plain_vectors([rows[i] for i in kept], seed), k, seed).labels
        for seed in SEEDS[:3]
    ]
    agreement = [normalized_mutual_info_score(labels, result) for result in found]
    return Score(
        name=one.name,
        rows=len(kept),
        k=k,
        nmi=float(np.mean(agreement)),
        nmi_low=min(agreement),
        nmi_high=max(agreement),
        ari=float(np.mean([adjusted_rand_score(labels, result) for result in found])),
        purity=float(np.mean([purity(labels, result) for result in found])),
        plain_nmi=float(np.mean([normalized_mutual_info_score(labels, b) for b in baseline])),
        bar=one.bar,
        seconds=seconds,
    )


def main(wanted: Sequence[str]) -> int:
    """Print the table, write the JSON; exit code 1 when a bar is missed."""
    if not DATA.is_dir():
        print(f"No labelled data at {DATA}")
        return 2
    print(f"{'labels':28}{'rows':>6}{'k':>5}{'NMI':>8}{'range':>15}{'ARI':>7}{'purity':>8}"
          f"{'plain':>8}{'bar':>7}{'CPU s':>8}")  # fmt: skip
    texts: dict[str, list[str]] = {}
    scores: list[Score] = []
    for one in SETS:
        if wanted and not any(part in one.name for part in wanted):
            continue
        rows = load(one.file)
        if one.file not in texts:
            texts[one.file] = asyncio.run(read_texts(rows))
        result = score(one, rows, texts[one.file])
        scores.append(result)
        bar = f"{result.bar:.2f}" if result.bar else "-"
        spread = f"{result.nmi_low:.3f}-{result.nmi_high:.3f}"
        print(f"{result.name:28}{result.rows:6}{result.k:5}{result.nmi:8.3f}{spread:>15}"
              f"{result.ari:7.3f}{result.purity:8.3f}{result.plain_nmi:8.3f}{bar:>7}"
              f"{result.seconds:8.2f}")  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "quality.json"
    path.write_text(json.dumps([asdict(result) for result in scores], indent=2) + "\n")
    return 1 if any(result.bar and result.nmi < result.bar for result in scores) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
