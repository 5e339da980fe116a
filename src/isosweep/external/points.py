"""Points for methods that start from them: triangulated from the prepared training images with the given cameras.

They come from the photographs alone: neither a data set's ground truth nor its reference points are looked at.
"""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from isosweep.errors import InputError
from isosweep.prepare.reconstruction import Reconstruction
from isosweep.prepare.triangulation import triangulate
from isosweep.runtime import interrupts
from isosweep.runtime.progress import Progress, tell

log = logging.getLogger("isosweep")


def triangulated(folder: Path, recon: Reconstruction, train: list[int], threads: int) -> Reconstruction:
    """The views with points that those of ``train`` see.

    Args:
        folder: of the prepared scene, with images/.
        recon: its views.
        train: those of them that the method trains on.
    """
    work = folder / "triangulation"
    keep = np.array(train)
    some = replace(
        recon,
        names=tuple(recon.names[place] for place in train),
        hw=recon.hw[keep], K=recon.K[keep], c2w=recon.c2w[keep], camera=recon.camera[keep],
    )  # fmt: skip
    totals = {"features": len(train), "matches": len(train) * (len(train) - 1) // 2}
    done = dict.fromkeys(totals, 0)

    def tick(what: str, count: int) -> None:
        interrupts.check()
        done[what] += count
        tell(Progress(f"triangulating points: {what}", done[what], totals[what]))

    try:
        made = triangulate(folder / "images", some, work, threads, tick=tick)
    except InputError as error:
        raise InputError(f"this method starts from points, and {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    log.info("%d points triangulated with the given cameras", len(made.xyz))
    return replace(
        recon,
        xyz=made.xyz, rgb=made.rgb, error=made.error,
        seen_view=keep[made.seen_view], seen_point=made.seen_point, seen_xy=made.seen_xy,
    )  # fmt: skip
