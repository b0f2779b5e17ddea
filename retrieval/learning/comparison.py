"""The candidate against the live model on queries that neither was trained on, and the decision.

In: two open retrievers and the queries that judge. Out: a paired test a set of queries and mode, and a reason
against publication. Knows nothing of how a model was learnt.

On held-out clicks a document is as relevant as its clicks, corrected for how often its ranks are examined
(`retrieval.data.clicks.grading`), and each model ranks the whole index. What was never shown has no clicks,
so that the measure favours the live model a little, which chose what was shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from index.values import Progress
from retrieval.evaluation.assess import rank_all
from retrieval.evaluation.measures import RunMeasures, evaluate_run
from retrieval.evaluation.significance import PairedTest, paired_test
from retrieval.learning.doubts import SIGNIFICANT
from retrieval.learning.pairs import Judged
from retrieval.search.retriever import Mode, Retriever

MEASURE = "nDCG@10"
CLICKS, DATA = "held-out clicks", "dev queries"
# What people search in; the other ones must not get worse.
MAIN_MODE: Mode = "hybrid"
MODES: tuple[Mode, ...] = ("hybrid", "dense")
# A mean may be lower by so much where that is not significant.
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
    live: Retriever, candidate: Retriever, judges: Mapping[str, Judged], progress: Progress
) -> list[Compared]:
    """Rank the queries by both models and test the differences.

    live, candidate: the two indexes, of the same documents.
    judges: the judged queries by their name.
    progress: called after each batch of queries.
    """
    return [
        Compared(
            name,
            mode,
            paired_test(
                _measures(candidate, judged, mode, progress),
                _measures(live, judged, mode, progress),
                MEASURE,
            ),
        )
        for name, judged in judges.items()
        for mode in MODES
    ]


def reason_against(compared: Sequence[Compared]) -> str:
    """Why the candidate is not published; "" if it is.

    It is published if it is significantly better on the held-out clicks in the mode that people search in,
    nowhere significantly worse, and nowhere lower by more than `MARGIN`.
    """
    for each in compared:
        test = each.test
        if test.difference < 0 and (test.p_value < SIGNIFICANT or test.difference < -MARGIN):
            return f"worse: {_shown(each)}"
    for each in compared:
        if (each.queries, each.mode) == (CLICKS, MAIN_MODE):
            if each.test.difference > 0 and each.test.p_value < SIGNIFICANT:
                return ""
            return f"no improvement shown: {_shown(each)}"
    return f"no improvement shown: there are no {CLICKS}"


def _measures(retriever: Retriever, judged: Judged, mode: Mode, progress: Progress) -> RunMeasures:
    run = rank_all(retriever, judged.queries, judged.qrels, mode, progress)
    return evaluate_run(judged.qrels, run, [MEASURE])


def _shown(compared: Compared) -> str:
    test = compared.test
    count = test.wins + test.losses + test.ties
    return (
        f"{test.measure} of {compared.mode} search on {count:,} {compared.queries} is {test.mean_a:.4f}, "
        f"live {test.mean_b:.4f} (p {test.p_value:.4f})"
    )
