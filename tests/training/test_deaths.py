"""Dead rays: which ones count, and when they are worth a warning."""

import logging

import pytest
import torch

from isosweep.training.deaths import Deaths
from isosweep.training.step import empty_rays
from isosweep.types import Level, RenderOut, Samples

NONE = Samples(
    torch.zeros(0, dtype=torch.long), torch.zeros(0), torch.zeros(0), torch.zeros(4, dtype=torch.long)
)


def level(*opacity: float) -> Level:
    return Level(NONE, torch.zeros(0), opacity=torch.tensor(opacity))


def out(*opacity: float, **levels: Level) -> RenderOut:
    rgb = torch.zeros(3, 3)
    return RenderOut(rgb, torch.tensor(opacity), torch.zeros(3), NONE, torch.zeros(0), levels=levels)


def test_a_ray_is_empty_where_either_network_sees_exactly_nothing():
    assert empty_rays(out(0.0, 1e-30, 1.0)).tolist() == [True, False, False]
    both = out(0.5, 0.5, 0.0, coarse=level(0.0, 0.1, 0.2), background=level(0.0, 0.0, 0.0))
    assert empty_rays(both).tolist() == [True, False, True]
    assert empty_rays(out(0.5, 0.5, 0.0, proposal=Level(NONE, torch.zeros(0)))).tolist() == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("shares", "warnings"),
    [((1, 1, 1, 1), 1), ((1, 0.99, 1, 0.5), 0), ((1, 0.99, 1, 1), 1), ((0, 1, 1, 0), 1)],
)
def test_two_logged_steps_in_a_row_without_a_live_ray_are_warned_about_once(shares, warnings, caplog):
    deaths = Deaths("use train.precrop=0.5")
    with caplog.at_level(logging.WARNING):
        for step, share in enumerate(shares):
            deaths.note(100 * step, share)
    assert caplog.text.count("every ray is dead") == warnings
    assert caplog.text.count("Stop, and use train.precrop=0.5") == warnings


def test_of_a_model_that_recovers_nothing_is_said(caplog):
    deaths = Deaths(None)
    for step in range(4):
        deaths.note(step, 1.0)
    assert not caplog.text
