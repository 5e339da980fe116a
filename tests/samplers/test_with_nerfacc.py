"""nerfacc's estimators as samplers, with loops in the place of its CUDA kernels; those need a card."""

import importlib.util
import inspect
import sys

import pytest
import torch
from torch import Tensor

from isosweep.samplers import with_nerfacc
from isosweep.samplers.base import Probe
from isosweep.samplers.occupancy import OccupancyGrid
from isosweep.samplers.proposal import Proposal, ProposalKnobs, Round
from isosweep.samplers.with_nerfacc import NerfaccOccupancy, NerfaccProposal, nerfacc_module
from isosweep.types import Rays, RowsOf
from tests.samplers.test_proposal import Slab, along_z, edges, unit
from tests.support import nerfacc_kernels

INSTALLED = importlib.util.find_spec("nerfacc") is not None


@pytest.fixture(params=["stand-in", "installed"])
def _nerfacc(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed package with loops as kernels, and a stand-in for it; both as if there were a card."""
    if request.param == "installed":
        nerfacc = pytest.importorskip("nerfacc", reason="nerfacc is not installed", exc_type=ImportError)
        nerfacc_kernels.kernels_in(nerfacc, monkeypatch.setattr)
    else:
        monkeypatch.setitem(sys.modules, "nerfacc", nerfacc_kernels.package())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(with_nerfacc, "require_card", lambda tensor, sampler: None)


pretended = pytest.mark.usefixtures("_nerfacc")


def lump(points: Tensor, side: float = 0.0) -> Tensor:
    """Opacity, and density, of a ball about (0.4, 0, 0)."""
    return ((points - torch.tensor([0.4, 0.0, 0.0])).norm(dim=-1) < 0.3).float()


def some_rays() -> tuple[Rays, Tensor, Tensor]:
    """Rays into the box [-1, 1]^3 and two that miss it, with the distances of their ends."""
    origins = torch.tensor(
        [[0.4, 0.03, -3.0], [-3.0, 0.11, 0.07], [0.35, 3.0, 0.2], [5.0, 5.0, 0.0], [-2.0, -2.0, 0.1]]
    )
    dirs = torch.nn.functional.normalize(
        torch.tensor([[0.01, 0, 1.0], [1, 0, 0], [0, -1, 0.02], [0, 0, 1], [1.2, 1.0, 0]]), dim=-1
    )
    from isosweep.geometry import box_hit

    rays = Rays(origins, dirs, torch.ones(5, 3))
    return rays, *box_hit(rays, 1.0)


def grids(**more: float) -> tuple[NerfaccOccupancy, OccupancyGrid]:
    """nerfacc's and ours, with the same cells occupied."""
    theirs = NerfaccOccupancy(
        1.0, 16, early_stop=float(more.get("early_stop", 0.0)), cone=float(more.get("cone", 0.0))
    )
    theirs.update(0, lump, torch.Generator().manual_seed(1))
    ours = OccupancyGrid(1.0, 16, **more)  # pyright: ignore[reportArgumentType]
    ours.occupied = theirs.estimator.binaries[0].permute(2, 1, 0).contiguous()  # ours are [z, y, x]
    assert 0.005 < ours.occupied.float().mean() < 0.1
    return theirs, ours


@pretended
@pytest.mark.parametrize("early_stop", [0.0, 0.3])
def test_its_march_finds_what_ours_finds(early_stop: float) -> None:
    theirs, ours = grids(early_stop=early_stop)
    rays, near, far = some_rays()
    far[0], near[1] = 3.0, 3.4  # in the middle of the ball
    probe = Probe(density=lambda points: 8 * lump(points))
    found, expected = (s.sample(rays, near, far, 0.0473, probe, None).samples for s in (theirs, ours))
    assert len(found) > 10
    assert torch.equal(found.offsets, expected.offsets)
    assert torch.equal(found.ray_index, expected.ray_index)
    torch.testing.assert_close(found.t, expected.t, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.dt, expected.dt, atol=1e-5, rtol=0)
    assert found.offsets.diff()[3:].tolist() == [0, found.offsets.diff()[4]]


@pretended
def test_a_density_ends_rays_and_a_distance_does_not() -> None:
    theirs, _ = grids(early_stop=0.3)
    rays, near, far = some_rays()
    whole = theirs.sample(rays, near, far, 0.05, Probe(level=lambda p: p.norm(dim=-1)), None).samples
    ended = theirs.sample(rays, near, far, 0.05, Probe(density=lambda p: 8 * lump(p)), None).samples
    assert len(ended) < len(whole)
    thin = NerfaccOccupancy(1.0, 16, alpha_threshold=0.5, early_stop=0.0)
    thin.load_state_dict(theirs.state_dict())
    thin.estimator.occs.fill_(1.0)
    kept = thin.sample(rays, near, far, 0.05, Probe(density=lambda p: 8 * lump(p)), None).samples
    assert len(kept) == 0  # 1 - exp(-8 / 20) is below a half


@pretended
def test_sections_grow_with_the_distance() -> None:
    theirs, _ = grids(cone=0.1)
    rays, near, far = some_rays()
    samples = theirs.sample(rays, near, far, 0.05, Probe(), None).samples
    begin = samples.t - samples.dt / 2
    torch.testing.assert_close(samples.dt, (0.1 * begin).clamp_min(0.05), atol=1e-5, rtol=0)


@pretended
def test_random_offsets_are_ours_and_those_of_the_whole_batch() -> None:
    theirs, _ = grids()
    rays, near, far = some_rays()
    before = torch.get_rng_state()

    def drawn(part: slice, rows: RowsOf | torch.Generator) -> Tensor:
        some = Rays(rays.origins[part], rays.dirs[part], rays.background[part])
        return theirs.sample(some, near[part], far[part], 0.05, Probe(), rows).samples.t

    generator = torch.Generator().manual_seed(5)
    whole = drawn(slice(None), generator)
    assert not torch.equal(whole, theirs.sample(rays, near, far, 0.05, Probe(), None).samples.t)
    parts = [
        drawn(part, RowsOf(torch.Generator().manual_seed(5), part.start, 5))
        for part in (slice(0, 2), slice(2, 5))
    ]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(before, torch.get_rng_state())
    shift = torch.rand(5, generator=torch.Generator().manual_seed(5))[0]
    steps = (whole[0] - near[0]) / 0.05 - 0.5 - shift
    torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)


