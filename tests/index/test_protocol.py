"""What `index.protocol.OpenIndex` promises, over a local index and over one in Milvus."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from fruit_corpus import DIMENSION, numbered, unit_vectors
from milvus_server import needs_milvus
from numpy.typing import NDArray

from index.dense.passages import Span
from index.disk.folder import CANDIDATE, LEARNING, prepare, read_current
from index.disk.previous import read_previous
from index.disk.verify import verify
from index.documents.filtering.parse import parse_field, parse_where
from index.documents.store import Document
from index.errors import InputError
from index.interaction.writing import WordEncoder
from index.lexical.tokens import lexical_tokens
from index.opened import open_index
from index.protocol import OpenIndex
from index.values import Texts
from index.writing.adopt import adopt
from index.writing.builder import IndexBuilder
from index.writing.compact import compact
from index.writing.delete import delete
from index.writing.leftovers import remove_leftovers

Spans = Sequence[Sequence[Span]]
Write = Callable[..., None]

TAGGED = [
    Document("en", "English", "red apple", {"lang": "en", "year": 2020, "tags": ["x", "y"], "a.b": "dot"}),
    Document("de", "Deutsch", "roter apple", {"lang": "de", "year": "2021", "author": {"name": "Ada"}}),
    Document("zh", "", "红苹果很好吃", {"lang": "zh", "year": 2020.5, "when": "2024-05-01T10:00:00Z"}),
    Document("odd", "", 'it\'s "x" % _ \\', {"lang": 'e"n', "year": [1, 3000], "big": 2**63 + 1, "ok": True}),
    Document("none", "", "no metadata at all"),
]
FILTERS = {
    "lang = en": ["en"],
    "lang != en": ["de", "zh", "odd", "none"],
    "year = 2021": ["de"],
    "year >= 2020.5": ["de", "zh", "odd"],
    "year > 2020 and year < 2021": ["zh", "odd"],
    "not year > 2000": ["none"],
    "tags = y or author.name = Ada": ["en", "de"],
    "a.b = dot": ["en"],
    "lang in (en, zh)": ["en", "zh"],
    "lang not in (en, zh)": ["de", "odd", "none"],
    "exists author": ["de"],
    "not exists lang": ["none"],
    "lang = 'e\"n'": ["odd"],
    "lang prefix 'e'": ["en", "odd"],
    "lang prefix 'E'": [],
    "lang prefix ''": ["en", "de", "zh", "odd"],
    "lang < en": ["de", "odd"],
    "when = 2024-05-01T12:00:00+02:00": ["zh"],
    "when > 2024-05-01T09:59:59Z": ["zh"],
    "when < 2024-05-01T10:00:00Z": [],
    f"big = {2**63 + 1}": ["odd"],
    f"big = {2**63 + 2}": [],
    "ok = true": ["odd"],
}


@pytest.fixture(params=["local", pytest.param("milvus", marks=needs_milvus)])
def store(request: pytest.FixtureRequest) -> str | None:
    """Where vectors live: None for the folder's own files."""
    return None if request.param == "local" else request.getfixturevalue("milvus").new_store()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def write(folder: Path, model: Path, store: str | None) -> Write:
    """Builds the index, or adds to the one that is there."""

    def write_(
        documents: Sequence[Document],
        vectors: NDArray[np.float32] | None = None,
        spans: Spans | None = None,
        *,
        adding: bool = False,
        words: WordEncoder | None = None,
    ) -> None:
        rows = unit_vectors(len(documents)) if vectors is None else vectors
        begun = (
            IndexBuilder.begin_adding(folder, source="more")
            if adding
            else IndexBuilder.begin(folder, model=model, dimension=DIMENSION, source="corpus", store=store)
        )
        with begun as builder:
            builder.append(documents, rows, spans)
            builder.publish(words=words)

    return write_


