"""The moving average of parameters: by hand, in training, in checkpoints, and in what is scored."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from isosweep.config.settings import OptimSettings
from isosweep.training import checkpoint
from isosweep.training.average import Average
from isosweep.training.loop import start
from tests.training.test_loop import CPU, SMALL, model, run


class One(nn.Module):
    """One parameter, and a buffer that is no part of the average."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([1.0]))
        self.register_buffer("b", torch.tensor([1.0]))


def put(net: One, value: float) -> None:
    with torch.no_grad():
        net.p.fill_(value)


def test_the_average_by_hand():
    net = One()
    average = Average(net, 0.25)
    for value in (3.0, 5.0, 1.0):
        put(net, value)
        average.update()
    # k = 2/11, then 3/12 and 0.25: 1 -> 29/11 -> 4.4091 -> 1.8523
    first = 2 / 11 * 1 + 9 / 11 * 3
    second = 0.25 * first + 0.75 * 5
    with average.in_place():
        assert net.p.item() == pytest.approx(0.25 * second + 0.75 * 1)
    assert net.p.item() == 1.0


def test_in_place_keeps_addresses_and_gives_the_parameters_back_after_an_error():
    net = One()
    average = Average(net, 0.9)
    put(net, 7.0)
    where = net.p.data_ptr()
    seen = []

    def fails() -> None:
        with average.in_place():
            seen.append((net.p.data_ptr(), net.p.item()))
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert seen == [(where, 1.0)]
    assert (net.p.data_ptr(), net.p.item()) == (where, 7.0)


def test_a_run_without_an_average_goes_on_with_one_from_its_parameters():
    net = One()
    average = Average(net, 0.9)
    put(net, 4.0)
    average.restore(None)
    with average.in_place():
        assert net.p.item() == 4.0


def test_training_is_the_same_with_an_average_and_its_values_are_scored(tmp_path):
    plain, folder = run(tmp_path)[0], tmp_path / "averaged"
    folder.mkdir()
    net, seen = model(), []

    def validate() -> float:
        seen.append(net.field.head.bias.detach().clone())
        return 20.0

    settings = replace(SMALL, val_every=12)
    _, state, _ = run(folder, settings, net=net, optim=OptimSettings(average=0.8), validate=validate)
    assert torch.equal(net.field.head.bias, plain.field.head.bias)
    saved = checkpoint.load(folder / "last.pt", CPU)
    scored = checkpoint.trained(saved)
    assert torch.equal(saved["model"]["field.head.bias"], net.field.head.bias)
    assert not torch.equal(scored["field.head.bias"], net.field.head.bias)
    assert scored.keys() == net.state_dict().keys()
    with state.average.in_place():
        assert torch.equal(scored["field.head.bias"], net.field.head.bias)
        assert torch.equal(seen[-1], net.field.head.bias)


def test_resume_goes_on_with_the_average_bit_for_bit(tmp_path):
    optim = OptimSettings(average=0.8)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    run(whole, optim=optim)

    def kill(step, scalars):
        if step == 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(cut, optim=optim, on_log=kill)
    run(cut, optim=optim, resume=True)
    a, b = (checkpoint.trained(checkpoint.load(f / "last.pt", CPU)) for f in (whole, cut))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_without_the_option_there_is_none():
    state = start(model(), SMALL, OptimSettings(), 0, CPU)
    assert state.average is None
