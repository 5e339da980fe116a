"""Marching cubes of one block of values by name (``export.marching_cubes``): scikit-image, PyMCubes or Open3D.

The packages differ in ambiguous cells and in how many triangles they make, not in where the surface crosses an edge:
marching_cubes.py computes that itself, whichever of them is used.
"""

import importlib.util
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from isosweep.errors import InputError

Triangles = tuple[Float[np.ndarray, "n 3"], Int[np.ndarray, "f 3"]]
Triangulator = Callable[[Float[np.ndarray, "x y z"]], Triangles]
"""Values -> vertices, in cells from the first node, and faces whose normals point to higher values."""


def _skimage(values: Float[np.ndarray, "x y z"]) -> Triangles:
    """Lewiner et al. 2003, whose surface has no holes; it may put a vertex inside a cell."""
    from skimage.measure import marching_cubes

    vertices, faces, _, _ = marching_cubes(values, 0.0, gradient_direction="descent")
    return vertices, faces


def _mcubes(values: Float[np.ndarray, "x y z"]) -> Triangles:
    """Lorensen and Cline 1987 by a table of 256 cases. Its faces turn the other way round."""
    mcubes = importlib.import_module("mcubes")
    vertices, faces = mcubes.marching_cubes(values, 0.0)
    return vertices, faces[:, ::-1].astype(np.int64)


def _open3d(values: Float[np.ndarray, "x y z"]) -> Triangles:
    """VTK's flying edges. Its vertices are (z, y, x); turned to (x, y, z), its faces turn the right way round."""
    o3d = importlib.import_module("open3d")
    mesh = o3d.t.geometry.TriangleMesh.create_isosurfaces(
        o3d.core.Tensor(np.ascontiguousarray(values)), [0.0]
    )
    return mesh.vertex.positions.numpy()[:, ::-1], mesh.triangle.indices.numpy().astype(np.int64)


TRIANGULATORS: dict[str, tuple[Triangulator, str, str]] = {
    "skimage": (_skimage, "skimage", "scikit-image"),
    "mcubes": (_mcubes, "mcubes", "PyMCubes"),
    "open3d": (_open3d, "open3d", "open3d"),
}
"""Name -> the function, the module that it imports, and the package that has it."""


def triangulator(name: str) -> Triangulator:
    """The function with this name.

    Raises:
        InputError: there is no such name, or its package is not installed.
    """
    if name not in TRIANGULATORS:
        raise InputError(f"export.marching_cubes is one of {', '.join(TRIANGULATORS)}, found {name!r}")
    function, module, package = TRIANGULATORS[name]
    require_package(module, package, f"export.marching_cubes={name}", "skimage needs no other package")
    return function


def require_package(module: str, package: str, option: str, otherwise: str) -> None:
    """Check that an optional package is installed.

    Args:
        option: what needs it, as it is written on the command line.
        otherwise: what to do without it.

    Raises:
        InputError: it is not.
    """
    if importlib.util.find_spec(module) is None:
        raise InputError(
            f"{option} needs {package}, which is not installed: pip install {package}; {otherwise}"
        )
