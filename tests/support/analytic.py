"""Test doubles with known answers: cameras in orbit, meshes of simple solids, a model that is a sphere."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from isosweep import geometry
from isosweep.types import Cameras, Knobs, Mesh, Rays, RenderOut, Samples, Scene

KNOBS = Knobs(step=0, device=torch.device("cpu"))


def orbit(
    n: int,
    distance: float = 3.0,
    hw: tuple[int, int] = (32, 40),
    focal: float = 40.0,
    pixel_centre: float = 0.5,
    lowest: float = -1.0,
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Cameras:
    """``n`` cameras on a Fibonacci sphere cut at height ``lowest`` (cosine), looking at its centre, z up."""
    middle = np.array(centre)
    poses = []
    for i in range(n):
        z = 1 - (1 - lowest) * (i + 0.5) / n
        angle, flat = i * 2.399963, math.sqrt(1 - z * z)
        position = distance * np.array([flat * math.cos(angle), flat * math.sin(angle), z])
        forward = -position / distance
        right = np.cross(forward, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        poses.append(np.column_stack([right, np.cross(forward, right), forward, position + middle]))
    u, v = hw[1] / 2 - 0.5 + pixel_centre, hw[0] / 2 - 0.5 + pixel_centre
    K = torch.tensor([[focal, 0, u], [0, focal, v], [0, 0, 1.0]])
    return Cameras(
        torch.tensor(np.stack(poses), dtype=torch.float32),
        K.expand(n, 3, 3).clone(),
        torch.tensor([hw]).expand(n, 2).clone(),
        pixel_centre,
    )


def sphere(
    radius: float = 1.0, subdivisions: int = 5, centre: tuple[float, float, float] = (0, 0, 0)
) -> Mesh:
    import trimesh

    made = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return Mesh(np.asarray(made.vertices) + np.array(centre, dtype=float), np.asarray(made.faces))


def torus(ring: float = 0.6, tube: float = 0.25, sections: int = 64) -> Mesh:
    import trimesh

    made = trimesh.creation.torus(ring, tube, major_sections=sections, minor_sections=sections // 2)
    return Mesh(np.asarray(made.vertices), np.asarray(made.faces))


def box(size: float = 1.0, centre: tuple[float, float, float] = (0, 0, 0)) -> Mesh:
    import trimesh

    made = trimesh.creation.box(extents=(size, size, size))
    return Mesh(np.asarray(made.vertices) + np.array(centre, dtype=float), np.asarray(made.faces))


def joined(*meshes: Mesh) -> Mesh:
    shift = np.cumsum([0] + [len(m.vertices) for m in meshes])
    vertices = np.concatenate([m.vertices for m in meshes])
    return Mesh(vertices, np.concatenate([m.faces + s for m, s in zip(meshes, shift[:-1], strict=True)]))


@dataclass
class StoredImages:
    """Views in memory, as the protocol ``types.Images`` asks."""

    rgb: list[Tensor]
    masks: list[Tensor] | None
    is_alpha: bool = True

    @property
    def hw(self) -> Tensor:
        return torch.tensor([v.shape[:2] for v in self.rgb])

    @property
    def has_masks(self) -> bool:
        return self.masks is not None

    def gather(self, view: Tensor, row: Tensor, col: Tensor) -> tuple[Tensor, Tensor | None]:
        places = list(zip(view.tolist(), row.tolist(), col.tolist(), strict=True))
        rgb = torch.stack([self.rgb[v][r, c] for v, r, c in places])
        masks = self.masks
        return rgb, None if masks is None else torch.stack([masks[v][r, c] for v, r, c in places])

    def image(self, view: int) -> tuple[Tensor, Tensor | None]:
        return self.rgb[view], None if self.masks is None else self.masks[view]


@dataclass
class SphereModel:
    """A hard sphere whose colour is its outward normal, x / 2 + 1 / 2, over the rays' background."""

    radius: float = 0.5
    fail_above: int | None = None
    """Rays from which a call pretends that the GPU's memory is full."""
    error: float = 0.0
    """Added to red."""
    provides: frozenset[str] = frozenset({"rgb", "opacity", "depth", "normal", "sdf"})
    takes_cones: bool = False
    calls: list[int] = field(default_factory=list)

    def __call__(
        self, rays: Rays, knobs: Knobs, want: frozenset[str], generator: torch.Generator | None
    ) -> RenderOut:
        assert generator is None
        self.calls.append(len(rays))
        if self.fail_above is not None and len(rays) > self.fail_above:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory (pretended)")
        near, far = geometry.sphere_hit(rays, self.radius)
        hit = far > near
        normal = (rays.origins + near[:, None] * rays.dirs) / self.radius
        color = (normal / 2 + 0.5 + torch.tensor([self.error, 0, 0])).clamp(0, 1)
        met = hit.nonzero()[:, 0]  # rays with a section, of which each has one
        offsets = torch.cat([torch.zeros(1, dtype=torch.long), hit.cumsum(0)])
        return RenderOut(
            rgb=torch.where(hit[:, None], color, rays.background),
            opacity=hit.float(),
            depth=torch.where(hit, near, 0.0),
            samples=Samples(met, near[hit], torch.full_like(near[hit], 1e-3), offsets),
            weights=torch.ones(len(met)),
            normal=torch.where(hit[:, None], normal, 0.0) if "normal" in want else None,
        )

    def level(self, points: Tensor, knobs: Knobs) -> Tensor:
        return points.norm(dim=-1) - self.radius

    def color(self, points: Tensor, dirs: Tensor, knobs: Knobs) -> Tensor:
        return (-dirs / 2 + 0.5).clamp(0, 1)


def sphere_scene(
    model: SphereModel,
    to_world: np.ndarray | None = None,
    views: int = 6,
    hw: tuple[int, int] = (32, 40),
    **changes: object,
) -> Scene:
    """A scene whose images are what ``model`` renders: every score of that model is perfect."""
    cameras = orbit(views, hw=hw)
    rgb, masks = [], []
    for v in range(views):
        row, col = (x.reshape(-1) for x in torch.meshgrid(*(torch.arange(n) for n in hw), indexing="ij"))
        rays = geometry.pixel_rays(cameras, torch.full_like(row, v), row, col, torch.ones(3))
        out = model(rays, KNOBS, frozenset(), None)
        rgb.append(out.rgb.reshape(*hw, 3))
        masks.append(out.opacity.reshape(hw))
    model.calls.clear()
    fields: dict[str, object] = {
        "name": "ball",
        "dataset": "analytic",
        "cameras": cameras,
        "images": StoredImages(rgb, masks),
        "names": tuple(f"view_{v}" for v in range(views)),
        "splits": {"train": tuple(range(views - 2)), "val": (views - 2,), "test": (views - 2, views - 1)},
        "held_out": True,
        "to_world": np.eye(4) if to_world is None else to_world,
        "world_unit": "mm",
        "radius": 1.0,
        "near_far": (0.0, 10.0),
        "background": torch.ones(3),
        "composite": True,
        "use_masks": True,
    }
    return Scene(**(fields | changes))  # type: ignore[arg-type]
