"""The visual hull of the masks: the points that no mask excludes (Laurentini 1994). It knows no colour and learns
nothing.

    python -m isosweep.external.programs.visual_hull --data <NeuS layout with mask/> --out <folder>

It writes mesh.ply in the coordinates of the cameras, normalised by scale_mat. Axes: G points of the grid along an axis.
"""

import sys

import numpy as np
from jaxtyping import Bool, Float

from isosweep.data.decode import read_mask
from isosweep.data.neus import read_cameras
from isosweep.errors import InputError
from isosweep.external.programs.command_line import arguments, written
from isosweep.meshes.raycast import image_points
from isosweep.meshes.topology import largest_component
from isosweep.meshes.triangulators import triangulator
from isosweep.types import Cameras, Mesh


def hull(
    cameras: Cameras,
    masks: list[Float[np.ndarray, "h w"]],
    resolution: int,
    radius: float = 1.0,
    tolerance: float = 0.0,
) -> Mesh:
    """The surface of the visual hull in the box [-radius, radius]^3, closed where it meets the box.

    The value at a point is the smallest of the masks there, interpolated between pixels, and the surface is where it is
    one half. A view that does not see a point says nothing about it; what no view sees is not in the hull.

    Args:
        masks: coverage in [0, 1] of each view.
        resolution: cells along the box.
        tolerance: share of the views that may exclude a point, for masks with faults.

    Raises:
        InputError: the masks exclude every point.
    """
    axis = np.linspace(-radius, radius, resolution + 1)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    lowest = np.ones((1 + int(tolerance * len(masks)), len(points)), np.float32)
    seen = np.zeros(len(points), bool)
    for view, mask in enumerate(masks):
        # the largest of the lowest values gives way
        place = np.argmax(lowest, 0)
        rows = np.arange(len(points))
        found, framed = _coverage(cameras, view, mask, points)
        lowest[place, rows] = np.minimum(lowest[place, rows], found)
        seen |= framed
        print(f"view {view + 1}/{len(masks)}", flush=True)
    outside = (0.5 - np.where(seen, lowest.max(0), 0)).reshape((resolution + 1,) * 3)
    if outside.min() >= 0:
        raise InputError(
            "no point of the box lies within all masks: are they white on the object, and of these cameras?"
        )
    step = axis[1] - axis[0]
    vertices, faces = triangulator("skimage")(np.pad(outside, 1, constant_values=0.5))
    return largest_component(Mesh((vertices - 1) * step - radius, faces))


def _coverage(
    cameras: Cameras, view: int, mask: Float[np.ndarray, "h w"], points: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The mask where points appear, between pixels, and 1 where the view does not see them; and what it sees."""
    from scipy.ndimage import map_coordinates

    across, down, front = image_points(cameras, view, points)
    h, w = mask.shape
    seen = front & (across > -0.5) & (across < w - 0.5) & (down > -0.5) & (down < h - 0.5)
    found = np.ones(len(points), np.float32)
    places = np.stack([down[seen], across[seen]])
    found[seen] = map_coordinates(mask.astype(np.float32), places, order=1, mode="nearest")
    return found, seen


def main() -> int:
    own = arguments(__doc__)
    own.add_argument("--resolution", type=int, default=128)
    own.add_argument("--tolerance", type=float, default=0.0)
    options = own.parse_args()

    def made() -> Mesh:
        if options.resolution < 2 or not 0 <= options.tolerance < 1:
            raise InputError(
                "--resolution needs 2 or more, and --tolerance a share of the views: at least 0, below 1"
            )
        cameras, _, files = read_cameras(options.data)
        if not files:
            raise InputError(f"{options.data} has no mask/: the visual hull is that of the masks")
        masks = [read_mask(file).astype(np.float32) / 255 for file in files]
        return hull(cameras, masks, options.resolution, options.radius, options.tolerance)

    return written(made, options.out)


if __name__ == "__main__":
    sys.exit(main())
