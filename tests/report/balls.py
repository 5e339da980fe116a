"""Two tiny scenes that differ: a ball, and a smaller one."""

from isosweep.types import Scene
from tests.support.analytic import SphereModel, sphere_scene

SIZES = {"ball_1": 0.5, "ball_2": 0.3}


def load(scene: str, radius: float = 1.0, masks: bool = True, **others: object) -> Scene:
    return sphere_scene(SphereModel(SIZES[scene]), hw=(20, 24), radius=radius, use_masks=masks)
