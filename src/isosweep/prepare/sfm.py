"""Features, matches and poses with pycolmap on the CPU, seeded.

Images and cameras are written to the database by us, in order of their names: COLMAP then never reads
an EXIF, and image ids do not depend on which thread was first.
"""

import logging
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from isosweep.prepare.focal import Group

log = logging.getLogger("isosweep")
GUESS = 1.2
"""Focal length over the longer side where nothing is known, as COLMAP takes it."""
LADDER = (0.8, 2.0, 3.5)
"""Further guesses for lenses that the first does not reach."""
ENOUGH = 0.9
"""Share of images registered at which no other attempt is made."""
UPSAMPLED = 1000
"""Longer side up to which features are also taken from the image at twice its size."""
BATCH = 8
PAIRS_A_BATCH = 400


def library() -> Any:
    """pycolmap, silent.

    Raises:
        ImportError: it is not installed; says how to get it.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        import pycolmap
    except ImportError as error:
        raise ImportError(
            "poses are found with pycolmap, which is not installed: pip install pycolmap, or "
            "run it by bash scripts/with_env.sh, which installs it"
        ) from error
    pycolmap.logging.minloglevel = pycolmap.logging.FATAL.value
    if threading.current_thread() is threading.main_thread() and before is not None:
        # its import has SIGTERM print a page of C++ stack
        signal.signal(signal.SIGTERM, before)
    return pycolmap


@contextmanager
def speaking(database: Path) -> Iterator[None]:
    """COLMAP's own failures as a ValueError that says what to do."""
    try:
        yield
    except RuntimeError as error:
        said = str(error).strip().splitlines()
        raise ValueError(
            f"COLMAP failed on {database}: {said[0] if said else 'no reason given'}. If it was cut off or copied "
            f"in part, delete {database.parent}: the same command then makes features and matches again"
        ) from error


def features(
    database: Path,
    images: Path,
    names: list[str],
    groups: list[Group],
    lens: str,
    most: int,
    masks: Path | None,
    threads: int,
    tick: Callable[[int], None],
) -> list[int]:
    """SIFT features of every image into the database, which may hold some already; how many each has.

    Args:
        groups: members are indices into ``names``.
        masks: a folder with <image name>.png; no feature is taken where it is 0.
    """
    colmap = library()
    if not database.is_file():
        _begin(colmap, database, images, names, groups, lens, masks)
    options = colmap.FeatureExtractionOptions()
    options.num_threads, options.use_gpu = threads, False
    options.sift.max_num_features = most
    with colmap.Database.open(database) as base:
        of_camera: dict[int, list[str]] = {}
        for image in sorted(base.read_all_images(), key=lambda i: i.name):
            of_camera.setdefault(image.camera_id, []).append(image.name)
        longest = {c.camera_id: max(c.width, c.height) for c in base.read_all_cameras()}
    for camera, members in sorted(of_camera.items()):
        options.sift.first_octave = -1 if longest[camera] <= UPSAMPLED else 0
        options.max_image_size = max(longest[camera], 1)
        for start in range(0, len(members), BATCH):
            batch = members[start : start + BATCH]
            reader = _reader(colmap, lens, camera, masks)
            colmap.extract_features(
                database, images, batch, colmap.CameraMode.SINGLE, reader, options, colmap.Device.cpu
            )
            tick(len(batch))
    with colmap.Database.open(database) as base:
        ids = {i.name: i.image_id for i in base.read_all_images()}
        return [base.num_keypoints_for_image(ids[n]) if n in ids else 0 for n in names]


