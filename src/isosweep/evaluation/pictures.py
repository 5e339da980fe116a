"""Views that are there already, as pictures of another program's making: scored in place of a model's renders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from isosweep.config.settings import EvalSettings
from isosweep.data.decode import Source, decode, read_header
from isosweep.errors import InputError
from isosweep.rendering.views import Renderable, Views, render_chunked
from isosweep.types import Knobs, Scene


@dataclass(frozen=True)
class Pictures:
    """The rendered views of a program: a file for each, or the reason why there is none at all."""

    files: Mapping[int, Path] = field(default_factory=dict)
    """View of the scene -> its file. Alpha is composited over the scene's background."""
    panel: tuple[int, int] = (1, 1)
    """Which of how many pictures that stand in a row in each file, counted from 1."""
    why_none: str | None = None
    """Why there is none; None where there are."""

    def view(self, scene: Scene, view: int) -> Views:
        """The picture of a view, as ``rgb`` [H, W, 3] in [0, 1].

        Raises:
            InputError: there is none, it cannot be read, or it has another size than the photograph.
        """
        if view not in self.files:
            raise InputError(
                f"there is no render of view {scene.names[view]}: {len(self.files)} views were rendered"
            )
        source = Source(self.files[view])
        header = read_header(source)
        h, w = scene.cameras.hw[view].tolist()
        which, count = self.panel
        if (header.height, header.width) != (h, w * count):
            row = "" if count == 1 else f", of which {count} stand in a row"
            raise InputError(
                f"{source.image} is {header.width}x{header.height}, and view {scene.names[view]} is {w}x{h}{row}: "
                "have it rendered at the size of what was prepared; nothing is resized in silence"
            )
        pixels = torch.from_numpy(decode(source, header.alpha, 1)).float() / 255
        pixels = pixels[:, (which - 1) * w : which * w]
        if header.alpha:
            pixels = pixels[..., :3] * pixels[..., 3:] + scene.background.cpu() * (1 - pixels[..., 3:])
        return {"rgb": pixels}


def drawn(
    model: Renderable | Pictures, scene: Scene, view: int, knobs: Knobs, chunk: int
) -> tuple[Views, int]:
    """One view, rendered or read; and the chunk for the next one (`render_chunked`)."""
    if isinstance(model, Pictures):
        return model.view(scene, view), chunk
    return render_chunked(model, scene.cameras, view, knobs, scene.background, chunk)


def views_of(model: Renderable | Pictures, views: Sequence[int]) -> Sequence[int]:
    """Those of ``views`` that are scored: none where a program has rendered none."""
    return () if isinstance(model, Pictures) and model.why_none is not None else views


def absent(
    model: Renderable | Pictures, settings: EvalSettings, prefix: str
) -> tuple[dict[str, float | None], dict[str, str]]:
    """The image scores that cannot be had, as None, and why; nothing where there are pictures."""
    if not isinstance(model, Pictures) or model.why_none is None:
        return {}, {}
    names = ["psnr", "ssim"] + ([] if settings.lpips is None else [f"lpips_{settings.lpips}"])
    keys = [f"{prefix}/{name}" for name in names]
    return dict.fromkeys(keys), dict.fromkeys(keys, model.why_none)
