"""Which rate and decay each parameter gets, by its name."""

import pytest
import torch
from torch import nn

from isosweep.config.settings import OptimSettings
from isosweep.training.optimizer import kind_of, make_optimizer, parameter_groups

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
    assert type(optimizer) is kind
    assert optimizer.defaults["betas"] == (0.8, 0.7)
    assert optimizer.defaults["eps"] == 1e-9
    assert all(group["fused"] for group in optimizer.param_groups)


def test_tables_have_a_decay_of_their_own_and_the_sharpness_has_none():
    model = nn.Module()
    model.table, model.log_sharpness, model.weight = (nn.Parameter(torch.ones(2)) for _ in range(3))
    settings = OptimSettings(weight_decay=0.5, weight_decay_tables=0.25)
    found = {str(g["name"]): g["weight_decay"] for g in parameter_groups(model, settings)}
    assert found == {"tables": 0.25, "sharpness": 0.0, "networks": 0.5}