def _begin(
    colmap: Any,
    database: Path,
    images: Path,
    names: list[str],
    groups: list[Group],
    lens: str,
    masks: Path | None,
) -> None:
    """Cameras and images without features, in a new database that appears whole."""
    temporary = database.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    database.parent.mkdir(parents=True, exist_ok=True)
    with colmap.Database.open(temporary) as base:
        cameras = [base.write_camera(_camera(colmap, group, lens, group.focal)) for group in groups]
    for camera, group in zip(cameras, groups, strict=True):
        reader = _reader(colmap, lens, camera, masks)
        colmap.import_images(
            temporary, images, colmap.CameraMode.SINGLE, sorted(names[i] for i in group.members), reader
        )
    # a database in WAL mode keeps its last pages beside it
    with closing(sqlite3.connect(temporary)) as raw:
        raw.execute("PRAGMA journal_mode=DELETE")
    temporary.replace(database)


def _reader(colmap: Any, lens: str, camera: int, masks: Path | None) -> Any:
    reader = colmap.ImageReaderOptions()
    reader.camera_model = lens.upper()
    reader.existing_camera_id = camera
    if masks is not None:
        reader.mask_path = masks
    return reader


def _camera(colmap: Any, group: Group, lens: str, focal: float | None) -> Any:
    longer = max(group.width, group.height)
    camera = colmap.Camera.create_from_model_name(
        0, lens.upper(), GUESS * longer if focal is None else focal, group.width, group.height
    )
    camera.has_prior_focal_length = focal is not None
    return camera


def match(
    database: Path,
    names: list[str],
    wanted: list[tuple[int, int]],
    seed: int,
    tick: Callable[[int], None],
) -> list[tuple[int, int, int]]:
    """Match and verify pairs that the database lacks; (i, j, inliers) of those that fit together."""
    colmap = library()
    matching = colmap.FeatureMatchingOptions()
    # COLMAP 4.2's CPU matcher is no function of its input on several threads: in one run of four on two threads, up to
    # 15 of 820 pairs had other matches or none
    matching.num_threads, matching.use_gpu = 1, False
    verification = colmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = seed
    pairing = colmap.ImportedPairingOptions()
    pairing.match_list_path = database.with_name("pairs.txt")
    for start in range(0, len(wanted), PAIRS_A_BATCH):
        batch = wanted[start : start + PAIRS_A_BATCH]
        pairing.match_list_path.write_text("".join(f"{names[i]} {names[j]}\n" for i, j in batch))
        colmap.match_image_pairs(database, matching, pairing, verification, colmap.Device.cpu)
        tick(len(batch))
    with colmap.Database.open(database) as base:
        place = {image.image_id: names.index(image.name) for image in base.read_all_images()}
        ids, counts = base.read_two_view_geometry_num_inliers()
    found = []
    for ident, count in zip(ids, counts, strict=True):
        a, b = (place[i] for i in colmap.pair_id_to_image_pair(ident))
        if count > 0:
            found.append((min(a, b), max(a, b), int(count)))
    return sorted(found)


@dataclass(frozen=True)
class Start:
    """What a run of the mapper takes for the focal lengths."""

    words: str
    ratio: float | None = None
    """Of focal length to longer side, where nothing better is known."""
    forget: bool = False
    """Drop what the EXIF said."""
    estimate: bool = False
    """From the matches, where nothing is stated."""
    cameras: dict[int, Any] = field(default_factory=dict)
    """Cameras that an earlier attempt solved."""


@dataclass
class Attempt:
    """One run of the mapper."""

    start: str
    """What it took for the focal lengths."""
    model: Any = None
    registered: int = 0
    error: float = float("inf")
    others: list[int] = field(default_factory=list)
    """Sizes of further models, which share no image with this one that would join them."""

    def rank(self) -> tuple[int, float]:
        """Larger is better."""
        return self.registered, -self.error

    def __str__(self) -> str:
        rest = f", further models of {', '.join(map(str, self.others))} images" if self.others else ""
        if not self.registered:
            return f"{self.start}: nothing registered"
        return f"{self.start}: {self.registered} images, reprojection error {self.error:.2f} pixels{rest}"


