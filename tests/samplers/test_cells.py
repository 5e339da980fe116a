"""Cells of space: which one a point lies in. What they remember is tested through the grid that uses them."""

import torch

from isosweep.samplers.cells import Cells


def test_a_point_is_held_by_the_cell_around_it():
    cells = Cells(resolution=4)
    cells.occupied[:] = False
    cells.occupied[0, 1, 3] = True  # z, y, x
    points = torch.tensor([[0.6, -0.4, -0.9], [0.4, -0.4, -0.9], [0.6, 0.1, -0.9], [0.6, -0.4, -0.4]])
    assert cells.holds(points).tolist() == [True, False, False, False]
    assert cells.holds(torch.tensor([[[3.0, -0.4, -1.0]]])).tolist() == [[True]]  # the nearest cell


def test_an_update_marks_the_cells_in_which_something_was_met():
    cells = Cells(resolution=4, update_every=2, warmup=4, threshold=0.5)
    assert bool(cells.occupied.all())
    cells.refresh(1, lambda points: torch.zeros(len(points)), torch.Generator().manual_seed(0))
    assert bool(cells.occupied.all())  # not the step for it
    cells.refresh(2, lambda points: (points[:, 0] > 0.5).float(), torch.Generator().manual_seed(0))
    assert bool(cells.occupied[:, :, 3].all())
    assert not bool(cells.occupied[:, :, :3].any())


def test_draws_among_the_occupied_cells_reach_the_last_one():
    """A quarter of 64 cells is drawn: 8 of all, and 8 of the one that is occupied."""
    cells = Cells(resolution=4, update_every=1, warmup=0, share=0.25)
    cells.occupied[:] = False
    cells.occupied[3, 3, 3] = True
    drawn = cells._drawn(1, 0, torch.Generator().manual_seed(0))
    assert len(drawn) == 16
    assert drawn[8:].tolist() == [63] * 8
    cells.occupied[:] = False
    assert int(cells._drawn(1, 0, torch.Generator().manual_seed(0)).max()) < 64
