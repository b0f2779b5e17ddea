"""Does the LSTM beat the bag where the test split is small? Cross-validation over the training queries.

    python -m benchmarks.folds DATA [--by query|document] [--folds 5] [--models FOLDER]

DATA is a BEIR folder. Its training queries, which nobody ever looked at to choose anything, are dealt at
random into folds. For each fold an LSTM and a bag are trained by the defaults on the other folds, with the
dev split as it is, and ranked on the fold: each training query is a test query once. Dealt by document, all
queries of a document are in one fold, so nothing is known of the document but its text. With --models the
folds of data and the models stay in a folder, and those that are there already are measured and not trained.

Prints nDCG@10 of the dense ranking, of its fusion with BM25 and of the final ranking, and paired
randomisation tests of the LSTM against the bag, corrected. Writes
benchmarks/results/folds-DATA-by-query.json or folds-DATA-by-document.json.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.common import RESULTS, command_of, parser_of, write_result
from benchmarks.towers import MEASURE, RANKINGS, contests, test_scores, train_tower
from retrieval.data.dataset import Dataset
from retrieval.data.queries import Qrels
from retrieval.evaluation.measures import RunMeasures
from retrieval.evaluation.provenance import machine

TOWERS = ("bag", "lstm")
_SEED = 0


def dealt(qrels: Qrels, folds: int, by_document: bool) -> list[list[str]]:
    """Query ids at random in so many folds.

    qrels: the documents of each query.
    folds: how many.
    by_document: whether queries with the same first document come into one fold.
    """
    first = {query_id: min(documents) if by_document else query_id for query_id, documents in qrels.items()}
    shuffled = sorted(set(first.values()))
    random.Random(_SEED).shuffle(shuffled)
    fold_of = {key: number % folds for number, key in enumerate(shuffled)}
    return [[query_id for query_id in qrels if fold_of[first[query_id]] == fold] for fold in range(folds)]


def write_fold(data: Path, held_out: Sequence[str], by_document: bool, folder: Path) -> None:
    """A BEIR folder like another, whose test queries are some of that one's training queries.

    data: the folder; its test split is left out.
    held_out: the ids of these queries, no longer training queries.
    by_document: whether no training or dev query shares a document with them.
    folder: is written, unless it is there.
    """
    if folder.exists():
        return
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / "qrels").mkdir(parents=True)
    for name in ("corpus.jsonl", "queries.jsonl"):
        shutil.copy(data / name, unfinished / name)
    dataset = Dataset(data)
    training = dataset.qrels("train")
    test = {query_id: training[query_id] for query_id in held_out}
    unknown = {document for documents in test.values() for document in documents} if by_document else set()
    for split in ("train", "dev"):
        others = {
            query_id: documents
            for query_id, documents in dataset.qrels(split).items()
            if query_id not in test and unknown.isdisjoint(documents)
        }
        _write_qrels(others, unfinished, split)
    _write_qrels(test, unfinished, "test")
    unfinished.rename(folder)


def pooled(folds: Sequence[RunMeasures]) -> RunMeasures:
    """The queries of all folds as one run."""
    ids = tuple(query_id for fold in folds for query_id in fold.query_ids)
    return RunMeasures(ids, {MEASURE: np.concatenate([fold.of(MEASURE) for fold in folds])})


def _write_qrels(qrels: Qrels, folder: Path, split: str) -> None:
    rows = [
        f"{query}\t{document}\t{grade}\n" for query, docs in qrels.items() for document, grade in docs.items()
    ]
    (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))


def main() -> None:
    """Train, rank, print and write the result."""
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--by", choices=("query", "document"), default="query")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--models", type=Path)
    options = parser.parse_args()
    by_document = options.by == "document"
    folds = dealt(Dataset(options.data).qrels("train"), options.folds, by_document)
    scores: dict[str, dict[str, list[RunMeasures]]] = {
        tower: {ranking: [] for ranking in ("BM25", *RANKINGS)} for tower in TOWERS
    }
    with tempfile.TemporaryDirectory() as temporary:
        root = options.models or Path(temporary)
        root.mkdir(exist_ok=True)
        for number, held_out in enumerate(folds):
            data = root / f"{options.data.name}-by-{options.by}-{number}"
            write_fold(options.data, held_out, by_document, data)
            for tower in TOWERS:
                model = root / f"{data.name}-{tower}"
                train_tower(tower, data, _SEED, None, model)
                for ranking, run in test_scores(data, model).items():
                    scores[tower][ranking].append(run)
                means = {ranking: round(runs[-1].mean(MEASURE), 4) for ranking, runs in scores[tower].items()}
                print(f"  fold {number} {tower:5} {means}", flush=True)
    whole = {
        tower: {ranking: pooled(runs) for ranking, runs in rankings.items()}
        for tower, rankings in scores.items()
    }
    rows = {
        tower: {ranking: round(run.mean(MEASURE), 4) for ranking, run in rankings.items()}
        for tower, rankings in whole.items()
    }
    tests = {f"{tower}: {title}": contest for (tower, title), contest in contests(whole).items()}
    for line in (*rows.items(), *tests.items()):
        print(*line)
    result = {
        "machine": machine(),
        "date": datetime.now(UTC).date().isoformat(),
        "command": command_of("benchmarks.folds"),
        "measure": MEASURE,
        "queries": sum(map(len, folds)),
        "towers": rows,
        "tests": tests,
    }
    write_result(RESULTS / f"folds-{options.data.name}-by-{options.by}.json", result)


if __name__ == "__main__":
    main()
