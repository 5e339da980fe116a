"""Finds the image that a data set means by a path: paths may lack their ending, or have another than the file."""

from pathlib import Path
from typing import final

from isosweep.errors import InputError

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".exr")
"""Endings of image files, in any case."""


@final
class ImageFinder:
    """Finds images by path. Folders are listed once, so it is made anew for each load."""

    def __init__(self) -> None:
        self._listings: dict[Path, dict[str, list[str]]] = {}

    def find(self, path: Path) -> Path:
        """The image file that ``path`` means. Where there is none, the path that was sought: opening it tells so.

        In this order: the file itself; for a path without an image's ending the same with .png, as NeRF's data sets
        mean it; the only image whose name is that of ``path`` with another ending. Upper and lower case of names
        count only where the folder has both.

        Raises:
            InputError: several images have such a name.
        """
        if path.is_file() or not path.name:
            return path
        bare = path.suffix.lower() not in ENDINGS
        usual = path.with_name(path.name + ".png") if bare else path
        if bare and usual.is_file():
            return usual
        # 'frame.0001' is a whole name, 'frame.exr' is a name with an ending
        names = [path.name]
        if not bare or any(c.isalpha() for c in path.suffix):
            names.append(path.stem)
        for name in names:
            found = self._named(path.parent, name)
            if len(found) > 1:
                raise InputError(
                    f"{path} is not there, and {' and '.join(p.name for p in found)} both may be it: remove all but "
                    "one of them, or write the ending into the json"
                )
            if found:
                return found[0]
        return usual

    def _named(self, folder: Path, stem: str) -> list[Path]:
        """The images of a folder with this name and any ending."""
        if folder not in self._listings:
            listing: dict[str, list[str]] = {}
            for file in sorted(folder.iterdir()) if folder.is_dir() else ():
                if file.suffix.lower() in ENDINGS:
                    listing.setdefault(file.stem.casefold(), []).append(file.name)
            self._listings[folder] = listing
        names = self._listings[folder].get(stem.casefold(), [])
        exact = [name for name in names if Path(name).stem == stem]
        return [folder / name for name in exact or names if (folder / name).is_file()]
