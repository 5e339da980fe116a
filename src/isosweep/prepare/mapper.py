"""Poses with COLMAP's incremental mapper, in attempts that start from different focal lengths; seeded.

A focal length is given as a ratio: pixels divided by the longer side of the image.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from isosweep.prepare.focal import Group
from isosweep.prepare.sfm import DEFAULT_RATIO, import_pycolmap

FURTHER_RATIOS = (0.8, 2.0, 3.5)
"""Ratios that are tried for lenses that the mapper does not find from the default."""
ENOUGH_REGISTERED = 0.9
"""If an attempt registers this share of the images, no further ratio is tried."""


@dataclass(frozen=True)
class InitialCameras:
    """The cameras that one attempt of the mapper starts from."""

    description: str
    """For the log."""
    ratio: float | None = None
    """The focal length of every camera if ``ignore_exif``; None for the default."""
    ignore_exif: bool = False
    """Replace the cameras that hold the EXIF's focal lengths."""
    estimate: bool = False
    """Estimate focal lengths that no EXIF states from the matches (COLMAP's view graph calibration)."""
    cameras: dict[int, Any] = field(default_factory=dict)
    """Camera id -> camera of an earlier attempt, with its distortion."""


@dataclass
class SfmAttempt:
    """The result of one run of the mapper."""

    start: str
    """Description of the cameras that it started from."""
    model: Any = None
    """pycolmap.Reconstruction; None if nothing was registered."""
    registered: int = 0
    """Number of images with a pose."""
    error: float = float("inf")
    """Mean reprojection error in pixels."""
    others: list[int] = field(default_factory=list)
    """Numbers of images in further models, which could not be joined with this one."""

    def rank(self) -> tuple[int, float]:
        """Sort key: more images are better, then a smaller error."""
        return self.registered, -self.error

    def __str__(self) -> str:
        rest = f", further models of {', '.join(map(str, self.others))} images" if self.others else ""
        if not self.registered:
            return f"{self.start}: nothing registered"
        return f"{self.start}: {self.registered} images, reprojection error {self.error:.2f} pixels{rest}"


def reconstruct(
    database: Path,
    images: Path,
    n: int,
    groups: list[Group],
    lens: str,
    threads: int,
    seed: int,
    report: Callable[[str], None],
    set_registered: Callable[[int], None],
) -> tuple[SfmAttempt, list[SfmAttempt]]:
    """Find poses in several attempts, which start from different focal lengths.

    The first attempt takes the focal lengths of the EXIF, if there are any. The next estimates them from the
    matches. The others try fixed ratios. They end with the first attempt that registers 90% of the images. If
    the best attempt misses some images, one more attempt starts from its cameras: weaker matches fit to
    cameras that are known well.

    Args:
        database: with features and matches. It is copied for each attempt and stays as it is.
        n: number of images.
        groups: which images share a camera, and what is known about its focal length.
        lens: COLMAP's camera model, in any case.
        report: called with a line about each attempt.
        set_registered: called with the number of images that the running attempt has registered so far.

    Returns:
        The attempt with the most registered images (of equals, the smallest reprojection error), and all attempts.
    """
    known = any(g.ratio is not None for g in groups)
    starts = [InitialCameras("focal lengths estimated from the matches", ignore_exif=known, estimate=True)]
    if known:
        others = "" if all(g.ratio is not None for g in groups) else ", the others estimated"
        starts.insert(0, InitialCameras(f"focal lengths as stated{others}", estimate=bool(others)))
    unknown = any(g.ratio is None for g in groups)
    starts += [
        InitialCameras(
            f"focal length {r:g} times the longer side", ratio=r, ignore_exif=True, estimate=unknown
        )
        for r in FURTHER_RATIOS
    ]
    attempts: list[SfmAttempt] = []

    def attempt(start: InitialCameras) -> None:
        copy = database.with_name(f"attempt-{len(attempts)}.db")
        # a killed attempt leaves SQLite's journal behind, which SQLite would apply to the new copy
        _remove_database(copy)
        shutil.copyfile(database, copy)
        try:
            attempts.append(_run_mapper(copy, images, lens, threads, seed, start, set_registered))
        finally:
            _remove_database(copy)
        report(str(attempts[-1]))

    for start in starts:
        attempt(start)
        if attempts[-1].registered >= ENOUGH_REGISTERED * n:
            break
    best = max(attempts, key=SfmAttempt.rank)
    if 0 < best.registered < n:
        attempt(InitialCameras("cameras of the best attempt", cameras=dict(best.model.cameras)))
    return max(attempts, key=SfmAttempt.rank), attempts


def _remove_database(database: Path) -> None:
    """Remove a database and the journal files beside it."""
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()


def _run_mapper(
    database: Path,
    images: Path,
    lens: str,
    threads: int,
    seed: int,
    start: InitialCameras,
    set_registered: Callable[[int], None],
) -> SfmAttempt:
    """Run COLMAP's incremental mapper once; changes the cameras in ``database``."""
    colmap = import_pycolmap()
    colmap.set_random_seed(seed)
    with colmap.Database.open(database) as base:
        for old in base.read_all_cameras() if start.ignore_exif else []:
            guess = (DEFAULT_RATIO if start.ratio is None else start.ratio) * max(old.width, old.height)
            new = colmap.Camera.create_from_model_name(
                old.camera_id, lens.upper(), guess, old.width, old.height
            )
            base.update_camera(new)
        for camera in start.cameras.values():
            base.update_camera(camera)
    if start.estimate:
        calibration = colmap.ViewGraphCalibrationOptions()
        calibration.random_seed = seed
        colmap.calibrate_view_graph(database, calibration)
    options = colmap.IncrementalPipelineOptions()
    options.num_threads, options.random_seed = threads, seed
    options.min_model_size = 3
    folder = database.with_suffix(".models")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    count = 0

    def pair_registered() -> None:
        # each model begins with a pair
        nonlocal count
        count = 2
        set_registered(count)

    def image_registered() -> None:
        nonlocal count
        count += 1
        set_registered(count)

    try:
        found = colmap.incremental_mapping(
            database, images, folder, options,
            initial_image_pair_callback=pair_registered, next_image_callback=image_registered,
        )  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    models = sorted(found.values(), key=lambda m: m.num_reg_images(), reverse=True)
    if not models:
        return SfmAttempt(start.description)
    best = models[0]
    return SfmAttempt(
        start.description,
        best,
        best.num_reg_images(),
        float(best.compute_mean_reprojection_error()),
        [m.num_reg_images() for m in models[1:]],
    )


def describe_cameras(model: Any) -> list[str]:
    """A line about each camera of a pycolmap.Reconstruction: views, size, focal length, distortion."""
    lines = []
    for ident, camera in sorted(model.cameras.items()):
        views = sum(i.camera_id == ident for i in model.images.values() if i.has_pose)
        ratio = camera.mean_focal_length() / max(camera.width, camera.height)
        rest = [f"{v:.4g}" for v in np.asarray(camera.params)[list(camera.extra_params_idxs())]]
        distortion = f", distortion {' '.join(rest)}" if rest else ""
        lines.append(
            f"camera {ident}: {views} views of {camera.width}x{camera.height}, focal length "
            f"{camera.mean_focal_length():.1f} pixels ({ratio:.2f} times the longer side){distortion}"
        )
    return lines
