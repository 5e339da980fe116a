"""Structure from motion with pycolmap on the CPU: features and matches. mapper.py finds the poses from them.

We write cameras and images to COLMAP's database ourselves, in the order of their names. COLMAP then never
reads an EXIF, and the ids of the images do not depend on which thread finishes first.
A focal length is given as a ratio: pixels divided by the longer side of the image.
"""

import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from isosweep.errors import InputError, MissingLibraryError
from isosweep.prepare.focal import Group

DEFAULT_RATIO = 1.2
"""The ratio of an unknown focal length, COLMAP's own default."""
UPSAMPLE_BELOW = 1000
"""If the longer side has at most this many pixels, features are also taken from the image at twice its size."""
IMAGES_PER_CALL = 8
PAIRS_PER_CALL = 400
"""COLMAP gets images and pairs in portions, so that the progress can be shown between the calls."""


def import_pycolmap() -> Any:
    """Import pycolmap, without its log lines on stderr.

    Raises:
        ImportError: pycolmap is not installed.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        import pycolmap
    except ImportError as error:
        raise MissingLibraryError(
            "poses are found with pycolmap, which is not installed: pip install pycolmap, or "
            "run it by bash scripts/with_env.sh, which installs it"
        ) from error
    pycolmap.logging.minloglevel = pycolmap.logging.FATAL.value
    if threading.current_thread() is threading.main_thread() and before is not None:
        # importing pycolmap makes SIGTERM print a page of C++ stack
        signal.signal(signal.SIGTERM, before)
    return pycolmap


@contextmanager
def explained_errors(database: Path) -> Iterator[None]:
    """Turn COLMAP's own errors inside the block into a ValueError that says what to do."""
    try:
        yield
    except RuntimeError as error:
        lines = str(error).strip().splitlines()
        raise InputError(
            f"COLMAP failed on {database}: {lines[0] if lines else 'no reason given'}. If it was cut off or copied "
            f"in part, delete {database.parent}: the same command then makes features and matches again"
        ) from error


def extract_features(
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
    """Add the SIFT features of every image to the database. Images that have features already are left alone.

    Args:
        database: file that is created if it does not exist.
        names: file names inside ``images``.
        groups: which images share a camera; members are indices into ``names``.
        lens: COLMAP's camera model, in any case.
        most: the most features of an image.
        masks: folder with a mask <image name>.png for each image; no feature is taken where it is 0. None for
            features everywhere.
        tick: called with the number of images that were finished.

    Returns:
        The number of features of each image, in the order of ``names``.
    """
    colmap = import_pycolmap()
    if not database.is_file():
        _create_database(colmap, database, images, names, groups, lens, masks)
    options = colmap.FeatureExtractionOptions()
    options.num_threads, options.use_gpu = threads, False
    options.sift.max_num_features = most
    with colmap.Database.open(database) as base:
        of_camera: dict[int, list[str]] = {}
        for image in sorted(base.read_all_images(), key=lambda i: i.name):
            of_camera.setdefault(image.camera_id, []).append(image.name)
        longest = {c.camera_id: max(c.width, c.height) for c in base.read_all_cameras()}
    for camera, members in sorted(of_camera.items()):
        options.sift.first_octave = -1 if longest[camera] <= UPSAMPLE_BELOW else 0
        options.max_image_size = max(longest[camera], 1)
        for start in range(0, len(members), IMAGES_PER_CALL):
            batch = members[start : start + IMAGES_PER_CALL]
            reader = _reader(colmap, lens, camera, masks)
            colmap.extract_features(
                database, images, batch, colmap.CameraMode.SINGLE, reader, options, colmap.Device.cpu
            )
            tick(len(batch))
    with colmap.Database.open(database) as base:
        ids = {i.name: i.image_id for i in base.read_all_images()}
        return [base.num_keypoints_for_image(ids[n]) if n in ids else 0 for n in names]


def _create_database(
    colmap: Any,
    database: Path,
    images: Path,
    names: list[str],
    groups: list[Group],
    lens: str,
    masks: Path | None,
) -> None:
    """Create the database with all cameras and images, but without features. It gets its name when it is complete."""
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
    # in WAL mode a database keeps its last pages in a second file, which the renaming would leave behind
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
        0, lens.upper(), DEFAULT_RATIO * longer if focal is None else focal, group.width, group.height
    )
    camera.has_prior_focal_length = focal is not None
    return camera


def match_pairs(
    database: Path,
    names: list[str],
    wanted: list[tuple[int, int]],
    seed: int,
    tick: Callable[[int], None],
    least: int | None = None,
) -> list[tuple[int, int, int]]:
    """Match and verify the pairs that the database does not hold yet.

    Args:
        names: file names of the images, of which ``wanted`` holds pairs of indices.
        tick: called with the number of pairs that were finished.
        least: inliers of a pair that count; None takes COLMAP's own number.

    Returns:
        (i, j, number of inliers), i < j, of each pair that the epipolar geometry confirms, in sorted order.
    """
    colmap = import_pycolmap()
    matching = colmap.FeatureMatchingOptions()
    # with several threads, COLMAP 4.2's CPU matcher does not always give the same result: in one run of four with two
    # threads, up to 15 of 820 pairs had other matches or none
    matching.num_threads, matching.use_gpu = 1, False
    verification = colmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = seed
    if least is not None:
        verification.min_num_inliers = least
    pairing = colmap.ImportedPairingOptions()
    pairing.match_list_path = database.with_name("pairs.txt")
    for start in range(0, len(wanted), PAIRS_PER_CALL):
        batch = wanted[start : start + PAIRS_PER_CALL]
        pairing.match_list_path.write_text("".join(f"{names[i]} {names[j]}\n" for i, j in batch))
        colmap.match_image_pairs(database, matching, pairing, verification, colmap.Device.cpu)
        tick(len(batch))
    with colmap.Database.open(database) as base:
        index = {image.image_id: names.index(image.name) for image in base.read_all_images()}
        ids, counts = base.read_two_view_geometry_num_inliers()
    found = []
    for ident, count in zip(ids, counts, strict=True):
        a, b = (index[i] for i in colmap.pair_id_to_image_pair(ident))
        if count > 0:
            found.append((min(a, b), max(a, b), int(count)))
    return sorted(found)
