"""MTEB: the whole engine and the towers as its models, and a data set as one of its tasks (extra `mteb`).

In: corpora and queries of MTEB. Out: rankings or embeddings. `mteb.evaluate` runs these models on its tasks,
and any other model on `beir_task`.

    PeepholeSearch      SearchProtocol: builds an index of each corpus and searches it, hybrid too
    PeepholeEncoder     EncoderProtocol: a vector a text, which MTEB compares itself
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from index.dense.tuning import Goal
from index.disk.carried_model import fingerprint
from index.errors import InputError, needing
from retrieval.adapters.towers import Towers
from retrieval.data.dataset import open_dataset
from retrieval.evaluation.assess import rank_all
from retrieval.indexing.build import build
from retrieval.model.config import Side
from retrieval.model.folder import TrainedModel, read_model
from retrieval.search.modes import Mode
from retrieval.search.retriever import Retriever

with needing("mteb"):
    from datasets import Dataset
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models import ModelMeta
    from mteb.models.model_meta import ScoringFunction
    from mteb.similarity_functions import cos_sim, pairwise_cos_sim
    from mteb.types import PromptType

_MODEL_TYPES = {"dense": "dense", "lexical": "sparse", "hybrid": "hybrid"}


class PeepholeSearch:
    """An index of each corpus, built as `peephole build` builds it, and searched in one mode.

    Misspelt words of queries are corrected, as `peephole evaluate` and users' searches do.

    model: the model folder.
    mode: "hybrid", "dense" or "lexical".
    passage_words: as for `build`; 0 leaves documents whole.
    target_recall: as for `build`; 1 keeps search exact, so that figures tell of the model alone.
    Raises what `read_model` raises.
    """

    def __init__(
        self,
        model: Path | str,
        mode: Mode = "hybrid",
        *,
        passage_words: int | None = None,
        target_recall: float = 1.0,
    ) -> None:
        self._model = Path(model)
        self._mode = mode
        self._passage_words = passage_words
        self._goal = Goal(target_recall)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._retriever: Retriever | None = None
        settings = {"mode": mode, "passage_words": passage_words, "target_recall": target_recall}
        self.mteb_model_meta = _meta(read_model(self._model), _MODEL_TYPES[mode], settings)

    def index(self, corpus: Any, **context: Any) -> None:
        """Build and open the index of a corpus, in place of the one before.

        corpus: a `datasets.Dataset` with the columns `id`, `text` and perhaps `title`.
        context: what MTEB says of the task; not needed.
        Raises what `build` raises.
        """
        self.close()
        self._folder = tempfile.TemporaryDirectory(prefix="peephole-mteb-")
        lines, index = (Path(self._folder.name, name) for name in ("corpus.jsonl", "index"))
        with lines.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(_record(row)) + "\n" for row in corpus)
        build(lines, self._model, index, goal=self._goal, passage_words=self._passage_words)
        self._retriever = Retriever.open(index)

    def search(
        self, queries: Any, *, top_k: int, top_ranked: Mapping[str, list[str]] | None = None, **context: Any
    ) -> dict[str, dict[str, float]]:
        """The best documents of each query: scores by query id and document id.

        queries: a `datasets.Dataset` with the columns `id` and `text`.
        top_k: how many documents of each query.
        top_ranked: the documents among which to rank, by query id; None for all.
        context: what MTEB says of the task; not needed.
        Raises InputError before `index` and for an empty query.
        """
        if self._retriever is None:
            raise InputError("there is no corpus yet; call index before search")
        texts = dict(zip(queries["id"], queries["text"], strict=True))
        depth = top_k if top_ranked is None else max(1, self._retriever.index.count)
        run = rank_all(self._retriever, texts, {query_id: {} for query_id in texts}, self._mode, depth=depth)
        if top_ranked is None:
            return run
        return {query_id: _among(run[query_id], top_ranked[query_id], top_k) for query_id in run}

    def close(self) -> None:
        """Close the index, if there is one, and remove it."""
        if self._retriever is not None:
            self._retriever.close()
            self._retriever = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


class PeepholeEncoder:
    """Both towers. A text has one vector, of its first words as far as the tower reads.

    model: the model folder.
    Raises what `read_model` raises.
    """

    def __init__(self, model: Path | str, revision: str | None = None, *, device: str | None = None) -> None:
        """revision, device: part of MTEB's protocol; the towers have none and run on the processor."""
        saved = read_model(Path(model))
        self._towers = Towers(model)
        self.mteb_model_meta = _meta(saved, "dense", {})

    def encode(self, inputs: Iterable[Mapping[str, Any]], *, prompt_type: Any = None, **context: Any) -> Any:
        """Unit embeddings float32 (n, dimension).

        inputs: batches, each with its texts under "text".
        prompt_type: whether these are queries; documents otherwise.
        context: what MTEB says of the task; not needed.
        """
        side: Side = "query" if prompt_type == PromptType.query else "document"
        encoded = [self._towers.encode(side, list(batch["text"])) for batch in inputs]
        return np.concatenate(encoded) if encoded else self._towers.encode(side, [])

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines (n, m) of n embeddings and m others."""
        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines (n,) of pairs of embeddings."""
        return pairwise_cos_sim(embeddings1, embeddings2)


