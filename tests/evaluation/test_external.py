"""scripts/evaluate.py: its numbers, its record, and what it refuses."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from isosweep.config.settings import EvalSettings
from isosweep.evaluation import evaluate
from isosweep.meshes.files import read_mesh, write_mesh
from isosweep.record import Record, find_runs, read_record
from isosweep.rendering import views
from tests.support import dtu_official
from tests.support.analytic import KNOBS, SphereModel, sphere, sphere_scene
from tests.support.dtu_official import StandIn
from tests.support.here import main_here, script_here
from tests.support.loading import load_scene
from tests.support.scenes import tiny_demo, tiny_neus

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "evaluate.py"
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run the script in this process, in a folder of its own: (exit code, stdout, stderr)."""
    spec = importlib.util.spec_from_file_location("evaluate", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
        try:
            code = module.main()
        except SystemExit as end:
            code = int(str(end.code))
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return dtu_official.write_stand_in(tmp_path_factory.mktemp("official"))


def dtu_arguments(files: StandIn, cull: str = "neus") -> list[object]:
    return [
        *(files.mesh, "--protocol", "dtu", "--official", files.root, "--scan", 24, "--cull", cull),
        *("--images-from", files.scene, "--transform", files.scene / "cameras_sphere.npz"),
    ]


def only_record(folder: Path = Path("results")) -> tuple[Path, Record]:
    (found,) = find_runs(folder)
    return found, read_record(found)


def test_a_dtu_record_holds_all_that_a_table_needs(command: Command, stand_in: StandIn) -> None:
    code, out, err = command(*dtu_arguments(stand_in), "--method", "colmap 3.9", "--seed", 2)
    assert (code, err) == (0, "")
    folder, record = only_record()
    assert folder == Path("results/external/dtu/scan24/colmap_3.9-dtu-neus-s2")
    assert str(folder / "record.json") in out
    assert (record.dataset, record.scene, record.model, record.label, record.seed) == (
        *("dtu", "scan24", "colmap 3.9", "colmap 3.9", 2),
    )
    assert (record.status, record.trained, record.backend) == ("finished", True, "external")
    assert record.scores is not None
    assert record.scores.protocol == "dtu-neus"
    for name, value in stand_in.expected("neus").items():
        assert record.scores.values[name] == pytest.approx(value, rel=0.01)
        assert f"{name:32} {record.scores.values[name]:.6g}" in out
    settings = record.scores.settings
    assert (settings["cull"], settings["seed"], settings["scan"], settings["cull_views"]) == (
        "neus",
        2,
        24,
        3,
    )
    assert settings["transform"] == dtu_official.TO_WORLD.tolist()
    assert "steps_left_out" not in settings
    assert record.config["eval"] == {"protocol": "dtu-neus"}
    assert record.code_hash
    assert record.times.total_s > 0
    assert not list(folder.glob("*lock*"))


def test_nothing_is_overwritten_unless_forced_and_then_kept(command: Command, stand_in: StandIn) -> None:
    arguments = dtu_arguments(stand_in, "none")
    assert command(*arguments)[0] == 0
    folder, first = only_record()
    before = (folder / "record.json").read_bytes()
    code, out, err = command(*arguments, "--seed", 0)
    assert (code, out) == (1, "")
    assert "exists and is not overwritten" in err
    assert "--force" in err
    assert (folder / "record.json").read_bytes() == before
    assert command(*arguments, "--force")[0] == 0
    assert (folder / "previous-1" / "record.json").read_bytes() == before
    second = read_record(folder)
    assert second.scores.values == first.scores.values  # seeded
    assert second.times.total_s != first.times.total_s
    # another seed, preset, method or folder is another record
    assert command(*arguments, "--seed", 1)[0] == 0
    assert command(*dtu_arguments(stand_in, "2dgs"))[0] == 0
    assert command(*arguments, "--method", "b")[0] == 0
    assert command(*arguments, "--out", "elsewhere/x")[0] == 0
    assert len(find_runs(Path("results"))) == 4
    assert read_record(Path("elsewhere/x")).model == "mesh"


def bad_inputs(files: StandIn, folder: Path) -> dict[str, tuple[list[object], str]]:
    """Arguments -> the words that have to be in the one line on stderr."""
    for name in ("a", "b", "empty"):
        (folder / name).mkdir()
    Image.new("RGB", (20, 20)).save(folder / "a" / "1.png")
    Image.new("RGB", (20, 22)).save(folder / "b" / "1.png")
    trimesh.PointCloud(np.eye(3)).export(folder / "cloud.ply")
    (folder / "noise.ply").write_bytes(b"\x00\x01 noise")
    np.savez(folder / "none.npz", a=np.eye(4))
    np.save(folder / "skewed.npy", np.diag([1.0, 2, 3, 1]))
    trimesh.Trimesh(dtu_official.known_mesh().vertices / 5000, [[0, 1, 2]], process=False).export(
        folder / "tiny.ply"
    )
    dtu, mesh = ["--protocol", "dtu", "--official", files.root, "--scan", 24], files.mesh
    images = ["--protocol", "images", "--lpips", "none"]
    return {
        "no mesh": ([folder / "gone.ply", *dtu], "no mesh at"),
        "noise": ([folder / "noise.ply", *dtu], "noise.ply is no ply: no header between"),
        "cloud": ([folder / "cloud.ply", *dtu], "no faces"),
        "no official data": (
            [mesh, *dtu[:2], "--official", folder, "--scan", 24],
            "Points.zip has Points/stl/",
        ),
        "no such scan": ([mesh, *dtu[:4], "--scan", 25], "stl025_total.ply"),
        "no such preset": ([mesh, *dtu, "--cull", "neu"], "none, neus, monosdf, 2dgs, neuralwarp"),
        "no masks": (
            [mesh, *dtu, "--cull", "neus", "--transform", files.scene / "cameras_sphere.npz"],
            "--images-from",
        ),
        "no scene": ([mesh, *dtu, "--cull", "neus", "--images-from", folder], "is no scene in NeuS' layout"),
        "no transform": ([mesh, *dtu, "--transform", folder / "gone.npz"], "no transform at"),
        "no scale_mat": ([mesh, *dtu, "--transform", folder / "none.npz"], "no scale_mat_0, it has a"),
        "no similarity": ([mesh, *dtu, "--transform", folder / "skewed.npy"], "4x4 similarity"),
        "normalised units": ([folder / "tiny.ply", *dtu], "normalised units"),
        "no truth": ([mesh, "--protocol", "chamfer", "--truth", folder / "gone.ply"], "no mesh at"),
        "sizes": ([folder / "a", folder / "b", *images], "1.png is 20x20, its truth"),
        "empty folder": ([folder / "a", folder / "empty", *images], "holds nothing"),
        "no folder": ([folder / "a", folder / "gone", *images], "no folder of images"),
        "background": ([folder / "a", folder / "a", *images, "--background", "red"], "none of white, black"),
        "views": ([folder / "a", folder / "a", *images, "--views", "test"], "none of nvs, train_view"),
    }


def test_bad_input_ends_with_one_line_and_no_record(
    command: Command, stand_in: StandIn, tmp_path: Path
) -> None:
    for name, (arguments, words) in bad_inputs(stand_in, tmp_path).items():
        code, out, err = command(*arguments)
        assert code == 1, name
        assert out == "", name
        assert err.startswith("error: "), name
        assert err.count("\n") == 1, name
        assert words in err, f"{name}: {err}"
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["m.ply"], "--protocol"),
        (["m.ply", "--protocol", "tnt"], "invalid choice"),
        (["m.ply", "--protocol", "dtu", "--scan", "24"], "needs --official"),
        (["m.ply", "--protocol", "chamfer"], "needs --truth"),
        (["m.ply", "n.ply", "--protocol", "chamfer", "--truth", "t.ply"], "takes one mesh, found 2"),
        (["a", "--protocol", "images"], "takes a folder of renders and a folder of truths, found 1"),
        (
            ["m.ply", "--protocol", "chamfer", "--truth", "t.ply", "--samples", "0"],
            "--samples 0: give 1 or more",
        ),
        (["a", "b", "--protocol", "images", "--crop", "-1"], "--crop -1: give 0 or more"),
        (["m.ply", "--protocol", "dtu", "--official", "x", "--scan", "24", "--seed", "-3"], "--seed -3"),
    ],
)
def test_a_wrong_command_line_says_what_is_missing(
    command: Command, arguments: list[str], words: str
) -> None:
    code, _, err = command(*arguments)
    assert code == 2
    assert words in err


