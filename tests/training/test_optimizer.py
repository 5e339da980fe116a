"""Which rate and decay each parameter gets, by its name."""

import copy
import subprocess
import sys
from collections.abc import Callable
from unittest import mock

import pytest
import torch
from torch import nn

from isosweep.config.settings import OPTIMIZERS, OptimSettings
from isosweep.errors import InputError
from isosweep.training import optimizer as optimizer_file
from isosweep.training.optimizer import kind_of, make_optimizer, parameter_groups, without_compiler

RATES = OptimSettings(lr_tables=1.0, lr_networks=2.0, lr_sharpness=3.0, lr_background=4.0, weight_decay=0.5)


class Parts(nn.Module):
    """A model with a parameter of each kind, in a mixed order."""

    def __init__(self) -> None:
        super().__init__()
        self.log_sharpness = nn.Parameter(torch.zeros(()))
        self.field = nn.Module()
        self.field.table = nn.Parameter(torch.zeros(4, 2))
        self.field.mlp = nn.Linear(2, 2)
        self.background = nn.Module()
        self.background.table = nn.Parameter(torch.zeros(4, 2))
        self.background.mlp = nn.Linear(2, 2)
        self.coarse = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("field.layers.0.weight", "networks"),
        ("coarse.weight", "networks"),
        ("field.encoding.table", "tables"),
        ("log_sharpness", "sharpness"),
        ("background.color_field.mlp.head.bias", "background"),
        ("background.density.encoding.table", "background_tables"),
        ("tables_of_mine.weight", "networks"),
    ],
)
def test_kinds_by_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_every_parameter_is_in_one_group_in_order_of_appearance() -> None:
    model = Parts()
    groups = parameter_groups(model, RATES)
    said = [(g["name"], g["lr"], g["base_lr"], g["weight_decay"]) for g in groups]
    assert said == [
        ("sharpness", 3.0, 3.0, 0.0),
        ("tables", 1.0, 1.0, 0.0),
        ("networks", 2.0, 2.0, 0.5),
        ("background_tables", 1.0, 1.0, 0.0),
        ("background", 4.0, 4.0, 0.5),
    ]
    held = sorted(id(p) for g in groups for p in g["params"])
    assert held == sorted(id(p) for p in model.parameters())


def test_a_pattern_of_names_has_its_own_rate_and_the_last_that_fits_decides() -> None:
    settings = OptimSettings(
        lr_networks=2.0, weight_decay=0.5, rates={"coarse.*": 7.0, "*.bias": 8.0, "*table": 9.0}
    )
    model = Parts()
    rate = {
        id(p): (g["lr"], g["weight_decay"]) for g in parameter_groups(model, settings) for p in g["params"]
    }
    assert rate[id(model.coarse.weight)] == (7.0, 0.5)
    assert rate[id(model.coarse.bias)] == (8.0, 0.5)
    assert rate[id(model.field.mlp.weight)] == (2.0, 0.5)
    assert rate[id(model.field.table)] == (9.0, 0.0)
    assert len(rate) == len(list(model.parameters()))


def test_a_pattern_that_fits_nothing_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"optim.rates: no parameter of this model fits 'corse\.\*'; it has coarse\."
    ):
        parameter_groups(Parts(), OptimSettings(rates={"corse.*": 1.0}))


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_the_optimiser_is_the_one_named(name: str, kind: type) -> None:
    optimizer = make_optimizer(Parts(), OptimSettings(name=name, betas=[0.8, 0.7], eps=1e-9))
    assert isinstance(optimizer, kind)
    assert optimizer.defaults["betas"] == (0.8, 0.7)
    assert optimizer.defaults["eps"] == 1e-9
    assert all(group["fused"] for group in optimizer.param_groups)


def test_tables_have_a_decay_of_their_own_and_the_sharpness_has_none():
    model = nn.Module()
    model.table, model.log_sharpness, model.weight = (nn.Parameter(torch.ones(2)) for _ in range(3))
    settings = OptimSettings(weight_decay=0.5, weight_decay_tables=0.25)
    found = {str(g["name"]): g["weight_decay"] for g in parameter_groups(model, settings)}
    assert found == {"tables": 0.25, "sharpness": 0.0, "networks": 0.5}


