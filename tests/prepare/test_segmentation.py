"""--masks sam:FILE with a stand-in for the user's package: what is asked of it, and what is told at once."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isosweep.prepare import segmentation
from isosweep.prepare.masks import make_masks, parse_masks
from isosweep.prepare.options import PrepareOptions

SAM = '''
import numpy as np


class Model:
    def __init__(self, kind, checkpoint):
        if open(checkpoint, "rb").read() == b"damaged":
            raise RuntimeError("PytorchStreamReader failed reading zip archive")
        self.kind = kind

    def to(self, device):
        return self


sam_model_registry = {k: (lambda checkpoint, k=k: Model(k, checkpoint)) for k in ("vit_b", "vit_l", "vit_h")}


class SamPredictor:
    """Offers everything (best score), a square around the point, and a part of it."""

    def __init__(self, model):
        self.model = model

    def set_image(self, image):
        assert image.dtype == np.uint8 and image.flags["C_CONTIGUOUS"]
        self.size = image.shape[:2]

    def predict(self, point_coords, point_labels, multimask_output):
        assert point_labels.tolist() == [1] and multimask_output
        (x, y), (h, w) = point_coords[0], self.size
        row, col = np.mgrid[:h, :w]
        whole = np.ones((h, w), bool)
        square = (abs(row - y) <= 5) & (abs(col - x) <= 5)
        part = (abs(row - y) <= 1) & (abs(col - x) <= 1)
        return np.stack([whole, square, part]), np.array([0.99, 0.9, 0.5]), None
'''
SAM2_BUILD = """
def build_sam2(config, checkpoint, device):
    return config, checkpoint, device
"""
SAM2_PREDICTOR = '''
import numpy as np


class SAM2ImagePredictor:
    """The left half; float masks, as SAM 2 gives them."""

    def __init__(self, model):
        assert model[0] == "configs/sam2.1/sam2.1_hiera_b+.yaml", model

    def set_image(self, image):
        self.size = image.shape[:2]

    def predict(self, point_coords, point_labels, multimask_output):
        mask = np.zeros((1, *self.size), np.float32)
        mask[:, :, : self.size[1] // 2] = 1
        return mask, np.array([0.8]), None
'''


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for segment_anything and sam2 that can be imported."""
    folder = tmp_path / "packages"
    (folder / "sam2").mkdir(parents=True)
    (folder / "segment_anything.py").write_text(SAM)
    (folder / "sam2" / "__init__.py").write_text("")
    (folder / "sam2" / "build_sam.py").write_text(SAM2_BUILD)
    (folder / "sam2" / "sam2_image_predictor.py").write_text(SAM2_PREDICTOR)
    monkeypatch.syspath_prepend(folder)
    for name in ("segment_anything", "sam2", "sam2.build_sam", "sam2.sam2_image_predictor"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return folder


def weights(folder: Path, name: str = "sam_vit_b_01ec64.pth", data: bytes = b"weights") -> str:
    (folder / name).write_bytes(data)
    return f"sam:{folder / name}"


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(("point", "row", "col"), [(None, 19.5, 29.5), ((0.25, 0.75), 29.25, 14.75)])
def test_masks_of_the_object_at_a_point(
    point: tuple[float, float] | None, row: float, col: float, tmp_path: Path
) -> None:
    images, out = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (60, 40), (10, 20, 30)).save(images / name)
    source = parse_masks(weights(tmp_path), 0, 2, point)
    ticks = []
    photos = [("a.png", "a.jpg"), ("b.png", "b.jpg")]
    assert make_masks(source, photos, images, tmp_path, out, 4, lambda: ticks.append(1)) == []
    assert len(ticks) == 2
    rows, cols = np.nonzero(np.asarray(Image.open(out / "b.png")))
    assert rows.mean() == pytest.approx(row, abs=0.5)
    assert cols.mean() == pytest.approx(col, abs=0.5)
    assert len(rows) <= 121, "the mask of everything has the best score, and is not the object"


@pytest.mark.usefixtures("packages")
def test_sam2_is_known_by_the_name_of_its_weights(tmp_path: Path) -> None:
    segment = segmentation.load_sam(weights(tmp_path, "sam2.1_hiera_base_plus.pt"), None)
    mask = segment(np.zeros((10, 20, 3), np.uint8))
    assert mask.dtype == np.uint8
    assert (mask[:, :10].min(), mask[:, 10:].max()) == (255, 0)


@pytest.mark.parametrize(
    ("masks", "text"),
    [("sam", r"--masks sam names no weights\. --masks sam:FILE takes weights of Segment Anything"),
     ("sam:", r"names no weights"),
     ("sam:gone.pth", r"no file gone\.pth"),
     ("sam:{}/other.pth", r"the name of other\.pth does not say which network it is for"),
     ("sam:{}/sam_vit_h_4b8939.pth", r"the package segment_anything is not installed.*pip install git\+https"),
     ("sam:{}/sam2_hiera_large.pt", r"the package sam2 is not installed.*pip install sam2")],
)  # fmt: skip
def test_what_is_missing_is_told_before_anything_starts(
    masks: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = segmentation.find_spec
    absent = ("segment_anything", "sam2")
    monkeypatch.setattr(segmentation, "find_spec", lambda name: None if name in absent else found(name))
    for name in ("other.pth", "sam_vit_h_4b8939.pth", "sam2_hiera_large.pt"):
        (tmp_path / name).write_bytes(b"weights")
    options = PrepareOptions(tmp_path / "photos", tmp_path / "scene", masks=masks.format(tmp_path))
    with pytest.raises((ValueError, FileNotFoundError), match=text):
        options.check()


@pytest.mark.usefixtures("packages")
def test_damaged_weights_and_other_shapes_are_told(tmp_path: Path, packages: Path) -> None:
    with pytest.raises(
        ValueError, match=r"segment_anything cannot load it \(RuntimeError: PytorchStreamReader"
    ):
        segmentation.load_sam(weights(tmp_path, data=b"damaged"), None)
    (packages / "sam2" / "sam2_image_predictor.py").write_text(
        SAM2_PREDICTOR.replace("return mask, np", "return mask[0], np")
    )
    segment = segmentation.load_sam(weights(tmp_path, "sam2.1_hiera_base_plus.pt"), None)
    with pytest.raises(
        ValueError, match=r"sam2 returned masks of shape \(10, 20\) for a photograph of 20x10"
    ):
        segment(np.zeros((10, 20, 3), np.uint8))


@pytest.mark.usefixtures("packages")
def test_the_options_of_a_call(tmp_path: Path) -> None:
    asked = PrepareOptions(tmp_path / "a", tmp_path / "b", masks=weights(tmp_path), mask_point=(0.2, 1.5))
    assert asked.mask_folder is None
    assert asked.mask_sam == tmp_path / "sam_vit_b_01ec64.pth"
    with pytest.raises(ValueError, match=r"--mask-point takes x y as shares.*found \[0\.2, 1\.5\]"):
        asked.check()
