"""A ball as a data set of runs in the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isosweep.types import Scene


def load_ball(scene: str, radius: float = 1.0, masks: bool = True, **others: object) -> Scene:
    """A ball; scene=photographs: nothing is composited; scene=unmasked: and there are no masks.

    Torch is imported here only: commands that check a loader's arguments import its module, and load nothing.
    """
    from tests.support.analytic import SphereModel, sphere_scene

    if scene == "ball":
        return sphere_scene(SphereModel(), radius=radius, use_masks=masks)
    made = sphere_scene(SphereModel(), radius=radius, composite=False, use_masks=False)
    made.images.is_alpha = False  # type: ignore[misc]
    if scene == "unmasked":
        made.images.masks = None  # type: ignore[attr-defined]
    return made
