"""The towers in the place of a SentenceTransformer, in the library's own evaluator, search and miner."""

from __future__ import annotations

import numpy as np
import pytest

from index.errors import InputError
from retrieval.model.config import preset
from retrieval.model.folder import read_model

pytest.importorskip("sentence_transformers", reason="needs the extra sentence-transformers")

import torch
from datasets import Dataset
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.util import mine_hard_negatives, semantic_search

from retrieval.adapters.sentence_transformers import PeepholeSentenceTransformer

TEXTS = ["list files", "copy a folder", "unpack an archive", "启动服务", "join threads", "parse a date"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, random_model):
    folder = tmp_path_factory.mktemp("towers") / "model"
    random_model(preset("lstm"), texts=TEXTS).save(folder)  # the two towers differ
    return folder


@pytest.fixture(scope="module")
def towers(folder):
    return PeepholeSentenceTransformer(folder)


@pytest.fixture(scope="module")
def vectors(folder):
    """Of `TEXTS` by side."""
    return {side: read_model(folder).encoder(side).encode(TEXTS) for side in ("query", "document")}


def test_each_method_encodes_with_its_tower(towers, vectors):
    near = {"atol": 1e-6}
    assert np.abs(vectors["query"] - vectors["document"]).max() > 0.01
    np.testing.assert_allclose(towers.encode_query(TEXTS), vectors["query"], **near)
    np.testing.assert_allclose(towers.encode_document(TEXTS), vectors["document"], **near)
    np.testing.assert_allclose(towers.encode(TEXTS), vectors["document"], **near)
    np.testing.assert_allclose(towers.encode(TEXTS, prompt_name="query"), vectors["query"], **near)
    np.testing.assert_allclose(towers.encode_query(TEXTS[1]), vectors["query"][1], **near)
    assert towers.encode_query([]).shape == (0, towers.get_embedding_dimension())


def test_results_have_the_form_that_is_asked_for(towers, vectors):
    tensor = towers.encode_query(TEXTS, convert_to_tensor=True, batch_size=2, show_progress_bar=False)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_allclose(tensor.numpy(), vectors["query"], atol=1e-6)
    listed = towers.encode_query(TEXTS, convert_to_numpy=False)
    assert [type(one) for one in listed] == [torch.Tensor] * len(TEXTS)
    short = towers.encode_query(TEXTS, truncate_dim=16)
    np.testing.assert_allclose(short, vectors["query"][:, :16], atol=1e-6)
    unit = towers.encode_query(TEXTS, truncate_dim=16, normalize_embeddings=True)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(unit, short / np.linalg.norm(short, axis=1, keepdims=True), atol=1e-6)
    bits = towers.encode_query(TEXTS, precision="ubinary")
    np.testing.assert_array_equal(bits, np.packbits(vectors["query"] > 0, axis=1))
    assert towers.encode_document(TEXTS, precision="int8").dtype == np.int8


def test_similarity_is_the_cosine(towers, vectors):
    expected = vectors["query"] @ vectors["document"].T
    found = towers.similarity(towers.encode_query(TEXTS), towers.encode_document(TEXTS))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    pairs = towers.similarity_pairwise(vectors["query"], vectors["document"])
    np.testing.assert_allclose(pairs.numpy(), np.diag(expected), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"prompt_name": "sts"}, "prompt_name must be one of query, document, passage"),
        ({"prompt": "query: "}, "trained without prompts"),
        ({"output_value": "token_embeddings"}, "one vector a text"),
        ({"device": "cuda"}, "run on the processor"),
        ({"pool": {}}, "no pool of processes"),
        ({"truncate_dim": 0}, "truncate_dim must be at least 1"),
    ],
)
def test_what_the_towers_lack_is_refused(towers, options, told):
    for encode in (towers.encode, towers.encode_query, towers.encode_document):
        with pytest.raises(InputError, match=told):
            encode(TEXTS, **options)
    with pytest.raises(InputError, match="must be texts"):
        towers.encode([{"image": "x"}])


def test_the_evaluator_of_the_library_takes_it(towers, vectors):
    queries = {f"q{number}": text for number, text in enumerate(TEXTS)}
    corpus = {f"d{number}": text for number, text in enumerate(TEXTS)}
    relevant = {f"q{number}": {f"d{number}"} for number in range(len(TEXTS))}
    evaluator = InformationRetrievalEvaluator(queries, corpus, relevant, name="ours", write_csv=False)
    found = evaluator(towers)
    scores = vectors["query"] @ vectors["document"].T
    ranks = (scores > np.diag(scores)[:, None]).sum(1) + 1
    assert found["ours_cosine_ndcg@10"] == pytest.approx(np.mean(1 / np.log2(ranks + 1)), abs=1e-6)
    assert found["ours_cosine_mrr@10"] == pytest.approx(np.mean(1 / ranks), abs=1e-6)


def test_semantic_search_of_the_library_takes_its_tensors(towers, vectors):
    queries = towers.encode_query(TEXTS, convert_to_tensor=True)
    hits = semantic_search(queries, towers.encode_document(TEXTS, convert_to_tensor=True), top_k=3)
    scores = vectors["query"] @ vectors["document"].T
    expected = np.argsort(-scores, axis=1)[:, :3]
    assert [[hit["corpus_id"] for hit in found] for found in hits] == expected.tolist()


@pytest.mark.parametrize("use_faiss", [False, True])
def test_the_miner_of_the_library_takes_it(towers, vectors, use_faiss, tmp_path):
    pairs = Dataset.from_dict({"query": TEXTS, "answer": TEXTS})
    mined = mine_hard_negatives(
        pairs,
        towers,
        num_negatives=1,
        range_max=3,
        use_faiss=use_faiss,
        cache_folder=str(tmp_path),
        verbose=False,
        output_format="triplet",
    )
    scores = vectors["query"] @ vectors["document"].T
    np.fill_diagonal(scores, -np.inf)
    hardest = dict(zip(TEXTS, [TEXTS[row] for row in scores.argmax(1)], strict=True))
    assert len(mined) > 0
    assert all(hardest[row["query"]] == row["negative"] for row in mined)
