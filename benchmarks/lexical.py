"""BM25 beside tantivy: speed, relevance, and the parts of our time.

    python -m benchmarks.lexical DATA... [--queries 300] [--depth 100] [--rounds 5]

DATA are BEIR folders. Both systems index title and text by our tokens, so that they differ in the search
alone; tantivy's k1 and b are fixed at 1.2 and .75, ours are .9 and .4. One thread. Prints a table and writes
benchmarks/results/lexical-SET.json: p50 of a query in milliseconds, medians over the rounds, for the search
of a query that is prepared and for text to hits; the ratio ours / tantivy round by round; nDCG@10 on test;
and the parts of our time. tantivy is in no extra: pip install tantivy.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import RESULTS, write_result
from index.lexical.bm25 import Bm25, weigh
from index.lexical.postings import write_bm25
from index.lexical.tokens import lexical_tokens
from retrieval.data.dataset import Dataset
from retrieval.evaluation.measures import evaluate_run
from retrieval.evaluation.provenance import provenance

Hits = list[tuple[int, float]]


class System(NamedTuple):
    """A search in two steps. prepare: text to a query; search: the query to rows and scores."""

    prepare: Callable[[str], Any]
    search: Callable[[Any], Hits]


def ours(texts: Sequence[str], folder: Path, depth: int) -> System:
    """Our postings."""
    write_bm25(folder / "bm25", texts)
    bm25 = Bm25(folder / "bm25", len(texts))

    def search(terms: Any) -> Hits:
        found = bm25.search([terms], depth)
        return [
            pair
            for pair in zip(found.rows[0].tolist(), found.scores[0].tolist(), strict=True)
            if pair[0] >= 0
        ]

    return System(lambda query: weigh([bm25], query).by_segment[0], search)


def theirs(texts: Sequence[str], folder: Path, depth: int) -> System:
    """Tantivy over the same tokens, joined by blanks and split there again."""
    tantivy: Any = import_module("tantivy")
    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("row", fast=True)
    builder.add_text_field("body", tokenizer_name="whitespace", index_option="freq")
    (folder / "tantivy").mkdir()
    index = tantivy.Index(builder.build(), path=str(folder / "tantivy"))
    writer = index.writer(num_threads=1)
    for row, text in enumerate(texts):
        writer.add_document(tantivy.Document(row=row, body=" ".join(lexical_tokens(text))))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher, schema, query_of = index.searcher(), index.schema, tantivy.Query

    def prepare(query: str) -> Any:
        terms = [query_of.term_query(schema, "body", token, "freq") for token in lexical_tokens(query)]
        return query_of.boolean_query([(tantivy.Occur.Should, term) for term in terms])

    def search(query: Any) -> Hits:
        hits = searcher.search(query, depth, count=False).hits
        rows = searcher.fast_field_values("row", [place for _, place in hits])
        return [(row, score) for row, (score, _) in zip(rows, hits, strict=True)]

    return System(prepare, search)


def p50_ms(function: Callable[[Any], object], arguments: Sequence[Any]) -> float:
    """Median milliseconds of a call."""
    taken = []
    for argument in arguments:
        start = time.perf_counter()
        function(argument)
        taken.append(time.perf_counter() - start)
    return 1000 * statistics.median(taken)


def measured(system: System, queries: Sequence[str]) -> dict[str, float]:
    """P50 in milliseconds of the search alone, and of text to hits."""
    prepared = [system.prepare(query) for query in queries]
    return {
        "search": p50_ms(system.search, prepared),
        "text_to_hits": p50_ms(lambda query: system.search(system.prepare(query)), queries),
    }


def beside(data: Path, count: int, depth: int, rounds: int) -> dict[str, Any]:
    """Both systems over one data set."""
    dataset = Dataset(data)
    documents = list(dataset.documents())
    texts = [f"{document.title} {document.text}" for document in documents]
    qrels = dataset.qrels("test")
    queries = [dataset.queries[query] for query in qrels][:count]
    with tempfile.TemporaryDirectory() as work:
        systems = {"ours": ours(texts, Path(work), depth), "tantivy": theirs(texts, Path(work), depth)}
        turns = [{name: measured(system, queries) for name, system in systems.items()} for _ in range(rounds)]
        quality = {}
        for name, system in systems.items():
            run = {
                query: {
                    documents[row].id: score
                    for row, score in system.search(system.prepare(dataset.queries[query]))
                }
                for query in qrels
            }
            quality[name] = evaluate_run(qrels, run, ["nDCG@10"]).mean("nDCG@10")
        tokenising = p50_ms(lexical_tokens, queries)
    part = {
        name: {what: statistics.median(turn[name][what] for turn in turns) for what in turns[0][name]}
        for name in systems
    }
    ratios = {
        what: statistics.median(turn["ours"][what] / turn["tantivy"][what] for turn in turns)
        for what in turns[0]["ours"]
    }
    return {
        "documents": len(documents),
        "queries": len(queries),
        "depth": depth,
        "p50_ms": part,
        "ours_over_tantivy": ratios,
        "tokenising_ms": tokenising,
        "nDCG@10": quality,
    }


def main() -> None:
    """Measure the data sets that the arguments name."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for data in options.data:
        command = (
            f"python -m benchmarks.lexical {data.name} --queries {options.queries} --depth {options.depth}"
        )
        result = {
            **provenance(command),
            **beside(data, options.queries, options.depth, options.rounds),
        }
        for name, times in result["p50_ms"].items():
            print(
                f"{data.name:10} {name:8} search {times['search']:.3f} ms, text to hits "
                f"{times['text_to_hits']:.3f} ms, nDCG@10 {result['nDCG@10'][name]:.4f}"
            )
        print(
            f"{data.name:10} ours / tantivy {result['ours_over_tantivy']}, "
            f"tokenising {result['tokenising_ms']:.3f} ms"
        )
        write_result(RESULTS / f"lexical-{data.name}.json", result)


if __name__ == "__main__":
    main()
