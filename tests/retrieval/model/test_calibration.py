"""The calibration file: what survives the disk, and errors that name what is wrong; probabilities by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from index.errors import FormatVersionError, InputError
from retrieval.model.calibration import EVIDENCE, MARGINS, Calibration, read_calibration, to_json

FITTED = Calibration((-1.0, 2.0, 0.5, -0.25, 1.0), (-3.0, 1.0, 2.0, 0.5, 0.25, 4.0, -2.0), 120)


def test_a_calibration_survives_the_disk(tmp_path):
    (tmp_path / "c.json").write_text(to_json(FITTED))
    assert read_calibration(tmp_path / "c.json") == FITTED
    assert read_calibration(tmp_path / "none.json") is None


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
    steep = Calibration((1e6, 1e6, 1e6, 1e6, 1e6), (-1e6,) * 7, 20)
    with np.errstate(all="raise", under="ignore"):
        assert steep.probabilities(np.ones((2, 4), np.float32)).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"queries": 0}, "queries must be a whole number"),
        ({"queries": True}, "queries must be a whole number"),
        ({"queries": 2.5}, "queries must be a whole number"),
        ({"first": None}, "first must be a JSON object"),
        ({"further": []}, "further must be a JSON object"),
        ({"first": {"cosine": 1}}, "missing key bm25, intercept, share, words in first"),
        ({"extra": 1}, "unknown key extra in the file"),
    ],
)
def test_a_value_out_of_place_is_named(tmp_path, change, says):
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(json.loads(to_json(FITTED)) | change))
    with pytest.raises(InputError, match=says) as caught:
        read_calibration(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1e7", "1e400", '"3"', "true", "null", "9" * 4000])
def test_a_number_that_is_none_is_named(tmp_path, value):
    path = tmp_path / "calibration.json"
    path.write_text(to_json(FITTED).replace('"share": -0.25', f'"share": {value}'))
    with pytest.raises(InputError, match=r"first\.share must be a number") as caught:
        read_calibration(path)
    assert len(str(caught.value)) < len(str(path)) + 150


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(tmp_path, content):
    path = tmp_path / "calibration.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"calibration\.json: ") as caught:
        read_calibration(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_version_is_told_apart_from_damage(tmp_path, version):
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({"format_version": version, "new": 1}))
    with pytest.raises(FormatVersionError, match=r"calibration\.json: format version"):
        read_calibration(path)
