"""One mesh under every protocol: on a small scene where it is known what each protocol must do."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isosweep.evaluation import dtu, protocol_matrix
from isosweep.evaluation.dtu import Official
from isosweep.evaluation.protocol_matrix import COVERAGE, Variant, scores_by_protocol, variants
from isosweep.types import Mesh
from tests.support import dtu_official

ACCURACY, COMPLETENESS, CHAMFER = dtu.NAMES
ROOT = Path(__file__).resolve().parents[2]
STEP = 0.5
"""mm between neighbouring points; the mesh has no sample between them that thinning keeps apart."""


def surface(x0: float = 480.0, width: float = 40.0) -> tuple[np.ndarray, np.ndarray]:
    """Grid x [R, C], y [R, C] of a bumpy surface, from x0 on, 12 mm deep."""
    return np.meshgrid(np.arange(x0, x0 + width, STEP), np.arange(0.0, 12.0, STEP))


def height(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 0.8 * np.sin(x / 3.0) * np.cos(y / 2.0)


def mesh_of(x: np.ndarray, y: np.ndarray, z: np.ndarray, without: np.ndarray | None = None) -> Mesh:
    i = np.arange(x.size).reshape(x.shape)
    a, b, c, d = (q.ravel() for q in (i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, d], 1), np.stack([c, d, b], 1)])
    if without is not None:
        faces = faces[~without.ravel()[faces].any(axis=1)]
    used = np.unique(faces)
    number = np.full(x.size, -1)
    number[used] = np.arange(len(used))
    return Mesh(np.column_stack([x.ravel(), y.ravel(), z.ravel()])[used], number[faces])


@pytest.fixture(scope="module")
def official() -> Official:
    x, y = surface()
    points = np.column_stack([x.ravel(), y.ravel(), height(x, y).ravel()])
    box = np.array([[470.0, -10.0, -20.0], [530.0, 30.0, 20.0]])
    return Official(24, points, np.ones((31, 21, 21), bool), box, 2.0, np.array([0.0, 0.0, 1.0, 100.0]))


def scored(mesh: Mesh, official: Official, observers=None, presets=("none",)) -> dict[str, dict[str, float]]:
    found = scores_by_protocol(mesh, official, observers, presets=presets)
    return {variant.name: values for variant, values, *_ in found}  # type: ignore[misc]


def test_names_are_those_of_presets_alignment_and_what_is_seen() -> None:
    assert [v.name for v in variants(masks=False)] == ["dtu-none", "dtu-none-icp"]
    every = [v.name for v in variants(masks=True)]
    assert len(every) == len(set(every)) == 20
    assert {"dtu-neus", "dtu-neus-icp", "dtu-neus-seen2", "dtu-neus-icp-seen2"} <= set(every)


def test_the_plain_protocol_is_that_of_dtu_scores_and_an_exact_mesh_is_covered(official: Official) -> None:
    x, y = surface()
    mesh = mesh_of(x, y, height(x, y) + 0.3)
    found = scored(mesh, official)
    values = dtu.dtu_scores(mesh, official, dtu.DtuSettings())[0]
    assert {k: found["dtu-none"][k] for k in dtu.NAMES} == values
    assert found["dtu-none"][COVERAGE] == 1.0
    exact = scored(mesh_of(x, y, height(x, y)), official)
    assert exact["dtu-none-icp"][CHAMFER] == pytest.approx(exact["dtu-none"][CHAMFER], abs=0.01)


def test_a_shifted_mesh_gains_from_icp_alone(official: Official) -> None:
    x, y = surface()
    z = height(x, y)
    there = scored(mesh_of(x, y, z), official)["dtu-none"]
    shifted = scored(mesh_of(x + 0.4, y - 0.3, z + 1.2), official)
    assert shifted["dtu-none"][CHAMFER] > there[CHAMFER] + 0.5
    assert shifted["dtu-none-icp"][CHAMFER] == pytest.approx(there[CHAMFER], abs=0.1)
    larger = Mesh(mesh_of(x, y, z).vertices * [1.0, 1.0, 1.6], mesh_of(x, y, z).faces)
    bumps = scored(larger, official)
    assert bumps["dtu-none-icp"][CHAMFER] == pytest.approx(bumps["dtu-none"][CHAMFER], rel=0.1), (
        "wrong, not shifted"
    )


def test_cutting_a_bad_part_makes_the_mesh_more_accurate_and_less_complete(official: Official) -> None:
    x, y = surface()
    bad = (x > 500) & (x < 510)
    z = height(x, y) + np.where(bad, 1.9, 0.0)
    whole = scored(mesh_of(x, y, z), official)["dtu-none"]
    cut = scored(mesh_of(x, y, z, without=bad), official)["dtu-none"]
    assert cut[ACCURACY] < whole[ACCURACY] - 0.2
    assert whole[COVERAGE] == 1.0
    hole = ((official.points[:, 0] > 502) & (official.points[:, 0] < 508)).mean()
    assert cut[COVERAGE] == pytest.approx(1 - hole, abs=0.03), (
        "what is 2 mm and more from the rest of the mesh"
    )


def test_seen_counts_what_two_cameras_see(official: Official, tmp_path: Path) -> None:
    """The first two cameras see as far as x = 500 mm, the third all; there the mesh is right, and beyond it is not."""
    observers, _ = dtu.read_masks(dtu_official.write_scene(tmp_path / "scene"), 24)
    x, y = surface()
    z = height(x, y) + np.where(x > 500.0, 1.5, 0.0)
    found = scored(mesh_of(x, y, z), official, observers)
    assert set(found) == {"dtu-none", "dtu-none-icp", "dtu-none-seen2", "dtu-none-icp-seen2"}
    assert found["dtu-none"][ACCURACY] > 0.4
    assert found["dtu-none-seen2"][ACCURACY] < 0.2
    roof = mesh_of(x, y, height(x, y) + 15.0)
    below = mesh_of(x, y, height(x, y))
    hidden = Mesh(
        np.concatenate([below.vertices, roof.vertices]),
        np.concatenate([below.faces, roof.faces + len(below.vertices)]),
    )
    under = scored(hidden, official, observers)
    assert under["dtu-none-seen2"][ACCURACY] > 10, "the roof hides what is right"
    assert under["dtu-none"][ACCURACY] < 9


def test_a_mesh_without_a_point_there_has_reasons_instead_of_scores(official: Official) -> None:
    x, y = surface()
    far = mesh_of(x + 5000, y, height(x, y))
    for _, values, reasons, _ in scores_by_protocol(far, official, None):
        assert set(values.values()) == {None}
        assert set(reasons) == set(values)


def test_evaluate_writes_a_record_for_each_and_the_table_marks_ranks_that_flip(tmp_path: Path) -> None:
    root = dtu_official.write_official(tmp_path / "DTU")
    zones = [z for z in dtu_official.ZONES if z.name in ("main", "wide")]
    for name, lift in (("flat", 0.0), ("lifted", -0.9)):
        parts = [
            mesh_of(*np.meshgrid(z.columns, np.arange(41) * 0.3), np.full((41, len(z.columns)), lift))
            for z in zones
        ]
        joined = Mesh(
            np.concatenate([p.vertices for p in parts]),
            np.concatenate([parts[0].faces, parts[1].faces + len(parts[0].vertices)]),
        )
        dtu_official.write_ply(tmp_path / f"{name}.ply", joined)

    def run(script: str, *words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "scripts" / script), *map(str, words)],
            cwd=tmp_path, capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    for name in ("flat", "lifted"):
        done = run("evaluate.py", f"{name}.ply", "--protocol", "all", "--official", root, "--scan", "24")
        assert done.returncode == 0, done.stderr
        assert "dtu-none-icp" in done.stdout
    files = sorted((tmp_path / "results" / "external" / "dtu" / "scan24").glob("*/record.json"))
    assert [f.parent.name for f in files] == [
        f"{m}-{p}-s0" for m in ("flat", "lifted") for p in ("dtu-none-icp", "dtu-none")
    ]
    scores = json.loads(files[0].read_text())["scores"]
    assert (scores["protocol"], scores["settings"]["aligned"]) == ("dtu-none-icp", "icp, rigid")
    table = run("report.py", "results/external", "--protocols", "-f", "md,tex,csv")
    assert table.returncode == 0, table.stderr
    assert "| protocol" in table.stdout
    for word in ("coverage ↑", "dtu-none-icp", "accuracy (mm) ↓"):
        assert word in table.stdout
    again = run("evaluate.py", "flat.ply", "--protocol", "all", "--official", root, "--scan", "24")
    assert again.returncode == 1
    assert "exists and is not overwritten" in again.stderr
    wrong = run(
        "evaluate.py", "flat.ply", "--protocol", "all", "--official", root, "--scan", "24", "--cull", "neus"
    )
    assert wrong.returncode == 2
    assert replace(Variant("neus"), aligned=True).name == "dtu-neus-icp"
    assert protocol_matrix.COVER == 2.0
