"""Two processes with gloo: their gradient, and so their training, is that of one process on the joined batch."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from isosweep.errors import NumericalError
from isosweep.runtime.interrupts import Interrupts, listen
from isosweep.runtime.lifeline import Lifeline, ProcessLost
from isosweep.training.buckets import Buckets
from isosweep.training.processes import Processes
from isosweep.training.step import Moment, Outcome, gradient
from isosweep.training.team import ALONE, Asked, Team
from tests.training.test_parts import training

CASES = {
    "neus with masks": ("model=neus", "loss=mask"),
    "neus with terms over samples": (
        "model=neus",
        "loss=neus",
        "loss.terms.curvature.weight=0.1",
        "loss.terms.sparsity.weight=0.1",
    ),
    "nerf with a background": ("model=nerf_bg", "loss=nerf_bg", "model.background.n_samples=4"),
}
STEPS = 20


@dataclass
class Found:
    """What a process has found."""

    outcome: Outcome
    grads: dict[str, Tensor]


def prepared(overrides: tuple[str, ...]):
    """A training in float64, off its start, where a surface's first layer does not see the table yet."""
    job = training(*overrides)
    job.model.double().train()
    noise = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in job.model.parameters():
            p += 0.02 * torch.randn(p.shape, generator=noise, dtype=p.dtype)
    return job


def descend(overrides: tuple[str, ...], team: Team, micro_batches: int = 1) -> Found:
    job = prepared(overrides)
    generator = torch.Generator().manual_seed(4)
    batch = rays_of(job, generator)
    team.follow(job.model)
    moment = Moment(1, 10, job.model.knobs(1, 10), logged=True)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    outcome = gradient(
        job.model, job.loss, batch, moment, generator, scaler=scaler, micro_batches=micro_batches, team=team
    )
    grads = {name: p.grad for name, p in job.model.named_parameters() if p.grad is not None}
    return Found(outcome, {**grads, "the next random number": torch.rand(1, generator=generator)})


def rays_of(job, generator: torch.Generator):
    from isosweep.data.batches import draw

    batch = draw(job.scene, 96, "random", 0.0, generator, torch.device("cpu"))
    rays = {name: getattr(batch.rays, name).double() for name in ("origins", "dirs", "background")}
    mask = None if batch.mask is None else batch.mask.double()
    return replace(batch, rays=replace(batch.rays, **rays), rgb=batch.rgb.double(), mask=mask)


def twenty_steps(team: Team) -> dict[str, Tensor]:
    """Train on the same rays again and again, in float64."""
    job = prepared(CASES["neus with masks"])
    team.follow(job.model)
    generator = torch.Generator().manual_seed(4)
    batch = rays_of(job, generator)
    optimizer = torch.optim.Adam(job.model.parameters(), lr=1e-3, eps=1e-8)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    for step in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        knobs = job.model.knobs(step, STEPS)
        gradient(job.model, job.loss, batch, Moment(step, STEPS, knobs), generator, scaler=scaler, team=team)
        optimizer.step()
    team.same(job.model)
    return {name: value.clone() for name, value in job.model.state_dict().items()}


class Two(nn.Module):
    """A layer that every process uses, one that only process 1 uses, and one that nobody uses."""

    def __init__(self) -> None:
        super().__init__()
        self.all, self.second, self.nobody = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)


def some_without_gradient(team: Team) -> dict[str, Tensor | None]:
    torch.manual_seed(team.rank)  # and yet both start with the weights of process 0
    model = Two().double()
    team.follow(model)
    x = torch.full((2, 3), 1.0 + team.rank, dtype=torch.float64)
    team.last_backward()
    (model.all(x).sum() + (model.second(x).sum() if team.rank else 0.0)).backward()
    team.gradients()
    return {name: p.grad for name, p in model.named_parameters()}