@pretended
def test_updates_come_when_they_should_and_are_drawn_from_our_generator() -> None:
    asked: list[int] = []

    def opacity(points: Tensor, side: float) -> Tensor:
        assert side == pytest.approx(2 / 16)
        asked.append(len(points))
        return lump(points)

    grids = [NerfaccOccupancy(1.0, 16, update_every=4, warmup=8, decay=0.5) for _ in range(2)]
    generators = [torch.Generator().manual_seed(2) for _ in grids]
    for step in range(13):
        for grid, generator in zip(grids, generators, strict=True):
            torch.rand(1)  # what else draws from the global generator
            grid.update(step, opacity, generator)
    before = torch.get_rng_state()
    grids[0].update(12, lump, torch.Generator())
    assert torch.equal(before, torch.get_rng_state())
    grids[1].update(12, lump, torch.Generator())
    state = [grid.state_dict() for grid in grids]
    assert len(asked) == 2 * 4  # steps 0, 4, 8 and 12
    assert asked[0] == 16**3
    assert asked[-1] < 16**3
    for name in state[0]:
        assert torch.equal(state[0][name], state[1][name]), name
    resumed = NerfaccOccupancy(1.0, 16)
    resumed.load_state_dict(state[0])
    assert torch.equal(resumed.estimator.binaries, grids[0].estimator.binaries)


