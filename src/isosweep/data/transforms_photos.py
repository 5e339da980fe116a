"""The photographs of transforms jsons: each entry with its image, lens and pose, in every dialect."""

import logging
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from jaxtyping import Float

from isosweep.data.capture import Photo
from isosweep.data.decode import read_size
from isosweep.data.image_files import ImageFinder
from isosweep.data.normalization import with_axes
from isosweep.data.numbers import short
from isosweep.data.problems import Problems
from isosweep.data.transforms import Entry, is_path, plain, read_pose, through_many
from isosweep.data.transforms_camera import Camera, CameraReader, disagreement
from isosweep.errors import InputError
from isosweep.geometry import opengl_to_opencv, similarity_scale

log = logging.getLogger("isosweep")


class Photos:
    """Makes `Photo`s of entries.

    Args:
        folder: the scene's folder, which paths are relative to.
        to_user: the similarity from the jsons' coordinates to those of the photographs' poses; None leaves
            the poses in the json's.
        axes: ``dataset.axes``.
        images: a folder that replaces images/ in file_paths, and with 'masks' for 'images' masks/ in mask_paths.
    """

    def __init__(
        self,
        folder: Path,
        to_user: Float[np.ndarray, "4 4"] | None = None,
        images: str | None = None,
        axes: str = "auto",
    ) -> None:
        self.folder, self.to_user, self.images, self.axes = folder, to_user, images, axes
        self._turn = None if to_user is None else to_user[:3, :3] / similarity_scale(to_user)
        self._finder = ImageFinder()

    def make(self, entries: Sequence[Entry], names: Sequence[str]) -> list[Photo]:
        """The photographs of some entries.

        Raises:
            FileNotFoundError: the size of a camera is not given, and its image is missing.
            InputError: poses, cameras or paths cannot be used; the message has all that is wrong.
        """
        cameras, poses = self._read(entries)
        problems, warned, photos = Problems(), set(), []
        rows = list(zip(entries, names, cameras, poses, strict=True))
        for entry, name, camera, pose in through_many(rows, "finding images"):
            try:
                photos.append(self._photo(entry, name, camera, pose))
            except InputError as error:
                # what is wrong with the json's own camera is wrong with that of each frame
                problems.add(str(error), about=str(error).replace(entry.given, ""))
                continue
            lens = photos[-1].lens
            if entry.file not in warned and (text := disagreement(entry, lens.width, lens.height)):
                log.warning("%s", text)
                warned.add(entry.file)
        problems.check()
        return photos

    def _photo(self, entry: Entry, name: str, camera: Camera, pose: np.ndarray) -> Photo:
        if not Path(entry.path).name:
            raise InputError(f"{entry.file}: file_path {entry.given!r} names no file: export it again")
        image = self.image(entry)
        _refuse_rays(entry, image)
        width, height = (0, 0) if camera.has_size else self._size(entry, image)
        return Photo(name, image, camera.lens(width, height), pose, None, entry.file)

    def without_images(
        self, entries: Sequence[Entry], names: Sequence[str], width: int, height: int
    ) -> list[Photo]:
        """As `make`, for entries whose images are not there.

        Args:
            width, height: the size of images where the json gives none.
        """
        cameras, poses = self._read(entries)
        return [
            Photo(name, self.image(entry), camera.lens(width, height), pose, None, entry.file)
            for entry, name, camera, pose in zip(entries, names, cameras, poses, strict=True)
        ]

    def image(self, entry: Entry) -> Path:
        """The image file of an entry; where there is none, the path that was sought."""
        return self._file(entry.given, self.images)

    def _read(self, entries: Sequence[Entry]) -> tuple[list[Camera], list[np.ndarray]]:
        problems = Problems()
        reader = CameraReader(problems)
        read = [
            (reader.read(entry), self._pose(entry, problems))
            for entry in through_many(entries, "reading cameras")
        ]
        problems.check()
        return [camera for camera, _ in read], [pose for _, pose in read]

    def _pose(self, entry: Entry, problems: Problems) -> np.ndarray:
        """OpenCV camera-to-world [3, 4] in the user's coordinates."""
        pose, to_user = with_axes(opengl_to_opencv(read_pose(entry, problems)), self.axes), self.to_user
        if to_user is None or self._turn is None:
            return pose
        return np.concatenate([self._turn @ pose[:, :3], to_user[:3, :3] @ pose[:, 3:] + to_user[:3, 3:]], 1)

    def _size(self, entry: Entry, image: Path) -> tuple[int, int]:
        """The size of the image that the json names: lengths in pixels are its, not those of a smaller one."""
        original = self._file(entry.given, None)
        path = original if original.is_file() else image
        width, height, turned = read_size(path, entry.file)
        if turned != 1:
            raise InputError(
                f"{path} is stored turned (EXIF orientation {turned}), so its pixel grid is ambiguous, and "
                f"{entry.file} gives no w and h that would tell: add them, or write the pixels upright, as the camera "
                "poses mean them, and drop the tag (exiftool -Orientation= keeps the pixels, mogrify -auto-orient "
                "turns them)"
            )
        return width, height

    def mask(self, entry: Entry, as_written: bool = False) -> Path | None:
        """The file that an entry's mask_path means; None without one.

        Args:
            as_written: whether the path stays as it stands in the json; else it is sought, as images are.

        Raises:
            InputError: mask_path is no path.
        """
        given = entry.frame.get("mask_path")
        if given is None:
            return None
        if not isinstance(given, str) or not is_path(given):
            raise InputError(f"{entry.file}: mask_path of {entry.given} is no path: {short(given)}")
        if as_written:
            return self.folder / plain(given)
        return self._file(given, self.images and self.images.replace("images", "masks"), "masks")

    def _file(self, given: str, instead: str | None, usual: str = "images") -> Path:
        """The file that a path of the json means; ``instead`` replaces the folder ``usual`` at its beginning."""
        path = plain(given)
        if instead is not None:
            path = f"{instead}/{path.removeprefix(f'{usual}/')}"
        return self._finder.find(self.folder / path)


def split_off_bare(entries: Sequence[Entry], photos: Photos) -> tuple[list[Entry], list[Entry]]:
    """Entries with images, and those of validation and test lists of which no image is there: cameras only.

    BlenderNeRF writes transforms_test.json without rendering its views, and ScanNet++ keeps the images of its benchmark
    back. A warning names the list.
    """
    with_images: list[Entry] = []
    bare: list[Entry] = []
    for place, group in groupby(entries, lambda e: e.place):
        some = list(group)
        if some[0].split not in ("val", "test") or any(photos.image(e).is_file() for e in some):
            with_images += some
            continue
        log.warning(
            "%s lists %d views, and none of their images is there (%s ...): they are cameras only, rendered and not "
            "scored. The other views are trained on. To have these scored, put their images where the json says; to "
            "have them left out, %s",
            place,
            len(some),
            photos.image(some[0]),
            "move the json away" if some[0].listed_as == "frames" else "remove that list",
        )
        bare += some
    return with_images, bare


def _refuse_rays(entry: Entry, image: Path) -> None:
    """Refuse the file beside an image that gives Instant-NGP the ray of each pixel."""
    rays = image.with_name(f"rays_{image.stem}.dat")
    if rays.is_file() and entry.meta.get("enable_ray_loading") is not False:
        raise InputError(
            f"{rays} gives the rays of {image.name} pixel by pixel (Instant-NGP), and cameras here are pin-holes: set "
            f"enable_ray_loading to false in {entry.file} if the json's cameras are good enough, or resample the images"
        )
