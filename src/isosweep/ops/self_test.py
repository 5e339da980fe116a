"""A backend's kernels against the reference, at small sizes: whether this device computes what it should.

The reference runs in float64 on the CPU. It is the definition (``reference.py``), so an error here is an error of the
backend, of its compiler or of the card. Axes as in ``isosweep.ops``.

``python -m isosweep.ops.self_test <backend> <device>`` prints a JSON list of what is wrong. A kernel that reads memory
that is not its own ends the process that called it, so a run tests a card in this way (``tested.py``).
"""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

from isosweep.ops import batch, reference
from isosweep.ops.backends import BATCH_MODULES, MODULES
from isosweep.ops.grid_spec import GridSpec

SPEC = GridSpec(n_levels=6, n_features=2, log2_size=10, base_resolution=4, per_level_scale=1.6)
"""Dense and hashed levels, in which rows collide."""
ALLOWED = 1e-4
"""Largest relative error: of float32 against float64, with gradients that are sums of some thousand terms."""
RADIUS = 1.0
"""Half the side of the box that rays march through."""
Outputs = dict[str, Tensor]
Case = Callable[[ModuleType, torch.device, torch.dtype], Outputs]


@dataclass(frozen=True)
class Finding:
    """One output of one kernel, compared."""

    kernel: str
    error: float
    """|found - expected| / |expected|, in the 2-norm; of counts the share that differs."""
    allowed: float
    problem: str | None = None
    """Why the kernel gave no output, or None."""

    @property
    def ok(self) -> bool:
        return self.problem is None and self.error <= self.allowed

    def __str__(self) -> str:
        what = self.problem or f"relative error {self.error:.1e}, allowed {self.allowed:.0e}"
        return f"{self.kernel}: {what}"


def self_test(
    kernels: ModuleType,
    device: torch.device,
    cases: Mapping[str, Case] | None = None,
    definition: ModuleType = reference,
) -> list[Finding]:
    """Compare every kernel of a backend with the reference, forward and backward.

    Args:
        kernels: the backend's module.
        device: where its tensors lie.
        cases: what is compared; None is `CASES`.
        definition: the module of the reference.

    Returns: one finding per output. A kernel that raises has one finding with the reason.
    """
    found: list[Finding] = []
    for name, run in (CASES if cases is None else cases).items():
        expected = run(definition, torch.device("cpu"), torch.float64)
        try:
            outputs = run(kernels, device, torch.float32)
        except Exception as error:  # whatever a compiler or a driver raises is the finding
            text = str(error).strip().splitlines()
            found.append(
                Finding(name, math.inf, ALLOWED, f"{type(error).__name__}: {text[0] if text else ''}")
            )
            continue
        for key, value in outputs.items():
            place = name if key == "y" else f"{name}, {key}"
            found.append(_compared(place, value, expected[key]))
    return found


def _compared(place: str, value: Tensor, expected: Tensor) -> Finding:
    value, expected = value.detach().cpu(), expected.detach()
    if value.shape != expected.shape:
        shapes = f"{tuple(value.shape)} instead of {tuple(expected.shape)}"
        return Finding(place, math.inf, ALLOWED, f"the output has the shape {shapes}")
    if not expected.is_floating_point():
        return Finding(place, float((value != expected).double().mean()), 0.0)
    error = float((value.double() - expected).norm() / expected.norm().clamp_min(1e-12))
    return Finding(place, error if math.isfinite(error) else math.inf, ALLOWED)


