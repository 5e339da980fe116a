"""Points of photographs whose cameras are known: features are matched, and seen from the given poses, which do not
move."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from isosweep.errors import InputError
from isosweep.prepare import sfm, writers
from isosweep.prepare.focal import Group
from isosweep.prepare.image_io import read_rgb
from isosweep.prepare.reconstruction import Reconstruction

FEATURES = 8192
"""The most features of an image."""
LARGE = 400
"""Smaller images are enlarged to about so many pixels first: fewer features would be found in them."""
LEAST = 6
"""Matches of two images that count. COLMAP asks for more, to find their poses; these are known, and judge each
point."""
LENS = "PINHOLE"
"""Of the database alone, which judges matches by it; points are seen through the given cameras."""


def triangulate(
    images: Path,
    recon: Reconstruction,
    work: Path,
    threads: int = 1,
    seed: int = 0,
    tick: Callable[[str, int], None] = lambda what, n: None,
) -> Reconstruction:
    """The same cameras with points that they see.

    Args:
        images: folder of the images, whose names are those of ``recon``.
        work: folder for features, matches and the model, which is made.
        tick: called with what was done, 'features' or 'matches', and how many.

    Raises:
        MissingLibraryError: pycolmap is not installed.
        InputError: no two images have enough features in common.
    """
    colmap = sfm.import_pycolmap()
    names = list(recon.names)
    database = work / "database.db"
    work.mkdir(parents=True, exist_ok=True)
    factor = max(1, LARGE // int(recon.hw.max()))
    if factor > 1:
        images = _enlarged(images, names, factor, work / "enlarged")
    given, recon = (
        recon,
        replace(recon, K=recon.K * np.array([[factor], [factor], [1]]), hw=recon.hw * factor),
    )
    with sfm.explained_errors(database):
        sfm.extract_features(
            database,
            images,
            names,
            _groups(recon),
            LENS,
            FEATURES,
            None,
            threads,
            lambda n: tick("features", n),
        )
        pairs = list(combinations(range(len(names)), 2))
        sfm.match_pairs(database, names, pairs, seed, lambda n: tick("matches", n), LEAST)
        bare = replace(recon, xyz=np.zeros((0, 3)), rgb=np.zeros((0, 3), np.uint8), error=np.zeros(0))
        bare = replace(
            bare, seen_view=np.zeros(0, int), seen_point=np.zeros(0, int), seen_xy=np.zeros((0, 2))
        )
        writers.write_colmap(work, bare, np.eye(4), False, 0, 1, lambda: None)
        options = colmap.IncrementalPipelineOptions()
        options.num_threads, options.random_seed = threads, seed
        options.min_num_matches = LEAST
        options.triangulation.ignore_two_view_tracks = False  # the poses are known, so two views do
        found = colmap.triangulate_points(
            colmap.Reconstruction(work / "sparse" / "0"), database, images, work, options=options
        )
    made = _with_points(given, found, factor)
    if not len(made.xyz):
        raise InputError(
            f"no point could be triangulated: the {len(names)} images have too few features in common. Take larger "
            "images (dataset.downscale), or a method that needs no points"
        )
    return made


def _enlarged(images: Path, names: list[str], factor: int, out: Path) -> Path:
    """The folder with the images at ``factor`` times their size. A pixel's place (0.5, 0.5) grows with it."""
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        image = read_rgb(images / name)
        image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC).save(out / name)
    return out


def _groups(recon: Reconstruction) -> list[Group]:
    groups = []
    for camera in np.unique(recon.camera):
        members = np.flatnonzero(recon.camera == camera)
        h, w = recon.hw[members[0]].tolist()
        focal = float(recon.K[members[0], 0, 0])
        groups.append(Group(width=w, height=h, ratio=focal / max(w, h), members=tuple(members.tolist())))
    return groups


def _with_points(recon: Reconstruction, found: object, factor: int) -> Reconstruction:
    """The points and observations of COLMAP's reconstruction, in the order of its ids, with views by their names.

    Pixels and errors are those of images without the enlargement by ``factor``.
    """
    view_of = {name: view for view, name in enumerate(recon.names)}
    images = found.images  # pyright: ignore[reportAttributeAccessIssue]
    points = sorted(found.points3D.items())  # pyright: ignore[reportAttributeAccessIssue]
    view, point, xy = [], [], []
    for place, (_, one) in enumerate(points):
        for element in one.track.elements:
            image = images[element.image_id]
            view.append(view_of[image.name])
            point.append(place)
            xy.append(image.points2D[element.point2D_idx].xy)
    return replace(
        recon,
        xyz=np.array([one.xyz for _, one in points]).reshape(-1, 3),
        rgb=np.array([one.color for _, one in points], np.uint8).reshape(-1, 3),
        error=np.array([one.error for _, one in points]) / factor,
        seen_view=np.array(view, int),
        seen_point=np.array(point, int),
        seen_xy=np.array(xy).reshape(-1, 2) / factor,
    )
