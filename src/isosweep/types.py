"""The data classes that rooms exchange. Nothing here computes.

May import: nothing.

Axes: V views, R rays of a batch, S packed samples (all samples of all rays in ray order),
D encoding features, P free points.
Units: points and distances in the normalised scene frame ([-radius, radius]^3) unless a name
ends in ``_world``; pixels for intrinsics; colours in [0, 1].
Frames: cameras are OpenCV camera-to-world (x right, y down, z forward).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Ndc:
    """Normalised device coordinates of a forward-facing capture (NeRF, appendix C), OpenCV signs.

    x' = scale_x x / z, y' = scale_y y / z, z' = 1 - 2 near / z: everything in front of the plane z = near
    and as far as infinity lies in z' of [-1, 1). Projective, not a similarity: no distances, no world mesh.
    """

    scale_x: float
    scale_y: float
    near: float
    """Of the frame that the cameras' poses are in."""
    closed: bool = False
    """Whether every ray meets something, as those of whole photographs do: see ``Rays.closed``."""


@dataclass(frozen=True)
class Cameras:
    """Pin-hole cameras, one row a view, each with its own intrinsics and image size."""

    c2w: Float[Tensor, "v 3 4"]
    K: Float[Tensor, "v 3 3"]
    hw: Int[Tensor, "v 2"]
    pixel_centre: float
    """Offset from the integer index (column, row) to the point the intrinsics are written for:
    0.5 where pixel (0, 0) covers [0, 1]^2 (Blender, COLMAP), 0.0 where its centre is (0, 0) (NeuS)."""
    ndc: Ndc | None = None
    """Where set, rays are handed out in these coordinates instead of the poses' own."""
    near: Float[Tensor, " v"] | None = None
    """Distance from each camera before which its rays meet nothing; None where nothing tells it."""
    stand_in: Int[Tensor, " v"] | None = None
    """The training view whose code of appearance a view's rays have (``Rays.view``); None where they have none."""

    def __len__(self) -> int:
        return len(self.c2w)

    def to(self, device: torch.device | str) -> "Cameras":
        near, stand_in = (None if x is None else x.to(device) for x in (self.near, self.stand_in))
        moved = {"c2w": self.c2w.to(device), "K": self.K.to(device), "hw": self.hw.to(device)}
        return replace(self, near=near, stand_in=stand_in, **moved)


@dataclass(frozen=True)
class Rays:
    """A batch of rays with unit directions and the colour that lies behind each."""

    origins: Float[Tensor, "r 3"]
    dirs: Float[Tensor, "r 3"]
    background: Float[Tensor, "r 3"]
    """Composited where the model's opacity is below one (also behind a learned background)."""
    closed: bool = False
    """Whether each ray meets something in the box for certain, so that its last section lets no light through."""
    near: Float[Tensor, " r"] | None = None
    """Distance before which each ray meets nothing; None where nothing tells it."""
    radius: Float[Tensor, " r"] | None = None
    """Radius of each pixel's cone at distance 1: pixel width there times 2 / sqrt(12), so that the disc has the
    variance of the pixel (Barron et al. 2021, mip-NeRF, section 3.1). None where the model asks for no cones."""
    cylinder: bool = False
    """Whether ``radius`` is that of a cylinder, the same at all distances, as in normalised device coordinates."""
    view: Int[Tensor, " r"] | None = None
    """The training view whose code of appearance each ray has, where the model has such codes; None: it has none."""

    def __len__(self) -> int:
        return len(self.origins)


DISTANCE = "distance"
"""Name in ``Batch.ray_extras`` of the distance [R] at which a ray meets a point of the reconstruction, 0 where none is
known."""


@dataclass(frozen=True)
class Photos:
    """The training images as grey pixels, for terms that compare views with one another."""

    grey: Float[Tensor, " n"]
    """Of all views, one after another, row by row; in [0, 1], half precision; nan where masks say to ignore a pixel."""
    offsets: Int[Tensor, " v"]
    """Where each view's pixels begin."""
    cameras: Cameras
    sources: Int[Tensor, "v k"]
    """For each view the views to compare it with, the best first; -1 where there are no more."""

    def eyes(self, view: Int[Tensor, " r"]) -> Float[Tensor, "r k 3"]:
        """Where the cameras are that the views are compared with."""
        return self.cameras.c2w[self.sources[view].clamp_min(0), :, 3]