@pretended
def test_what_a_cell_remembers_and_when_it_is_occupied() -> None:
    grid = NerfaccOccupancy(1.0, 8, update_every=1, decay=0.5, threshold=0.01)
    generator = torch.Generator().manual_seed(0)
    grid.update(0, lambda points, side: torch.full((len(points),), 0.4), generator)
    grid.update(1, lambda points, side: 0.1 * (points[:, 0] > 0), generator)
    torch.testing.assert_close(grid.estimator.occs, torch.full((512,), 0.2))
    for threshold, occupied in ((0.01, 512), (0.5, 256)):
        grid = NerfaccOccupancy(1.0, 8, threshold=threshold)
        grid.update(0, lambda points, side: 0.02 + 0.3 * (points[:, 0] > 0), generator)
        assert int(grid.estimator.binaries.sum()) == occupied


@pretended
def test_a_run_that_has_lost_everything_is_rescued_in_training_alone() -> None:
    empty = NerfaccOccupancy(1.0, 16, rescue_samples=6)
    rays, near, far = some_rays()
    assert len(empty.sample(rays, near, far, 0.05, Probe(), None).samples) == 0
    rescued = empty.sample(rays, near, far, 0.05, Probe(), torch.Generator().manual_seed(0)).samples
    assert rescued.offsets.diff().tolist() == [6, 6, 6, 0, 6]


def proposals(n: int = 16, spacing: str = "linear", sigma: float = 20.0) -> tuple[NerfaccProposal, Proposal]:
    rounds = {"first": Round(Slab(sigma), 32), "second": Round(Slab(sigma), 24)}
    return (
        NerfaccProposal(rounds, n, spacing, jitter=True),
        Proposal(rounds, n, spacing, anneal_weights_until=0.0),
    )


@pretended
@pytest.mark.parametrize("spacing", ["linear", "disparity"])
def test_its_rounds_find_the_slab_as_ours_do(spacing: str) -> None:
    theirs, ours = proposals(spacing=spacing)
    n = 3
    far, near = torch.tensor([4.0, 0.0, 3.0]), torch.tensor([0.5, 0.5, 0.25])
    probe = Probe(unit=unit)
    found, expected = (s.sample(along_z(n), near, far, 1.0, probe, None) for s in (theirs, ours))
    assert found.samples.offsets.tolist() == [0, 16, 16, 32]
    inside = (found.samples.t > 0.85) & (found.samples.t < 1.65)
    assert inside.float().mean() > 0.8
    for name in ("proposal_0", "proposal_1"):
        assert torch.equal(found.levels[name].samples.offsets, expected.levels[name].samples.offsets)
        level = found.levels[name]
        total = level.weights.reshape(2, -1).sum(1)
        torch.testing.assert_close(total, torch.ones(2), atol=0.03, rtol=0)
    first = found.levels["proposal_0"]
    torch.testing.assert_close(first.samples.t, expected.levels["proposal_0"].samples.t, atol=1e-5, rtol=0)
    torch.testing.assert_close(first.weights, expected.levels["proposal_0"].weights, atol=1e-4, rtol=0)
    t = edges(found.samples, 2)
    assert (t.diff(dim=1) >= 0).all()
    assert (t[0] >= 0.5 - 1e-5).all()
    assert (t[1] <= 3 + 1e-5).all()
    assert theirs.estimator.prop_cache == []


@pretended
def test_rays_that_miss_everything_have_empty_rounds() -> None:
    theirs, _ = proposals()
    found = theirs.sample(along_z(2), torch.ones(2), torch.zeros(2), 1.0, Probe(unit=unit), None)
    assert found.samples.offsets.tolist() == [0, 0, 0]
    assert set(found.levels) == {"proposal_0", "proposal_1"}


