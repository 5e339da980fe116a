"""Coordinates of a method's mesh -> those of the cameras that were prepared for it (layout.py), by a 4x4 similarity.

==============  ===============================================================================================
``data``        the cameras' own: COLMAP's world, or that of a transforms.json (2DGS, PGSR, gsplat)
``neus``        normalised by cameras_sphere.npz: data = scale_mat_0 x
``nerfstudio``  of the dataparser, which turns, centres and scales: x = scale (transform data), by the file
                dataparser_transforms.json, which ``frame_file`` finds
``ngp``         Instant-NGP's, whose axes are (y, z, x) of the data's; its mesh files are scaled back already
``matrix``      ``collect.matrix``, or four rows of four numbers in the file (.npy, .json, .txt) of ``frame_file``
==============  ===============================================================================================
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from isosweep.config.method_settings import CollectSettings
from isosweep.data.arrays import MATRIX, read_npy, read_npz
from isosweep.errors import InputError
from isosweep.geometry import similarity_scale
from isosweep.runtime.text_file import read_json, read_matrix

NGP_AXES = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
"""Rows: where Instant-NGP's x, y and z lie among the data's axes."""

Matrix = Float[np.ndarray, "4 4"]


def mesh_to_data(settings: CollectSettings, data: Path, frame_file: Path | None) -> Matrix:
    """The similarity from the mesh's coordinates to the prepared cameras'.

    Args:
        data: the prepared folder.
        frame_file: the file that ``settings.frame_file`` has found.

    Raises:
        InputError: the frame needs a file that is not there or cannot be read, or it is no similarity.
    """
    matrix = np.eye(4)
    if settings.frame == "neus":
        found = read_npz(
            data / "cameras_sphere.npz", "the cameras", lambda name: name == "scale_mat_0", MATRIX
        )
        if not found:
            raise InputError(f"{data / 'cameras_sphere.npz'} has no scale_mat_0")
        matrix = _matrix(found["scale_mat_0"], data / "cameras_sphere.npz")
    elif settings.frame == "nerfstudio":
        matrix = _nerfstudio(_needed(settings, frame_file))
    elif settings.frame == "ngp":
        matrix[:3, :3] = NGP_AXES.T
    elif settings.frame == "matrix":
        matrix = _matrix(settings.matrix if frame_file is None else _read(frame_file), frame_file)
    try:
        similarity_scale(matrix)
    except ValueError as error:
        where = "" if frame_file is None else f" ({frame_file})"
        raise InputError(f"method.collect.frame={settings.frame}{where}: {error}") from error
    return matrix


def _nerfstudio(file: Path) -> Matrix:
    told = _read(file)
    try:
        transform = np.vstack([np.asarray(told["transform"], dtype=np.float64).reshape(3, 4), [0, 0, 0, 1]])
        transform[:3] *= float(told["scale"])
        return np.linalg.inv(transform)
    except (KeyError, TypeError, ValueError, OverflowError, np.linalg.LinAlgError) as error:
        raise InputError(
            f"{file} has no 3x4 `transform` that can be inverted and no `scale`: is it nerfstudio's ({error})?"
        ) from error


def _needed(settings: CollectSettings, file: Path | None) -> Path:
    if file is None:
        raise InputError(
            f"method.collect.frame={settings.frame} is read from a file, and none fits method.collect.frame_file="
            f"{settings.frame_file}"
        )
    return file


def _matrix(value: Any, file: Path | None) -> Matrix:
    try:
        matrix = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        where = "method.collect.matrix" if file is None else str(file)
        raise InputError(f"{where} has no matrix of numbers ({error}): give four rows of four") from error
    if matrix.shape == (3, 4):
        matrix = np.vstack([matrix, [0, 0, 0, 1]])
    if matrix.shape != (4, 4):
        where = "method.collect.matrix" if file is None else str(file)
        raise InputError(f"{where} has the shape {matrix.shape}: give four rows of four numbers")
    return matrix


def _read(file: Path) -> Any:
    try:
        if file.suffix == ".npy":
            return read_npy(file, "the frame of the mesh", MATRIX)
        if file.suffix == ".json":
            return read_json(file, "the frame of the mesh")
        return read_matrix(file, "the frame of the mesh")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {file}, which says the frame of the mesh: {error}") from error
