"""The picture of an explanation: the values that it shows, its size and its file."""

from __future__ import annotations

import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest

from index.errors import StorageError
from retrieval.explain.heatmap import panels, png, write_heatmap
from retrieval.explain.shares import explain
from retrieval.model.config import ModelConfig


@pytest.fixture
def explained(tmp_path, random_model):
    def make(config, query="list files"):
        random_model(config).save(tmp_path / "m")
        return explain(tmp_path / "m", query)

    return make


def test_panels_are_the_shares_weights_and_gates_of_the_active_cells(explained):
    text = explained(ModelConfig("lstm", 8, 12, 8, "attention")).query
    shown = {panel.name: panel for panel in panels(text)}
    assert list(shown) == ["share", "weight", "input gate", "forget gate", "output gate", "output y(t)"]
    np.testing.assert_array_equal(shown["share"].values, [[word.share for word in text.words]])
    np.testing.assert_array_equal(shown["weight"].values, [text.trace.composition.weights])
    cells = [cell.cell for cell in text.cells["left_to_right"]]
    states = text.trace.left_to_right
    for name, values in (("input gate", states.input), ("output y(t)", states.output)):
        np.testing.assert_array_equal(shown[name].values, values[:, cells].T)
        assert shown[name].labels == [str(cell) for cell in cells]


def test_panels_leave_out_what_a_tower_lacks(explained):
    unweighed = explained(ModelConfig("lstm", 0, 4, 4, "last")).query
    assert [panel.name for panel in panels(unweighed)] == [
        "share", "input gate", "forget gate", "output gate", "output y(t)",
    ]  # fmt: skip
    assert [panel.name for panel in panels(explained(ModelConfig("bag", 8, 4, 6)).query)] == ["share"]


def size(picture):
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", picture[16:24])


def test_picture_grows_with_words_up_to_a_limit(explained):
    config = ModelConfig("lstm", 8, 4, 8, "attention", query_words=200)
    widths = [size(png(explained(config, " ".join(["files"] * count))))[0] for count in (3, 40, 64, 90)]
    assert widths[0] < widths[1] < widths[2] == widths[3]


def test_letters_without_a_font_are_drawn_without_a_warning(explained):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png(explained(ModelConfig("bag", 8, 4, 6), "启动 $x_1^ ♥ \U0001f600 $"))


def test_a_picture_that_cannot_be_written_is_a_storage_error(explained, tmp_path):
    explanation = explained(ModelConfig("bag", 8, 4, 6))
    write_heatmap(tmp_path / "p.png", explanation)
    assert (tmp_path / "p.png").read_bytes() == png(explanation)
    with pytest.raises(StorageError, match="nowhere"):
        write_heatmap(tmp_path / "nowhere" / "p.png", explanation)


def test_explaining_loads_no_heavy_library():
    program = (
        "import sys, retrieval.explain.shares, retrieval.explain.text, retrieval.explain.heatmap;"
        "print(*{'torch', 'matplotlib', 'ir_measures'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
