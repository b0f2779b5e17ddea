"""The calibration file: what survives the disk, and errors that name what is wrong; probabilities by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from index.errors import FormatVersionError, InputError
from retrieval.model.calibration import (
    EVIDENCE,
    MARGINS,
    Calibration,
    ModeCalibration,
    read_calibration,
    to_json,
)
from retrieval.search.modes import MODES

FITTED = ModeCalibration(
    (-1.0, 2.0, 0.5, -0.25, 1.0, 0.75, 0.5), (-3.0, 1.0, 2.0, 0.5, 0.25, -1.5, 0.125, 4.0, -2.0)
)
STEEP = ModeCalibration((1e6,) * 7, (-1e6,) * 9)
CALIBRATION = Calibration({"dense": FITTED, "lexical": STEEP, "hybrid": FITTED}, 120)


def test_a_calibration_survives_the_disk(tmp_path):
    assert tuple(CALIBRATION.modes) == MODES
    (tmp_path / "c.json").write_text(to_json(CALIBRATION))
    assert read_calibration(tmp_path / "c.json") == CALIBRATION
    assert read_calibration(tmp_path / "none.json") is None


def test_a_file_of_format_version_1_is_of_all_modes(tmp_path):
    first = {"intercept": -1, "cosine": 2, "bm25": 0.5, "share": -0.25, "words": 1}
    further = {name: 3 * value for name, value in first.items()} | {"cosine_margin": 4, "bm25_margin": -2}
    content = {"format_version": 1, "queries": 120, "first": first, "further": further}
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(content))
    fitted = ModeCalibration((-1, 2, 0.5, -0.25, 1, 0, 0), (-3, 6, 1.5, -0.75, 3, 0, 0, 4, -2))
    assert read_calibration(path) == Calibration(dict.fromkeys(MODES, fitted), 120)
    for wrong, says in (
        ({"first": None}, "dense.first must be a JSON object"),
        ({"further": first}, "missing key bm25_margin, cosine_margin in dense.further"),
        ({"modes": {}}, "unknown key modes in the file"),
    ):
        path.write_text(json.dumps(content | wrong))
        with pytest.raises(InputError, match=says):
            read_calibration(path)


def test_in_a_file_of_format_version_2_it_does_not_matter_whether_words_match(tmp_path):
    content = json.loads(to_json(CALIBRATION)) | {"format_version": 2}
    for parts in content["modes"].values():
        for part in parts.values():
            del part["matched"]
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(content))
    at = 1 + EVIDENCE.index("matched")
    for mode, fitted in read_calibration(path).modes.items():
        for part, whole in zip(fitted, CALIBRATION.modes[mode], strict=True):
            assert part == (*whole[:at], 0, *whole[at + 1 :])
    content["modes"]["dense"]["first"]["matched"] = 1
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"unknown key matched in dense\.first"):
        read_calibration(path)


def test_probabilities_are_those_of_the_formula():
    evidence = np.random.default_rng(0).normal(size=(4, len(EVIDENCE))).astype(np.float32)
    odds = [FITTED.first[0] + evidence[0] @ np.array(FITTED.first[1:])]
    for row in evidence[1:]:
        margins = (row - evidence[0])[: len(MARGINS)]
        odds.append(FITTED.further[0] + np.concatenate((row, margins)) @ np.array(FITTED.further[1:]))
    expected = [1 / (1 + math.exp(-each)) for each in odds]
    assert FITTED.probabilities(evidence).tolist() == pytest.approx(expected, abs=1e-6)
    assert FITTED.probabilities(evidence[:1]).tolist() == pytest.approx(expected[:1], abs=1e-6)
    assert FITTED.probabilities(evidence[:0]).shape == (0,)


def test_extreme_evidence_gives_probabilities_without_overflow():
    with np.errstate(all="raise", under="ignore"):
        assert STEEP.probabilities(np.ones((2, len(EVIDENCE)), np.float32)).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"queries": 0}, "queries must be a whole number"),
        ({"queries": True}, "queries must be a whole number"),
        ({"queries": 2.5}, "queries must be a whole number"),
        ({"modes": []}, "modes must be a JSON object"),
        ({"modes": {"dense": {}, "hybrid": {}}}, "missing key lexical in modes"),
        ({"modes": dict.fromkeys(MODES, None)}, "dense must be a JSON object"),
        ({"modes": {mode: {"first": {}} for mode in MODES}}, "missing key further in dense"),
        (
            {"modes": {mode: {"first": [], "further": {}} for mode in MODES}},
            "dense.first must be a JSON object",
        ),
        (
            {"modes": {mode: {"first": {"cosine": 1}, "further": {}} for mode in MODES}},
            "missing key bm25, cosine_logit, intercept, matched, share, words in dense.first",
        ),
        ({"extra": 1}, "unknown key extra in the file"),
    ],
)
def test_a_value_out_of_place_is_named(tmp_path, change, says):
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(json.loads(to_json(CALIBRATION)) | change))
    with pytest.raises(InputError, match=says) as caught:
        read_calibration(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1e7", "1e400", '"3"', "true", "null", "9" * 4000])
def test_a_number_that_is_none_is_named(tmp_path, value):
    path = tmp_path / "calibration.json"
    path.write_text(to_json(CALIBRATION).replace('"share": -0.25', f'"share": {value}'))
    with pytest.raises(InputError, match=r"dense\.first\.share must be a number") as caught:
        read_calibration(path)
    assert len(str(caught.value)) < len(str(path)) + 150


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(tmp_path, content):
    path = tmp_path / "calibration.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"calibration\.json: ") as caught:
        read_calibration(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", [0, 4, "2", None, [2], {}])
def test_another_format_version_is_told_apart_from_damage(tmp_path, version):
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({"format_version": version, "new": 1}))
    with pytest.raises(FormatVersionError, match=r"calibration\.json: format version"):
        read_calibration(path)
