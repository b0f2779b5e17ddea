"""Pages, groups and facets of a search, against one deep search and plain counting."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from index.errors import InputError
from index.ranking import Ranking
from index.writing.delete import delete
from retrieval.indexing.build import add, build
from retrieval.model.config import ModelConfig
from retrieval.search.facets import FacetValue
from retrieval.search.fusion import fuse
from retrieval.search.hits import Hit
from retrieval.search.modes import MODES
from retrieval.search.paging import deepen
from retrieval.search.ranking import FUSION_DEPTH
from retrieval.search.retriever import Retriever

CONFIG = ModelConfig("lstm", 8, 4, 8, "attention", tie="none", dense_share=0.3)
RNG = np.random.default_rng(3)
WORDS = ["cat", "dog", "boat", "sail", "tree", "leaf", "house", "door", "tea", "cup", "meal", "plate"]
COUNT = 460
QUERIES = ["cat boat", "tea cup leaf", "plate", "door door"]


def metadata(number: int) -> dict[str, object]:
    """lang of five values and sometimes none, tags in an array, a year inside an object."""
    tags = [f"t{number % 3}", f"t{number % 5}"]
    made: dict[str, object] = {"made": {"year": 2000 + number % 7}, "tags": tags}
    return made if number % 11 == 0 else {**made, "lang": ["en", "de", "fr", "zh", "ja"][number % 13 % 5]}


DATA = {f"d{n}": metadata(n) for n in range(COUNT)}
TEXTS = {name: " ".join(RNG.choice(WORDS, 4)) for name in DATA}
GONE = [f"d{n}" for n in range(0, COUNT, 9)]
LEFT = [name for name in DATA if name not in GONE]


def write(path: Path, names: list[str]) -> Path:
    records = ({"_id": name, "text": TEXTS[name], "metadata": DATA[name]} for name in names)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory, random_model):
    """An index of three segments with deleted documents: more than fusion looks at first."""
    place = tmp_path_factory.mktemp("paging")
    random_model(CONFIG, texts=WORDS).save(place / "model")
    names = list(DATA)
    build(write(place / "a.jsonl", names[:300]), place / "model", place / "index")
    add(write(place / "b.jsonl", names[300:400]), place / "index")
    add(write(place / "c.jsonl", names[400:]), place / "index")
    delete(place / "index", GONE)
    return place / "index"


@pytest.fixture(params=["exact", "depth matters"])
def retriever(folder, request, monkeypatch):
    """As it is, and as a compressed index whose search finds more of the best the deeper it looks."""
    with Retriever.open(folder) as opened:
        if request.param == "depth matters":
            real = opened.index.search_dense

            def hasty(queries, k, where=()):
                found = real(queries, opened.index.count, where)
                hidden = (found.rows % 7 == 3) & (found.rows % 100 > k)
                every = Ranking(np.where(hidden, -9, found.scores), found.rows)
                order = np.argsort(-every.scores, axis=1, kind="stable")[:, :k]
                return Ranking(*(np.take_along_axis(part, order, 1) for part in found))

            monkeypatch.setattr(opened.index, "search_dense", hasty)
            monkeypatch.setattr(opened.index, "is_exact", lambda where: False)
        yield opened


def pages(retriever: Retriever, query: str, sizes: list[int], **options) -> list[Hit]:
    found: list[Hit] = []
    for size in sizes:
        found += retriever.search(query, size, offset=len(found), **options)
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", [(), "lang in (en, de) and made.year >= 2002"])
@pytest.mark.parametrize("per", [None, "made.year", "lang"])
def test_pages_together_are_one_deep_search(retriever, mode, where, per):
    rng = np.random.default_rng(5)
    for query in QUERIES[:2]:
        deep = retriever.search(query, COUNT, mode, where, per=per)
        assert [hit.rank for hit in deep] == list(range(1, len(deep) + 1))
        assert len({hit.id for hit in deep}) == len(deep)
        for k in (1, 10, 11, 100, 101, 205):
            assert retriever.search(query, k, mode, where, per=per) == deep[:k]
        sizes = [*rng.integers(1, 130, 7).tolist(), COUNT]
        assert pages(retriever, query, sizes, mode=mode, where=where, per=per) == deep
        scores = [hit.score for hit in deep]
        assert scores == sorted(scores, reverse=True)


def test_a_document_that_only_a_deeper_level_finds_scores_one_less(folder):
    with Retriever.open(folder) as retriever:
        first, whole = (
            fuse(*(retriever.rank(QUERIES[:1], depth, mode) for mode in ("dense", "lexical")), COUNT, 0.3)
            for depth in (FUSION_DEPTH, COUNT)
        )
        deep = retriever.rank(QUERIES[:1], COUNT, "hybrid")
    level = np.count_nonzero(first.rows >= 0)
    assert FUSION_DEPTH <= level < len(LEFT)
    assert deep.rows[0, :level].tolist() == first.rows[0, :level].tolist()
    scores = dict(zip(*(part[0].tolist() for part in (whole.rows, whole.scores)), strict=True))
    deeper = slice(level, len(LEFT))
    expected = [scores[row] - 1 for row in deep.rows[0, deeper].tolist()]
    assert deep.scores[0, deeper] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_a_deep_search_finds_every_document_once(retriever, mode):
    found = [hit.id for hit in retriever.search("cat tea", COUNT, mode)]
    expected = [name for name in LEFT if mode != "lexical" or {"cat", "tea"} & set(TEXTS[name].split())]
    assert sorted(found) == sorted(expected)


def test_a_page_past_the_end_is_empty(retriever):
    assert retriever.search("cat", 10, offset=COUNT) == []
    assert retriever.search("cat", 10, offset=10**9) == []
    with pytest.raises(InputError, match="offset must be at least 0, not -1"):
        retriever.search("cat", offset=-1)


def values(name: str, field: str) -> set[object]:
    document = DATA[name]
    if field == "tags":
        return set(document["tags"])
    one = document.get("lang") if field == "lang" else document["made"]["year"]
    return set() if one is None else {one}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("field", ["lang", "made.year", "tags"])
def test_per_keeps_the_best_hit_of_each_value(retriever, mode, field):
    for query in QUERIES:
        expected, taken = [], set()
        for hit in retriever.search(query, COUNT, mode):
            if not taken & values(hit.id, field):
                taken |= values(hit.id, field)
                expected.append(hit.id)
        found = retriever.search(query, COUNT, mode, per=field)
        assert [hit.id for hit in found] == expected
        assert [hit.id for hit in retriever.search(query, 3, mode, per=field)] == expected[:3]


def test_a_page_of_groups_is_filled_when_there_are_enough(folder):
    """All documents of one language lie before the others: ten groups need a look far down."""
    with Retriever.open(folder) as retriever:
        found = retriever.search("cat", 7, "dense", "exists lang", per="made.year")
        assert sorted(DATA[hit.id]["made"]["year"] for hit in found) == list(range(2000, 2007))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", [(), "made.year > 2003", ["lang = en", "tags = t1"]])
def test_facets_count_all_that_a_search_can_find(retriever, mode, where):
    for query in QUERIES:
        found = retriever.facets(query, ["lang", "made.year", "tags"], mode, where)
        hits = [hit.id for hit in retriever.search(query, COUNT, mode, where)]
        assert list(found) == ["lang", "made.year", "tags"]
        for field, listed in found.items():
            counts = Counter(value for name in hits for value in values(name, field))
            ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
            assert listed == [FacetValue(value, count) for value, count in ordered]


def test_facets_are_cut_after_the_most_frequent(folder):
    with Retriever.open(folder) as retriever:
        every = retriever.facets("cat", ["tags"], "dense", most=99)["tags"]
        assert len(every) == 5
        assert retriever.facets("cat", ["tags"], "dense", most=2)["tags"] == every[:2]
        with pytest.raises(InputError, match="no document has a field 'langs'; did you mean lang"):
            retriever.facets("cat", ["langs"])
        with pytest.raises(InputError, match=r"'made' is an object; name what is in it: made\.year"):
            retriever.search("cat", per="made")


def test_levels_keep_the_order_of_the_first_and_add_what_is_new():
    by_depth = {2: [3, 1], 6: [4, 3, 0, 1, 2, 5]}

    def rank(depth: int, level: int) -> Ranking:
        rows = np.array([by_depth[depth]])
        return Ranking(np.linspace(1, 0.5, rows.shape[1], dtype=np.float32)[None], rows)

    ranking = deepen(rank, 5, 2, 6)
    assert ranking.rows.tolist() == [[3, 1, 4, 0, 2]]
    assert ranking.scores[0].tolist() == pytest.approx([1, 0.5, 0.5, 0.5, 0.5])
    assert deepen(rank, 2, 2, 6).rows.tolist() == [[3, 1]]
