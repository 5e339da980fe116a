"""Steps that can be recorded: padding changes nothing, shapes do not depend on data, and what cannot be recorded."""

from dataclasses import replace

import pytest
import torch

from isosweep.bench.launches import LaunchCounter
from isosweep.data.batches import draw
from isosweep.losses import terms
from isosweep.losses.total import TotalLoss
from isosweep.ops import backends
from isosweep.training import graphs
from isosweep.training.graphs import Inputs, body, bucket, held_ray_count, hindrance, padded
from isosweep.training.step import Moment
from isosweep.types import Samples
from tests.training.test_parts import training
from tests.training.test_steps import CPU, Five

NO_SCALE = torch.amp.GradScaler("cpu", enabled=False)


def inputs(job, seed: int, n_rays: int = 48) -> tuple[Inputs, Moment]:
    """A batch and its samples, not padded."""
    generator = torch.Generator().manual_seed(seed)
    batch = draw(job.scene, n_rays, "random", 0.0, generator, CPU)
    moment = Moment(1, 10, job.model.knobs(1, 10))
    samples = job.model.sample(batch.rays, moment.knobs, generator).samples
    weights = torch.tensor(job.loss.weights(1, 10))
    return Inputs(batch.rays, batch.rgb, batch.mask, samples, moment.knobs, weights), moment


def gradients(job, given: Inputs, moment: Moment):
    job.model.zero_grad()
    found = body(job.model, job.loss, NO_SCALE, None, given, moment)
    return found, [p.grad.clone() for p in job.model.parameters()]


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=neus", "loss=mask"),
        ("model=neus", "loss=neus", "loss.terms.curvature.weight=0.01", "loss.terms.sparsity.weight=0.1"),
        ("model=nerf", "loss=nerf", "model.n_steps=64"),
    ],
    ids=" ".join,
)
def test_padding_changes_no_gradient_and_no_value(overrides):
    job = training(*overrides)
    given, moment = inputs(job, 3)
    more = replace(given, samples=padded(given.samples, len(given.samples) + 333))
    expected, plain = gradients(job, given, moment)
    outcome, found = gradients(job, more, moment)
    torch.testing.assert_close(outcome.total, expected.total)
    torch.testing.assert_close(outcome.mse, expected.mse)
    for name, value in expected.terms.items():
        torch.testing.assert_close(outcome.terms[name], value, msg=name)
    for a, b in zip(found, plain, strict=True):
        assert (a - b).norm() <= 1e-4 * b.norm()
        assert a.isfinite().all()


def test_padded_samples_by_hand():
    t = torch.tensor([0.5, 0.7, 0.6])
    samples = Samples(torch.tensor([0, 0, 2]), t, torch.full((3,), 0.1), torch.tensor([0, 2, 2, 3]))
    found = padded(samples, 5)
    assert found.t.tolist() == pytest.approx([0.5, 0.7, 0.6, 0.5, 0.5])
    assert found.dt.tolist() == pytest.approx([0.1, 0.1, 0.1, 0.0, 0.0])
    assert found.ray_index.tolist() == [0, 0, 2, 0, 0]
    assert found.offsets.tolist() == [0, 2, 2, 5]
    assert found.count is not None
    assert int(found.count) == 3
    assert samples.offsets.tolist() == [0, 2, 2, 3]
    with pytest.raises(ValueError, match="3 samples cannot be padded to 2"):
        padded(samples, 2)


def test_sizes_are_few():
    assert [bucket(n, 65536) for n in (1, 2048, 2049, 65536)] == [2048, 2048, 4096, 65536]
    assert bucket(10, 100) == 256


def test_the_ray_count_is_held_while_it_is_about_right():
    assert held_ray_count(1000, 100, 1000, (16, 9999)) == 100
    assert held_ray_count(1120, 100, 1000, (16, 9999)) == 100  # 89 would be ideal
    assert held_ray_count(1300, 100, 1000, (16, 9999)) == 76
    assert held_ray_count(100, 100, 1000, (16, 500)) == 500
    assert held_ray_count(9000, 100, 1000, (64, 500)) == 64
    assert held_ray_count(0, 100, 1000, (16, 500)) == 100
    assert held_ray_count(10, 100, 0, (16, 500)) == 100


