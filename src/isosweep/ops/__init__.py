"""The kernels that take most of the time, behind one interface: hash grid, networks, ray marching, compositing.

May import: errors, types.

Nothing outside this package touches a kernel library; ``use`` selects the implementation for the
process, the plain PyTorch reference (``reference.py``, the definition) until then.

Axes: S points or packed samples, R rays, L levels, F features of a level, D = L * F, G cells a side.
Coordinates: u in [0, 1]^3 for the grid, normalised scene units along rays.
Packed samples: those of ray r are offsets[r] to offsets[r + 1] - 1, offsets is int64 [R + 1],
starts at 0, ends at S and never falls; rays may be empty.
"""

from collections.abc import Sequence

from jaxtyping import Bool, Float, Int, Int64, UInt8
from torch import Tensor

from isosweep.ops import fused, softplus
from isosweep.ops.backends import Choice, active, batch_kernels, choose, kernels, on_card, use
from isosweep.ops.batch import as_colors, check_places
from isosweep.ops.composed import Layer
from isosweep.ops.grid_spec import GridSpec
from isosweep.ops.packed import mark_sound
from isosweep.types import Samples

__all__ = [
    "Choice",
    "GridSpec",
    "accumulate",
    "active",
    "as_colors",
    "box_hit",
    "check_places",
    "choose",
    "density_alpha",
    "fused_mlp",
    "gather_pixels",
    "grid_encode",
    "grid_encode_jacobian",
    "march",
    "mark_sound",
    "mlp",
    "on_card",
    "over",
    "pixel_places",
    "pixel_rays",
    "pullback",
    "render_weights",
    "sample_points",
    "softplus_with_slope",
    "spherical_harmonics",
    "surface_network",
    "surface_sections",
    "use",
    "visible",
    "waves",
]


def grid_encode(u: Float[Tensor, "s 3"], table: Float[Tensor, "n f"], spec: GridSpec) -> Float[Tensor, "s d"]:
    """Trilinear features of every level at u, level by level: y[s, l * F + f].

    Differentiable in ``table``. ``u`` is data: no backend promises a gradient for it; take
    ``grid_encode_jacobian`` and ``pullback`` for normals.
    Errors: ValueError where the table has not spec's shape.
    """
    _check_table(u, table, spec)
    return kernels().grid_encode(u, table, spec)


def grid_encode_jacobian(
    u: Float[Tensor, "s 3"], table: Float[Tensor, "n f"], spec: GridSpec
) -> tuple[Float[Tensor, "s d"], Float[Tensor, "s d 3"]]:
    """Features and their derivative jac[s, d, k] = dy_d / du_k, both differentiable in ``table``.

    The derivative is an ordinary output, so a loss on normals needs no second order of autograd,
    and the backward of both is one scatter: dT[corner] += W dy + sum_k (dW / du_k) djac_k.
    """
    _check_table(u, table, spec)
    return kernels().grid_encode_jacobian(u, table, spec)


def pullback(jac: Float[Tensor, "s d 3"], g: Float[Tensor, "s d"]) -> Float[Tensor, "s 3"]:
    """n_k = sum_d g_d jac_dk: the gradient in u of what has gradient g in y. Differentiable in both."""
    return kernels().pullback(jac, g)


def softplus_with_slope(
    a: Float[Tensor, "*s"], beta: float
) -> tuple[Float[Tensor, "*s"], Float[Tensor, "*s"]]:
    """log(1 + exp(beta a)) / beta and its derivative sigmoid(beta a), both differentiable, also twice."""
    return softplus.softplus_with_slope(a, beta)


def surface_network(
    u: Float[Tensor, "s 3"],
    table: Float[Tensor, "n f"],
    spec: GridSpec,
    hidden: Layer,
    head: Layer,
    beta: float,
    want_gradient: bool = True,
) -> tuple[Float[Tensor, "s o"], Float[Tensor, "s 3"] | None]:
    """out = head(softplus_beta(hidden([2 u - 1, grid_encode(u)]))), and d out[:, 0] / du or None.

    A layer is its weight [J, K] and bias [J]. Both outputs are differentiable once in the table and
    the layers; ``u`` is data, as for ``grid_encode``. The gradient is explicit (the Jacobian of the
    grid, the slope of softplus), so a loss on it needs first order only.
    Errors: ValueError where table, layers and spec do not fit.
    """
    _check_table(u, table, spec)
    if hidden[0].shape[1] != 3 + spec.out_dim:
        raise ValueError(
            f"surface network: the hidden layer takes {hidden[0].shape[1]} features, the point and the grid "
            f"have 3 + {spec.out_dim}: a layer belongs to the encoding it was made for"
        )
    return kernels().surface_network(u, table, spec, hidden, head, beta, want_gradient)