class _Inputs:
    """Random inputs that are the same on every device, exact in float32."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.generator = torch.Generator().manual_seed(0)

    def rand(self, *shape: int, low: float = 0.0, high: float = 1.0, grad: bool = False) -> Tensor:
        values = low + (high - low) * torch.rand(*shape, generator=self.generator)
        return values.to(self.device, self.dtype).requires_grad_(grad)

    def offsets(self, *counts: int) -> Tensor:
        ends = torch.tensor([0, *counts]).cumsum(0)
        return ends.to(self.device)


def _gradients(outputs: Outputs, leaves: dict[str, Tensor], inputs: _Inputs) -> Outputs:
    """The outputs, and the gradients of a random weighting of them in each leaf."""
    total = sum((y * inputs.rand(*y.shape, low=-1.0)).sum() for y in outputs.values())
    assert isinstance(total, Tensor)
    grads = torch.autograd.grad(total, list(leaves.values()))
    return {**outputs, **{f"gradient of {name}": g for name, g in zip(leaves, grads, strict=True)}}


def _grid_encode(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    given = _Inputs(device, dtype)
    u, table = given.rand(300, 3, low=-0.1, high=1.1), given.rand(SPEC.total, 2, low=-1.0, grad=True)
    return _gradients({"y": kernels.grid_encode(u, table, SPEC)}, {"table": table}, given)


def _jacobian(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    given = _Inputs(device, dtype)
    u, table = given.rand(300, 3), given.rand(SPEC.total, 2, low=-1.0, grad=True)
    y, jac = kernels.grid_encode_jacobian(u, table, SPEC)
    return _gradients({"y": y, "jacobian": jac}, {"table": table}, given)


def _pullback(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    given = _Inputs(device, dtype)
    jac, g = given.rand(200, 12, 3, low=-1.0, grad=True), given.rand(200, 12, low=-1.0, grad=True)
    return _gradients({"y": kernels.pullback(jac, g)}, {"jac": jac, "g": g}, given)


def _surface_network(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    given = _Inputs(device, dtype)
    u, table = given.rand(200, 3), given.rand(SPEC.total, 2, low=-1.0, grad=True)
    first, bias = given.rand(32, 3 + SPEC.out_dim, low=-0.5, high=0.5, grad=True), given.rand(32, grad=True)
    second, offset = given.rand(13, 32, low=-0.5, high=0.5, grad=True), given.rand(13, grad=True)
    out, gradient = kernels.surface_network(u, table, SPEC, (first, bias), (second, offset), 10.0, True)
    leaves = {
        "table": table,
        "first layer": first,
        "first bias": bias,
        "second layer": second,
        "second bias": offset,
    }
    return _gradients({"y": out, "normal": gradient}, leaves, given)


def _mlp(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    given = _Inputs(device, dtype)
    x = given.rand(150, 17, low=-1.0, grad=True)
    sizes = ((32, 17), (32, 32), (3, 32))
    layers = [(given.rand(*s, low=-0.5, high=0.5, grad=True), given.rand(s[0], grad=True)) for s in sizes]
    leaves = {"x": x} | {f"layer {i}": weight for i, (weight, _) in enumerate(layers)}
    return _gradients({"y": kernels.mlp(x, layers)}, leaves, given)


COUNTS = (0, 3, 64, 1, 0, 130, 2)
"""Samples of the rays that are composited: none, one, and more than a block."""


def _render_weights(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    given = _Inputs(device, dtype)
    alpha = given.rand(sum(COUNTS), high=0.2, grad=True)
    return _gradients({"y": kernels.render_weights(alpha, given.offsets(*COUNTS))}, {"alpha": alpha}, given)


def _accumulate(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    given = _Inputs(device, dtype)
    w, values = given.rand(sum(COUNTS), grad=True), given.rand(sum(COUNTS), 5, low=-1.0, grad=True)
    y = kernels.accumulate(w, values, given.offsets(*COUNTS))
    return _gradients({"y": y}, {"w": w, "values": values}, given)


def _visible(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    given = _Inputs(device, dtype)
    alpha = given.rand(sum(COUNTS), high=0.2)
    return {"y": kernels.visible(alpha, given.offsets(*COUNTS), 1e-2)}


def _march(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    return _marched(kernels, device, dtype, cone=0.0)


def _cone(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    return _marched(kernels, device, dtype, cone=0.02)


def _marched(kernels: ModuleType, device: torch.device, dtype: torch.dtype, cone: float) -> Outputs:
    """No mid-point of these samples lies on a cell's face to within float32, so every backend counts the same."""
    given = _Inputs(device, dtype)
    eyes = torch.nn.functional.normalize(given.rand(64, 3, low=-1.0), dim=-1) * 3
    dirs = torch.nn.functional.normalize(given.rand(64, 3, low=-0.5, high=0.5) - eyes, dim=-1)
    occupied = given.rand(16, 16, 16) < 0.3
    near, far = given.rand(64, low=1.5, high=2.0), given.rand(64, low=3.5, high=4.5)
    samples = kernels.march(eyes, dirs, near, far, occupied, RADIUS, 0.06, given.rand(64), 100, cone)
    outputs = {"samples of rays": samples.offsets.diff(), "sum of t": samples.t.sum()[None]}
    return {**outputs, "sum of dt": samples.dt.sum()[None]}


