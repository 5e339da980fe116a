"""Silhouette IoU, normal and depth error of a run on the NeRF-synthetic chair, against its test views.

    python -m tests.support.mesh_scores RUN_DIR --data ../shared/data/blender_chair

The normal PNGs that come with the test views hold the world-space normal as Blender wrote it: negative
components are cut off at 0 and the rest is sRGB-encoded (decoded, pixels with three positive components
have unit length: median 0.992). A normal with one component cut off is known, because its length is 1;
with two it is not, and the pixel does not count. The share of pixels that count is printed.

The depth PNGs hold 1 - z / 8 for the depth z along the optical axis, in 8 bits: steps of 0.031, so that an exact mesh
has a mean error of 0.008. So decoded they lie one step too far: the colours of their points agree best between
neighbouring photographs at 0.03 to 0.04 less. ``BEHIND`` is taken off.
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from isosweep.evaluation.image_metrics import Score
from isosweep.meshes import raycast
from isosweep.meshes.files import read_mesh
from isosweep.types import Scene
from tests.support.loading import load_scene

CUT = 0.02
"""A decoded component below this counts as cut off: one or two steps of the 8-bit encoding."""
BEHIND = 0.03
"""By how much the depth maps lie behind the surface of the photographs, in world units."""
FAR = 0.1
"""Depth errors above this count as this, in world units: behind a rim a pixel's error has no bound."""


def decode_normals(encoded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bytes [H, W, 3+] -> world normals [H, W, 3] and where they are known [H, W]."""
    s = encoded[..., :3].astype(np.float64) / 255
    positive = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    cut = positive < CUT
    rest = np.sqrt(np.clip(1 - (positive**2).sum(axis=-1, keepdims=True), 0, 1))
    normal = np.where(cut, -rest, positive)
    known = cut.sum(axis=-1) <= 1
    return normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9), known


def truth_normals(scene: Scene, folder: Path, view: int) -> tuple[np.ndarray, np.ndarray]:
    """Normals of a test view and the pixels that count: wholly covered by the chair, and known."""
    number = re.findall(r"\d+", scene.names[view])[-1]
    normal, known = decode_normals(np.asarray(Image.open(folder / "test" / f"r_{number}_normal_0000.png")))
    mask = scene.images.image(view)[1]
    assert mask is not None
    return normal, known & (mask.numpy() > 0.999)


def truth_depth(scene: Scene, folder: Path, view: int) -> tuple[np.ndarray, np.ndarray]:
    """Depth [H, W] of a test view along its optical axis, and the pixels that count: wholly covered by the chair."""
    number = re.findall(r"\d+", scene.names[view])[-1]
    picture = Image.open(folder / "test" / f"r_{number}_depth_0000.png").convert("RGBA")
    stored = np.asarray(picture)[..., 0].astype(np.float64) / 255
    mask = scene.images.image(view)[1]
    assert mask is not None
    return 8 * (1 - stored) - BEHIND, (stored > 0) & (mask.numpy() > 0.999)


def depth_differences(mesh: np.ndarray, truth: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mesh minus truth at the pixels that count, at most ``FAR`` either way; ``FAR`` where the mesh is not met."""
    return np.clip(mesh - truth, -FAR, FAR)[counts]


def scores(run: Path, data: Path) -> dict[str, float | None]:
    """Means over the test views; a pixel where the mesh or the render has no normal counts as 90 degrees."""
    scene = load_scene("blender", "chair", path=str(data))
    mesh = read_mesh(run / "mesh.ply")
    caster = raycast.Caster(mesh)
    cameras = raycast.world_cameras(scene.cameras, scene.to_world)
    found: dict[str, list[float]] = {
        "silhouette_iou": [],
        "mesh_normal_degrees": [],
        "render_normal_degrees": [],
    }
    counted, covered = 0, 0
    depths: list[np.ndarray] = []
    for view in scene.splits["test"]:
        mask = scene.images.image(view)[1]
        assert mask is not None
        hits = raycast.raycast(caster, cameras, view)
        normal, known = truth_normals(scene, data, view)
        counted, covered = counted + int(known.sum()), covered + int((mask > 0.999).sum())
        maps = {"mesh_normal_degrees": hits.normal}
        _, rays = raycast.camera_rays(cameras, view)
        along = (rays @ cameras.c2w[view, :, 2].numpy()).reshape(hits.depth.shape)
        depths.append(depth_differences(hits.depth * along, *truth_depth(scene, data, view)))
        name = re.sub(r"[^\w.-]+", "_", scene.names[view]).strip("._")
        rendered = run / "renders" / f"{name}_normal.png"
        if rendered.is_file():
            maps["render_normal_degrees"] = np.asarray(Image.open(rendered))[..., :3] / 127.5 - 1
        where, truth = torch.from_numpy(known).double(), torch.from_numpy(normal)
        results = {k: normal_angle(torch.from_numpy(v), truth, where) for k, v in maps.items()}
        cast, real = (torch.from_numpy(m).double() for m in (hits.mask, mask.numpy() > 0.5))
        results["silhouette_iou"] = intersection_over_union(cast, real)
        for key, score in results.items():
            if score.value is not None:
                found[key].append(score.value)
    means = {k: float(np.mean(v)) if v else None for k, v in found.items()}
    difference = np.concatenate(depths)
    return means | {
        "mesh_depth_error": float(np.abs(difference).mean()),
        "mesh_depth_median": float(np.median(difference)),
        "mesh_depth_far": float((np.abs(difference) >= FAR).mean()),
        "views": float(len(scene.splits["test"])),
        "views_with_rendered_normals": float(len(found["render_normal_degrees"])),
        "share_of_pixels_with_known_normal": counted / max(covered, 1),
    }


def normal_angle(
    pred: Float[Tensor, "h w 3"], truth: Float[Tensor, "h w 3"], mask: Float[Tensor, "h w"] | None = None
) -> Score:
    """The mean angle in degrees between the normals of two maps, over the mask (over all pixels without one).

      angle = arccos(p . t / (|p| |t|)), clipped to [0, 180].
    The normals need not have unit length. A pixel where one of them is zero counts as 90 degrees, so that leaving out
    normals does not improve the score. None if the mask has no pixel above one half.
    """
    inside = torch.ones_like(pred[..., 0], dtype=torch.bool) if mask is None else mask > 0.5
    if not inside.any():
        return Score(None, "the mask has no pixel above 0.5")
    p, t = pred[inside].double(), truth[inside].double()
    norm = (p.norm(dim=-1) * t.norm(dim=-1)).clamp_min(1e-12)
    return Score(float(((p * t).sum(-1) / norm).clamp(-1, 1).acos().rad2deg().mean()))


def intersection_over_union(pred: Float[Tensor, "h w"], truth: Float[Tensor, "h w"]) -> Score:
    """|A and B| / |A or B| of the foregrounds of two coverages, in [0, 1].

    A pixel is foreground if its coverage is above one half. None if both foregrounds are empty.
    """
    p, t = pred > 0.5, truth > 0.5
    union = int((p | t).sum())
    if union == 0:
        return Score(None, "both silhouettes are empty")
    return Score(int((p & t).sum()) / union)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run folder with mesh.ply and renders/")
    parser.add_argument("--data", type=Path, required=True, help="the folder blender_chair")
    given = parser.parse_args()
    print(json.dumps(scores(given.run, given.data), indent=2))


if __name__ == "__main__":
    main()
