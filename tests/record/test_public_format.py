"""A record that another program has written is checked, and each mistake has its line."""

import json
from typing import Any

import pytest

from isosweep.record.public_format import mistakes

GOOD = """{
  "schema_version": 1,
  "run_key": "any text, one a result",
  "dataset": "dtu",
  "scene": "scan24",
  "label": "their method",
  "model": "their method",
  "seed": 0,
  "status": "finished",
  "backend": "external",
  "times": {"train_s": 12.5},
  "scores": {
    "protocol": "dtu-neus",
    "values": {
      "geometry/chamfer": 0.77,
      "nvs/psnr": 30.0,
      "nvs/ssim": null
    },
    "per_view": {"nvs/psnr": {"a": 29.0, "b": 31.0, "c": null}},
    "reasons": {"nvs/ssim": "not computed"},
    "settings": {"world_unit": "mm"}
  }
}
"""


def test_a_good_record_has_no_mistake():
    assert mistakes(GOOD) == []
    assert mistakes(json.dumps(json.loads(GOOD))) == []
    assert mistakes(json.dumps({k: v for k, v in json.loads(GOOD).items() if k != "run_key"})) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('"seed": 0,', '"seed": 0', 9, "this is no JSON: Expecting ',' delimiter"),
        ("0.77", "NaN", 15, "NaN is no number of JSON"),
        ('"scene"', '"sceen"', 5, "there is no field 'sceen'; did you mean 'scene'?"),
        ('"seed": 0', '"seed": "0"', 8, 'seed is a whole number of 0 or more, found "0"'),
        ('"seed": 0', '"seed": true', 8, "found true"),
        ('"dataset": "dtu"', '"dataset": ""', 4, "dataset is a text that is not empty"),
        ('"schema_version": 1', '"schema_version": 99', 2, "schema_version is 1 to"),
        ('"protocol": "dtu-neus",', "", 12, "scores.protocol is missing"),
        ("geometry/chamfer", "chamfer", 15, "does not say what was scored"),
        ("0.77", '"0.77"', 15, "is a number or null"),
        ('"nvs/ssim": "not computed"', "", 17, "is null and has no reason"),
        ('"nvs/ssim": "not', '"nvs/lpips": "not', 20, "which scores.values has not"),
        ("30.0", "35.0", 16, "is 35, and the mean of its views is 30"),
        ('"c": null', '"c": "x"', 19, "of view 'c' is a number or null"),
        ('"finished"', '"done"', 9, "status: Invalid enum value 'done'"),
        ("12.5", '"long"', 11, "times.train_s: Expected `float`, got `str`"),
        ('"label": "their method",', '"label": "a", "seed": 1,', 8, "'seed' stands there twice"),
    ],
)
def test_each_mistake_has_its_line(old: str, new: str, line: int, words: str) -> None:
    assert old in GOOD
    found = mistakes(GOOD.replace(old, new, 1))
    assert any(one.line == line and words in one.what for one in found), found


def test_what_is_missing_is_named():
    record: dict[str, Any] = json.loads(GOOD)
    for name in ("dataset", "scene", "label", "model", "seed", "status", "scores"):
        found = mistakes(json.dumps({k: v for k, v in record.items() if k != name}))
        assert [one.what for one in found] == [f"the field '{name}' is missing"]
    assert mistakes("[]")[0].what == "a record is an object, { ... }"
    assert mistakes("")[0].line == 1