@dataclass(frozen=True)
class Batch:
    """What a render is compared with. ``rgb`` is already composited over ``rays.background``."""

    rays: Rays
    rgb: Float[Tensor, "r 3"]
    mask: Float[Tensor, " r"] | None = None
    """Foreground coverage in [0, 1]; None where training must not see masks."""
    points: Float[Tensor, "p 3"] | None = None
    """Structure-from-motion points seen in the batch's views; None where no loss term reads them."""
    ray_extras: Mapping[str, Tensor] = field(default_factory=dict)
    """What else is known of each ray; first axis R. With ``photos``: its view, row and col, and patch (whether)."""
    photos: Photos | None = None
    """The training images; None where no loss term compares them."""


@dataclass(frozen=True)
class RowsOf:
    """The random numbers of some rows of a joined batch.

    Whoever draws for the rows draws for the whole batch and keeps theirs. So a batch that is computed in parts, or by
    several processes, has the random numbers that it has in one piece.
    """

    generator: torch.Generator
    first: int
    """Row of the joined batch at which the part begins."""
    total: int
    """Rows of the joined batch."""


Randomness = torch.Generator | RowsOf
"""Where the random offsets of a batch of rays come from: of all of it, or of some of its rows."""


@dataclass(frozen=True)
class Samples:
    """Packed sections along rays: section i covers [t - dt/2, t + dt/2] of ray ``ray_index[i]``."""

    ray_index: Int[Tensor, " s"]
    t: Float[Tensor, " s"]
    dt: Float[Tensor, " s"]
    offsets: Int[Tensor, " r1"]
    """Ray r owns samples offsets[r] to offsets[r + 1]; length R + 1."""
    count: Int[Tensor, ""] | None = None
    """Real samples, at the front; those after them are padding of length 0 (training/graphs.py). None: all are real."""

    def __len__(self) -> int:
        return len(self.t)


@dataclass(frozen=True)
class Level:
    """One round of samples along the rays beside the final one: a coarse pass, a proposal, a background.

    ``weights`` carry a gradient. What was not composited from the round is None (a proposal has no colour).
    """

    samples: Samples
    weights: Float[Tensor, " s"]
    rgb: Float[Tensor, "r 3"] | None = None
    """Composited over the rays' background."""
    opacity: Float[Tensor, " r"] | None = None
    depth: Float[Tensor, " r"] | None = None


@dataclass(frozen=True)
class Sampled:
    """What a sampler returns: where the model is evaluated, and the rounds that led there, by name."""

    samples: Samples
    levels: Mapping[str, Level] = field(default_factory=dict)


@dataclass(frozen=True)
class RenderOut:
    """What a model returns for a batch of rays. Fields that were not wanted are None.

    Per ray: rgb, opacity, depth (distance along the ray, weighted mean over opacity), normal
    (unit where opacity > 0), ray_extras. Per sample: samples, weights, sdf, sdf_grad, laplacian,
    sample_extras. Per point of the batch: point_level.
    """

    rgb: Float[Tensor, "r 3"]
    opacity: Float[Tensor, " r"]
    depth: Float[Tensor, " r"]
    samples: Samples
    weights: Float[Tensor, " s"]
    normal: Float[Tensor, "r 3"] | None = None
    sdf: Float[Tensor, " s"] | None = None
    sdf_grad: Float[Tensor, "s 3"] | None = None
    laplacian: Float[Tensor, " s"] | None = None
    detail: Float[Tensor, ""] | None = None
    """Side of the finest cell that the encoding's schedule has reached, over that of its coarsest level."""
    point_level: Float[Tensor, " p"] | None = None
    """The model's level function at ``Batch.points``."""
    levels: Mapping[str, Level] = field(default_factory=dict)
    """The other rounds of samples, by name: 'coarse', 'background'."""
    ray_extras: Mapping[str, Tensor] = field(default_factory=dict)
    """What else a model composites along rays; first axis R."""
    sample_extras: Mapping[str, Tensor] = field(default_factory=dict)
    """What else a field or colour head returns at samples; first axis S."""

    @property
    def n_samples(self) -> int:
        """Samples of all rounds: what a batch costs."""
        return len(self.samples) + sum(len(level.samples) for level in self.levels.values())


@dataclass(frozen=True)
class Knobs:
    """What of a model depends on the step: each model adds its own, as tensors on ``device``.

    Derived from the step alone, so that resuming, evaluating and exporting need no replay.
    """

    step: int
    device: torch.device


