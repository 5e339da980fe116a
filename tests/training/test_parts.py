"""A batch in parts has the gradient of the batch in one piece, whatever the means of its loss are taken over."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from isosweep.bench.quality import Training, demo_training
from isosweep.data.batches import draw
from isosweep.data.photos import make_photos
from isosweep.training.step import Moment, Outcome, gradient
from isosweep.types import DISTANCE

CONF = Path(__file__).parents[2] / "conf"
SMALL = ("encoding=hashgrid", "encoding.n_levels=4", "encoding.log2_size=10", "train.rays=96")
STEPS = 3


def training(*overrides: str, **settings: int) -> Training:
    return demo_training(
        CONF,
        torch.device("cpu"),
        [*SMALL, *overrides],
        {"sampler.resolution": 8},
        max_steps=STEPS,
        **settings,
    )


def descend(
    job: Training, micro_batches: int, aside: int = 0, known: int = 0
) -> tuple[Outcome, dict[str, Tensor]]:
    """The gradient of 96 rays, of which the first ``aside`` look away and the last ``known`` have a distance."""
    generator = torch.Generator().manual_seed(4)
    device = torch.device("cpu")
    photos = make_photos(job.scene, device) if job.loss.patches else None
    marks = {"photos": photos, "n_patches": job.loss.patches, "with_views": job.model.most_views is not None}
    batch = draw(job.scene, 96, "random", 0.0, generator, device, **marks)
    rays = type(batch.rays)(*(getattr(batch.rays, k).double() for k in ("origins", "dirs", "background")))
    rays.dirs[:aside] *= -1
    rays = replace(rays, view=batch.rays.view)
    if photos is not None:
        views = photos.cameras
        photos = replace(photos, cameras=replace(views, c2w=views.c2w.double(), K=views.K.double()))
    batch = type(batch)(
        rays=rays,
        ray_extras={**batch.ray_extras, DISTANCE: (torch.arange(96) >= 96 - known) * 2.0},
        photos=photos,
        rgb=batch.rgb.double(),
        mask=None if batch.mask is None else batch.mask.double(),
    )
    job.model.zero_grad()
    moment = Moment(1, 10, job.model.knobs(1, 10), logged=True)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    outcome = gradient(
        job.model, job.loss, batch, moment, generator, scaler=scaler, micro_batches=micro_batches
    )
    after = torch.rand(1, generator=generator)
    grads = {name: p.grad.clone() for name, p in job.model.named_parameters() if p.grad is not None}
    return outcome, {**grads, "the next random number": after}


@pytest.mark.parametrize("micro_batches", [2, 5])
@pytest.mark.parametrize(
    "overrides",
    [
        ("model=neus", "loss=mask"),
        ("model=nero", "loss=nero", "model.every=3"),
        ("model=neus", "loss=geo_neus", "loss.patches=40", "loss.terms.photo.fn.side=3"),
        ("model=neus", "loss=neus", "loss.terms.curvature.weight=0.1", "loss.terms.sparsity.weight=0.1"),
        ("model=neus", "sampler=upsample", "sampler.n_coarse=8", "sampler.n_fine=8"),
        ("model=neus", "loss=mask", "loss.terms.rgb_l1_masked.weight=1.0", "loss.terms.rgb_l1.weight=0.0"),
        ("model=neus", "model.color.appearance_dim=2", "loss.terms.curvature_by_level.weight=0.1"),
        ("model=nerf_bg", "loss=nerf_bg", "model.background.n_samples=4"),
        ("model=nerf_original", "loss=nerf_original", "sampler=hierarchical", "sampler.n_coarse=4"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else str(given),
)
def test_the_gradient_of_the_parts_is_that_of_the_batch(overrides, micro_batches):
    compare(training(*overrides), micro_batches)


def test_a_background_is_a_mean_over_the_rays_that_have_one():
    """All rays of the first part miss the box, and they have a background like the others."""
    terms = ("loss.terms.background_distortion.weight=1.0", "loss.terms.distortion.weight=0.0")
    job = training("model=nerf_bg", "loss=nerf_bg", "model.background.n_samples=4", *terms)
    compare(job, 2, aside=48)


def test_a_known_distance_is_a_mean_over_the_rays_that_have_one():
    """They are the last rows of the batch, so that the first part has none."""
    terms = ("loss.terms.point_distance.weight=1.0", "loss.terms.distortion.weight=0.0")
    job = training("model=nerf", *terms)
    compare(job, 2, known=12)
    assert float(descend(job, 1, known=12)[0].terms["point_distance"]) > 0


def compare(job: Training, micro_batches: int, aside: int = 0, known: int = 0) -> None:
    job.model.double().train()
    whole, expected = descend(job, 1, aside, known)
    parts, found = descend(job, micro_batches, aside, known)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] - value).norm() <= 1e-9 * value.norm(), name
    torch.testing.assert_close(parts.total, whole.total)
    assert parts.terms.keys() == whole.terms.keys()
    for name, value in whole.terms.items():
        torch.testing.assert_close(parts.terms[name], value, msg=name)
    torch.testing.assert_close(parts.mse, whole.mse)
    torch.testing.assert_close(parts.empty, whole.empty)
    assert (parts.n_rays, parts.n_samples, parts.cost) == (whole.n_rays, whole.n_samples, whole.cost)


def test_a_training_in_parts_is_the_training():
    one, three = training("model=neus"), training("model=neus", micro_batches=3)
    start = [p.detach().clone() for p in one.model.parameters()]
    one.run()
    three.run()
    for before, a, b in zip(start, one.model.parameters(), three.model.parameters(), strict=True):
        # Adam makes whole steps of gradients that are rounding alone, so single entries may differ.
        assert (a - b).norm() < 1e-4 * (a - before).norm()
        assert (a - before).norm() > 0
