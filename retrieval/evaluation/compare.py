"""Comparison of an index's modes with each other or with a baseline: significance, groups of queries.

In: an `Assessment` of an open Retriever, and perhaps a baseline: another index, or a TREC run of any system.
Out: an `Evaluation`, which a report shows. Knows nothing of printing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from index.errors import InputError
from index.values import Progress, no_progress
from retrieval.data.queries import Qrels
from retrieval.evaluation.assess import Assessment, depth_of, rank_all
from retrieval.evaluation.breakdown import Group, breakdown, by_length, by_unseen_share
from retrieval.evaluation.calibration import Calibrated
from retrieval.evaluation.measures import RunMeasures, evaluate_run
from retrieval.evaluation.provenance import machine
from retrieval.evaluation.runs import Run, ranking, read_trec_run
from retrieval.evaluation.significance import PairedComparison, compare_all_pairs, compare_pairs
from retrieval.model.folder import FILES
from retrieval.model.vocabulary_table import load_vocabulary
from retrieval.search.modes import Mode
from retrieval.search.retriever import Retriever
from retrieval.text.words import words


@dataclass(frozen=True)
class Evaluation:
    """The measures of an index on a data set, and the comparisons made with them.

    All measures are over the same queries. `describe` works only while the retriever is open.
    """

    title: str
    split: str
    modes: Mapping[str, RunMeasures]  # the modes of the index, then the runs of the baseline
    ours: Sequence[str]  # the names in `modes` that belong to the index
    documents: int  # documents that a search can return
    runs: Mapping[str, Run]  # the rankings of each of `modes`, for the hits of single queries
    qrels: Qrels
    queries: Mapping[str, str]  # query id to text
    describe: Callable[[str], str]  # document id to its title, or to its text if it has none
    measure: str  # the measure of the comparisons, the groups and the single queries
    focus: str  # the mode whose worst queries are shown
    against: str | None = None  # the run that `focus` is compared with query by query
    comparisons: Sequence[PairedComparison] = ()
    groups: Mapping[str, Sequence[Group]] = field(default_factory=dict)  # by heading
    ann: Mapping[str, float] = field(default_factory=dict)  # recall of the dense index against exact search
    latency_ms: Mapping[str, float] = field(default_factory=dict)  # percentiles of one query
    calibrated: Calibrated | None = None  # of the mode in focus; None if the model has no calibration
    facts: Mapping[str, str] = field(default_factory=dict)  # number of documents, machine, date, ...

    def our_runs(self) -> dict[str, Run]:
        """The runs of the index, by mode."""
        return {mode: self.runs[mode] for mode in self.ours}


@dataclass(frozen=True)
class Baseline:
    """Other rankings of the same queries."""

    name: str
    measures: Mapping[str, RunMeasures]  # by name of the run
    runs: Mapping[str, Run]  # by name of the run
    pairs: Sequence[tuple[str, str]]  # our mode and the baseline's run of each comparison


def read_baseline(
    place: Path,
    queries: Mapping[str, str],
    qrels: Qrels,
    modes: Sequence[Mode],
    measures: Sequence[str],
    progress: Progress = no_progress,
) -> Baseline:
    """The rankings of another index, or of a TREC run file.

    place: an index folder, searched in the same modes and compared mode by mode; or a run file, compared with
        every mode.
    queries: query id to text; has every judged query.
    qrels: the judgements.
    modes: the modes that are compared.
    measures: names of ir-measures.
    progress: is called after each batch of queries.
    Both are as deep as the measures need. Raises InputError for an index that lacks a judged document, for a
    run without any of the judged queries or documents, and what opening an index or a run raises.
    """
    depth = depth_of(measures)
    if place.is_dir():
        with Retriever.open(place) as other:
            check_judged(qrels, other, place)
            runs: dict[str, Run] = {
                f"{mode} of {place.name}": rank_all(other, queries, qrels, mode, progress, depth=depth)
                for mode in modes
            }
        pairs = list(zip(modes, runs, strict=True))
    else:
        run = {query: _best_of(scores, depth) for query, scores in read_trec_run(place).items()}
        if not run.keys() & qrels.keys():
            raise InputError(
                "holds none of the judged queries; give a run of the same data and split", path=place
            )
        if not any(run.get(query, {}).keys() & grades.keys() for query, grades in qrels.items()):
            raise InputError(
                "holds no judged document of any query; give a run over documents with the same ids",
                path=place,
            )
        names = (place.stem, place.name, f"./{place.name}")  # no mode has a slash
        name = next(name for name in names if name not in modes)
        runs, pairs = {name: run}, [(mode, name) for mode in modes]
    values = {name: evaluate_run(qrels, run, measures) for name, run in runs.items()}
    return Baseline(str(place), values, runs, pairs)


def check_judged(qrels: Qrels, retriever: Retriever, index: Path) -> None:
    """Raise InputError if a judged document is not in an index. index: its folder, for the message."""
    judged = list(dict.fromkeys(document for grades in qrels.values() for document in grades))
    known = retriever.index.rows_of(judged)
    missing = next((document for document in judged if document not in known), None)
    if missing is not None:
        raise InputError(
            f"document {missing!r}, which is judged, is not in it; build or add the corpus that it is of, "
            "or drop its judgements",
            path=index,
        )


def _best_of(scores: Mapping[str, float], depth: int) -> dict[str, float]:
    return {document: scores[document] for document in ranking(scores)[:depth]}


def compare_runs(
    retriever: Retriever,
    assessment: Assessment,
    queries: Mapping[str, str],
    qrels: Qrels,
    *,
    title: str,
    split: str,
    baseline: Baseline | None = None,
) -> Evaluation:
    """Compare the modes of an index with the runs of a baseline, or with each other, by the first measure.

    retriever: the index, open.
    assessment: its measures and runs; the mode in focus is the last one.
    queries: query id to text; has every judged query.
    qrels: the judgements.
    title: heading of the report.
    split: name of the qrels file.
    baseline: other rankings of the same queries, with the same measures; None for none.
    Returns p values that are corrected for the number of comparisons.
    """
    measure = next(iter(next(iter(assessment.measures.values())).values))
    modes = {**assessment.measures, **(baseline.measures if baseline else {})}
    focus = list(assessment.measures)[-1]
    if baseline:
        against: str | None = dict(baseline.pairs)[focus]
        comparisons = compare_pairs(modes, baseline.pairs, measure)
    else:
        against = next((mode for mode in modes if mode == "lexical" != focus), None)
        comparisons = compare_all_pairs(modes, measure)
    query_words = {query_id: words(queries[query_id]) for query_id in qrels}
    model = retriever.index.model_folder
    vocabulary = load_vocabulary(model / FILES.vocabulary, model / FILES.table)
    groups = {
        "by length of the query": by_length(query_words),
        "by share of words unseen in training": by_unseen_share(query_words, vocabulary.knows),
    }
    return Evaluation(
        title=title,
        split=split,
        modes=modes,
        ours=tuple(assessment.measures),
        documents=retriever.index.count,
        runs={**assessment.runs, **(baseline.runs if baseline else {})},
        qrels=qrels,
        queries=queries,
        describe=lambda document_id: _describe(retriever, document_id),
        measure=measure,
        focus=focus,
        against=against,
        comparisons=comparisons,
        groups={heading: breakdown(modes, measure, members) for heading, members in groups.items()},
        ann=assessment.ann,
        latency_ms=assessment.latency_ms,
        calibrated=assessment.calibrated,
        facts=_facts(retriever, baseline),
    )


def _describe(retriever: Retriever, document_id: str) -> str:
    row = retriever.index.row_of(document_id)
    if row is None:
        return "(not in the index)"
    document = retriever.index.documents([row])[0]
    return document.title if document.title not in ("", document_id) else document.text


def _facts(retriever: Retriever, baseline: Baseline | None) -> dict[str, str]:
    facts = {
        "Documents": f"{retriever.index.count:,}",
        "Generation": retriever.index.generation,
        "Machine": machine(),
        "Date": datetime.now(UTC).date().isoformat(),
    }
    return facts | ({"Against": baseline.name} if baseline else {})