def test_inputs_are_copied_into_memory_of_the_recordings_own():
    job = training("model=neus", "loss=mask")
    (one, _), (other, _) = inputs(job, 3), inputs(job, 4)
    size = max(len(one.samples), len(other.samples)) + 10
    one, other = (replace(x, samples=padded(x.samples, size)) for x in (one, other))
    assert one.shapes == other.shapes
    kept = one.copied()
    addresses = [t.data_ptr() for t in kept._tensors()]
    assert not set(addresses) & {t.data_ptr() for t in one._tensors()}
    kept.take(other)
    assert [t.data_ptr() for t in kept._tensors()] == addresses
    for mine, theirs in zip(kept._tensors(), other._tensors(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.skipif(torch.cuda.is_available(), reason="Triton runs on the card, not in its interpreter")
@pytest.mark.parametrize(
    "overrides",
    [("model=neus", "loss=mask"), ("model=nerf", "loss=nerf", "model.n_steps=32")],
    ids=" ".join,
)
def test_what_is_recorded_reads_nothing_and_has_the_same_shapes_for_every_batch(overrides, monkeypatch):
    """Counted on the card's kernels, in Triton's interpreter. Equal bytes on every line are equal shapes."""
    pytest.importorskip("triton", reason="Triton is not installed (it has wheels for Linux only)")
    from isosweep.ops.triton import launch

    job = training(*overrides)
    (one, moment), (other, _) = inputs(job, 3, 12), inputs(job, 4, 12)
    assert len(one.samples) != len(other.samples)
    size = max(len(one.samples), len(other.samples)) + 10
    one, other = (replace(x, samples=padded(x.samples, size)) for x in (one, other))
    monkeypatch.setattr(backends, "_active", (backends.Choice("cuda", "a test"), backends.MODULES["cuda"]))
    gradients(job, one, moment)  # what is computed once is there: constants of the kernels
    counters = []
    for given in (one, other, one):
        counter, run = LaunchCounter(), launch.run
        with monkeypatch.context() as patched:
            patched.setattr(launch, "run", lambda *a, c=counter, r=run, **k: c.launch(r, *a, **k))
            with counter:
                gradients(job, given, moment)
        counters.append(counter.found)
    first, second, again = counters
    assert first.reads.total() == 0
    assert first.triton.total() >= 8
    assert first.operations == second.operations == again.operations
    assert first.triton == second.triton
    assert first.bytes == second.bytes == again.bytes


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("model=neus", "loss=mask"), None),
        (("model=nerf", "loss=nerf"), None),
        (("model=nerf_bg", "loss=nerf_bg"), "behind the box"),
        (("model=nerf", "loss=nerf", "sampler=hierarchical"), "renders a round of samples itself"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else str(given),
)
def test_what_cannot_be_recorded_is_named(overrides, reason):
    job = training(*overrides)
    found = hindrance(job.model, job.loss)
    assert found is None if reason is None else reason in str(found)


def test_distortion_and_points_cannot_be_recorded():
    net = Five()
    net.background, net.sampler = None, training("model=nerf", "loss=nerf").model.sampler
    loss = TotalLoss({"distortion": {"weight": 1.0, "fn": terms.distortion}})
    assert "distortion" in str(hindrance(net, loss))
    assert "points" in str(hindrance(net, TotalLoss({"sfm": {"weight": 1.0, "fn": terms.sfm}})))


def test_a_step_that_cannot_be_recorded_is_said_once_and_left_to_others(monkeypatch, caplog):
    """On a machine without a card every recording fails."""
    job = training("model=neus", "loss=mask")
    recorder = graphs.Graphs(job.model, job.loss, NO_SCALE, None, 1000)

    def refuse(*args, **kwargs):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: None)
    monkeypatch.setattr(torch.cuda, "Stream", refuse)
    generator = torch.Generator().manual_seed(1)
    batch = draw(job.scene, 48, "random", 0.0, generator, CPU)
    before = generator.get_state()
    assert recorder.gradient(batch, Moment(1, 10, job.model.knobs(1, 10)), generator) is None
    assert recorder.failed
    assert torch.equal(generator.get_state(), before)
    assert "cannot be recorded (operation not permitted when stream is capturing)" in caplog.text
    assert all(p.grad is None for p in job.model.parameters())
