"""A tower as an ONNX model, for programs in any language: features of words in, unit embeddings out.

In: a model folder. Out: an ONNX model of standard operators (opset 18). The recurrence is the operator LSTM
with its peephole input P. How a text becomes features is in docs/tokeniser.md. Imports no torch.

    features       int64 (F,)     feature ids of all words of all texts, concatenated
    word_lengths   int64 (W,)     number of features of each word, at least 1
    text_lengths   int64 (N,)     number of words of each text, at least 1
    embeddings     float32 (N, dimension), unit length

The graph has the two stages of `retrieval.model.encoder`, here for every place of a word instead of every
distinct word. A ragged sum is ScatterElements with the reduction "add". ScatterND would need fewer indices,
but onnxruntime spreads it over threads that overwrite each other's sums where indices repeat (its issues
18048 and 23396). The LSTM reads padded texts, float32 (longest, N, row width), and the length of each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.disk.output import write_output
from index.errors import needing
from retrieval.model.config import Side
from retrieval.model.folder import FILES, TrainedModel, read_model
from retrieval.model.weights import Table
from retrieval.text.vocabulary import Vocabulary
from retrieval.text.words import words

with needing("onnx"):
    import onnx
    from onnx import helper, numpy_helper

_OPSET = (
    18  # the first with the reductions "add" and "max" of ScatterElements and the axes of ReduceMax as input
)
_IR_VERSION = 8  # of that opset, so that old runtimes read the file
_INPUTS = ("features", "word_lengths", "text_lengths")


@dataclass(frozen=True)
class Exported:
    """What `export_tower` wrote. The names of the fields are keys of the JSON of `peephole export`."""

    side: Side
    dimension: int  # of the embeddings
    word_limit: int  # how many words of a text are read
    size_bytes: int  # of the file


def export_tower(model: Path, output: Path, side: Side = "query") -> Exported:
    """Write a tower as an ONNX file.

    model: the model folder.
    output: the file to write; one that is there is replaced in one step.
    side: which tower.
    Raises InputError for another side, what `read_model` raises, MissingExtraError without onnx, and
    StorageError.
    """
    saved = read_model(model)
    data: bytes = tower_model(saved, side).SerializeToString()
    write_output(output, data)
    return Exported(side, saved.config.dimension, saved.config.word_limit(side), len(data))


def onnx_inputs(
    vocabulary: Vocabulary, texts: Sequence[str], word_limit: int
) -> dict[str, NDArray[np.int64]]:
    """The inputs of the ONNX model for some texts, as docs/tokeniser.md describes them.

    vocabulary: of the model folder.
    texts: at least one.
    word_limit: `word_limit` in the metadata of the ONNX model.
    """
    split = [words(text, word_limit) for text in texts]
    features = vocabulary.features_of([word for text in split for word in text])
    lengths = np.array([len(text) for text in split], np.int64)
    arrays = (features.values.astype(np.int64), features.lengths(), lengths)
    return dict(zip(_INPUTS, arrays, strict=True))


def tower_model(model: TrainedModel, side: Side) -> Any:
    """The `onnx.ModelProto` of a tower. Raises CorruptError if the weights do not fit the config."""
    model.encoder(side)  # refuses a broken model
    config = model.config
    graph = _Graph()
    _inputs(graph)
    table = model.table(side)
    _word_rows(graph, table)
    sizes = _Sizes(table.values.shape[1], config.hidden, config.pooling == "attention")
    weights = {name: np.asarray(array, np.float32) for name, array in model.body(side).items()}
    _BODIES[config.tower](graph, weights, sizes)
    graph.add("LpNormalization", ["embedding"], "embeddings", axis=1, p=2)
    vocabulary = (model.folder / FILES.vocabulary).read_bytes()
    facts = {
        "tower": config.tower,
        "side": side,
        "dimension": config.dimension,
        "word_limit": config.word_limit(side),
        "vocabulary_sha256": hashlib.sha256(vocabulary).hexdigest(),
    }
    return graph.model(config.dimension, {f"peephole.{name}": str(value) for name, value in facts.items()})


@dataclass(frozen=True)
class _Sizes:
    row_width: int  # of a word row
    hidden: int  # LSTM cells, CNN feature maps or DSSM layer width
    attends: bool  # whether the embedding is a weighted sum of word rows


class _Graph:
    """Nodes and constants of an ONNX graph; a value is known by its name."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def add_several(
        self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> None:
        """Add a node with several outputs; an empty name leaves one out."""
        self._nodes.append(helper.make_node(operator, list(inputs), list(outputs), **attributes))

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant and return its name."""
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def model(self, dimension: int, metadata: Mapping[str, str]) -> Any:
        """The checked model."""
        integer, real = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
        inputs = [
            helper.make_tensor_value_info(name, integer, [size])
            for name, size in zip(_INPUTS, ("F", "W", "N"), strict=True)
        ]
        outputs = [helper.make_tensor_value_info("embeddings", real, ["N", dimension])]
        graph = helper.make_graph(self._nodes, "tower", inputs, outputs, self._constants)
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="peephole"
        )
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        return model


def _inputs(graph: _Graph) -> None:
    """What all bodies use of the lengths.

    word_of     int64 (F, 1)   the word of each feature
    text_of     int64 (W, 1)   the text of each word
    place       int64 (W, 1)   how many words of its text stand before each word
    """
    for name, number in (("zero", 0), ("one", 1)):
        graph.constant(name, np.array([number], np.int64))
        graph.constant(f"{name}_scalar", np.array(number, np.int64))
    graph.add("Shape", ["text_lengths"], "texts")
    graph.add("Shape", ["word_lengths"], "words")
    graph.add("Shape", ["features"], "feature_count")
    _owners(graph, "word_lengths", "feature_count", "word_of")
    starts = _owners(graph, "text_lengths", "words", "text_of")
    graph.add("Squeeze", ["words"], "word_count")
    graph.add("Range", ["zero_scalar", "word_count", "one_scalar"], "word_numbers")
    graph.add("Unsqueeze", ["word_numbers", "one"], "word_column")
    graph.add("Gather", [starts, "text_of"], "first_words")
    graph.add("Sub", ["word_column", "first_words"], "place")


def _owners(graph: _Graph, lengths: str, total: str, output: str) -> str:
    """For each item the number of the list that holds it, int64 (total, 1); returns the lists' starts.

    A one stands at the start of each list but the first; the running sum of these counts the lists.

    graph: to add to.
    lengths: name of the lists' lengths, int64 (n,), each at least 1.
    total: name of the number of items, int64 (1,).
    output: name of the result.
    """
    starts = graph.add("CumSum", [lengths, "zero_scalar"], f"{output}_starts", exclusive=1)
    places = graph.add("Unsqueeze", [starts, "one"], f"{output}_places")
    zeros = graph.add("Expand", ["zero", total], f"{output}_zeros")
    ones = graph.add("Expand", ["one", graph.add("Shape", [starts], f"{output}_lists")], f"{output}_ones")
    marks = graph.add("ScatterND", [zeros, places, ones], f"{output}_marks")
    counted = graph.add("CumSum", [marks, "zero_scalar"], f"{output}_counted")
    flat = graph.add("Sub", [counted, "one"], f"{output}_numbers")
    graph.add("Unsqueeze", [flat, "one"], output)
    return starts


def _word_rows(graph: _Graph, table: Table) -> None:
    """`rows`, float32 (W, row width): the sum of each word's feature rows. An int8 table stays int8."""
    graph.constant("table", table.values)
    graph.add("Gather", ["table", "features"], "stored_rows")
    feature_rows = graph.add("Cast", ["stored_rows"], "feature_rows", to=onnx.TensorProto.FLOAT)
    if table.scales is not None:
        graph.constant("scales", np.asarray(table.scales, np.float32))
        graph.add("Gather", ["scales", "features"], "row_scales")
        feature_rows = graph.add("Mul", ["feature_rows", "row_scales"], "scaled_rows")
    _scatter(graph, feature_rows, "word_of", "words", "rows", table.values.shape[1])


