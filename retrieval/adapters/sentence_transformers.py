"""The towers of a model under the interface of sentence-transformers (extra `sentence-transformers`).

In: texts. Out: embeddings as numpy arrays or torch tensors. Takes the place of a `SentenceTransformer` in the
library's evaluators, `util.semantic_search`, `util.mine_hard_negatives` and programs like these, which encode
and compare. The library cannot train or save it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from index.disk.carried_model import fingerprint
from index.errors import InputError, needing
from index.values import Vectors
from retrieval.adapters.towers import Towers
from retrieval.model.config import Side
from retrieval.model.folder import read_model

with needing("sentence-transformers"):
    import torch
    from sentence_transformers import SimilarityFunction
    from sentence_transformers.util import quantize_embeddings

Precision: TypeAlias = Literal["float32", "int8", "uint8", "binary", "ubinary"]

# What the prompts of other models choose, our towers are.
_PROMPTS: dict[str, Side] = {"query": "query", "document": "document", "passage": "document"}


@dataclass(frozen=True)
class ModelCard:
    """What evaluators and miners ask of a model card: a name for their caches, and a place for metrics."""

    base_model: str

    def set_evaluation_metrics(self, *args: Any, **options: Any) -> None:
        """Keep nothing: the evaluator returns the metrics."""


class PeepholeSentenceTransformer:
    """Both towers of a model. Safe for use from several threads.

    model: the model folder.
    Raises what `read_model` raises.

    >>> towers = PeepholeSentenceTransformer("my.model")                       # doctest: +SKIP
    >>> towers.similarity(towers.encode_query("list files"), towers.encode_document(["ls", "cp"]))
    """

    similarity_fn_name = "cosine"
    prompts: dict[str, str] = dict.fromkeys(_PROMPTS, "")
    default_prompt_name = None

    def __init__(self, model: Path | str) -> None:
        saved = read_model(Path(model))
        self.device = torch.device("cpu")
        self.model_card_data = ModelCard(f"peephole {fingerprint(Path(model))}")
        self.max_seq_length = saved.config.document_words  # words
        self._towers = Towers(model)
        self.similarity = SimilarityFunction.to_similarity_fn(self.similarity_fn_name)
        self.similarity_pairwise = SimilarityFunction.to_similarity_pairwise_fn(self.similarity_fn_name)

    def get_embedding_dimension(self) -> int:
        """The width of an embedding."""
        return self._towers.dimension

    get_sentence_embedding_dimension = get_embedding_dimension  # its older name

    def encode_query(self, inputs: str | Sequence[str], **options: Any) -> Any:
        """The embeddings of queries; options as for `encode`."""
        return self._encode("query", inputs, **options)

    def encode_document(self, inputs: str | Sequence[str], **options: Any) -> Any:
        """The embeddings of documents; options as for `encode`."""
        return self._encode("document", inputs, **options)

    def encode(self, inputs: str | Sequence[str], prompt_name: str | None = None, **options: Any) -> Any:
        """The embeddings of texts by the document tower, or by that of the prompt's name.

        inputs: a text, or several.
        prompt_name: "query", "document" or "passage"; None for "document".
        options:
            precision: "float32", or what `quantize_embeddings` makes of that: "int8", "uint8", "binary" or
                "ubinary".
            truncate_dim: keep so many entries of each embedding.
            normalize_embeddings: to unit length; changes only what was truncated, for the others have it.
            convert_to_tensor: a torch tensor in place of a numpy array.
            convert_to_numpy: False gives a list of torch tensors.
            batch_size, show_progress_bar, chunk_size: accepted and not needed.
        Returns float32 (n, dimension), or (dimension,) for a single text. Raises InputError for what the
        towers do not have: other prompts, other devices, pools of processes, embeddings of tokens.
        """
        side = "document" if prompt_name is None else _side(prompt_name)
        return self._encode(side, inputs, **options)

    def _encode(
        self,
        side: Side,
        inputs: str | Sequence[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str = "sentence_embedding",
        precision: Precision = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: Any = None,
        chunk_size: int | None = None,
    ) -> Any:
        if prompt_name is not None:
            _side(prompt_name)
        _check_options(prompt, output_value, device, pool)
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        if not all(isinstance(text, str) for text in texts):
            raise InputError("the inputs must be texts; the towers read nothing else")
        embeddings = _truncated(self._towers.encode(side, texts), truncate_dim, normalize_embeddings)
        values: Any = embeddings if precision == "float32" else quantize_embeddings(embeddings, precision)
        if convert_to_tensor or not convert_to_numpy:
            values = torch.from_numpy(values) if convert_to_tensor else list(torch.from_numpy(values))
        return values[0] if isinstance(inputs, str) else values


def _side(prompt_name: str) -> Side:
    if prompt_name not in _PROMPTS:
        raise InputError(f"prompt_name must be one of {', '.join(_PROMPTS)}, not {prompt_name!r}")
    return _PROMPTS[prompt_name]


def _check_options(prompt: str | None, output_value: str, device: Any, pool: Any) -> None:
    if prompt:
        raise InputError("the towers were trained without prompts; leave prompt out")
    if output_value != "sentence_embedding":
        raise InputError("output_value must be sentence_embedding; the towers give one vector a text")
    if device is not None and torch.device(device).type != "cpu":
        raise InputError("the towers run on the processor; leave device out")
    if pool is not None:
        raise InputError("the towers have no pool of processes; `peephole encode` encodes on all cores")


def _truncated(embeddings: Vectors, width: int | None, normalise: bool) -> Vectors:
    if width is None or width >= embeddings.shape[1]:
        return embeddings
    if width < 1:
        raise InputError(f"truncate_dim must be at least 1, not {width}")
    kept = embeddings[:, :width]
    lengths = np.linalg.norm(kept, axis=1, keepdims=True)
    return kept / np.maximum(lengths, 1e-12) if normalise else np.ascontiguousarray(kept)
