"""Folders that earlier versions prepared are resumed: the names and digests that they store stay the same."""

from dataclasses import fields
from pathlib import Path

import pytest

from isosweep.prepare.focal import Focal
from isosweep.prepare.options import PrepareOptions
from isosweep.prepare.photos import CopiedPhoto
from isosweep.prepare.pipeline import Preparation
from isosweep.prepare.progress import Progress
from isosweep.prepare.reconstruction import Reconstruction

DEFAULT = {
    "images": "45df1791", "masks": "959fe79f", "features": "9ef43dba", "matches": "777c8331", "poses": "13d83f23",
    "flatten": "39246cc3", "region": "5a6f2e34", "neus": "08b28cb9", "blender": "8ca17565",
    "nerfstudio": "c41664fd", "colmap": "c4569760", "sheet": "4a580dea",
}  # fmt: skip
CHANGED = {
    "images": "45df1791", "masks": "541d2882", "features": "f1e3f928", "matches": "d1dadb70", "poses": "00dde627",
    "flatten": "30459b15", "region": "d1e729a7", "neus": "0f32af20", "blender": "fd18ef7e",
    "nerfstudio": "a1a07249", "colmap": "552410b7", "sheet": "7dd01c53",
}  # fmt: skip
"""Stage -> the first digits of its digest, as the version before the modules were renamed computed them."""


@pytest.mark.parametrize(
    ("options", "digests"),
    [
        ({}, DEFAULT),
        ({"mask_features": True, "masks": "alpha", "box": (0.0,) * 3 + (1.0,) * 3, "test_every": 8}, CHANGED),
    ],
)
def test_stages_keep_their_names_and_digests(tmp_path: Path, options: dict, digests: dict[str, str]) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"1")
    preparation = Preparation(PrepareOptions(tmp_path / "photos", tmp_path / "s", **options), Progress(False))
    manifest = preparation.manifest
    assert {name: manifest.digest(name)[:8] for name in manifest.stages} == digests


@pytest.mark.parametrize(
    ("stored", "names"),
    [
        (Focal, "ratio note doubtful"),
        (CopiedPhoto, "name source width height focal turned alpha"),
        (Reconstruction, "names hw K c2w camera xyz rgb error seen_view seen_point seen_xy"),
        (
            PrepareOptions,
            "source out layouts frames start end size matching camera lens focal features masks mask_point "
            "mask_features box sphere margin test_every threads seed",
        ),
    ],
)
def test_fields_that_are_stored_keep_their_names(stored: type, names: str) -> None:
    assert [field.name for field in fields(stored)] == names.split()
