"""The candidate against the live model on queries that neither was trained on, and the decision.

In: two open retrievers and the queries that judge. Out: a paired test for each measure, set of queries and
mode, and a reason against publication. Knows nothing of how a model was learnt.

Held-out clicks are measured in two ways. The agreement (`retrieval.learning.agreement`) compares the order of
what was shown, and decides. The grades of documents with many clicks (`retrieval.data.clicks.grading`)
compare rankings of the whole index. Documents that were never shown have no clicks, so these grades favour
the live model, which chose what was shown. Therefore only a significant loss in them counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from index.values import Progress
from retrieval.data.queries import Qrels
from retrieval.evaluation.assess import rank_all
from retrieval.evaluation.measures import RunMeasures, evaluate_run
from retrieval.evaluation.runs import Run
from retrieval.evaluation.significance import PairedTest, paired_test
from retrieval.learning.agreement import ClickedQueries, agreement
from retrieval.learning.doubts import SIGNIFICANT
from retrieval.learning.pairs import Judged
from retrieval.search.modes import Mode
from retrieval.search.retriever import Retriever

MEASURE = "nDCG@10"
CLICKS, PAIRS, DATA = "held-out clicks", "held-out pairs", "dev queries"
# Hybrid search decides, because people use it. Dense search, which the model changes most, must not get
# worse.
MAIN_MODE: Mode = "hybrid"
MODES: tuple[Mode, ...] = (MAIN_MODE, "dense")
# A smaller gain of agreement counts as none: it is a hundredth of the gain of a typical success.
LEAST_GAIN = 0.001
# The mean over dev queries may be lower by this much, if the loss is not significant.
MARGIN = 0.01


@dataclass(frozen=True)
class Compared:
    """The candidate (a) against the live model (b) on some queries in one mode."""

    queries: str  # which
    mode: Mode
    test: PairedTest

    def as_json(self) -> dict[str, object]:
        """Names and numbers, without nesting."""
        test = asdict(self.test)
        names = {"mean_a": "candidate", "mean_b": "live"}
        return {"queries": self.queries, "mode": self.mode} | {names.get(k, k): v for k, v in test.items()}


def compare(
    live: Retriever,
    candidate: Retriever,
    clicked: ClickedQueries,
    pairs: Judged,
    dev: Judged | None,
    progress: Progress,
) -> list[Compared]:
    """Rank the queries by both models and test the differences.

    live, candidate: the two indexes, of the same documents.
    clicked: the held-out queries with all that was shown for them.
    pairs: the held-out queries with the grades of their documents.
    dev: queries of a data set; None without one.
    progress: called after each batch of queries.
    """

    def runs(queries: Mapping[str, str], mode: Mode) -> list[Run]:
        wanted: Qrels = {query: {} for query in queries}
        return [rank_all(retriever, queries, wanted, mode, progress) for retriever in (candidate, live)]

    def tested(name: str, mode: Mode, a: RunMeasures, b: RunMeasures) -> Compared:
        return Compared(name, mode, paired_test(a, b, next(iter(a.values))))

    compared = [
        tested(CLICKS, mode, *(agreement(clicked, run) for run in runs(clicked.queries, mode)))
        for mode in (MODES if clicked else ())
    ]
    for name, judged in ((PAIRS, pairs), *([(DATA, dev)] if dev else [])):
        for mode in MODES if judged else ():
            texts = {query: judged.queries[query] for query in judged.qrels}
            measured = [evaluate_run(judged.qrels, run, [MEASURE]) for run in runs(texts, mode)]
            compared.append(tested(name, mode, *measured))
    return compared


def reason_against(compared: Sequence[Compared]) -> str:
    """Why the candidate is not published; "" if it is.

    It is published if hybrid search agrees significantly better with the held-out clicks, nothing is
    significantly worse, and nothing is lower by more than `MARGIN` on dev queries. If the log does not say
    what was shown at which rank, hybrid search must be significantly better on the held-out pairs instead.
    """
    for each in compared:
        test = each.test
        if test.difference < 0 and (
            test.p_value < SIGNIFICANT or (each.queries == DATA and test.difference < -MARGIN)
        ):
            return f"worse: {_shown(each)}"
    main = {each.queries: each for each in compared if each.mode == MAIN_MODE}
    decides = main.get(CLICKS) or main.get(PAIRS)
    if decides is None:
        return "no improvement shown: no query is held out"
    if decides.test.difference >= LEAST_GAIN and decides.test.p_value < SIGNIFICANT:
        return ""
    return f"no improvement shown: {_shown(decides)}"


def _shown(compared: Compared) -> str:
    test = compared.test
    count = test.wins + test.losses + test.ties
    return (
        f"{test.measure} of {compared.mode} search is {test.mean_a:.4f} for {test.mean_b:.4f} of the live "
        f"model, p {test.p_value:.4f} ({count:,} {compared.queries})"
    )