def test_chamfer_of_a_scene_with_masks_is_what_main_scores(command: Command, tmp_path: Path) -> None:
    """main.py scores a run's mesh with `evaluation.evaluate`; the file that it leaves gets the same numbers here."""
    scene_folder = tiny_neus(tmp_path)
    demo = tiny_demo()
    truth = tmp_path / "truth.ply"
    trimesh.Trimesh(demo.vertices, demo.faces, process=False).export(truth)
    scene = load_scene("dtu", "mug", name="mine", path=str(scene_folder), truth=str(truth))
    rng = np.random.default_rng(0)
    rough = read_mesh(truth)
    rough.vertices[:] += rng.normal(0, 0.01, rough.vertices.shape)
    (ply,) = write_mesh(rough, tmp_path / "mesh")
    settings = EvalSettings(samples=20_000, lpips=None, n_views=1)
    ours = evaluate.evaluate(SphereModel(), scene, KNOBS, settings, read_mesh(ply)).values
    code, _, err = command(
        *(ply, "--protocol", "chamfer", "--truth", truth, "--images-from", scene_folder, "--samples", 20_000)
    )
    assert (code, err) == (0, "")
    _, record = only_record()
    assert record.scores is not None
    assert record.scores.protocol == "chamfer"
    shared = [name for name in record.scores.values if name in ours]
    assert len(shared) == 8
    for name in shared:
        assert record.scores.values[name] == pytest.approx(ours[name], rel=1e-9), name
    assert record.scores.settings["visibility"] == "ray casting from 8 views"
    # in the scene's normalised units, with its scale_mat, it is the same mesh
    matrix = scene.to_world
    unit = (rough.vertices - matrix[:3, 3]) @ np.linalg.inv(matrix[:3, :3]).T
    trimesh.Trimesh(unit, rough.faces, process=False).export(tmp_path / "unit.ply")
    cameras = scene_folder / "cameras_sphere.npz"
    for transform in (cameras, tmp_path / "matrix.txt", tmp_path / "matrix.npy"):
        if transform.suffix == ".txt":
            np.savetxt(transform, matrix)
        if transform.suffix == ".npy":
            np.save(transform, matrix)
        arguments = [
            tmp_path / "unit.ply",
            "--protocol",
            "chamfer",
            "--truth",
            truth,
            "--transform",
            transform,
        ]
        assert command(*arguments, "--samples", 20_000, "--method", transform.name)[0] == 0
    values = [
        r.scores.values["geometry/chamfer"]
        for r in map(read_record, find_runs(Path("results")))
        if r.model != "mesh"
    ]
    assert len(values) == 3
    assert max(values) == pytest.approx(min(values), rel=1e-6)