def _scatter(
    graph: _Graph, rows: str, owner: str, count: str, output: str, width: int, reduction: str = "add"
) -> str:
    """Reduce rows (m, width) to one row for each owner, (count, width).

    graph: to add to.
    rows: name of the rows.
    owner: name of the number of each row's owner, int64 (m, 1).
    count: name of the number of owners, int64 (1,).
    output: name of the result.
    width: of the rows.
    reduction: "add" for sums or "max" for maxima of values above -2.
    """
    first = np.array([0 if reduction == "add" else -2], np.float32)
    start = graph.constant(f"{output}_start", first)
    size = graph.constant(f"{output}_width", np.array([width], np.int64))
    shape = graph.add("Concat", [count, size], f"{output}_shape", axis=0)
    base = graph.add("Expand", [start, shape], f"{output}_base")
    owners = graph.add(
        "Expand", [owner, graph.add("Shape", [rows], f"{output}_rows_shape")], f"{output}_owners"
    )
    return graph.add("ScatterElements", [base, owners, rows], output, axis=0, reduction=reduction)


def _weighted_sum(graph: _Graph, logits: str, width: int) -> None:
    """`embedding`: the sum of each text's word rows, weighted by the logistic function of `logits` (W, 1)."""
    graph.add("Sigmoid", [logits], "weights")
    graph.add("Mul", ["rows", "weights"], "weighted_rows")
    _scatter(graph, "weighted_rows", "text_of", "texts", "embedding", width)


def _bag(graph: _Graph, weights: Mapping[str, NDArray[np.float32]], sizes: _Sizes) -> None:
    # The mean has the direction of the sum, and the embedding is of unit length.
    _scatter(graph, "rows", "text_of", "texts", "embedding", sizes.row_width)