def beir_task(
    data: Path | str,
    split: str = "test",
    *,
    name: str | None = None,
    languages: Sequence[str] = ("eng-Latn",),
) -> Any:
    """A retrieval task of MTEB made of a data set.

    data: a BEIR folder or a table of pairs.
    split: the split whose queries are judged.
    name: of the task; that of the folder by default.
    languages: of the texts, as MTEB names them.
    Raises InputError as the readers of the data set do, when the task is run.
    """
    metadata = TaskMetadata(
        name=name or Path(data).stem,
        description=f"the split {split} of {Path(data).name}",
        dataset={"path": str(data), "revision": open_dataset(data).fingerprint() or "unknown"},
        type="Retrieval",
        category="t2t",
        eval_splits=[split],
        eval_langs=list(languages),
        main_score="ndcg_at_10",
    )
    return type("BeirTask", (_BeirTask,), {"metadata": metadata})()


class _BeirTask(AbsTaskRetrieval):
    def load_data(self, num_proc: int | None = None, **options: Any) -> None:
        """Read the data set."""
        (split,) = self.metadata.eval_splits
        dataset = open_dataset(Path(self.metadata.dataset["path"]))
        documents = [
            {"id": document.id, "title": document.title, "text": document.text}
            for document in dataset.documents()
        ]
        qrels = dataset.qrels(split, document_ids={document["id"] for document in documents})
        queries = [{"id": query_id, "text": dataset.queries[query_id]} for query_id in qrels]
        data: Any = {
            "corpus": Dataset.from_list(documents),
            "queries": Dataset.from_list(queries),
            "relevant_docs": qrels,
            "top_ranked": None,
        }
        self.dataset = {"default": {split: data}}
        self.data_loaded = True


def _record(row: Mapping[str, Any]) -> dict[str, str]:
    return {"_id": row["id"], "title": row.get("title") or "", "text": row["text"] or ""}


def _among(scores: Mapping[str, float], candidates: Iterable[str], most: int) -> dict[str, float]:
    """The best of the candidates."""
    kept = set(candidates)
    ranked = [(document_id, score) for document_id, score in scores.items() if document_id in kept]
    return dict(ranked[:most])


def _meta(model: TrainedModel, kind: Any, settings: dict[str, Any]) -> Any:
    """The metadata; its revision is the model's fingerprint, so that MTEB's cache keeps models apart."""
    sizes = [array.size for name, array in model.arrays.items() if not name.endswith("_scales")]
    tables = [array.size for name, array in model.arrays.items() if name.endswith(".table")]
    return ModelMeta(
        loader=None,
        name=f"peephole/{model.folder.resolve().name}",
        revision=fingerprint(model.folder),
        release_date=None,
        languages=None,
        n_parameters=sum(sizes),
        n_embedding_parameters=sum(tables),
        memory_usage_mb=sum(array.nbytes for array in model.arrays.values()) / 2**20,
        max_tokens=model.config.document_words,
        embed_dim=model.config.dimension,
        license=None,
        open_weights=None,
        public_training_code=None,
        public_training_data=None,
        framework=["NumPy"],
        similarity_fn_name=ScoringFunction.COSINE,
        use_instructions=False,
        training_datasets=None,
        model_type=[kind],
        experiment_kwargs=settings or None,
    )
