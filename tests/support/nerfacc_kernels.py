"""What stands in for nerfacc's CUDA kernels on a CPU, by loops; and for the whole package where it is not installed.

``kernels_in`` puts the loops in the place of the kernels of the installed nerfacc, whose estimators are Python.
``package`` has estimators with the same interface (nerfacc 0.5.3) for machines without.
"""

from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn


def traverse_grids(
    rays_o: Tensor,
    rays_d: Tensor,
    binaries: Tensor,
    aabbs: Tensor,
    near_planes: Tensor,
    far_planes: Tensor,
    step_size: float,
    cone_angle: float,
) -> tuple[Any, Any, None]:
    """Sections that follow one another from the near plane; kept where their middle is in an occupied cell."""
    low, high = aabbs[0, :3], aabbs[0, 3:]
    size = torch.tensor(binaries.shape[1:])
    t, end = near_planes.clone(), far_planes.clamp_max(50.0)
    starts, lengths, kept = [], [], []
    while bool((t < end).any()):
        dt = (cone_angle * t).clamp_min(step_size)
        middle = t + dt / 2
        cell = (((rays_o + middle[:, None] * rays_d - low) / (high - low)) * size).floor().long()
        inside = ((cell >= 0) & (cell < size)).all(1) & (middle < end)
        x, y, z = cell.clamp_min(0).minimum(size - 1).unbind(1)
        starts.append(t)
        lengths.append(dt)
        kept.append(inside & binaries[0][x, y, z])
        t = t + dt
    if not kept:
        starts, lengths, kept = [t], [t], [torch.zeros_like(t, dtype=torch.bool)]
    ray_indices, k = torch.stack(kept, 1).nonzero(as_tuple=True)
    start, length = (torch.stack(v, 1)[ray_indices, k] for v in (starts, lengths))
    edges = torch.stack([start, start + length], 1).reshape(-1)
    count = torch.bincount(ray_indices, minlength=len(rays_o))
    left = torch.arange(len(edges)) % 2 == 0
    intervals = SimpleNamespace(vals=edges, is_left=left, is_right=~left)
    packed_info = torch.stack([count.cumsum(0) - count, count], 1)
    return intervals, SimpleNamespace(ray_indices=ray_indices, packed_info=packed_info), None


def render_visibility_from_density(
    t_starts: Tensor,
    t_ends: Tensor,
    sigmas: Tensor,
    packed_info: Tensor,
    early_stop_eps: float,
    alpha_thre: float,
) -> Tensor:
    alpha = 1 - torch.exp(-sigmas * (t_ends - t_starts))
    light = [
        (1 - part).cumprod(0) / (1 - part).clamp_min(1e-10)
        for part in alpha.split(packed_info[:, 1].tolist())
    ]
    return (torch.cat(light) >= early_stop_eps) & (alpha >= alpha_thre)


def importance_sampling(intervals: Any, cdfs: Tensor, n: int, stratified: bool) -> tuple[Any, None]:
    """n + 1 edges a ray around the places where the distribution function takes even values."""
    vals = intervals.vals
    shift = torch.rand(len(vals), 1) if stratified else torch.full((len(vals), 1), 0.5)
    share = (torch.arange(n) + shift) / n
    right = torch.searchsorted(cdfs.contiguous(), share.contiguous(), right=True).clamp(1, vals.shape[1] - 1)
    low, high = cdfs.gather(1, right - 1), cdfs.gather(1, right)
    part = (share - low) / (high - low).clamp_min(1e-10)
    middle = vals.gather(1, right - 1) * (1 - part) + vals.gather(1, right) * part
    inner = (middle[:, 1:] + middle[:, :-1]) / 2
    first, last = 2 * middle[:, :1] - inner[:, :1], 2 * middle[:, -1:] - inner[:, -1:]
    edges = torch.cat([first.maximum(vals[:, :1]), inner, last.minimum(vals[:, -1:])], 1)
    return SimpleNamespace(vals=edges), None