class Initials:
    """A word is a vector by its first letter, of a length and weight by how many letters it has."""

    width = 3
    reads_queries = True

    def distinct_words(self, texts: Texts) -> tuple[list[str], ...]:
        return tuple(list(dict.fromkeys(text.split())) for text in texts)

    def encode_words(self, words: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        directions = np.array([np.eye(3)["abc".index(word[0])] for word in words], np.float32)
        return directions, np.array([len(word) for word in words], np.float32)


def ids_of(index: OpenIndex, rows: NDArray[np.int64]) -> list[str]:
    return [document.id for document in index.documents(rows[rows >= 0].tolist())]


def test_open_index_tells_what_it_holds(write: Write, folder: Path):
    write(numbered(30))
    with open_index(folder) as index:
        assert (index.count, index.dimension, index.generation) == (30, DIMENSION, "generation-000001")
        assert (index.model_folder / "config.json").read_text() == '{"dimension": 8}'
        rows = index.rows_of(["d7", "none", "d3"])
        assert rows.keys() == {"d7", "d3"}
        assert index.documents([rows["d7"], rows["d3"], rows["d7"]]) == [numbered(30)[n] for n in (7, 3, 7)]
        assert [text.text for text in index.texts([rows["d3"]])] == [numbered(30)[3].text]
        assert index.row_of("none") is None
        assert index.documents([]) == []
        assert index.problems() == []
        for row in (30, -1):
            with pytest.raises(IndexError, match=f"row {row} is not in the index"):
                index.documents([row])


def test_dense_search_is_the_inner_product_sorted(write: Write, folder: Path):
    write(numbered(30))
    vectors = unit_vectors(30).astype(np.float16).astype(np.float32)
    queries = unit_vectors(4, seed=1)
    expected = np.argsort(-(queries @ vectors.T), axis=1)[:, :5]
    with open_index(folder) as index:
        assert index.is_exact(())
        for found in (index.search_dense(queries, 5), index.search_exact(queries, 5)):
            assert [ids_of(index, rows) for rows in found.rows] == [
                [f"d{n}" for n in line] for line in expected
            ]
            assert found.scores == pytest.approx(
                np.take_along_axis(queries @ vectors.T, expected, 1), abs=1e-5
            )
        assert index.search_dense(queries, 10**9).rows.shape == (4, 30)
        assert index.search_dense(np.empty((0, DIMENSION), np.float32), 5).rows.shape == (0, 5)
        for wrong in (np.zeros((1, 9), np.float32), np.full((1, DIMENSION), np.nan, np.float32)):
            with pytest.raises(InputError):
                index.search_dense(wrong, 5)
        with pytest.raises(InputError, match="k must be at least 1"):
            index.search_dense(queries, 0)


def bm25(documents: Sequence[Document], query: str) -> dict[str, float]:
    """Scores by Lucene's formula, k1 .9 and b .4."""
    texts = {each.id: Counter(lexical_tokens(each.texts().joined())) for each in documents}
    average = sum(tf.total() for tf in texts.values()) / len(texts)
    scores: dict[str, float] = {}
    for term in lexical_tokens(query):
        df = sum(term in tf for tf in texts.values())
        idf = math.log(1 + (len(texts) - df + 0.5) / (df + 0.5))
        for name, tf in texts.items():
            if term in tf:
                part = tf[term] / (tf[term] + 0.9 * (0.6 + 0.4 * tf.total() / average))
                scores[name] = scores.get(name, 0) + idf * part
    return scores


@pytest.mark.parametrize("query", ["apple banana number7", "苹果", "apple apple unknown", "the"])
def test_lexical_scores_are_those_of_the_formula(write: Write, folder: Path, query: str):
    documents = [*numbered(30), *TAGGED]
    write(documents)
    expected = bm25(documents, query)
    with open_index(folder) as index:
        found = index.search_lexical([query, "nowhere"], 40)
        scores = dict(zip(ids_of(index, found.rows[0]), found.scores[0].tolist(), strict=False))
        assert scores == pytest.approx(expected, abs=1e-5)
        assert found.rows[1].tolist() == [-1] * 35
        (mask,) = index.matching((), query)
        assert set(ids_of(index, np.flatnonzero(mask))) == expected.keys()


def test_terms_are_known_by_how_many_documents_have_them(write: Write, folder: Path):
    write(numbered(30))
    write(TAGGED, adding=True)
    with open_index(folder) as index:
        assert index.unknown_terms("apple nowhere apples the else nowhere 苹果") == ("nowher", "els")
        assert index.unknown_terms("") == ()
        documents = [*numbered(30), *TAGGED]
        counts = Counter(term for each in documents for term in set(lexical_tokens(each.texts().joined())))
        assert [index.documents_with(term) for term in ("appl", "nowher", "")] == [counts["appl"], 0, 0]
        similar = index.similar_terms("numbe")
        assert similar.begun == {term: count for term, count in counts.items() if term.startswith("numbe")}
        assert similar.edited == {}
        assert index.similar_terms("aplp") == ({}, {"appl": counts["appl"]})
        ordered = sorted(counts)
        for text in ("", "a", "appl", "apple", "numbe", "苹", ordered[-1]):
            assert index.first_term_from(text) == next(term for term in ordered if term >= text)
        assert index.first_term_from(ordered[-1] + "a") is None


def test_single_documents_are_weighed_as_their_ranking_is(write: Write, folder: Path):
    write(numbered(30))
    query = unit_vectors(1, seed=4)
    with open_index(folder) as index:
        dense = index.search_dense(query, 30)
        rows = dense.rows[0, [7, 3, 20]]
        assert index.cosines(rows, query[0]) == pytest.approx(dense.scores[0, [7, 3, 20]], abs=1e-5)
        rows = np.array([index.rows_of(["d9"])["d9"], index.rows_of(["d1"])["d1"]], np.int64)
        match = index.match_words("number9 unknown unknown", rows)
        rare, unknown = math.log(1 + 29.5 / 1.5), 2 * math.log(1 + 30.5 / 0.5)
        assert (match.words, match.weight) == (2, pytest.approx(rare + unknown))
        assert match.shares == pytest.approx([rare / (rare + unknown), 0], abs=1e-6)
        assert match.scores == pytest.approx([bm25(numbered(30), "number9")["d9"], 0], abs=1e-5)
        with pytest.raises(IndexError):
            index.cosines(np.array([1000]), query[0])


def test_equal_scores_come_in_the_order_in_which_documents_were_written(write: Write, folder: Path):
    write([Document(f"d{n}", "", "same words") for n in range(40)], np.repeat(unit_vectors(1), 40, axis=0))
    with open_index(folder) as index:
        for found in (index.search_dense(unit_vectors(1), 40), index.search_lexical(["words"], 40)):
            assert ids_of(index, found.rows[0]) == [f"d{n}" for n in range(40)]


def matched(index: OpenIndex, ids: Sequence[str]) -> list[list[tuple[float, float, float]]]:
    """Of each field of documents the best match of "b", the weight of all words, and that of matches."""
    rows_by_id = index.rows_of(ids)
    rows = np.array([rows_by_id[each] for each in ids])
    found: dict[int, list[tuple[float, float, float]]] = {}
    for inside, matches in index.compare_words(rows, np.eye(3, dtype=np.float32)[1:2]):
        (best,), (weights, near, _) = matches.best.tolist(), matches.counts.tolist()
        fields = [list(zip(*each, strict=True)) for each in zip(best, weights, near, strict=True)]
        found |= dict(zip(rows[inside].tolist(), fields, strict=True))
    return [found[row] for row in rows.tolist()]


@pytest.mark.parametrize("kept", [0, 1 << 20])
def test_words_of_documents_are_matched_with_those_of_a_query(write: Write, folder: Path, kept: int):
    documents = [
        Document("one", "ab", "b bb cc b", queries=("b c", "cc")),
        Document("none", "", ""),
        Document("two", "b a", "ab"),
    ]
    write(documents, words=Initials())
    with open_index(folder) as index:
        index.keep_vectors(kept)
        assert index.word_width() == 3
        assert matched(index, ["two", "one", "none"]) == [
            [(1, 2, 1), (0, 2, 0), (0, 0, 0)],
            [(0, 2, 0), (1, 5, 3), (1, 4, 1)],
            [(0, 0, 0), (0, 0, 0), (0, 0, 0)],
        ]
    write([Document("new", "bbb", "b aa"), Document("one", "", "bb")], adding=True, words=Initials())
    delete(folder, ["none"])
    with open_index(folder) as index:
        index.keep_vectors(kept)
        assert index.word_width() == 3
        assert matched(index, ["one", "new", "two"]) == [
            [(0, 0, 0), (1, 2, 2), (1, 4, 1)],
            [(1, 3, 3), (1, 3, 1), (0, 0, 0)],
            [(1, 2, 1), (0, 2, 0), (0, 0, 0)],
        ]


def test_documents_are_found_by_their_known_queries_and_keep_them(write: Write, folder: Path):
    asked = Document("asked", "", "one text", queries=("how to begin", "first steps"))
    write([asked, Document("other", "", "another text")])
    write(
        [asked._replace(text="a new text", queries=()), Document("late", "", "", queries=("begin",))],
        adding=True,
    )
    with open_index(folder) as index:
        for query, ids in (("steps", ["asked"]), ("begin", ["late", "asked"]), ("new", ["asked"])):
            assert ids_of(index, index.search_lexical([query], 3).rows[0]) == ids
        known = {document.id: document.queries for document in index.live_documents()}
        assert known == {"asked": asked.queries, "other": (), "late": ("begin",)}
        (row,) = index.rows_of(["asked"]).values()
        assert index.documents([row]) == [asked._replace(text="a new text")]
    compact(folder)
    with open_index(folder) as index:
        assert {document.id: document.queries for document in index.live_documents()} == known
        assert index.search_lexical(["begin"], 3).scores[0, :2].tolist() == pytest.approx(
            sorted(bm25(list(index.live_documents()), "begin").values(), reverse=True), abs=1e-5
        )


def test_index_without_words_says_so(write: Write, folder: Path):
    write(numbered(3))
    write(numbered(1, start=9), adding=True)
    with open_index(folder) as index:
        assert index.word_width() == 0
        assert list(index.compare_words(index.rows(), np.eye(3, dtype=np.float32))) == []


def test_filters_mean_the_same_in_every_search(write: Write, folder: Path):
    write(TAGGED)
    with open_index(folder) as index:
        for text, expected in FILTERS.items():
            where = [parse_where(text)]
            assert sorted(ids_of(index, index.rows(where))) == sorted(expected), text
            dense = index.search_dense(unit_vectors(1), 5, where)
            assert sorted(ids_of(index, dense.rows[0])) == sorted(expected), text
            lexical = index.search_lexical(["apple"], 5, where)
            assert set(ids_of(index, lexical.rows[0])) == {"en", "de"} & set(expected), text
        with pytest.raises(InputError, match="no document has a field"):
            index.rows([parse_where("nowhere=1")])


def test_values_are_counted(write: Write, folder: Path):
    write(TAGGED)
    with open_index(folder) as index:
        masks = index.matching(())
        counted = [
            dict(column.counts(mask))
            for column, mask in zip(index.columns(parse_field("year")), masks, strict=True)
        ]
        assert counted == [{2020: 1, 2021: 1, 2020.5: 1, 1: 1, 3000: 1}]
        assert index.fields_of_few_values(1) == ["a.b", "author.name", "big", "ok", "when"]
        rows = index.rows_of(["odd", "none"])
        values = index.values_of(parse_field("year"), [rows["none"], rows["odd"]])
        assert [sorted(each) for each in values] == [[], [1, 3000]]


def test_added_document_replaces_the_one_with_its_id(write: Write, folder: Path):
    write(numbered(30))
    new = [Document("d7", "", "elephant", {"number": 700, "kind": "new"}), Document("e", "", "zebra")]
    write(new, unit_vectors(2, seed=5), adding=True)
    with open_index(folder) as index:
        assert (index.count, index.generation) == (31, "generation-000002")
        assert index.documents([index.rows_of(["d7"])["d7"]]) == [new[0]]
        found = index.search_dense(unit_vectors(2, seed=5), 31)
        assert [ids_of(index, rows)[0] for rows in found.rows] == ["d7", "e"]
        assert Counter(ids_of(index, found.rows[0])) == Counter({*(f"d{n}" for n in range(30)), "e"})
        assert ids_of(index, index.search_lexical(["number7"], 5).rows[0]) == []
        assert ids_of(index, index.search_lexical(["zebra elephants"], 5).rows[0]) in (
            ["d7", "e"],
            ["e", "d7"],
        )
        assert ids_of(index, index.rows([parse_where("kind=new")])) == ["d7"]
        assert index.problems() == []


def test_reader_that_was_open_does_not_see_what_is_added(write: Write, folder: Path):
    write(numbered(10))
    with open_index(folder) as old:
        write([Document("new", "", "apple")], unit_vectors(1), adding=True)
        assert old.count == 10
        assert "new" not in ids_of(old, old.search_dense(unit_vectors(1), 10).rows[0])
        assert "new" not in ids_of(old, old.search_lexical(["apple"], 10).rows[0])
        assert old.row_of("new") is None


def test_deleted_document_never_returns(write: Write, folder: Path):
    write(numbered(10))
    assert delete(folder, ["d3", "d4", "gone"], missing_ok=True) == 2
    with pytest.raises(InputError, match="no document has the id 'd3'"):
        delete(folder, ["d3"])
    with open_index(folder) as index:
        left = [f"d{n}" for n in range(10) if n not in (3, 4)]
        assert index.count == 8
        assert sorted(ids_of(index, index.search_dense(unit_vectors(10)[3:4], 10).rows[0])) == left
        assert ids_of(index, index.search_lexical(["number3"], 10).rows[0]) == []
        assert ids_of(index, index.rows()) == left
        assert index.row_of("d3") is None
    delete(folder, left)
    compact(folder)
    with open_index(folder) as index:
        assert index.count == 0
        assert index.search_dense(unit_vectors(1), 3).rows.shape == (1, 0)


def test_corpus_is_compared_with_the_index(write: Write, folder: Path):
    write(numbered(10))
    changed = Document("d2", "", "other")
    with IndexBuilder.begin_adding(folder, source="sync") as builder:
        comparison = builder.compare()
        assert comparison.changed([numbered(10)[1], changed]) == [changed]
        builder.append([changed], unit_vectors(1))
        builder.publish(gone=comparison.gone())
    with open_index(folder) as index:
        assert sorted(ids_of(index, index.rows())) == ["d1", "d2"]
        assert index.documents([index.rows_of(["d2"])["d2"]]) == [changed]


def test_document_scores_as_its_best_passage(write: Write, folder: Path):
    text = "first part. second part. third part."
    spans = [[Span(0, 11), Span(12, 24), Span(25, 36)], [Span(0, 5)], [Span(0, 4), Span(4, 8)]]
    documents = [Document("long", "t", text), Document("short", "", "short"), Document("two", "", "one two.")]
    vectors = unit_vectors(6)
    write(documents, vectors, spans)
    halves = vectors.astype(np.float16).astype(np.float32)
    query = unit_vectors(1, seed=9)
    scores = halves @ query[0]
    expected = {"long": scores[:3].max(), "short": scores[3], "two": scores[4:].max()}
    with open_index(folder) as index:
        for found in (index.search_dense(query, 3), index.search_exact(query, 3)):
            ranked = dict(zip(ids_of(index, found.rows[0]), found.scores[0].tolist(), strict=True))
            assert ranked == pytest.approx(expected, abs=1e-5)
        row = index.rows_of(["long"])["long"]
        assert index.documents([row]) == [documents[0]]
        assert index.spans(row) == spans[0]
        rows = index.rows_of(["short", "two", "long"])
        assert index.nearest_spans(np.array([rows["two"], rows["short"], row]), query[0]) == [
            spans[2][int(np.argmax(scores[4:]))],
            None,
            spans[0][int(np.argmax(scores[:3]))],
        ]
        assert index.nearest_spans(np.array([rows["short"]]), query[0]) == [None]
        assert index.nearest_spans(np.array([], np.int64), query[0]) == []


def test_live_documents_come_in_the_order_of_their_rows(write: Write, folder: Path):
    spans = [[Span(0, 3), Span(4, 7)], *([[Span(0, 5)]] * 4)]
    write(
        [Document("long", "t", "one two"), *numbered(4)],
        np.concatenate([unit_vectors(6)]),
        spans,
    )
    delete(folder, ["d1"])
    write([Document("d2", "", "other", {"n": 1})], unit_vectors(1), adding=True)
    with open_index(folder) as index:
        documents = list(index.live_documents())
        assert documents == index.documents(index.rows().tolist())
        assert {document.id: document for document in documents} == {
            "long": Document("long", "t", "one two"),
            "d0": numbered(1)[0],
            "d2": Document("d2", "", "other", {"n": 1}),
            "d3": numbered(4)[3],
        }


def test_compaction_counts_words_anew_and_changes_no_document(write: Write, folder: Path):
    spans = [[Span(0, 5), Span(6, 12)], [Span(0, 5)], [Span(0, 5)]]
    documents = [Document("a", "", "apple banana"), Document("b", "", "apple"), Document("c", "", "grape")]
    vectors = unit_vectors(4)
    write(documents, vectors, spans)
    delete(folder, ["b"])
    manifest = compact(folder)
    assert (manifest.documents, manifest.segments[0].deleted, len(manifest.segments)) == (2, 0, 1)
    with open_index(folder) as index:
        assert list(index.live_documents()) == [documents[0], documents[2]]
        assert index.spans(index.rows_of(["a"])["a"]) == spans[0]
        found = index.search_lexical(["apple"], 5)
        expected = bm25([documents[0], documents[2]], "apple")
        assert found.scores[0, 0] == pytest.approx(expected["a"], abs=1e-5)
        halves = vectors.astype(np.float16).astype(np.float32)
        found = index.search_dense(halves[1:2], 2)
        assert ids_of(index, found.rows[0])[0] == "a"
        assert found.scores[0, 0] == pytest.approx(float(halves[1] @ halves[1]), abs=1e-5)
        assert index.problems() == []
    assert compact(folder).generation == manifest.generation
    with IndexBuilder.begin_adding(folder, source="more") as builder:
        builder.append([Document("c", "", "other"), Document("d", "", "fig")], unit_vectors(2, seed=3))
        (part,) = builder.compare().gone()
        gone = [row for row in part.tolist() if row == 0]
        builder.publish(compact=True, gone=[np.array(gone, np.int64)])
    with open_index(folder) as index:
        assert {each.id: each.text for each in index.live_documents()} == {"c": "other", "d": "fig"}
        assert index.manifest.segments[0].deleted == 0
    assert verify(folder) == []


def learn_another_model(
    folder: Path,
    model: Path,
    store: str | None,
    keep: int = 2,
    meanwhile: Callable[[], object] | None = None,
) -> None:
    """Publish the documents of the index by another model, with other vectors, as learning does.

    meanwhile: changes the index before the candidate is published.
    """
    other = folder.parent / "another model"
    shutil.copytree(model, other, dirs_exist_ok=True)
    (other / "config.json").write_text(f'{{"dimension": 8, "for": "{read_current(folder).generation}"}}')
    with open_index(folder) as live:
        documents = list(live.live_documents())
    candidate = folder / LEARNING / CANDIDATE
    with IndexBuilder.begin(
        candidate, model=other, dimension=DIMENSION, source="corpus", store=store
    ) as builder:
        builder.append(documents, unit_vectors(len(documents), seed=7))
        builder.publish()
    if meanwhile is not None:
        meanwhile()
        with (
            IndexBuilder.begin_adding(candidate, source="changes") as builder,
            open_index(folder) as live,
        ):
            comparison = builder.compare()
            changed = comparison.changed(list(live.live_documents()))
            builder.append(changed, unit_vectors(len(changed), seed=8))
            builder.publish(gone=comparison.gone())
    with prepare(folder), open_index(candidate) as prepared, open_index(folder) as live:
        adopt(folder, prepared, (live.pointer, *read_previous(folder, live.manifest))[:keep])
    shutil.rmtree(folder / LEARNING)


def roll_back(folder: Path) -> None:
    with IndexBuilder.begin_rollback(folder) as builder:
        with open_index(folder) as live:
            comparison = builder.compare()
            changed = comparison.changed(list(live.live_documents()))
        builder.append(changed, unit_vectors(len(changed), seed=5))
        builder.publish(unchanged=True, gone=comparison.gone())


def kept(folder: Path) -> list[str]:
    with open_index(folder) as index:
        return [pointer.generation for pointer in read_previous(folder, index.manifest)]


def test_going_back_brings_the_model_of_then_and_the_documents_of_today(
    write: Write, folder: Path, model: Path, store: str | None
):
    write(numbered(10))
    learn_another_model(folder, model, store)
    assert kept(folder) == ["generation-000001"]
    with open_index(folder) as index:
        assert index.model_folder.joinpath("config.json").read_text() != '{"dimension": 8}'
        first = index.search_dense(unit_vectors(10, seed=7)[3:4], 1)
        assert (ids_of(index, first.rows[0]), first.scores[0, 0]) == (["d3"], pytest.approx(1, abs=1e-3))
    delete(folder, ["d3"])
    write([Document("d4", "", "other"), Document("new", "", "fresh")], unit_vectors(2), adding=True)
    assert kept(folder) == ["generation-000001"]
    roll_back(folder)
    assert (kept(folder), verify(folder)) == ([], [])
    with open_index(folder) as index:
        assert index.model_folder.joinpath("config.json").read_text() == '{"dimension": 8}'
        found = {document.id: document.text for document in index.live_documents()}
        assert found == {each.id: each.text for each in numbered(10) if each.id not in ("d3", "d4")} | {
            "d4": "other",
            "new": "fresh",
        }
        for query, expected in ((unit_vectors(10)[5:6], "d5"), (unit_vectors(2, seed=5)[1:2], "new")):
            ranked = index.search_dense(query, 10)
            assert (ids_of(index, ranked.rows[0])[0], len(found)) == (expected, 10)
        assert index.problems() == []
    with pytest.raises(InputError, match="keeps no earlier generation"):
        roll_back(folder)


def test_documents_that_came_while_a_model_was_learnt_are_in_what_is_published(
    write: Write, folder: Path, model: Path, store: str | None
):
    def change() -> None:
        write([Document("d2", "", "other"), Document("new", "", "fresh")], unit_vectors(2), adding=True)
        delete(folder, ["d1"])

    write(numbered(5))
    with open_index(folder) as old:
        learn_another_model(folder, model, store, meanwhile=change)
        assert old.count == 5
    with open_index(folder) as index:
        assert {document.id: document.text for document in index.live_documents()} == {
            **{each.id: each.text for each in numbered(5) if each.id != "d1"},
            "d2": "other",
            "new": "fresh",
        }
        first = index.search_dense(unit_vectors(2, seed=8)[1:2], 1)
        assert ids_of(index, first.rows[0]) == ["new"]
        assert index.problems() == []
    remove_leftovers(folder)  # what the reader held
    assert (kept(folder), verify(folder)) == (["generation-000003"], [])


def test_as_many_generations_stay_as_are_kept_and_each_can_be_gone_back_to(
    write: Write, folder: Path, model: Path, store: str | None
):
    write(numbered(4))
    for _ in range(3):
        learn_another_model(folder, model, store, keep=2)
    assert kept(folder) == ["generation-000003", "generation-000002"]
    compact(folder)
    delete(folder, ["d0"])
    for _ in range(2):
        roll_back(folder)
    assert kept(folder) == []
    with open_index(folder) as index:
        assert [document.id for document in index.live_documents()] == ["d1", "d2", "d3"]
        assert '"generation-000001"' in index.model_folder.joinpath("config.json").read_text()
        assert index.problems() == []
    write(numbered(2))
    with open_index(folder) as index:
        assert index.count == 2
