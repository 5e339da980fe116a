"""The splits that transforms jsons give: one json a split, test_frames, or lists of file names."""

import logging
from collections.abc import Sequence
from pathlib import Path

from isosweep.data.numbers import short
from isosweep.data.problems import Problems
from isosweep.data.transforms import SPLITS, Entry, plain
from isosweep.errors import InputError

log = logging.getLogger("isosweep")
Groups = dict[str, list[int]]
"""'train', 'val' and 'test' -> indices of entries, sorted. One index may be in val and in test."""


def given_splits(entries: Sequence[Entry]) -> Groups:
    """The splits of some entries. Entries that nothing holds out are in 'train'.

    The lists train_filenames, val_filenames and test_filenames of transforms.json or transforms_train.json tell the
    splits of its own entries. With train_filenames, those that no list names are left out.

    Raises:
        InputError: a list is none, names what is not there, or shares an entry that is trained on; none is left to
            train on.
    """
    found = {split: {i for i, e in enumerate(entries) if (e.split or "train") == split} for split in SPLITS}
    for file, meta in {e.file: e.meta for e in entries if e.split in ("", "train")}.items():
        if any(meta.get(f"{split}_filenames") for split in SPLITS):
            _follow_lists(entries, file, found)
    return {split: sorted(indices) for split, indices in found.items()}


def _follow_lists(entries: Sequence[Entry], file: Path, found: dict[str, set[int]]) -> None:
    """Move the entries of one json into the splits that its lists say."""
    own = {i for i, e in enumerate(entries) if e.file == file}
    held_out = {i for i, e in enumerate(entries) if e.split in ("val", "test")}
    meta = entries[min(own)].meta
    # the lists of a train json may name what the other jsons have, too
    place = {e.path: i for i, e in enumerate(entries)} | {entries[i].path: i for i in own}
    problems, named = Problems(), {}
    for split in SPLITS:
        names = meta.get(f"{split}_filenames") or []
        if not isinstance(names, list):
            problems.add(f"{file}: {split}_filenames is a list of file_paths, found {short(names)}")
            continue
        unknown = [n for n in names if not isinstance(n, str) or plain(n) not in place]
        if unknown:
            more = f" (and {len(unknown) - 1} others)" if len(unknown) > 1 else ""
            problems.add(
                f"{file}: {split}_filenames has {short(unknown[0])}{more}, which is no frame's file_path"
            )
        named[split] = {place[plain(n)] for n in names if isinstance(n, str) and plain(n) in place}
    problems.check()
    held_out |= named["val"] | named["test"]
    both = named["train"] & held_out
    if both:
        raise InputError(
            f"{file}: {len(both)} views are trained on and held out (train_filenames shares "
            f"{entries[min(both)].given} with val_filenames, test_filenames or test_frames): a score of them would not "
            "be one of novel views"
        )
    if not named["train"] and own <= held_out:
        raise InputError(
            f"{file}: val_filenames and test_filenames name all {len(own)} views and leave none to train on: take some "
            "out of the lists, or drop the lists and set dataset.test_every"
        )
    train = named["train"] or own - held_out
    left = own - held_out - train
    if left:
        log.info(
            "%d frames of %s are in none of its lists and are left out: %s",
            len(left),
            file,
            ", ".join(entries[i].path for i in sorted(left)[:5]),
        )
    named = {"train": train, "val": named["val"], "test": held_out - (named["val"] - named["test"])}
    for split in SPLITS:
        found[split] = (found[split] - own) | (named[split] & own)