@pretended
def test_they_learn_when_ours_do_and_from_the_same_weights() -> None:
    theirs, ours = proposals(sigma=0.5)
    for step in range(20):
        assert theirs.knobs(step, 20).learns == ours.knobs(step, 20).learns
    for learns in (True, False):
        level = theirs.sample(
            along_z(2),
            torch.zeros(2),
            torch.full((2,), 4.0),
            1.0,
            Probe(unit=unit, knobs=ProposalKnobs(1.0, learns)),
            None,
        ).levels["proposal_0"]
        assert level.weights.requires_grad == learns
    assert theirs.estimator.prop_cache == []
    probe = Probe(unit=unit, knobs=ProposalKnobs())
    both = []
    for sampler in (theirs, ours):
        sampler.zero_grad()
        ends = torch.zeros(2), torch.full((2,), 4.0)
        sampler.sample(along_z(2), *ends, 1.0, probe, None).levels[
            "proposal_0"
        ].weights.square().sum().backward()
        both.append(sampler.rounds["first"].density.sigma.grad.clone())  # pyright: ignore
    assert both[0] != 0
    torch.testing.assert_close(both[0], both[1], rtol=1e-4, atol=0)


@pretended
def test_closed_rays_end_in_their_last_section() -> None:
    theirs, _ = proposals(sigma=0.0)
    probe = Probe(unit=unit, closed=True)
    found = theirs.sample(along_z(1), torch.zeros(1), torch.full((1,), 4.0), 1.0, probe, None)
    assert found.levels["proposal_0"].weights.tolist() == [0.0] * 31 + [1.0]
    assert bool((found.samples.t > 3.5).all())


@pretended
def test_their_random_numbers_come_from_our_generator_and_not_for_parts() -> None:
    theirs, _ = proposals()

    def drawn(generator: torch.Generator | RowsOf) -> Tensor:
        ends = torch.zeros(2), torch.full((2,), 4.0)
        return theirs.sample(along_z(2), *ends, 1.0, Probe(unit=unit), generator).samples.t

    before = torch.get_rng_state()
    one, same, other = (drawn(torch.Generator().manual_seed(k)) for k in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(
        ValueError, match=r"train.micro_batches=1 and use one process, or use sampler=proposal"
    ):
        drawn(RowsOf(torch.Generator(), 0, 4))


@pretended
def test_spacings_that_it_has_not() -> None:
    with pytest.raises(ValueError, match=r"sampler.spacing is one of linear, disparity, found 'piecewise'"):
        proposals(spacing="piecewise")


@pytest.mark.parametrize("sampler", ["nerfacc_occgrid", "nerfacc_proposal"])
def test_what_is_missing_is_told(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {"nerfacc_occgrid": "occgrid", "nerfacc_proposal": "proposal"}[sampler]
    monkeypatch.setitem(sys.modules, "nerfacc", None)
    with pytest.raises(
        ValueError, match=rf"sampler={sampler} needs nerfacc.*pip install nerfacc.*nvcc.*sampler={ours}"
    ):
        nerfacc_module(sampler)
    monkeypatch.setitem(sys.modules, "nerfacc", nerfacc_kernels.package())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        ValueError, match=rf"sampler={sampler} needs a CUDA card, since.*or use sampler={ours}"
    ):
        nerfacc_module(sampler)
    with pytest.raises(
        ValueError, match=rf"this run is on device 'cpu': set device=cuda, or use sampler={ours}"
    ):
        with_nerfacc.require_card(torch.zeros(1), sampler)


@pytest.mark.skipif(not INSTALLED, reason="nerfacc is not installed")
@pytest.mark.parametrize("name", ["OccGridEstimator", "PropNetEstimator"])
def test_the_stand_in_has_the_signatures_of_the_package(name: str) -> None:
    import nerfacc  # pyright: ignore[reportMissingImports]

    theirs, ours = getattr(nerfacc, name), getattr(nerfacc_kernels, name)
    for method in ("__init__", "sampling", "update_every_n_steps"):
        if hasattr(ours, method):
            one, other = (inspect.signature(getattr(kind, method)).parameters for kind in (theirs, ours))
            assert [(p.name, p.default) for p in one.values()] == [
                (p.name, p.default) for p in other.values()
            ]
