"""What an assessment says: which differences are real, which queries are hard, where we lose.

In: an `Assessment` of an open Retriever, and perhaps a baseline: another index, or a TREC run of any system.
Out: an `Evaluation`, ready for a report, or as plain JSON. Knows nothing of printing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from index.errors import InputError
from retrieval.data.queries import Qrels
from retrieval.evaluation.assess import Assessment, Report, rank_all
from retrieval.evaluation.breakdown import Group, breakdown, by_length, by_unseen_share
from retrieval.evaluation.measures import Scores, evaluate_run
from retrieval.evaluation.provenance import cpu_model
from retrieval.evaluation.runs import Run, read_trec_run
from retrieval.evaluation.significance import Contest, compare, compare_all, holm
from retrieval.indexing.parallel import cores
from retrieval.model.folder import FILES
from retrieval.search.retriever import Mode, Retriever
from retrieval.text.vocabulary import Vocabulary
from retrieval.text.words import words


@dataclass(frozen=True)
class Evaluation:
    """An index on a data set, and what it was compared with. All scores are over the same queries and measures.

    `describe` reads the index, so it works while the retriever is open.
    """

    title: str
    split: str
    modes: Mapping[str, Scores]  # ours, then those of the baseline
    ours: Sequence[str]  # the names among `modes` that are the index's own
    documents: int  # that a search can find
    runs: Mapping[str, Run]  # the modes' rankings, from which the hits of single queries are shown
    qrels: Qrels
    queries: Mapping[str, str]  # query id to text
    describe: Callable[[str], str]  # document id to its title, or the start of its text
    measure: str  # the one that comparisons, groups and single queries go by
    focus: str  # the mode whose failures are shown
    against: str | None = None  # the mode that it is compared with query by query
    contests: Sequence[Contest] = ()
    groups: Mapping[str, Sequence[Group]] = field(default_factory=dict)  # heading to breakdown
    ann: Mapping[str, float] = field(default_factory=dict)
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)  # model, index, machine, date, ...

    def our_runs(self) -> dict[str, Run]:
        """The index's own runs, by mode."""
        return {mode: self.runs[mode] for mode in self.ours}


@dataclass(frozen=True)
class Baseline:
    """Other rankings of the same queries. pairs: which of our modes meets which of its runs."""

    name: str
    scores: Mapping[str, Scores]
    runs: Mapping[str, Run]
    pairs: Sequence[tuple[str, str]]


def read_baseline(
    place: Path,
    queries: Mapping[str, str],
    qrels: Qrels,
    modes: Sequence[Mode],
    measures: Sequence[str],
    report: Report = lambda stage, done, total: None,
) -> Baseline:
    """Another index folder, searched in the same modes, or a TREC run file, met by every mode.

    Raises InputError for a run that holds none of the judged queries, and what opening either raises.
    """
    if place.is_dir():
        with Retriever.open(place) as other:
            found: dict[str, Run] = {
                f"{mode} of {place.name}": rank_all(other, queries, qrels, mode, report) for mode in modes
            }
        pairs = list(zip(modes, found, strict=True))
    else:
        run = read_trec_run(place)
        if not run.keys() & qrels.keys():
            raise InputError(
                "holds none of the judged queries; give a run of the same data and split", path=place
            )
        name = place.stem if place.stem not in modes else place.name
        found, pairs = {name: run}, [(mode, name) for mode in modes]
    scores = {name: evaluate_run(qrels, run, measures) for name, run in found.items()}
    return Baseline(str(place), scores, found, pairs)


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
    """Compare by the first measure: our modes with the baseline's runs, or with each other where there is none.

    P values are corrected for all comparisons made. The mode in focus is the last one.
    """
    measure = next(iter(next(iter(assessment.scores.values())).values))
    modes = {**assessment.scores, **(baseline.scores if baseline else {})}
    focus = list(assessment.scores)[-1]
    if baseline:
        against: str | None = dict(baseline.pairs)[focus]
        contests = _contests(modes, baseline.pairs, measure)
    else:
        against = next((mode for mode in assessment.scores if mode == "lexical" != focus), None)
        contests = compare_all(assessment.scores, measure)
    split_words = {name: words(queries[name]) for name in qrels}
    vocabulary = Vocabulary.load(retriever.index.model_folder / FILES.vocabulary)
    groups = {
        "by length of the query": by_length(split_words),
        "by share of words unseen in training": by_unseen_share(split_words, vocabulary.knows),
    }
    return Evaluation(
        title=title,
        split=split,
        modes=modes,
        ours=tuple(assessment.scores),
        documents=retriever.index.count,
        runs={**assessment.runs, **(baseline.runs if baseline else {})},
        qrels=qrels,
        queries=queries,
        describe=lambda name: _describe(retriever, name),
        measure=measure,
        focus=focus,
        against=against,
        contests=contests,
        groups={heading: breakdown(modes, measure, members) for heading, members in groups.items()},
        ann=assessment.ann,
        latency_ms=assessment.latency_ms,
        facts=_facts(retriever, baseline),
    )


def _contests(scores: Mapping[str, Scores], pairs: Sequence[tuple[str, str]], measure: str) -> list[Contest]:
    found = [compare(scores[ours], scores[theirs], measure) for ours, theirs in pairs]
    corrected = holm([one.p_value for one in found])
    return [Contest(a, b, one, p) for (a, b), one, p in zip(pairs, found, corrected, strict=True)]


def _describe(retriever: Retriever, name: str) -> str:
    row = retriever.index.row_of(name)
    if row is None:
        return "(not in the index)"
    document = retriever.index.documents([row])[0]
    return document.title if document.title not in ("", name) else document.text


def _facts(retriever: Retriever, baseline: Baseline | None) -> dict[str, str]:
    facts = {
        "Documents": f"{retriever.index.count:,}",
        "Generation": retriever.index.generation,
        "Machine": f"{cores()} cores, {cpu_model()}",
        "Date": datetime.now(UTC).date().isoformat(),
    }
    return facts | ({"Against": baseline.name} if baseline else {})