def solve(
    database: Path,
    images: Path,
    n: int,
    groups: list[Group],
    lens: str,
    threads: int,
    seed: int,
    said: Callable[[str], None],
    registered: Callable[[int], None],
) -> tuple[Attempt, list[Attempt]]:
    """The model with the most images, of attempts that differ in the focal lengths they start from.

    First what the EXIF says, where it says something; then focal lengths estimated from the matches;
    then guesses. The first attempt that registers 90% ends it; where it misses some images, one more starts
    from the cameras that the best attempt solved, with which weaker matches fit, too.

    Args:
        registered: called with the number of images that the running attempt has.
    """
    known = any(g.ratio is not None for g in groups)
    starts = [Start("focal lengths estimated from the matches", forget=known, estimate=True)]
    if known:
        others = "" if all(g.ratio is not None for g in groups) else ", the others estimated"
        starts.insert(0, Start(f"focal lengths as stated{others}", estimate=bool(others)))
    unknown = any(g.ratio is None for g in groups)
    starts += [
        Start(f"focal length {r:g} times the longer side", ratio=r, forget=True, estimate=unknown)
        for r in LADDER
    ]
    attempts: list[Attempt] = []

    def attempt(start: Start) -> None:
        copy = database.with_name(f"attempt-{len(attempts)}.db")
        # a killed attempt leaves SQLite's journal behind, which belongs to another file than the new copy
        _remove(copy)
        shutil.copyfile(database, copy)
        try:
            attempts.append(_attempt(copy, images, lens, threads, seed, start, registered))
        finally:
            _remove(copy)
        said(str(attempts[-1]))

    for start in starts:
        attempt(start)
        if attempts[-1].registered >= ENOUGH * n:
            break
    best = max(attempts, key=Attempt.rank)
    if 0 < best.registered < n:
        attempt(Start("cameras of the best attempt", cameras=dict(best.model.cameras)))
    return max(attempts, key=Attempt.rank), attempts


def _remove(database: Path) -> None:
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()


def _attempt(
    database: Path,
    images: Path,
    lens: str,
    threads: int,
    seed: int,
    start: Start,
    registered: Callable[[int], None],
) -> Attempt:
    colmap = library()
    colmap.set_random_seed(seed)
    with colmap.Database.open(database) as base:
        for old in base.read_all_cameras() if start.forget else []:
            guess = (GUESS if start.ratio is None else start.ratio) * max(old.width, old.height)
            new = colmap.Camera.create_from_model_name(
                old.camera_id, lens.upper(), guess, old.width, old.height
            )
            base.update_camera(new)
        for solved in start.cameras.values():
            base.update_camera(solved)
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

    def one() -> None:
        nonlocal count
        count += 1
        registered(count)

    def first() -> None:
        nonlocal count
        count = 1
        one()

    try:
        found = colmap.incremental_mapping(
            database, images, folder, options, initial_image_pair_callback=first, next_image_callback=one
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    models = sorted(found.values(), key=lambda m: m.num_reg_images(), reverse=True)
    if not models:
        return Attempt(start.words)
    best = models[0]
    return Attempt(
        start.words,
        best,
        best.num_reg_images(),
        float(best.compute_mean_reprojection_error()),
        [m.num_reg_images() for m in models[1:]],
    )


def cameras_told(model: Any) -> list[str]:
    """Each camera in words."""
    lines = []
    for ident, camera in sorted(model.cameras.items()):
        views = sum(i.camera_id == ident for i in model.images.values() if i.has_pose)
        ratio = camera.mean_focal_length() / max(camera.width, camera.height)
        rest = [f"{v:.4g}" for v in np.asarray(camera.params)[list(camera.extra_params_idxs())]]
        told = f", distortion {' '.join(rest)}" if rest else ""
        lines.append(
            f"camera {ident}: {views} views of {camera.width}x{camera.height}, focal length "
            f"{camera.mean_focal_length():.1f} pixels ({ratio:.2f} times the longer side){told}"
        )
    return lines