def _surface_sections(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    return _sections(kernels, device, dtype, unit=False)


def _unit_sections(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    return _sections(kernels, device, dtype, unit=True)


def _sections(kernels: ModuleType, device: torch.device, dtype: torch.dtype, unit: bool) -> Outputs:
    given = _Inputs(device, dtype)
    sdf, gradient = given.rand(600, low=-0.3, high=0.3, grad=True), given.rand(600, 3, low=-1.0, grad=True)
    dirs = torch.nn.functional.normalize(given.rand(600, 3, low=-1.0), dim=-1)
    dt, v = given.rand(600, low=0.02, high=0.1), given.rand(1, low=0.2, high=0.3)[0].requires_grad_()
    cap, anneal = given.rand(1, low=50.0, high=60.0)[0], given.rand(1)[0]
    alpha, normal = kernels.surface_sections(sdf, gradient, dirs, dt, v, cap, anneal, unit)
    leaves = {"sdf": sdf, "gradient": gradient, "sharpness": v}
    return _gradients({"y": alpha, "normal": normal}, leaves, given)


def _sample_points(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    given = _Inputs(device, dtype)
    origins, dirs, t = given.rand(7, 3, low=-1.0), given.rand(7, 3, low=-1.0), given.rand(300)
    points, along = kernels.sample_points(origins, dirs, t, torch.arange(300, device=device) % 7)
    return {"y": points, "directions": along}


def _density_alpha(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    given = _Inputs(device, dtype)
    density, dt = given.rand(600, high=20.0, grad=True), given.rand(600, low=0.02, high=0.1)
    return _gradients({"y": kernels.density_alpha(density, dt)}, {"density": density}, given)


CASES: dict[str, Case] = {
    "grid_encode": _grid_encode,
    "grid_encode_jacobian": _jacobian,
    "pullback": _pullback,
    "surface_network": _surface_network,
    "mlp": _mlp,
    "march": _march,
    "march with a cone": _cone,
    "render_weights": _render_weights,
    "accumulate": _accumulate,
    "visible": _visible,
    "surface_sections": _surface_sections,
    "surface_sections with unit normals": _unit_sections,
    "sample_points": _sample_points,
    "density_alpha": _density_alpha,
}
"""Kernel -> its outputs and gradients on fixed inputs."""


VIEWS = ((7, 5), (4, 9), (6, 6))
"""Height and width of the views that pixels are taken from."""


def _views(given: _Inputs) -> tuple[Tensor, Tensor]:
    """Height and width of the views, and the view, row and column of pixels [3, R]: the corners, and some others."""
    places = [
        (v, y, x) for v, (h, w) in enumerate(VIEWS) for y in (0, h // 2, h - 1) for x in (0, w // 3, w - 1)
    ]
    return torch.tensor(VIEWS, device=given.device), torch.tensor(places, device=given.device).T


def _pixel_places(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    given = _Inputs(device, dtype)
    hw, _ = _views(given)
    among = torch.tensor([2, 0], device=device)
    choice, place = (given.rand(200) < 0.5).long(), given.rand(200, 2)
    whole = kernels.pixel_places(choice, place, among, hw, 0.0)
    middle = kernels.pixel_places(choice, place, among, hw, 0.5)
    return {"y": torch.stack(whole), "of the middle": torch.stack(middle)}


def _gather_pixels(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    given = _Inputs(device, dtype)
    hw, places = _views(given)
    pixels = given.rand(int(hw.prod(-1).sum()), 4, high=256.0).to(torch.uint8)
    offsets = hw.prod(-1).cumsum(0) - hw.prod(-1)
    rgb, mask = kernels.gather_pixels(pixels, offsets, hw, *places)
    plain, _ = kernels.gather_pixels(pixels[:, :3].contiguous(), offsets, hw, *places)
    return {"y": rgb, "mask": mask, "without masks": plain}


def _over(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    given = _Inputs(device, dtype)
    rgb, mask, behind = given.rand(150, 3), given.rand(150), given.rand(150, 3)
    one = given.rand(1, 3).expand(150, 3)
    return {"y": kernels.over(rgb, mask, behind), "one colour": kernels.over(rgb, mask, one)}


def _pixel_rays(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    given = _Inputs(device, dtype)
    _, (view, row, col) = _views(given)
    K = torch.eye(3, device=device, dtype=dtype).repeat(3, 1, 1)
    K[:, :2] = K[:, :2] * given.rand(3, 2, 3, low=5.0, high=9.0) + given.rand(3, 2, 3)
    K[:, 1, 0] = 0.0
    origins, dirs = kernels.pixel_rays(K, given.rand(3, 3, 4, low=-1.0), view, row, col, 0.5)
    return {"y": dirs, "origins": origins}


def _box_hit(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    given = _Inputs(device, dtype)
    eyes = torch.nn.functional.normalize(given.rand(200, 3, low=-1.0), dim=-1) * 3
    dirs = torch.nn.functional.normalize(given.rand(200, 3, low=-0.7, high=0.7) - eyes, dim=-1)
    near, far = kernels.box_hit(eyes, dirs, RADIUS)
    return {"y": near, "far": far}


def _spherical_harmonics(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    given = _Inputs(device, dtype)
    dirs = torch.nn.functional.normalize(given.rand(200, 3, low=-1.0), dim=-1)
    return {f"degree {n}": kernels.spherical_harmonics(dirs, n) for n in (1, 2, 3, 4)}


def _waves(kernels: ModuleType, device: torch.device, dtype: torch.dtype) -> Outputs:
    given = _Inputs(device, dtype)
    bands = 2.0 ** torch.arange(4, device=device, dtype=dtype)
    return {"y": kernels.waves(given.rand(200, 3, low=-1.0), bands, 1.0)}


BATCH_CASES: dict[str, Case] = {
    "pixel_places": _pixel_places,
    "gather_pixels": _gather_pixels,
    "over": _over,
    "pixel_rays": _pixel_rays,
    "box_hit": _box_hit,
    "spherical_harmonics": _spherical_harmonics,
    "waves": _waves,
}
"""The same for the functions of ``ops/batch.py``."""


def failures(findings: list[Finding]) -> Iterator[Finding]:
    """The findings that are errors."""
    return (one for one in findings if not one.ok)


def main() -> None:
    backend, device = sys.argv[1:]
    place = torch.device(device)
    findings = self_test(import_module(MODULES[backend]), place)
    findings += self_test(import_module(BATCH_MODULES[backend]), place, BATCH_CASES, batch)
    print(json.dumps([str(one) for one in failures(findings)]))


if __name__ == "__main__":
    main()