def test_the_names_are_those_of_torch_but_for_three() -> None:
    kinds = {n.lower() for n, k in vars(torch.optim).items() if isinstance(k, type)}
    assert set(OPTIMIZERS) == kinds - {"optimizer", "lbfgs", "sparseadam", "muon"}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_lowers_a_loss_and_goes_on_from_its_state(name: str) -> None:
    def made() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = Parts()
        for parameter in model.parameters():
            nn.init.ones_(parameter)
        rate = 1.0 if name == "adadelta" else 0.02
        return model, make_optimizer(
            model,
            OptimSettings(
                name, lr_tables=rate, lr_networks=rate, lr_sharpness=rate, lr_background=rate, eps=1e-8
            ),
        )

    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> float:
        optimizer.zero_grad()
        loss = torch.stack([p.square().sum() for p in model.parameters()]).sum()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    model, optimizer = made()
    assert type(optimizer).__name__.lower() == name
    losses = [step(model, optimizer) for _ in range(4)]
    assert losses[-1] < losses[0]
    other, resumed = made()
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert step(other, resumed) == step(model, optimizer)
    assert step(other, resumed) == step(model, optimizer)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_is_that_of_torchs_own_class(name: str) -> None:
    def trained(wrap: Callable[[type], Callable[..., torch.optim.Optimizer]]) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = Parts()
        with mock.patch.object(optimizer_file, "without_compiler", wrap):
            optimizer = make_optimizer(model, OptimSettings(name, eps=1e-8))
        for _ in range(3):
            optimizer.zero_grad()
            torch.stack([(p - 1).square().sum() for p in model.parameters()]).sum().backward()
            optimizer.step()
        return [p.detach() for p in model.parameters()]

    ours, theirs = trained(without_compiler), trained(lambda kind: kind)
    assert all(map(torch.equal, ours, theirs))


def test_a_run_loads_no_compiler_and_no_metrics() -> None:
    """Each would take as long to import as torch, in every run."""
    code = (
        "import sys, torch, isosweep.app.run; from isosweep.config.settings import OptimSettings; "
        "from isosweep.evaluation import image_metrics; from isosweep.training.optimizer import make_optimizer; "
        "model = torch.nn.Linear(1, 1); optimizer = make_optimizer(model, OptimSettings()); optimizer.zero_grad(); "
        "model(torch.ones(1, 1)).sum().backward(); torch.amp.GradScaler(enabled=False).step(optimizer); "
        "optimizer.load_state_dict(optimizer.state_dict()); image = torch.rand(12, 12, 3); "
        "image_metrics.psnr(image, image); image_metrics.ssim(image, image); "
        "from hydra import compose, initialize_config_dir; from isosweep.config.schema import CONF; "
        "from isosweep.config.names import plain_config; from isosweep.app.rehearsal import wrong_parts; "
        "initialize_config_dir(str(CONF), version_base='1.3'); "
        "assert wrong_parts(plain_config(compose('config')), 'neus') is None; "
        "slow = {'torch._dynamo', 'sympy', 'torchmetrics', 'scipy', 'matplotlib', 'wandb'} & set(sys.modules); "
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_betas_eps_and_arguments_reach_the_optimiser() -> None:
    adam = make_optimizer(Parts(), OptimSettings("adam", betas=[0.8, 0.9], eps=1e-3))
    assert (adam.defaults["betas"], adam.defaults["eps"], adam.defaults["fused"]) == ((0.8, 0.9), 1e-3, True)
    sgd = make_optimizer(Parts(), OptimSettings("sgd", args={"momentum": 0.9, "nesterov": True}))
    assert (sgd.defaults["momentum"], sgd.defaults["nesterov"]) == (0.9, True)
    own = make_optimizer(Parts(), OptimSettings("rmsprop", eps=1e-4, args={"alpha": 0.5}))
    assert (own.defaults["eps"], own.defaults["alpha"]) == (1e-4, 0.5)
    slow = make_optimizer(Parts(), OptimSettings("adam", args={"fused": False}))
    assert slow.defaults["fused"] is False
    assert make_optimizer(Parts(), OptimSettings("adafactor", eps=1e-4)).defaults["eps"] == (None, 1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            OptimSettings("sgd", args={"momentun": 0.9}),
            "SGD has no argument 'momentun'; it has momentum, damp",
        ),
        (OptimSettings("sgd", args={"lr": 0.9}), "Learning rates and weight decays are optim"),
        (OptimSettings("sgd", args={"momentum": -1}), "SGD refuses {'momentum': -1}"),
    ],
)
def test_what_an_optimiser_refuses(settings: OptimSettings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_optimizer(Parts(), settings)