def _dnn(graph: _Graph, weights: Mapping[str, NDArray[np.float32]], sizes: _Sizes) -> None:
    below = _scatter(graph, "rows", "text_of", "texts", "sums", sizes.hidden)
    graph.constant("first_bias", weights["first_bias"])
    below = graph.add("Tanh", [graph.add("Add", [below, "first_bias"], "first_sums")], "first")
    for name, output in (("second", "second_layer"), ("third", "embedding")):
        graph.constant(name, weights[name])
        graph.constant(f"{name}_bias", weights[f"{name}_bias"])
        sums = graph.add("Gemm", [below, name, f"{name}_bias"], f"{name}_sums", transB=1)
        below = graph.add("Tanh", [sums], output)


def _cnn(graph: _Graph, weights: Mapping[str, NDArray[np.float32]], sizes: _Sizes) -> None:
    windows = "rows"
    if "window" in weights:
        graph.constant("window", weights["window"].T)
        windows = graph.add("MatMul", ["rows", "window"], "windows")
    graph.constant("parts", np.array([sizes.hidden] * 3, np.int64))
    graph.add_several("Split", [windows, "parts"], ["left", "middle", "right"], axis=1)
    _neighbours(graph, sizes.hidden)
    graph.constant("window_bias", weights["window_bias"])
    graph.add("Sum", ["before", "middle", "after", "window_bias"], "window_sums")
    graph.add("Tanh", ["window_sums"], "maps")
    if sizes.attends:
        graph.constant("attention", weights["attention"][:, None])
        _weighted_sum(graph, graph.add("MatMul", ["maps", "attention"], "logits"), sizes.row_width)
        return
    _scatter(graph, "maps", "text_of", "texts", "pooled", sizes.hidden, "max")
    graph.constant("output", weights["output"].T)
    graph.add("Tanh", [graph.add("MatMul", ["pooled", "output"], "output_sums")], "embedding")


def _neighbours(graph: _Graph, hidden: int) -> None:
    """`before` and `after`, (W, hidden): `left` of the word before and `right` of the next one, or zeros."""
    graph.constant("minus_one", np.array([-1], np.int64))
    graph.constant("no_word", np.zeros((1, hidden), np.float32))
    shifted = graph.add("Slice", ["left", "zero", "minus_one", "zero"], "left_cut")
    graph.add("Concat", ["no_word", shifted], "left_shifted", axis=0)
    graph.add("Greater", ["place", "zero"], "has_before")
    graph.add("Where", ["has_before", "left_shifted", "no_word"], "before")
    shifted = graph.add("Slice", ["right", "one", "words", "zero"], "right_cut")
    graph.add("Concat", [shifted, "no_word"], "right_shifted", axis=0)
    graph.add("Gather", ["text_lengths", "text_of"], "words_of_text")
    graph.add("Less", [graph.add("Add", ["place", "one"], "next_place"), "words_of_text"], "has_after")
    graph.add("Where", ["has_after", "right_shifted", "no_word"], "after")


def _lstm(graph: _Graph, weights: Mapping[str, NDArray[np.float32]], sizes: _Sizes) -> None:
    matrix = weights.get("layers.0.input")
    if matrix is None:  # the rows are gate inputs already
        matrix = np.eye(4 * sizes.hidden, dtype=np.float32)
    i, f, o = weights["layers.0.peepholes"]
    graph.constant("W", _gates(matrix)[None])
    graph.constant("R", _gates(weights["layers.0.recurrent"])[None])
    bias = _gates(weights["layers.0.bias"])
    graph.constant("B", np.concatenate((bias, np.zeros_like(bias)))[None])
    graph.constant("P", np.concatenate((i, o, f))[None])
    graph.add("Concat", ["place", "text_of"], "place_and_text", axis=1)
    graph.constant("row_width", np.array([sizes.row_width], np.int64))
    graph.constant("nothing", np.array([0], np.float32))
    graph.add("ReduceMax", ["text_lengths"], "longest", keepdims=1)
    graph.add("Concat", ["longest", "texts", "row_width"], "padded_shape", axis=0)
    graph.add("Expand", ["nothing", "padded_shape"], "padding")
    graph.add("ScatterND", ["padding", "place_and_text", "rows"], "padded")
    graph.add("Cast", ["text_lengths"], "sequence_lengths", to=onnx.TensorProto.INT32)
    inputs = ["padded", "W", "R", "B", "sequence_lengths", "", "", "P"]
    outputs = ["Y", ""] if sizes.attends else ["", "Y_h"]
    graph.add_several("LSTM", inputs, outputs, hidden_size=sizes.hidden)
    if not sizes.attends:
        graph.add("Squeeze", ["Y_h", "zero"], "embedding")
        return
    graph.add("Squeeze", ["Y", "one"], "states")
    graph.add("GatherND", ["states", "place_and_text"], "word_states")
    graph.constant("attention", weights["attention"][:, None])
    _weighted_sum(graph, graph.add("MatMul", ["word_states", "attention"], "logits"), sizes.row_width)


def _gates(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows in the gate order of ONNX, i, o, f, c, from that of the layer, i, f, g, o."""
    i, f, g, o = np.split(weights, 4)
    return np.concatenate((i, o, f, g))


_BODIES = {"bag": _bag, "dnn": _dnn, "cnn": _cnn, "lstm": _lstm}