def mlp(x: Float[Tensor, "s i"], layers: Sequence[Layer]) -> Float[Tensor, "s o"]:
    """Linear layers (weight [J, K], bias [J]) with ReLU between them. Differentiable once in all."""
    return kernels().mlp(x, layers)


def fused_mlp(
    x: Float[Tensor, "s i"], weights: Sequence[Tensor], kind: str, beta: float | None = None
) -> Float[Tensor, "s o"]:
    """Linear layers (weight [J, K]) without biases, with ReLU between them, or softplus of sharpness ``beta``.

    Differentiable once in all. Under backend 'tcnn' tiny-cuda-nn computes them, with the network ``kind``, in half
    precision; with any other backend PyTorch does, in that of ``x``.
    """
    if active().name == "tcnn":
        return fused.with_tcnn(x, weights, kind, beta)
    return fused.plain(x, weights, beta)


def march(
    origins: Float[Tensor, "r 3"],
    dirs: Float[Tensor, "r 3"],
    t_near: Float[Tensor, " r"],
    t_far: Float[Tensor, " r"],
    occupied: Bool[Tensor, "g g g"] | UInt8[Tensor, "g g g"],
    radius: float,
    step: float | Float[Tensor, ""],
    jitter: Float[Tensor, " r"],
    max_samples: int,
    cone: float = 0.0,
) -> Samples:
    """Sections of rays inside [t_near, t_far) whose mid-point lies in an occupied cell.

    ``occupied`` is indexed [z, y, x] and spans [-radius, radius]^3; outside is empty. With cone = 0
    section k has mid-point t_near + (k + jitter) * step and length step, k counted from t_near
    through empty space too. With cone > 0 sections follow one another from b_0 = t_near:
    dt = max(step, cone * b), mid-point b + jitter * dt, next b + dt.
    Jitter in [0, 1): random while training, 0.5 in evaluation. At most ``max_samples`` a ray, the
    nearest ones. A ray has no samples where t_far <= t_near or a number of it is not finite
    (t_far may be inf) or its direction is shorter than 1e-6. No gradients. A step that a card has computed
    can be given as a tensor, which is not read back; it is then the caller's part that it is above 0.
    Errors: ValueError where radius, step, cone or max_samples is out of range.
    """
    if not (radius > 0 and (isinstance(step, Tensor) or step > 0) and cone >= 0 and max_samples >= 1):
        raise ValueError(
            "march needs radius > 0, step > 0, cone >= 0 and max_samples >= 1, "
            f"got radius={radius}, step={step}, cone={cone}, max_samples={max_samples}"
        )
    return kernels().march(origins, dirs, t_near, t_far, occupied, radius, step, jitter, max_samples, cone)


def sample_points(
    origins: Float[Tensor, "r 3"],
    dirs: Float[Tensor, "r 3"],
    t: Float[Tensor, " s"],
    ray_index: Int64[Tensor, " s"],
) -> tuple[Float[Tensor, "s 3"], Float[Tensor, "s 3"]]:
    """o + t d of the ray of each sample, and that ray's d."""
    return kernels().sample_points(origins, dirs, t, ray_index)


def density_alpha(density: Float[Tensor, " s"], dt: Float[Tensor, " s"]) -> Float[Tensor, " s"]:
    """1 - exp(-density dt): the opacity of sections of constant density. Differentiable once, in ``density``."""
    return kernels().density_alpha(density, dt)


def surface_sections(
    sdf: Float[Tensor, " s"],
    gradient: Float[Tensor, "s 3"],
    dirs: Float[Tensor, "s 3"],
    dt: Float[Tensor, " s"],
    v: Float[Tensor, ""],
    cap: Float[Tensor, ""],
    cos_anneal: Float[Tensor, ""],
    unit: bool,
) -> tuple[Float[Tensor, " s"], Float[Tensor, "s 3"]]:
    """NeuS' opacity of each section and the unit normal at its middle (``opacity.section_alpha``).

    The sharpness is ``opacity.sharpness(v, cap)``; with ``unit`` the cosine is taken from the normal instead of the
    gradient. Differentiable in ``sdf``, ``gradient`` and ``v``; no backend promises a gradient in the rest.
    """
    return kernels().surface_sections(sdf, gradient, dirs, dt, v, cap, cos_anneal, unit)


def render_weights(alpha: Float[Tensor, " s"], offsets: Int64[Tensor, " r1"]) -> Float[Tensor, " s"]:
    """w_i = alpha_i prod_{j < i in the ray} (1 - alpha_j). Gradients are exact at alpha 0 and 1 too."""
    return kernels().render_weights(alpha, offsets)


