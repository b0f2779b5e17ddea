"""The config file: values that are refused, and errors that name the key."""

from __future__ import annotations

import json
import re

import pytest

from index.errors import FormatVersionError, InputError
from retrieval.model.config import ModelConfig, preset, read_config, stored, to_json

SMALL = ModelConfig("lstm", word_dim=8, hidden=4, dimension=8)


def write(path, changes, drop=()):
    content = {key: value for key, value in (stored(SMALL) | changes).items() if key not in drop}
    path.write_text(json.dumps(content))
    return path


def test_config_survives_the_disk(tmp_path):
    path = tmp_path / "config.json"
    config = ModelConfig("cnn", 8, 5, 8, "max", tie="none", query_words=3, gamma=12.5, dense_share=1)
    path.write_text(to_json(config))
    assert read_config(path) == config


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tower", "gru"),
        ("tower", None),
        ("tower", ["lstm"]),
        ("word_dim", -1),
        ("word_dim", 65_537),
        ("word_dim", 8.0),
        ("hidden", 0),
        ("hidden", "4"),
        ("hidden", True),
        ("dimension", 0),
        ("pooling", "sum"),
        ("residual", 1),
        ("residual", "true"),
        ("bidirectional", None),
        ("forget", "zero"),
        ("tie", "both"),
        ("query_words", 0),
        ("document_words", -5),
        ("gamma", 0),
        ("gamma", -1.0),
        ("gamma", float("nan")),
        ("gamma", float("inf")),
        ("gamma", 10**400),
        ("gamma", "20"),
        ("gamma", True),
        ("dense_share", float("nan")),
        ("dense_share", -0.1),
        ("dense_share", 1.1),
        ("dense_share", 10**400),
        ("dense_share", None),
    ],
)
def test_a_value_out_of_place_is_named(tmp_path, key, value):
    path = write(tmp_path / "config.json", {key: value})
    with pytest.raises(InputError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: {key} must be")
    assert "\n" not in str(caught.value)
    assert caught.value.path == path


@pytest.mark.parametrize("name", [name for name in stored(SMALL) if name != "format_version"])
def test_a_missing_key_is_named(tmp_path, name):
    path = write(tmp_path / "config.json", {}, drop=(name,))
    with pytest.raises(InputError, match=rf"missing key {name}\b"):
        read_config(path)


def test_unknown_keys_are_named_in_order(tmp_path):
    path = write(tmp_path / "config.json", {"zeal": 1, "colour": "blue"})
    with pytest.raises(InputError, match="unknown key colour, zeal"):
        read_config(path)


@pytest.mark.parametrize("version", [0, 2, 99, "1", None, -1])
def test_another_format_version_is_told_apart_from_damage(tmp_path, version):
    path = write(tmp_path / "config.json", {"format_version": version, "new key": 1})
    with pytest.raises(FormatVersionError, match=r"config\.json: format version"):
        read_config(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"null", b"\xff", b'{"a": }', b"[" * 100_000])
def test_what_is_no_json_object_is_refused(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"config\.json: ") as caught:
        read_config(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="restore the model folder"):
        read_config(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"word_dim": 8, "dimension": 4}, ["word_dim", "dimension"]),
        ({"tower": "cnn", "word_dim": 0, "dimension": 8}, ["word_dim", "dimension"]),
        ({"pooling": "last", "hidden": 4, "dimension": 5}, ["dimension must be 4"]),
        ({"pooling": "belt", "hidden": 8, "dimension": 4}, ["dimension must be 8"]),
        ({"pooling": "belt", "hidden": 8, "dimension": 8, "word_dim": 8}, ["less than hidden"]),
        ({"pooling": "belt", "hidden": 8, "dimension": 8, "word_dim": 0}, ["less than hidden"]),
        ({"pooling": "max"}, ["attention or belt or last", "lstm"]),
        ({"tower": "cnn", "pooling": "last"}, ["attention or max", "cnn"]),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, named):
    with pytest.raises(InputError) as caught:
        ModelConfig(**settings)
    assert all(name in str(caught.value) for name in named)


def test_presets_of_the_papers():
    lstm, cnn, dnn = (preset(tower, paper=True) for tower in ("lstm", "cnn", "dnn"))
    assert (lstm.word_dim, lstm.pooling, lstm.tie) == (256, "belt", "table")
    assert lstm.dimension == lstm.hidden == 320
    assert (cnn.hidden, cnn.dimension, cnn.pooling, cnn.word_dim) == (512, 256, "max", 256)
    assert dnn == preset("dnn")
    with pytest.raises(InputError, match="no paper"):
        preset("bag", paper=True)


@pytest.mark.parametrize("tower", ["lstm", "cnn", "dnn", "bag"])
def test_every_tower_has_a_preset(tower):
    assert preset(tower).tower == tower
    assert preset(tower).tie == ("table" if tower in ("lstm", "cnn") else "all")


def first_paper(tower, hidden, dimension, pooling):
    """The preset of a paper's tower in the first release."""
    return ModelConfig(tower, 0, hidden, dimension, pooling, tie="none", whole_words=False)


# What format 1 has held of every preset since its first release: pooling, residual, bidirectional, forget.
@pytest.mark.parametrize(
    ("config", "pooling", "residual"),
    [
        (preset("lstm"), "attention", True),
        (preset("cnn"), "attention", True),
        (preset("dnn"), "mean", False),
        (preset("bag"), "mean", True),
        (first_paper("lstm", 128, 128, "last"), "last", False),
        (first_paper("cnn", 300, 128, "max"), "max", False),
        (first_paper("dnn", 300, 128, "max"), "max", False),
    ],
    ids=str,
)
def test_the_first_releases_files_of_every_preset_open(tmp_path, config, pooling, residual):
    shape = {"pooling": pooling, "residual": residual, "bidirectional": False, "forget": "learned"}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(to_json(config)) | shape))
    assert read_config(path) == config


@pytest.mark.parametrize(("paper", "residual"), [(False, True), (True, False)])
def test_files_keep_the_keys_that_earlier_programs_want(paper, residual):
    for tower in ("lstm", "cnn"):
        written = json.loads(to_json(preset(tower, paper)))
        former = {name: written[name] for name in ("residual", "bidirectional", "forget")}
        assert former == {"residual": residual, "bidirectional": False, "forget": "learned"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"bidirectional": True}, "bidirectional must be false, not true"),
        ({"forget": "one"}, 'forget must be "learned", not "one"'),
        ({"residual": False}, "residual must be true, not false"),
        ({"pooling": "mean"}, "pooling must be attention or belt or last for the tower lstm, not 'mean'"),
        ({"tower": "cnn", "pooling": "last"}, "pooling must be attention or max for the tower cnn"),
        ({"tower": "cnn", "pooling": "max"}, "residual must be false, not true"),
    ],
)
def test_a_setting_that_was_removed_is_named(tmp_path, changes, named):
    path = write(tmp_path / "config.json", changes)
    with pytest.raises(InputError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: {named}")
    assert re.search("removed, train again$", str(caught.value))


@pytest.mark.parametrize("given", ["attention", "last", "max", "mean"])
@pytest.mark.parametrize("tower", ["dnn", "bag"])
def test_a_tower_without_a_choice_has_one_pooling(tower, given):
    assert ModelConfig(tower, pooling=given) == ModelConfig(tower)