def test_images_of_a_run_are_what_main_scores(command: Command, tmp_path: Path) -> None:
    """Renders that leave as 8-bit files, against truths with alpha, under the name of our runs' protocol."""
    model = SphereModel(0.5, error=0.1)
    scene = sphere_scene(SphereModel(0.5))
    ours = evaluate.evaluate(model, scene, KNOBS, EvalSettings(geometry=False, lpips=None))
    for folder in ("renders", "truth"):
        (tmp_path / folder).mkdir()
    for view in scene.splits["test"]:
        out = views.render_view(model, scene.cameras, view, KNOBS, scene.background)
        byte = (out["rgb"] * 255).round().to(torch.uint8).numpy()
        Image.fromarray(byte).save(tmp_path / "renders" / f"{scene.names[view]}.png")
        rgb, mask = scene.images.image(view)
        assert mask is not None
        rgba = (torch.cat([rgb, mask[..., None]], dim=-1) * 255).round().to(torch.uint8).numpy()
        Image.fromarray(rgba).save(tmp_path / "truth" / f"{scene.names[view]}.png")
    code, _, err = command(
        *(tmp_path / "renders", tmp_path / "truth", "--protocol", "images", "--background", "white"),
        *("--lpips", "none", "--protocol-name", "standard", "--scene", "ball", "--dataset", "analytic"),
    )
    assert (code, err) == (0, "")
    folder, record = only_record()
    assert folder.name == "renders-standard-s0"
    assert record.scores is not None
    assert record.scores.protocol == "standard"
    assert record.scores.values.keys() == ours.values.keys()
    for name, value in ours.values.items():
        assert record.scores.values[name] == pytest.approx(value, abs=2e-2 if "psnr" in name else 1e-4), name
    for key in ("split", "held_out", "n_views", "background", "composite", "quantise", "ssim", "data_range"):
        assert record.scores.settings[key] == ours.settings[key], key


