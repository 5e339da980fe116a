"""The picture of one window, drawn piece by piece: small while the camera moves, large when it rests."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from isosweep.geometry import similarity_scale
from isosweep.types import Cameras
from isosweep.viewer.layers import Maps
from isosweep.viewer.looks import Look, camera, column, moved, size
from isosweep.viewer.share import first_rung, ladder
from isosweep.viewer.subject import Subject, at_rest, pieces

NEW = 0.3
"""Weight of the last piece in the mean time of a pixel."""


@dataclass(frozen=True)
class Drawn:
    """A picture that is complete."""

    look: Look
    columns: tuple[Maps, ...]
    """Of the models side by side. Depths are in the first one's units."""


class Canvas:
    """Draws what one window shows.

    A camera that has moved gets the largest picture of the ladder that is done in a moment; one that rests the next
    ones, up to the last. Of a model that changes, the last one is drawn again and again.

    Args:
        subjects: shown side by side from one camera, in the frame of the first.
        longest: pixels along the longer side of the largest picture.
    """

    def __init__(
        self, subjects: Sequence[Subject], longest: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._subjects, self._longest, self._clock = subjects, longest, clock
        frames = [subject.scene.to_world for subject in subjects]
        self._to_frame = [np.linalg.inv(frame) @ frames[0] for frame in frames]
        self._wanted: Look | None = None
        self._look: Look | None = None
        self._rung, self._stale = 0, True
        self._pieces: Iterator[tuple[int, dict[str, Tensor]]] | None = None
        self._parts: list[list[dict[str, Tensor]]] = []
        self._pixel_s = 0.0

    def look(self, look: Look) -> None:
        """Show this from now on. Another thread may call it."""
        self._wanted = look

    def changed(self) -> None:
        """Note that the models are not what they were."""
        self._stale = True

    @property
    def has_work(self) -> bool:
        """Whether something is to be drawn."""
        wanted = self._wanted
        if wanted is None:
            return False
        return self._pieces is not None or self._stale or not self._at_the_top or not wanted.same(self._look)

    @property
    def _rungs(self) -> tuple[int, ...]:
        assert self._look is not None
        return ladder(min(self._longest, max(self._look.hw)))

    @property
    def _at_the_top(self) -> bool:
        return self._look is not None and self._rung == len(self._rungs) - 1

    def advance(self) -> Drawn | None:
        """Draw the next piece; returns the picture if it is complete now."""
        wanted = self._wanted
        assert wanted is not None
        if not wanted.same(self._look):
            self._look = wanted
            pixels = [int(np.prod(size(wanted.hw, side))) for side in self._rungs]
            self._begin(first_rung(pixels, self._pixel_s))
        elif self._pieces is None:
            self._begin(self._rung if self._at_the_top else self._rung + 1)
        assert self._pieces is not None
        began = self._clock()
        with at_rest(self._subjects):
            found = next(self._pieces, None)
        if found is None:
            return self._complete()
        place, part = found
        self._parts[place].append(part)
        pixel_s = (self._clock() - began) / len(part["rgb"])
        self._pixel_s += (NEW if self._pixel_s else 1.0) * (pixel_s - self._pixel_s)
        return None

    def _begin(self, rung: int) -> None:
        self._rung, self._stale = rung, False
        self._parts = [[] for _ in self._subjects]
        self._pieces = self._all_pieces(self._cameras())

    def _cameras(self) -> list[Cameras]:
        assert self._look is not None
        longer = self._rungs[self._rung]
        part = column(self._look, len(self._subjects))
        scale = longer / max(self._look.hw)
        side = max(1, round(max(part.hw) * scale))
        return [
            camera(moved(part, matrix), side, subject.scene.cameras)
            for subject, matrix in zip(self._subjects, self._to_frame, strict=True)
        ]

    def _all_pieces(self, cameras: Sequence[Cameras]) -> Iterator[tuple[int, dict[str, Tensor]]]:
        for place, (subject, one) in enumerate(zip(self._subjects, cameras, strict=True)):
            for part in pieces(subject, one):
                yield place, part

    def _complete(self) -> Drawn:
        assert self._look is not None
        self._pieces = None
        cameras = self._cameras()
        columns = []
        for parts, one, matrix in zip(self._parts, cameras, self._to_frame, strict=True):
            h, w = one.hw[0].tolist()
            maps = {name: torch.cat([p[name] for p in parts]).reshape(h, w, -1).numpy() for name in parts[0]}
            maps["depth"] = maps["depth"] / similarity_scale(matrix)
            columns.append(maps)
        return Drawn(self._look, tuple(columns))
