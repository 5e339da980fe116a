"""Scores of other programs' results: what reaches the scores of surfaces."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from isosweep.config.settings import EvalSettings
from isosweep.evaluation import external, surface_metrics
from tests.support.analytic import box, orbit


def test_a_pixel_is_foreground_above_the_middle_of_its_byte(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "box.ply"
    trimesh.Trimesh(box().vertices, box().faces, process=False).export(path)
    given: list[surface_metrics.Observers] = []

    def scores(pred, truth, settings, observers, dilation):
        given.append(observers)
        return {"geometry/chamfer": 0.0}, {}

    monkeypatch.setattr(external, "read_cameras", lambda folder: (orbit(1), np.eye(4), [Path("mask.png")]))
    monkeypatch.setattr(external, "read_mask", lambda path: np.array([[0, 127, 128, 255]], dtype=np.uint8))
    monkeypatch.setattr(surface_metrics, "surface_scores", scores)
    made = external.score_chamfer(path, path, EvalSettings(samples=10), images_from=tmp_path)
    assert given[0].masks[0].tolist() == [[False, False, True, True]]
    assert list(given[0].views) == [0]
    assert made.settings["visibility"] == "ray casting from 1 views"
    assert made.settings["visual_hull"] == "masks of the same views, grown by 1 px"


def test_a_mesh_that_has_no_score_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "box.ply"
    trimesh.Trimesh(box().vertices, box().faces, process=False).export(path)
    nothing = {"geometry/chamfer": None}, {"geometry/chamfer": "nobody sees it"}
    monkeypatch.setattr(surface_metrics, "surface_scores", lambda *given: nothing)
    with pytest.raises(ValueError, match=r"box\.ply has no score: nobody sees it"):
        external.score_chamfer(path, path, EvalSettings(samples=10))


def test_a_result_without_a_seed_has_seed_0() -> None:
    assert external.ExternalResult("dtu", "scan24", "theirs", "standard").folder.name == "theirs-standard-s0"
