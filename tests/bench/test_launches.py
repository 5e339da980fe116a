"""What a step asks of a card is counted right, and put on the line that asked for it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

from isosweep.bench.launches import LaunchCounter, Launches, count_training
from isosweep.bench.quality import demo_training
from isosweep.ops import backends
from isosweep.ops.opacity import crossing_opacity

CONF = Path(__file__).resolve().parents[2] / "conf"


def counted(work) -> Launches:
    counter = LaunchCounter()
    with torch.autograd.set_detect_anomaly(True, check_nan=False), counter:
        work()
    counter.found.steps = 1
    return counter.found


@pytest.mark.parametrize(
    ("work", "launches", "reads", "size"),
    [
        (lambda a: a * 2, 1, 0, 2 * 24),
        (lambda a: a.view(6)[1:].unsqueeze(0), 0, 0, 0),
        (lambda a: torch.empty(5), 0, 0, 0),
        (lambda a: a.add_(1), 1, 0, 2 * 24),
        (lambda a: (a.sum().item(), float(a[0, 0])), 1, 2, 24 + 4),
        (lambda a: a[a > 2], 2, 1, None),
        (lambda a: a.nonzero(), 1, 1, None),
        (lambda a: a.reshape(3, 2).contiguous(), 0, 0, 0),
        (lambda a: a.T.contiguous(), 1, 0, 2 * 24),
        (lambda a: torch.tensor([1.0, 2.0]), 1, 0, 2 * 8),
        (lambda a: a.repeat_interleave(torch.tensor([1, 2]), dim=0), 3, 1, None),
        (lambda a: a.repeat_interleave(torch.tensor([1, 2]), dim=0, output_size=3), 3, 0, None),
    ],
)
def test_operations_reads_and_bytes_by_hand(work, launches: int, reads: int, size: int | None) -> None:
    a = torch.arange(6.0).reshape(2, 3)
    found = counted(lambda: work(a))
    assert (found.launches, found.host_reads) == (launches, reads)
    if size is not None:
        assert found.bytes.total() == size


def test_a_gradient_is_put_on_the_line_whose_gradient_it_is() -> None:
    f = torch.linspace(-1, 1, 5, requires_grad=True)
    found = counted(lambda: crossing_opacity(f + 0.1, f - 0.1, torch.tensor(10.0)).sum().backward())
    places = {place for place, *_ in found.lines()}
    assert any(place.startswith("ops/opacity.py:") for place in places)
    assert any(place.startswith("backward of ops/opacity.py:") for place in places)


def test_counts_are_per_step_and_the_most_launches_come_first() -> None:
    found = Launches(steps=2)
    found.operations.update({"a.py:1": 4, "b.py:2": 2})
    found.triton.update({"b.py:2": 8})
    found.reads.update({"c.py:3": 1})
    found.bytes.update({"a.py:1": 2**21})
    assert found.lines() == [("b.py:2", 5.0, 0.0, 0.0), ("a.py:1", 2.0, 0.0, 1.0), ("c.py:3", 0.0, 0.5, 0.0)]
    assert (found.launches, found.host_reads, found.mebibytes) == (7.0, 0.5, 1.0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="Triton runs on the card, not in its interpreter")
def test_the_training_loop_is_counted_with_its_kernels(tiny: list[str]) -> None:
    pytest.importorskip("triton", reason="Triton is not installed (it has wheels for Linux only)")
    found = count_training(CONF, tiny, steps=2, after=1)
    assert found.steps == 2
    kernels = {place.removeprefix("backward of ").partition(":")[0] for place in found.triton}
    files = ("backend", "batch_backend", "grid_backend", "networks_backend", "section_backend")
    assert kernels == {f"ops/triton/{file}.py" for file in files}
    assert found.triton.total() >= 2 * 8, "marching twice, encoding, pullback, weights, sums, and gradients"
    lines = {place.removeprefix("backward of ").partition(":")[0] for place, *_ in found.lines()}
    assert {"training/loop.py", "data/batches.py", "models/neus.py", "losses/total.py"} <= lines
    assert found.host_reads == 1, "the number of samples, and nothing else"
    assert 80 < found.launches <= 150


def test_a_launch_outside_the_counted_steps_is_not_counted() -> None:
    counter, done = LaunchCounter(), []
    counter.launch(lambda *given, **more: done.append(given), "kernel", (1,))
    with counter:
        counter.launch(lambda *given, **more: done.append(given), "kernel", (1,))
        counter.launch(lambda *given, **more: done.append(given), "kernel", (0,))
    counter.launch(lambda *given, **more: done.append(given), "kernel", (1,))
    assert len(done) == 4
    assert counter.found.triton.total() == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="Triton runs on the card, not in its interpreter")
def test_a_kernel_in_the_interpreter_is_one_launch_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason="Triton is not installed (it has wheels for Linux only)")
    from isosweep.ops.triton import backend, launch

    alpha, offsets = torch.rand(5), torch.tensor([0, 2, 5])
    backend.render_weights(alpha, offsets)  # the offsets are checked
    counter, original = LaunchCounter(), launch.run
    monkeypatch.setattr(launch, "run", lambda *args, **more: counter.launch(original, *args, **more))
    with counter:
        backend.render_weights(alpha, offsets)
    assert (counter.found.operations.total(), counter.found.triton.total()) == (0, 1)
    assert counter.found.bytes.total() == 5 * 4 * 3 + 3 * 8, "alpha twice, weights, offsets"


def test_counting_ends_with_an_error_of_the_training(
    tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton", reason="Triton is not installed (it has wheels for Linux only)")

    def broken(*args: object) -> None:
        raise FloatingPointError

    monkeypatch.setattr("isosweep.training.loop.check_finite", broken)
    before = backends._active
    with pytest.raises(FloatingPointError):
        count_training(CONF, tiny, steps=2)
    assert _get_current_dispatch_mode() is None
    assert backends._active is before


def test_a_sampler_without_a_grid_is_counted(tiny: list[str]) -> None:
    overrides = ["dataset.n_images=2", "sampler=hierarchical", "model=nerf", *tiny[1:3], *tiny[4:]]
    job = demo_training(CONF, torch.device("cpu"), overrides, {"sampler.resolution": 16})
    assert not hasattr(job.model.sampler, "resolution")


@pytest.fixture
def tiny() -> list[str]:
    small = ["encoding.n_levels=2", "encoding.log2_size=8", "sampler.resolution=8", "train.rays=16"]
    return ["model=neus", *small, "train.target_samples=256"]


def test_tensors_inside_lists_have_bytes() -> None:
    a, b = torch.ones(4), torch.ones(2)

    def work() -> Tensor:
        return torch.cat([a, b])

    assert counted(work).bytes.total() == 2 * 24