def work(rank: int, folder: Path) -> None:
    """All that needs two processes, in one start of them: their start takes longer than the work."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    team = Processes(Lifeline(rank, 2, lambda error: None))
    found: dict[str, object] = {name: descend(overrides, team) for name, overrides in CASES.items()}
    found["in two parts each"] = descend(CASES["neus with masks"], team, micro_batches=2)
    found["weights"] = twenty_steps(team)
    found["some"] = some_without_gradient(team)

    signals = listen()
    before = (team.count([1, 10 + rank]), team.asked(signals))
    if rank == 1:
        signals.ask_to_end()
    first_asked_after_the_next_sum = team.asked(signals)
    sums = team.count([1, 10 + rank])
    found["signals"] = (before, first_asked_after_the_next_sum, sums, team.asked(signals), signals.signal)
    found["gathered"] = (team.gather({rank: "a"}), team.first(rank))

    model = nn.Linear(2, 2)
    team.follow(model)
    team.same(model)
    with torch.no_grad():
        model.bias[0] += 1e-7 * rank
    with pytest.raises(NumericalError, match="process 1 has other values than process 0 in bias:"):
        team.same(model)
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("two")
    spawn(work, (folder,), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.mark.parametrize("name", [*CASES, "in two parts each"])
def test_the_gradient_over_processes_is_that_of_the_joined_batch(both: list[dict], name: str) -> None:
    one = descend(CASES.get(name, CASES["neus with masks"]), ALONE)
    for found in (both[0][name], both[1][name]):
        assert found.grads.keys() == one.grads.keys()
        for key, value in one.grads.items():
            assert value.norm() > 0, key
            assert (found.grads[key] - value).norm() <= 1e-6 * value.norm(), key
        torch.testing.assert_close(found.outcome.total, one.outcome.total)
        torch.testing.assert_close(found.outcome.mse, one.outcome.mse)
        torch.testing.assert_close(found.outcome.terms, one.outcome.terms)
        for count in ("n_rays", "n_samples", "cost"):
            assert getattr(found.outcome, count) == getattr(one.outcome, count)


def test_processes_have_equal_gradients_bit_for_bit(both: list[dict]) -> None:
    for name in CASES:
        for key, value in both[0][name].grads.items():
            assert torch.equal(both[1][name].grads[key], value), (name, key)


def test_twenty_steps_are_those_of_one_process(both: list[dict]) -> None:
    one, start = twenty_steps(ALONE), prepared(CASES["neus with masks"]).model.state_dict()
    moved: set[str] = set()
    for name, value in one.items():
        two = both[0]["weights"][name]
        assert torch.equal(two, both[1]["weights"][name]), name
        if value.is_floating_point() and not torch.equal(value, start[name]):
            assert (two - value).norm() <= 1e-4 * (value - start[name]).norm(), name
            moved.add(name)
    assert moved >= {name for name in one if name.endswith(("table", "weight", "log_sharpness"))}


def test_a_parameter_without_gradient_here_takes_part(both: list[dict]) -> None:
    for found in (both[0]["some"], both[1]["some"]):
        assert found["all.weight"].tolist() == [[2.0 + 4.0] * 3] * 3
        assert found["second.weight"].tolist() == [[4.0] * 3] * 3
        assert found["second.bias"].tolist() == [2.0] * 3
        assert found["nobody.weight"] is None
        assert found["nobody.bias"] is None


def test_a_signal_at_one_process_is_agreed_upon_with_the_next_sums(both: list[dict]) -> None:
    for found in both:
        before, too_early, sums, after, signal_of_both = found["signals"]
        assert before == ([2, 21], Asked())
        assert too_early == Asked(), "the other process cannot know yet"
        assert sums == [2, 21]
        assert after == Asked(save=True, end=True)
        assert signal_of_both == 15
        assert found["gathered"] == ([{0: "a"}, {1: "a"}], 0)


class Done:
    def wait(self) -> None:
        pass


def test_buckets_are_sent_in_their_order_while_the_backward_goes_on() -> None:
    """Three layers of 1200 bytes, and a bucket of 2500: the last layers are sent before the first has its gradient."""
    layers = nn.Sequential(*(nn.Linear(17, 17, bias=False) for _ in range(3)))
    sent: list[tuple[int, bool]] = []

    def start(values: Tensor) -> Done:
        first = layers[0].weight
        assert isinstance(first, nn.Parameter)
        sent.append((values.numel(), first.grad is None))
        values *= 2
        return Done()

    buckets = Buckets(layers, start, largest=2500)
    assert [len(b.parameters) for b in buckets.all] == [2, 1]
    assert buckets.bytes == 3 * 17 * 17 * 4
    layers(torch.ones(1, 17)).sum().backward()
    assert not sent, "a backward pass that is not the last sends nothing"
    once = [p.grad.clone() for p in layers.parameters() if p.grad is not None]
    layers.zero_grad()
    buckets.arm()
    layers(torch.ones(1, 17)).sum().backward()
    assert sent == [(2 * 17 * 17 + 2, True), (17 * 17 + 1, False)]
    buckets.finish()
    assert len(sent) == 2
    for before, p in zip(once, layers.parameters(), strict=True):
        torch.testing.assert_close(p.grad, 2 * before)
    buckets.remove()
    buckets._armed = True
    layers(torch.ones(1, 17)).sum().backward()
    assert len(sent) == 2, "without hooks nothing is sent"


def test_a_large_table_is_summed_in_place_without_a_copy() -> None:
    table = nn.Embedding(2**17, 2)
    sent: list[int] = []

    def start(values: Tensor) -> Done:
        sent.append(values.data_ptr())
        return Done()

    buckets = Buckets(table, start)
    buckets.arm()
    table(torch.tensor([1])).sum().backward()
    buckets.finish()
    assert table.weight.grad is not None
    assert sent == [table.weight.grad.data_ptr()]


def test_a_process_alone_answers_for_itself() -> None:
    signals = Interrupts()
    assert ALONE.asked(signals) == Asked()
    signals.ask_to_end()
    assert ALONE.asked(signals) == Asked(save=True, end=True)
    assert (ALONE.gather(3), ALONE.first(3), ALONE.count([3, 4])) == ([3], 3, [3, 4])
    assert isinstance(ProcessLost("x"), RuntimeError)
