"""A BEIR folder, batches of its training pairs, exact rankings and their measures.

In: paths, ids, vectors. Out: texts, rows of pairs, rankings, TREC runs. Knows nothing of models.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

DEPTH = 100

Qrels = dict[str, dict[str, int]]
Ranking = dict[str, list[str]]


@dataclass(frozen=True)
class Texts:
    """A data set: ids to texts, and the judgements of each split."""

    documents: dict[str, str]
    queries: dict[str, str]
    qrels: dict[str, Qrels]

    def pairs(self) -> list[tuple[str, str]]:
        """Ids of the query and the document of every training pair."""
        judged = self.qrels["train"]
        return [(q, d) for q, found in judged.items() for d, grade in found.items() if grade > 0]


class Encoder(Protocol):
    """Texts to unit vectors float32 (n, d)."""

    def encode(self, texts: Sequence[str], query: bool) -> Any:
        """Without gradients, in float32 numpy."""


def read_texts(data: Path) -> Texts:
    """A BEIR folder."""

    def lines(name: str) -> list[Any]:
        return [json.loads(line) for line in (data / name).read_text("utf-8").splitlines() if line.strip()]

    documents = {one["_id"]: f"{one.get('title', '')} {one['text']}".strip() for one in lines("corpus.jsonl")}
    queries = {one["_id"]: one["text"] for one in lines("queries.jsonl")}
    qrels: dict[str, Qrels] = {}
    for path in sorted((data / "qrels").glob("*.tsv")):
        found = qrels.setdefault(path.stem, {})
        with path.open(encoding="utf-8", newline="") as stream:
            for query, document, grade in list(csv.reader(stream, delimiter="\t"))[1:]:
                found.setdefault(query, {})[document] = int(grade)
    return Texts(documents, queries, qrels)


def batches(pairs: Sequence[tuple[str, str]], size: int, random: np.random.Generator) -> list[list[int]]:
    """Rows of the pairs in batches at random, with no query and no document twice in one.

    Last batches of less than half the size, in which the documents of many queries meet nearly alone, are
    left out: of tldr in 256 they would be as many as the others.
    """
    left, found = random.permutation(len(pairs)).tolist(), []
    while left:
        batch: list[int] = []
        rest: list[int] = []
        queries: set[str] = set()
        documents: set[str] = set()
        for at, row in enumerate(left):
            if len(batch) == size:
                rest.extend(left[at:])
                break
            query, document = pairs[row]
            if query in queries or document in documents:
                rest.append(row)
                continue
            queries.add(query)
            documents.add(document)
            batch.append(row)
        if len(batch) >= max(2, min(size, len(pairs)) // 2):
            found.append(batch)
        left = rest
    return found


def measures(qrels: Qrels, ranking: Ranking) -> dict[str, float]:
    """Mean nDCG@10 and R@10 over the judged queries, as trec_eval has them."""
    ndcg, recall = 0.0, 0.0
    discount = 1 / np.log2(np.arange(2, 12))
    for query, judged in qrels.items():
        top = ranking.get(query, [])[:10]
        gains = np.array([judged.get(document, 0) for document in top], float)
        ideal = np.sort(np.array(list(judged.values()), float))[::-1][:10]
        best = float((ideal * discount[: len(ideal)]).sum())
        ndcg += float((gains * discount[: len(gains)]).sum()) / best if best else 0.0
        relevant = sum(grade > 0 for grade in judged.values())
        recall += float((gains > 0).sum()) / relevant if relevant else 0.0
    return {"nDCG@10": ndcg / len(qrels), "R@10": recall / len(qrels)}


def rank(encoder: Encoder, texts: Texts, splits: Sequence[str]) -> dict[str, Ranking]:
    """The DEPTH best documents of every query of the splits, by exact search of all documents."""
    names = list(texts.documents)
    vectors = encoder.encode(list(texts.documents.values()), False)
    found: dict[str, Ranking] = {}
    for split in splits:
        queries = list(texts.qrels[split])
        asked = encoder.encode([texts.queries[query] for query in queries], True)
        found[split] = {}
        for start in range(0, len(queries), 256):
            scores = asked[start : start + 256] @ vectors.T
            top = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
            for query, rows in zip(queries[start : start + 256], top.tolist(), strict=True):
                found[split][query] = [names[row] for row in rows]
    return found


def write_run(path: Path, ranking: Ranking, tag: str) -> None:
    """A TREC run, compressed. Its scores fall by one a rank from DEPTH, which compresses well.

    The same ranking gives the same bytes.
    """
    lines = [
        f"{query} Q0 {document} {at} {DEPTH + 1 - at} {tag}\n"
        for query, documents in ranking.items()
        for at, document in enumerate(documents, 1)
    ]
    replace(path, gzip.compress("".join(lines).encode(), 9, mtime=0))


def replace(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all."""
    half = path.with_name(path.name + ".half")
    half.write_bytes(content)
    half.replace(path)
