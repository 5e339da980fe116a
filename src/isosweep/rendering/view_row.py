"""One view of a model as a row of pictures: what a person looks at while it trains.

Axes: H, W pixels of the view; h, w of a panel.
"""

import numpy as np
from jaxtyping import Float

from isosweep.rendering import pictures
from isosweep.rendering.view_files import maps_of
from isosweep.rendering.views import Renderable, Views, render_chunked, truth_image
from isosweep.types import Knobs, Scene

LARGEST = 400
"""Pixels along the longer side of a panel, at most."""


def panel_step(hw: tuple[int, int]) -> int:
    """Each so many rows and columns of a view of size (H, W) are in a panel."""
    return -(-max(hw) // LARGEST)


def rays_of(hw: tuple[int, int], every: int) -> int:
    """How many pixels of a view of size (H, W) lie in each ``every``-th row and column."""
    return -(-hw[0] // every) * -(-hw[1] // every)


def view_row(
    model: Renderable,
    scene: Scene,
    view: int,
    knobs: Knobs,
    coarser: int = 1,
    colors: str = "viridis",
    chunk: int = 8192,
) -> pictures.Image:
    """Truth, render, depth, normal (of a model that has one) and, with a learned background, foreground and background.

    The foreground is the box's own colour over the scene's background; the background is what the model sees without
    the box, or the scene's background where it samples nothing, as behind what is opaque. Each panel has every
    `panel_step`-th pixel of the view. No random number is drawn.

    Args:
        model: in evaluation mode.
        knobs: the model's values for the step.
        coarser: of a panel's pixels only each so many along both axes are rendered, and shown as squares. So all rows
            of a view have the same size.
        colors: of the depth, a name of `pictures.COLOR_MAPS`.
    """
    h, w = scene.cameras.hw[view].tolist()
    step = panel_step((h, w))
    every = step * coarser
    out, _ = render_chunked(model, scene.cameras, view, knobs, scene.background, chunk, every)
    maps = maps_of(out, colors)
    truth = truth_image(scene, view)[0][::step, ::step].numpy().astype(np.float64)
    panels = {"truth": truth, "render": maps["rgb"], "depth": maps["depth"]}
    panels |= {name: maps[name] for name in ("normal",) if name in maps}
    panels |= _layers(out, scene.background.cpu().numpy())
    size = truth.shape[:2]
    row = [panel if name == "truth" else _enlarged(panel, coarser, size) for name, panel in panels.items()]
    return pictures.grid([row], list(panels))


def _layers(out: Views, background: np.ndarray) -> dict[str, pictures.Image]:
    """Foreground and background of a render: with C = F + (1 - O) B, F over the scene's background, and B."""
    if "behind" not in out:
        return {}
    rgb, behind, through = (
        x.numpy().astype(np.float64) for x in (out["rgb"], out["behind"], 1 - out["opacity"])
    )
    return {"foreground": rgb - through * behind + through * background, "background": behind}


def _enlarged(image: pictures.Image, times: int, size: tuple[int, int]) -> Float[np.ndarray, "_ _ 3"]:
    """Each pixel as a square of side ``times``, cut to a size."""
    return image.repeat(times, axis=0).repeat(times, axis=1)[: size[0], : size[1]]