class OccGridEstimator(nn.Module):
    """The interface of nerfacc's, with one level."""

    binaries: Tensor
    occs: Tensor
    aabbs: Tensor

    def __init__(self, roi_aabb: list[float], resolution: int = 128, levels: int = 1, **kwargs: Any) -> None:
        super().__init__()
        assert levels == 1
        assert not kwargs
        self.cells = resolution
        self.register_buffer("aabbs", torch.tensor([roi_aabb]))
        self.register_buffer("occs", torch.zeros(resolution**3))
        self.register_buffer("binaries", torch.zeros(1, *[resolution] * 3, dtype=torch.bool))

    @torch.no_grad()
    def sampling(
        self,
        rays_o: Tensor,
        rays_d: Tensor,
        sigma_fn: Any = None,
        alpha_fn: Any = None,
        near_plane: float = 0.0,
        far_plane: float = 1e10,
        t_min: Tensor | None = None,
        t_max: Tensor | None = None,
        render_step_size: float = 1e-3,
        early_stop_eps: float = 1e-4,
        alpha_thre: float = 0.0,
        stratified: bool = False,
        cone_angle: float = 0.0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        assert t_min is not None
        assert t_max is not None
        assert not stratified
        near, far = t_min.clamp_min(near_plane), t_max.clamp_max(far_plane)
        edges, samples, _ = traverse_grids(
            rays_o, rays_d, self.binaries, self.aabbs, near, far, render_step_size, cone_angle
        )
        ray, start, end = samples.ray_indices, edges.vals[edges.is_left], edges.vals[edges.is_right]
        if sigma_fn is not None and (early_stop_eps > 0 or alpha_thre > 0):
            sigmas = sigma_fn(start, end, ray) if len(ray) else start
            least = min(alpha_thre, float(self.occs.mean()))
            seen = render_visibility_from_density(
                start, end, sigmas, samples.packed_info, early_stop_eps, least
            )
            ray, start, end = ray[seen], start[seen], end[seen]
        return ray, start, end

    @torch.no_grad()
    def update_every_n_steps(
        self,
        step: int,
        occ_eval_fn: Any,
        occ_thre: float = 1e-2,
        ema_decay: float = 0.95,
        warmup_steps: int = 256,
        n: int = 16,
    ) -> None:
        if not self.training:
            raise RuntimeError("an estimator that is not training is not updated")
        if step % n:
            return
        place = torch.cartesian_prod(*[torch.arange(self.cells)] * 3)
        if step >= warmup_steps:
            place = place[torch.randint(len(place), (len(place) // 4,))]
        points = (place + torch.rand(len(place), 3)) / self.cells
        low, high = self.aabbs[0, :3], self.aabbs[0, 3:]
        new = occ_eval_fn(low + points * (high - low)).squeeze(-1)
        index = (place[:, 0] * self.cells + place[:, 1]) * self.cells + place[:, 2]
        self.occs[index] = torch.maximum(self.occs[index] * ema_decay, new)
        self.binaries = (self.occs > self.occs.mean().clamp(max=occ_thre)).view(self.binaries.shape)


class PropNetEstimator(nn.Module):
    """The interface of nerfacc's, without its own training."""

    def __init__(self, optimizer: Any = None, scheduler: Any = None) -> None:
        super().__init__()
        assert optimizer is scheduler is None
        self.prop_cache: list[Any] = []

    @torch.no_grad()
    def sampling(
        self,
        prop_sigma_fns: list[Any],
        prop_samples: list[int],
        num_samples: int,
        n_rays: int,
        near_plane: Any,
        far_plane: Any,
        sampling_type: str = "lindisp",
        stratified: bool = False,
        requires_grad: bool = False,
    ) -> tuple[Tensor, Tensor]:
        def distance(place: Tensor) -> Tensor:
            if sampling_type == "uniform":
                return place * far_plane + (1 - place) * near_plane
            assert sampling_type == "lindisp"
            return 1 / (place / far_plane + (1 - place) / near_plane)

        cdf = torch.tensor([[0.0, 1.0]]).expand(n_rays, 2)
        edges = SimpleNamespace(vals=cdf)
        for function, n in zip(prop_sigma_fns, prop_samples, strict=True):
            edges, _ = importance_sampling(edges, cdf, n, stratified)
            t = distance(edges.vals)
            with torch.set_grad_enabled(requires_grad):
                sigmas = function(t[:, :-1], t[:, 1:])
            assert sigmas.shape == (n_rays, n)
            depth = (sigmas * t.diff(dim=1))[:, :-1].cumsum(1)
            ends = [torch.zeros(n_rays, 1), 1 - torch.exp(-depth), torch.ones(n_rays, 1)]
            cdf = torch.cat(ends, 1).detach()
            if requires_grad:
                self.prop_cache.append((edges, cdf))
        edges, _ = importance_sampling(edges, cdf, num_samples, stratified)
        t = distance(edges.vals)
        return t[:, :-1], t[:, 1:]


def package() -> ModuleType:
    module = ModuleType("nerfacc")
    vars(module).update(OccGridEstimator=OccGridEstimator, PropNetEstimator=PropNetEstimator)
    return module


def kernels_in(nerfacc: ModuleType, replace: Any) -> None:
    """Put the loops in the place of the kernels; ``replace`` is monkeypatch's ``setattr``."""
    grid, rounds = (
        __import__(f"nerfacc.estimators.{name}", fromlist=["x"]) for name in ("occ_grid", "prop_net")
    )
    replace(grid, "traverse_grids", traverse_grids)
    replace(grid, "render_visibility_from_density", render_visibility_from_density)
    replace(rounds, "importance_sampling", importance_sampling)
    if hasattr(nerfacc.volrend, "is_cub_available"):  # pyright: ignore[reportAttributeAccessIssue]
        replace(nerfacc.volrend, "is_cub_available", lambda: True)  # pyright: ignore[reportAttributeAccessIssue]
