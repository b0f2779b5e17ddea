"""What queries find whose words are misspelt, or not yet typed to the end.

    python -m benchmarks.misspelt DATA INDEX MISSPELLINGS [--chinese DICTIONARY] [--split test]
        [--python INTERPRETER]

DATA is a BEIR folder, INDEX was built from it. MISSPELLINGS has lines "wrong->right", such as
`codespell_lib/data/dictionary.txt` of the package codespell, some 65,000 mistakes that people made
(CC BY-SA 3.0). INTERPRETER is that of benchmarks.peers; without, MiniLM is left out.

In each query one word is changed, drawn at random with a fixed seed: `misspelt`, as somebody misspelt it;
`edited`, a letter left out, added, changed or swapped with the next one behind the first letter; `half`, the
last word, of which the first half is typed; `parted`, a word of six letters or more with a space in it, three
letters from its ends or further. Queries without such a word are left out of that row. With
DICTIONARY also one Chinese character, and one Chinese word, each as another of the same sound, and the query
in traditional characters (`benchmarks.chinese_typing`).

Prints nDCG@10 of each system, and in how many queries ours read a word as another, and how often so made the
query as it was before the change. `as typed` is ours without correction. Writes
benchmarks/results/misspelt-DATA.json.
"""

from __future__ import annotations

import json
import os
import random
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.chinese_typing import read_sounds, traditional, wrong_character, wrong_word
from benchmarks.common import OFFLINE, RESULTS, aligned, command_of, parser_of, write_result
from benchmarks.peers.__main__ import answered, prepare
from retrieval.data.dataset import Dataset
from retrieval.evaluation.assess import rank_all
from retrieval.evaluation.measures import evaluate_run
from retrieval.evaluation.provenance import provenance
from retrieval.search.retriever import Retriever

MEASURE = "nDCG@10"
MODES = ("lexical", "dense", "hybrid")
PEERS = ("bm25", "minilm", "bm25+minilm")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"

# A query, and what draws; the query with a word changed, or None if it has no such word.
Change = Callable[[str, random.Random], str | None]
Run = dict[str, dict[str, float]]


def misspelt(mistakes: Mapping[str, list[str]]) -> Change:
    """One word as somebody misspelt it. mistakes: of each word, in a fixed order."""

    def change(query: str, draw: random.Random) -> str | None:
        known = [match for match in re.finditer(r"[A-Za-z]+", query) if match[0].lower() in mistakes]
        if not known:
            return None
        word = draw.choice(known)
        return query[: word.start()] + draw.choice(mistakes[word[0].lower()]) + query[word.end() :]

    return change


def edited(query: str, draw: random.Random) -> str | None:
    """One word of four letters or more with one edit behind its first letter."""
    known = [match for match in re.finditer(r"[A-Za-z]+", query) if len(match[0]) > 3]
    if not known:
        return None
    match = draw.choice(known)
    word, at, letter = match[0], draw.randrange(1, len(match[0]) - 1), draw.choice(_LETTERS)
    before, after = word[:at], word[at + 1 :]
    edits = (before + after, before + letter + word[at:], before + letter + after)
    changed = draw.choice((*edits, before + after[0] + word[at] + after[1:]))
    return query[: match.start()] + changed + query[match.end() :]


def parted(query: str, draw: random.Random) -> str | None:
    """The query with a space in one word of six letters or more."""
    known = [match for match in re.finditer(r"[A-Za-z]+", query) if len(match[0]) > 5]
    if not known:
        return None
    match = draw.choice(known)
    at = match.start() + draw.randrange(3, len(match[0]) - 2)
    return f"{query[:at]} {query[at:]}"


def half(query: str, draw: random.Random) -> str | None:
    """The query without the second half of its last word, of which two letters stay."""
    last = list(re.finditer(r"\w+", query))[-1:]
    if not last:
        return None
    typed = max(2, (len(last[0][0]) + 1) // 2)
    return query[: last[0].start() + typed] if typed < len(last[0][0]) else None


def read_mistakes(lines: Iterable[str]) -> dict[str, list[str]]:
    """The mistakes of each word, of those that can be of one word only."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for line in lines:
        wrong, _, right = line.strip().partition("->")
        if right and "," not in right and wrong.isalpha():
            found[right].append(wrong)
    return dict(found)


def changed_queries(queries: Mapping[str, str], changes: Mapping[str, Change]) -> dict[str, dict[str, str]]:
    """For each change the queries that it changes, as they are then."""
    found: dict[str, dict[str, str]] = {}
    for name, change in changes.items():
        draw = random.Random(0)
        each = {query_id: change(text, draw) for query_id, text in queries.items()}
        found[name] = {
            query_id: text
            for query_id, text in each.items()
            if text and text.lower() != queries[query_id].lower()
        }
    return found


def peers_runs(data: Path, split: str, asked: Mapping[str, str], python: str) -> dict[str, Run]:
    """The runs of the other systems. asked: query id to text."""
    environment = os.environ | OFFLINE
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        prepare(data, split, None, work, known_queries=True)
        content = json.loads((work / "data.json").read_text())
        (work / "data.json").write_text(json.dumps(content | {"queries": asked}))
        return {name: answered(name, work, python, environment)["run"] for name in PEERS}


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument("misspellings", type=Path)
    parser.add_argument("--chinese", type=Path, metavar="DICTIONARY")
    parser.add_argument("--split", default="test")
    parser.add_argument("--python", default="")
    options = parser.parse_args()
    dataset = Dataset(options.data)
    qrels = dataset.qrels(options.split)
    clean = {query_id: dataset.queries[query_id] for query_id in qrels}
    mistakes = read_mistakes(options.misspellings.read_text(encoding="utf-8").splitlines())
    changes = {"misspelt": misspelt(mistakes), "edited": edited, "half": half, "parted": parted}
    if options.chinese:
        sounds = read_sounds(options.chinese)
        changes |= {"wrong character": wrong_character(sounds), "wrong word": wrong_word(sounds)}
        changes["traditional"] = traditional()
    kinds = {"clean": clean} | changed_queries(clean, changes)
    runs: dict[str, Run] = {}
    if options.python:
        asked = {
            f"{kind} {query_id}": text for kind, some in kinds.items() for query_id, text in some.items()
        }
        runs = peers_runs(options.data, options.split, asked, options.python)
    rows: dict[str, Any] = {}
    with Retriever.open(options.index) as retriever:
        for kind, some in kinds.items():
            judged = {query_id: qrels[query_id] for query_id in some}

            def score(run: Run, judged: Any = judged) -> float:
                return round(evaluate_run(judged, run, (MEASURE,)).mean(MEASURE), 4)

            read = {query_id: retriever.corrected(text) for query_id, text in some.items()}
            row: dict[str, Any] = {
                "queries": len(some),
                "read otherwise": sum(read[query_id] != text for query_id, text in some.items()),
                "as before the change": sum(read[one].lower() == clean[one].lower() for one in some),
            }
            for name, run in runs.items():
                row[name] = score({query_id: run[f"{kind} {query_id}"] for query_id in some})
            for mode in MODES:
                row[f"{mode}, as typed"] = score(rank_all(retriever, some, judged, mode, as_typed=True))
                row[mode] = score(rank_all(retriever, some, judged, mode))
            rows[kind] = row
    names = list(next(iter(rows.values())))
    print(aligned([["", *rows], *([name, *(str(row[name]) for row in rows.values())] for name in names)]))
    result = provenance(command_of("benchmarks.misspelt")) | {"split": options.split, "rows": rows}
    write_result(RESULTS / f"misspelt-{options.data.name}.json", result)


if __name__ == "__main__":
    main()
