"""The candidate against the live model on queries that neither was trained on, and the decision.

In: two open retrievers and the queries that judge. Out: a paired test a set of queries and mode, and a reason
against publication. Knows nothing of how a model was learnt.

On held-out clicks a document is as relevant as its clicks, corrected for how often its ranks are examined
(`retrieval.data.clicks.grading`). What was never shown has no clicks, and the live model chose what was
shown: a ranking of the whole index favours it. So each ranking is also measured with only the documents that
were shown, in their order (condensed lists; Sakai, SIGIR 2007), which favours the candidate a little. The
candidate must be better by the one and not worse by the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from index.values import Progress
from retrieval.evaluation.assess import rank_all
from retrieval.evaluation.measures import evaluate_run
from retrieval.evaluation.runs import Run, condensed
from retrieval.evaluation.significance import PairedTest, paired_test
from retrieval.learning.doubts import SIGNIFICANT
from retrieval.learning.pairs import Judged
from retrieval.search.modes import Mode
from retrieval.search.retriever import Retriever

MEASURE = "nDCG@10"
SHOWN, CLICKS, DATA = "held-out clicks, what was shown", "held-out clicks, all documents", "dev queries"
# What people search in decides; dense search, which the model changes most, must not get worse.
MAIN_MODE: Mode = "hybrid"
MODES: tuple[Mode, ...] = (MAIN_MODE, "dense")
# A mean may be lower by so much where that is not significant.
MARGIN = 0.02


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
    live: Retriever, candidate: Retriever, held_out: Judged, dev: Judged | None, progress: Progress
) -> list[Compared]:
    """Rank the queries by both models and test the differences.

    live, candidate: the two indexes, of the same documents.
    held_out: queries with their clicks.
    dev: queries of a data set; None without one.
    progress: called after each batch of queries.
    """
    compared: list[Compared] = []
    for name, judged in ((CLICKS, held_out), *([(DATA, dev)] if dev else [])):
        for mode in MODES:
            runs = [_run(retriever, judged, mode, progress) for retriever in (candidate, live)]
            compared.append(_compared(name, mode, judged, runs))
            if judged.shown is not None and mode == MAIN_MODE:
                only_shown = [condensed(run, judged.shown) for run in runs]
                compared.insert(0, _compared(SHOWN, mode, judged, only_shown))
    return compared


def reason_against(compared: Sequence[Compared]) -> str:
    """Why the candidate is not published; "" if it is.

    It is published if hybrid search orders what was shown for the held-out clicks significantly better, and
    nothing is significantly worse or lower by more than `MARGIN`. If a log does not tell what was shown, all
    documents take its place.
    """
    for each in compared:
        test = each.test
        if test.difference < 0 and (test.p_value < SIGNIFICANT or test.difference < -MARGIN):
            return f"worse: {_shown(each)}"
    main = {each.queries: each for each in compared if each.mode == MAIN_MODE}
    decides = main.get(SHOWN) or main[CLICKS]
    if decides.test.difference > 0 and decides.test.p_value < SIGNIFICANT:
        return ""
    return f"no improvement shown: {_shown(decides)}"


def _compared(name: str, mode: Mode, judged: Judged, runs: Sequence[Run]) -> Compared:
    """runs: of the candidate and of the live model."""
    candidate, live = (evaluate_run(judged.qrels, run, [MEASURE]) for run in runs)
    return Compared(name, mode, paired_test(candidate, live, MEASURE))


def _run(retriever: Retriever, judged: Judged, mode: Mode, progress: Progress) -> Run:
    return rank_all(retriever, judged.queries, judged.qrels, mode, progress)


def _shown(compared: Compared) -> str:
    test = compared.test
    count = test.wins + test.losses + test.ties
    return (
        f"{test.measure} of {compared.mode} search is {test.mean_a:.4f} for {test.mean_b:.4f} of the live "
        f"model, p {test.p_value:.4f} ({count:,} queries; {compared.queries})"
    )