def accumulate(
    w: Float[Tensor, " s"], values: Float[Tensor, "s c"], offsets: Int64[Tensor, " r1"]
) -> Float[Tensor, "r c"]:
    """sum_i w_i values_i over the samples of each ray, zero where it has none. Differentiable in both."""
    return kernels().accumulate(w, values, offsets)


def visible(
    alpha: Float[Tensor, " s"], offsets: Int64[Tensor, " r1"], threshold: float
) -> Bool[Tensor, " s"]:
    """Samples whose transmittance prod_{j < i in the ray} (1 - alpha_j) exceeds ``threshold``."""
    return kernels().visible(alpha, offsets, threshold)


def pixel_places(
    choice: Int64[Tensor, " r"],
    place: Float[Tensor, "r 2"],
    among: Int64[Tensor, " n"],
    hw: Int64[Tensor, "v 2"],
    crop: float,
) -> tuple[Int64[Tensor, " r"], Int64[Tensor, " r"], Int64[Tensor, " r"]]:
    """View, row and column of the pixels at ``place`` of the views among[choice].

    ``place`` in [0, 1)^2 is a share of a view's height and width ``hw``, or with crop > 0 of the central
    part of it, of this share of its sides.
    """
    return batch_kernels().pixel_places(choice, place, among, hw, crop)


def gather_pixels(
    pixels: UInt8[Tensor, "n c"],
    offsets: Int64[Tensor, " v"],
    hw: Int64[Tensor, "v 2"],
    view: Int64[Tensor, " r"],
    row: Int64[Tensor, " r"],
    col: Int64[Tensor, " r"],
) -> tuple[Float[Tensor, "r 3"], Float[Tensor, " r"] | None]:
    """Colour and mask in [0, 1] of single pixels; no mask where a pixel has 3 bytes.

    View v begins at pixel offsets[v] and is stored row after row. A place outside its view is an IndexError
    in main memory; the Triton kernel, which cannot raise, gives NaN.
    """
    return batch_kernels().gather_pixels(pixels, offsets, hw, view, row, col)


def over(
    rgb: Float[Tensor, "r 3"], mask: Float[Tensor, " r"], behind: Float[Tensor, "r 3"]
) -> Float[Tensor, "r 3"]:
    """rgb mask + behind (1 - mask)."""
    return batch_kernels().over(rgb, mask, behind)


def pixel_rays(
    K: Float[Tensor, "v 3 3"],
    c2w: Float[Tensor, "v 3 4"],
    view: Int[Tensor, " r"],
    row: Int[Tensor, " r"] | Float[Tensor, " r"],
    col: Int[Tensor, " r"] | Float[Tensor, " r"],
    pixel_centre: float,
) -> tuple[Float[Tensor, "r 3"], Float[Tensor, "r 3"]]:
    """Origins and unit directions of the rays through pixels of pin-hole cameras, see ``isosweep.geometry.pixel_rays``.

    A view that does not exist is an IndexError, and NaN from the Triton kernel.
    """
    return batch_kernels().pixel_rays(K, c2w, view, row, col, pixel_centre)


def box_hit(
    origins: Float[Tensor, "r 3"], dirs: Float[Tensor, "r 3"], radius: float
) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"]]:
    """The distances at which rays enter and leave the box [-radius, radius]^3; (0, 0) for rays that miss it."""
    return batch_kernels().box_hit(origins, dirs, radius)


def waves(x: Float[Tensor, "s c"], bands: Float[Tensor, " k"], scale: float) -> Float[Tensor, "s d"]:
    """sin(b x) of every coordinate and octave b, then cos(b x): D = 2 C K. Differentiable.

    Args:
        bands: b_k = scale 2^k, on the device of ``x``.
        scale: the first of them, which tiny-cuda-nn must know on the host.
    """
    return batch_kernels().waves(x, bands, scale)


def spherical_harmonics(dirs: Float[Tensor, "r 3"], degree: int) -> Float[Tensor, "r d"]:
    """Bands 0 to degree - 1 (1 to 4 of them) of the real spherical harmonics, D = degree^2. Differentiable."""
    return batch_kernels().spherical_harmonics(dirs, degree)


def _check_table(u: Tensor, table: Tensor, spec: GridSpec) -> None:
    if table.shape != (spec.total, spec.n_features):
        raise ValueError(
            f"hash grid: the table of this spec is [{spec.total}, {spec.n_features}], got {list(table.shape)}"
            ": a table belongs to the spec it was made for"
        )
    if u.dtype != table.dtype or u.device != table.device:
        raise ValueError(
            f"hash grid: points ({u.dtype}, {u.device}) and table ({table.dtype}, {table.device}) "
            "must share dtype and device"
        )
