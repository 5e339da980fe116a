"""The memory of a step: the formula beside what is measured, and batches that are too large for a card."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from isosweep.bench.step_memory import PeakMemory, StepMemory, measure_step
from isosweep.config.settings import TrainSettings
from isosweep.errors import InputError
from isosweep.runtime import ram
from isosweep.training import memory
from isosweep.training.team import Team
from tests.training.test_steps import CPU, SMALL, Five, run

CONF = Path(__file__).parents[2] / "conf"
COARSE = ("encoding.log2_size=10", "model.n_steps=64")


def test_the_peak_of_a_chain_of_operations_by_hand():
    x = torch.rand(1000, requires_grad=True)
    with PeakMemory() as followed:
        y = (x * 2).exp()  # 2 x is gone when exp is there
        y.sum().backward()  # the sum, its gradient, and two gradients of 1000 numbers beside y
    assert 3 * 4000 <= followed.peak <= 3 * 4000 + 64
    del y
    assert followed.now == 4000  # the gradient of x


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=neus", *COARSE),
        ("model=neus", *COARSE, "model.gradient=finite_difference"),
        ("model=neus", *COARSE, "encoding.n_levels=16"),
        ("model=nerf", *COARSE),
        ("model=nerf", "encoding=freq", "model.n_steps=64"),
    ],
    ids=" ".join,
)
def test_the_formula_is_what_a_step_takes(overrides):
    """With plain PyTorch, whose intermediate values the formula's overhead covers; kernels take less."""
    found = measure_step(CONF, overrides, (16, 64))
    assert 0.12 < found.formula / found.measured < 1.6, found
    assert found.measured < memory.OVERHEAD["torch"] * found.formula


def test_parts_of_a_card_by_hand():
    found = StepMemory(formula=1000, measured=1.0, state=10**8, target=10**6)
    assert found.parts(10**8 + 10**9, 2.0) == 3  # 0.8e9 bytes hold 400,000 samples
    assert found.parts(10**11, 2.0) == 1


def on_a_card(net: Five, asked: int, limit: int) -> memory.Parts:
    parts = memory.Parts(net, CPU, asked)
    parts._limit = limit
    return parts


def test_a_batch_that_would_not_fit_is_computed_in_more_parts_for_good(caplog):
    parts = on_a_card(Five(), 2, limit=1000)
    assert parts.of(100) == 2  # nothing is known of the samples yet
    parts.seen(100, 800)
    assert parts.of(100) == 2
    with caplog.at_level(logging.WARNING, "isosweep"):
        assert parts.of(500) == 4
    assert "4000 samples do not fit" in caplog.text
    assert "4 parts" in caplog.text
    assert parts.of(100) == 4
    assert parts.of(3) == 3


class Narrow(Five):
    """Holds so many rays at once."""

    def render(self, rays, sampled, knobs, want, generator=None):
        if len(rays) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().render(rays, sampled, knobs, want, generator)


def test_a_batch_that_the_memory_did_not_hold_is_computed_again_in_parts(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "isosweep"):
        net, state, _ = run(tmp_path, SMALL, net=Narrow())
    assert "4 parts" in caplog.text
    plain, whole, _ = run(tmp_path, SMALL)
    assert torch.equal(state.generator.get_state(), whole.generator.get_state())
    for a, b in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_where_not_one_ray_fits_the_error_is_the_cards(tmp_path):
    class Full(Five):
        def render(self, rays, sampled, knobs, want, generator=None):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        run(tmp_path, SMALL, net=Full())


@pytest.mark.parametrize(("size", "looked"), [(1, 1), (2, 0)])
def test_a_team_does_not_count_its_parts_by_the_memory_of_one(size, looked, monkeypatch, tmp_path):
    """Each process would find another number of parts, and so take other rows of the batch."""

    class Many(Team):
        pass

    Many.size = size
    seen: list[memory.Parts] = []
    monkeypatch.setattr(memory.Parts, "limit", lambda parts: seen.append(parts))
    run(tmp_path, SMALL, team=Many())
    assert len(seen) == looked


@pytest.mark.parametrize(("name", "count"), [("rays", 10**8), ("min_rays", 10**9)])
def test_rays_that_no_memory_holds_are_refused_before_images_load(
    name: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Five()
    monkeypatch.setattr(memory, "bytes_per_sample", lambda model: 1000)
    monkeypatch.setattr(ram, "available", lambda: 2**34)
    need = memory.require_rays
    settings = replace(TrainSettings(), **{name: count})
    with pytest.raises(
        InputError, match=rf"train\.{name}={count}: .* needs [\d.]+ GiB or more, and 16\.0 GiB are"
    ):
        need(model, settings, CPU)
    need(model, TrainSettings(rays=10_000_000), CPU)  # 10.5 GiB
    with pytest.raises(InputError, match=r"raise train\.micro_batches"):
        need(model, TrainSettings(rays=20_000_000), CPU)
    need(model, TrainSettings(rays=20_000_000, micro_batches=2), CPU)
    monkeypatch.setattr(ram, "available", lambda: None)
    need(model, settings, CPU)