def test_main_scores_with_the_official_data_what_evaluate_scores(stand_in: StandIn) -> None:
    """eval=dtu_official on the scene, and evaluate.py on the mesh file, agree, preset by preset."""
    scene = load_scene(
        "dtu", "scan24", path=str(stand_in.scene), world_unit="mm", official=str(stand_in.root)
    )
    mesh = dtu_official.known_mesh()
    for preset in ("none", "2dgs", "neuralwarp"):
        settings = EvalSettings(protocol=f"dtu-{preset}", lpips=None, n_views=1, samples=1000, masked=False)
        scores = evaluate.evaluate(SphereModel(), scene, KNOBS, settings, mesh)
        assert scores.protocol == f"dtu-{preset}"
        assert scores.settings["cull"] == preset
        assert "geometry/chamfer" not in scores.reasons
        for name, value in stand_in.expected(preset).items():
            assert scores.values[name] == pytest.approx(value, rel=0.01), name
    without = evaluate.evaluate(SphereModel(), scene, KNOBS, settings, None, no_mesh="no surface")
    assert without.reasons["geometry/chamfer"] == "no surface"


def test_the_official_protocol_is_checked_before_anything_is_trained(
    stand_in: StandIn, tmp_path: Path
) -> None:
    scene = load_scene("dtu", "scan24", path=str(stand_in.scene), world_unit="mm")
    asks = EvalSettings(protocol="dtu-neus")
    with pytest.raises(ValueError, match=r"has official=None, unit mm: set dataset=dtu dataset\.official="):
        evaluate.require_official(scene, asks)
    assert evaluate.require_official(scene, EvalSettings()) is None
    asked = ("dataset=dtu", "scene=scan24", "eval=dtu_official", "debug=tiny", "tracker=none")
    where = (f"dataset.path={stand_in.scene}", f"dataset.official={tmp_path}")
    end = main_here(*asked, *where, cwd=tmp_path)
    assert end.returncode == 1
    assert "no Points/stl/stl024_total.ply of the official DTU evaluation data" in end.stderr
    assert "step" not in end.stdout


def test_the_command_by_itself(stand_in: StandIn, tmp_path: Path) -> None:
    """As a person calls it: a process, a relative path, a truth far from a mesh."""
    for name, radius in (("a", 1.0), ("b", 1.5)):
        solid = sphere(radius, 4)
        trimesh.Trimesh(solid.vertices, solid.faces).export(tmp_path / f"{name}.ply")
    env = os.environ | {"PYTHONPATH": str(SCRIPT.parents[1] / "src")}
    call = [
        sys.executable,
        str(SCRIPT),
        "a.ply",
        "--protocol",
        "chamfer",
        "--truth",
        "b.ply",
        "--samples",
        "20000",
    ]
    end = subprocess.run(
        call, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert end.returncode == 0, end.stderr
    file = tmp_path / "results/external/external/b/a-chamfer-s0/record.json"
    assert json.loads(file.read_text())["scores"]["values"]["geometry/chamfer"] == pytest.approx(
        0.5, rel=0.02
    )
    again = script_here("scripts/evaluate.py", *call[2:], cwd=tmp_path)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
