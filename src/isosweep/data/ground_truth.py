"""The file of a ground-truth surface that a user names."""

from pathlib import Path

from isosweep.errors import InputError


def ground_truth(truth: str | None) -> Path | None:
    """The file of a ground-truth surface.

    Raises:
        FileNotFoundError: it is missing.
        InputError: it is no ply.
    """
    if truth is None:
        return None
    file = Path(truth)
    if not file.is_file():
        raise FileNotFoundError(f"no ground truth at {file} (dataset.truth): give a ply, or null")
    if file.suffix.lower() != ".ply":
        raise InputError(f"dataset.truth={file} is no ply: convert it")
    return file