@runtime_checkable
class Images(Protocol):
    """Views of any mixture of sizes, read by pixel or whole (data/image_store.py has the one in use)."""

    @property
    def hw(self) -> Int[Tensor, "v 2"]: ...

    @property
    def has_masks(self) -> bool: ...

    @property
    def is_alpha(self) -> bool:
        """True where the mask is the image's own alpha: nothing real lies behind it."""
        ...

    def gather(
        self, view: Int[Tensor, " r"], row: Int[Tensor, " r"], col: Int[Tensor, " r"]
    ) -> tuple[Float[Tensor, "r 3"], Float[Tensor, " r"] | None]:
        """Straight colour and mask of single pixels, on the device of ``view``."""
        ...

    def image(self, view: int) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"] | None]:
        """Straight colour and mask of one view, on the CPU."""
        ...


@dataclass(frozen=True)
class Sightings:
    """Which points were seen in which view: view v saw points ``point[offsets[v]:offsets[v + 1]]``."""

    point: Int[Tensor, " o"]
    offsets: Int[Tensor, " v1"]
    """Length V + 1."""

    def to(self, device: torch.device | str) -> "Sightings":
        return replace(self, point=self.point.to(device), offsets=self.offsets.to(device))


@dataclass(frozen=True)
class BareViews:
    """Views whose images are not there. They are rendered, and neither trained on nor scored."""

    names: tuple[str, ...]
    """One a view, as the data set names it."""
    cameras: Cameras


@dataclass(frozen=True)
class Scene:
    """One scene of one data set, normalised, ready to train on."""

    name: str
    dataset: str
    cameras: Cameras
    images: Images
    names: tuple[str, ...]
    """One a view, unique within the scene, as the data set names it."""
    splits: Mapping[str, tuple[int, ...]]
    """'train', 'val', 'test' -> view indices. 'test' equals 'train' where the data set has no
    held-out views; then ``held_out`` is False and scores are named train_view/*, never nvs/*."""
    held_out: bool
    to_world: Float[np.ndarray, "4 4"]
    """float64 similarity: normalised points to the data set's own units."""
    world_unit: str
    """Name of that unit: 'mm' for DTU, 'unit' where the data set has none."""
    radius: float
    """Half the side of the foreground box, normalised units."""
    near_far: tuple[float, float]
    """Ray interval outside which there is nothing, before the box is intersected."""
    background: Float[Tensor, "3"]
    """The colour that images are composited on for scoring (white, black)."""
    composite: bool
    """True where pixels are rgb * mask + background * (1 - mask): alpha images, or masks in use."""
    use_masks: bool
    """True where the training batch carries the mask."""
    truth: Path | None = None
    """Ground-truth surface in world units: a file with faces (mesh) or without (points), or a folder of its parts."""
    mask_meaning: str = "object"
    """'object': masks are white on the object. 'ignore', 'ignore_white': they marked pixels that loss and scores leave
    out (`isosweep.data.image_store.ImageStore.ignores`); the images then have no masks."""
    official: Path | None = None
    """Folder of the authors' evaluation data, for the protocols dtu-<preset> and tanks_and_temples."""
    reference_points: Path | None = None
    """Sparse trusted surface points in world units (a ply), e.g. triangulated features."""
    points: Float[Tensor, "p 3"] | None = None
    """Structure-from-motion points, normalised units."""
    sightings: Sightings | None = None
    """Which of them each view sees; None where that is not known."""
    bare: BareViews | None = None
    """Views of which the data set has the cameras only."""
    sizes: tuple[int, ...] | None = None
    """One a view, where images of several sizes are used together (``dataset.downscale=[1,2,4]``): the side of the
    square of image pixels that one pixel of the view is the mean of."""

    @property
    def score_prefix(self) -> str:
        return "nvs" if self.held_out else "train_view"


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh; vertices in world units once it leaves export."""

    vertices: Float[np.ndarray, "n 3"]
    faces: Int[np.ndarray, "f 3"]
    colors: Float[np.ndarray, "n 3"] | None = None
    normals: Float[np.ndarray, "n 3"] | None = None


@dataclass(frozen=True)
class Scores:
    """Numbers under a named protocol. A value that could not be had is None, with its reason."""

    protocol: str
    values: Mapping[str, float | None]
    """'nvs/psnr', 'nvs/lpips_vgg', 'geometry/chamfer' ... -> mean over views or the value."""
    per_view: Mapping[str, Mapping[str, float | None]]
    """metric -> view name -> value."""
    settings: Mapping[str, object]
    """Whatever makes the numbers comparable: split, background, quantised, pixel centre, samples."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """metric -> why it is None."""
