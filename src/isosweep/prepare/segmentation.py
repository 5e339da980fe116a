"""Masks by Segment Anything: ``--masks sam:FILE``, with a package and weights that the user has installed.

The packages are ``segment_anything`` (weights sam_vit_*.pth) and ``sam2`` (sam2_hiera_*.pt, sam2.1_hiera_*.pt). Neither
is a requirement, and nothing is downloaded. The object is what lies at one point of every photograph, by default its
middle.
Source: facebookresearch/segment-anything, facebookresearch/sam2 (predictor examples).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from isosweep.errors import InputError

MIDDLE = (0.5, 0.5)
WHOLE = 0.95
"""A mask of more than this share of the photograph is not taken for the object where there is another."""
_SAM = re.compile(r"vit_([bhl])")
_SAM2 = re.compile(r"sam2(\.\d)?_hiera_(tiny|small|base_plus|large)")
_SIZES = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}
HOW = (
    "--masks sam:FILE takes weights of Segment Anything, and their package: sam_vit_b_01ec64.pth (or vit_l, vit_h) "
    "with pip install git+https://github.com/facebookresearch/segment-anything.git, or sam2.1_hiera_small.pt (tiny, "
    "base_plus, large) with pip install sam2"
)


@dataclass(frozen=True)
class Network:
    """Which network weights belong to, known by the name of their file."""

    package: str
    """'segment_anything' or 'sam2'."""
    name: str
    """The network as its package calls it: 'vit_b', or the path of a config of sam2."""


def require(text: str) -> Network:
    """Check ``--masks sam:FILE`` without loading anything.

    Raises:
        InputError: no weights are given, their name says no network, or the package is not installed.
        FileNotFoundError: there is no such file.
    """
    if not text.startswith("sam:") or text == "sam:":
        raise InputError(f"--masks {text} names no weights. {HOW}")
    file = Path(text.removeprefix("sam:"))
    if not file.is_file():
        raise FileNotFoundError(f"--masks {text}: no file {file}. {HOW}")
    if found := _SAM2.search(file.name):
        version = found[1] or ""
        name = f"configs/sam2{version}/sam2{version}_hiera_{_SIZES[found[2]]}.yaml"
        network = Network("sam2", name)
    elif found := _SAM.search(file.name):
        network = Network("segment_anything", f"vit_{found[1]}")
    else:
        raise InputError(
            f"--masks {text}: the name of {file.name} does not say which network it is for; keep the name it was "
            f"released with. {HOW}"
        )
    if find_spec(network.package) is None:
        raise InputError(
            f"--masks {text}: the package {network.package} is not installed, which {file.name} needs. {HOW}"
        )
    return network


def load_sam(
    text: str, point: Sequence[float] | None
) -> Callable[[UInt8[np.ndarray, "h w 3"]], UInt8[np.ndarray, "h w"]]:
    """A function from RGB pixels to a mask, 255 on the object.

    Of the masks that the network offers for the point, the one with the best score of its own is taken, unless it
    covers nearly the whole photograph and another does not.

    Args:
        text: 'sam:FILE'.
        point: a place on the object, as shares of width and height; None for the middle.

    Raises:
        InputError, FileNotFoundError: as `require`; or the package cannot load the weights.
    """
    network, file = require(text), text.removeprefix("sam:")
    try:
        predictor = _predictor(network, file)
    except (ImportError, RuntimeError, KeyError, ValueError, OSError, AttributeError) as error:
        raise InputError(
            f"--masks {text}: {network.package} cannot load it ({type(error).__name__}: {str(error).splitlines()[0]}). "
            f"{HOW}"
        ) from error
    x, y = point or MIDDLE

    def segment(pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
        h, w = pixels.shape[:2]
        predictor.set_image(np.ascontiguousarray(pixels))
        masks, scores, _ = predictor.predict(
            point_coords=np.array([[x * (w - 1), y * (h - 1)]], np.float32),
            point_labels=np.array([1]),
            multimask_output=True,
        )
        found = np.asarray(masks) > 0
        if found.ndim != 3 or found.shape[1:] != (h, w) or len(found) != len(scores):
            raise InputError(
                f"--masks {text}: {network.package} returned masks of shape {found.shape} for a photograph of {w}x{h}; "
                "expected [masks, height, width]: is it another version of the package?"
            )
        whole = found.mean((1, 2)) > WHOLE
        order = sorted(range(len(found)), key=lambda i: (whole[i], -float(scores[i])))
        return np.where(found[order[0]], np.uint8(255), np.uint8(0))

    return segment


def _predictor(network: Network, file: str) -> Any:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if network.package == "sam2":
        from sam2.build_sam import build_sam2  # pyright: ignore[reportMissingImports] - the user's
        from sam2.sam2_image_predictor import SAM2ImagePredictor  # pyright: ignore[reportMissingImports]

        return SAM2ImagePredictor(build_sam2(network.name, file, device=device))
    from segment_anything import SamPredictor, sam_model_registry  # pyright: ignore[reportMissingImports]

    return SamPredictor(sam_model_registry[network.name](checkpoint=file).to(device))
