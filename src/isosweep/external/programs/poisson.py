"""A Poisson surface through triangulated points (Kazhdan and Hoppe 2013), by Open3D. It learns nothing.

    python -m isosweep.external.programs.poisson --data <COLMAP layout> --out <folder>

Normals are those of planes through neighbouring points, on the side of the nearest camera. Where there are few points
the surface is a guess, so what has the least density is cut off. It writes mesh.ply in the world of the cameras.
"""

import importlib
import sys
from typing import Any

import numpy as np
from jaxtyping import Float

from isosweep.data.colmap_model import read_model
from isosweep.errors import InputError
from isosweep.external.programs.command_line import arguments, written
from isosweep.meshes.topology import with_faces
from isosweep.meshes.triangulators import require_package
from isosweep.types import Mesh

LEAST = 50
"""Points below which no surface is made."""


def surface(
    points: Float[np.ndarray, "n 3"],
    eyes: Float[np.ndarray, "v 3"],
    depth: int,
    neighbours: int,
    trim: float,
    radius: float,
) -> Mesh:
    """The surface through the points that lie in the box [-radius, radius]^3.

    Args:
        eyes: centres of the cameras.
        depth: of the octree: the finest cells are 2^-depth of its side.
        neighbours: points of a plane, and of the distances that tell stray points.
        trim: share of the vertices that is cut off, those of the least density.

    Raises:
        MissingLibraryError: Open3D is not installed.
        InputError: there are too few points.
    """
    from scipy.spatial import KDTree

    require_package("open3d", "open3d", "method=poisson", "method=visual-hull needs masks and no package")
    o3d = importlib.import_module("open3d")
    points = points[(np.abs(points) <= radius).all(1)]
    if len(points) < LEAST:
        raise InputError(
            f"{len(points)} points lie in the scene's box, and a surface needs {LEAST}: take larger images "
            "(dataset.downscale), or a method that needs no points"
        )
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
    cloud, _ = cloud.remove_statistical_outlier(nb_neighbors=neighbours, std_ratio=2.0)
    cloud.estimate_normals(o3d.geometry.KDTreeSearchParamKNN(neighbours))
    kept, normals = np.asarray(cloud.points), np.asarray(cloud.normals)
    to_eye = eyes[KDTree(eyes).query(kept)[1]] - kept
    facing = np.where((normals * to_eye).sum(1, keepdims=True) < 0, -1.0, 1.0)
    cloud.normals = o3d.utility.Vector3dVector(normals * facing)
    made, density = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=depth, n_threads=1)
    return _trimmed(made, np.asarray(density), trim, radius)


def _trimmed(made: Any, density: np.ndarray, trim: float, radius: float) -> Mesh:
    vertices, faces = np.asarray(made.vertices), np.asarray(made.triangles)
    keep = (density >= np.quantile(density, trim)) & (np.abs(vertices) <= radius).all(1)
    mesh = with_faces(Mesh(vertices, faces), keep[faces].all(1))
    if not len(mesh.faces):
        raise InputError("nothing of the surface lies in the scene's box: lower --trim")
    return mesh


def main() -> int:
    own = arguments(__doc__)
    own.add_argument("--depth", type=int, default=8)
    own.add_argument("--neighbours", type=int, default=20)
    own.add_argument("--trim", type=float, default=0.05)
    options = own.parse_args()

    def made() -> Mesh:
        model = read_model(options.data / "sparse" / "0")
        eyes = np.array([-one.w2c[:, :3].T @ one.w2c[:, 3] for one in model.images])
        print(f"{len(model.points.xyz)} points of {len(eyes)} views", flush=True)
        mesh = surface(
            model.points.xyz, eyes, options.depth, options.neighbours, options.trim, options.radius
        )
        print("step 1/1")
        return mesh

    return written(made, options.out)


if __name__ == "__main__":
    sys.exit(main())
