"""Broken data, folders and checkpoints as whole commands: one paragraph, exit code 1, nothing half-written."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from isosweep.record import find_runs, read_record
from tests.support.here import main_here
from tests.support.scenes import tiny_blender, tiny_neus

ROOT = Path(__file__).resolve().parents[1]
SMALL = (
    "debug=tiny", "backend=torch", "encoding.n_levels=4", "encoding.log2_size=12", "model.n_steps=64",
    "sampler.resolution=16", "train.max_steps=6", "train.val_every=6", "train.checkpoint_every=3",
    "export=none", "export.renders=0", "eval.n_views=1", "eval.geometry=false",
)  # fmt: skip


def main(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in ``cwd``, in this process."""
    return main_here(*SMALL, *arguments, cwd=cwd)


def main_alone(
    *arguments: str, cwd: Path, largest_file: int | None = None
) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own, where no file may grow past ``largest_file`` bytes."""

    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    return subprocess.run(
        [sys.executable, str(ROOT / "main.py"), *SMALL, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ISOSWEEP_DATA": str(cwd / "data")},
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=limit,
    )


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("error: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def left_clean(cwd: Path, status: str = "failed") -> None:
    """Whatever run folder there is has a whole record that names the failure, and no loose parts."""
    for folder in find_runs(cwd / "results" / "runs"):
        record = read_record(folder)
        assert record.status == status
        assert record.error
        assert not list(folder.glob("*.pt"))
        assert not list(folder.glob("*.ply"))
    strays = [p for p in (cwd / "results").rglob("*") if ".tmp" in p.name or p.name.startswith(".")]
    assert [p for p in strays if "lock" not in p.name] == []


def edit_cameras(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    def breakage(folder: Path) -> None:
        file = folder / "cameras_sphere.npz"
        with np.load(file) as data:
            arrays = dict(data)
        change(arrays)
        np.savez(file, **arrays)

    return breakage


def truncate(file: str) -> Callable[[Path], None]:
    def breakage(folder: Path) -> None:
        whole = (folder / file).read_bytes()
        (folder / file).write_bytes(whole[: len(whole) // 2])

    return breakage


def resize(pattern: str, size: int) -> Callable[[Path], None]:
    def breakage(folder: Path) -> None:
        for file in sorted(folder.glob(pattern)):
            with Image.open(file) as image:
                image.resize((size, size)).save(file)

    return breakage


NEUS = {
    "a missing image": (lambda f: (f / "image" / "003.png").unlink(), ["7 images", "mug"]),
    "no images": (lambda f: [p.unlink() for p in (f / "image").iterdir()], ["no .png or .jpg in", "image"]),
    "a missing world_mat": (
        edit_cameras(lambda a: a.pop("world_mat_3")),
        ["cameras_sphere.npz", "world_mat_3 is missing", "every image needs its camera"],
    ),
    "a missing scale_mat": (edit_cameras(lambda a: a.pop("scale_mat_3")), ["scale_mat_3", "Export"]),
    "cameras cut off": (truncate("cameras_sphere.npz"), ["cameras_sphere.npz", "Copy the file again"]),
    "a mask of another size": (resize("mask/005.png", 16), ["005.png", "16x16", "32x32"]),
    "a truncated image": (truncate("image/002.png"), ["002.png", "again"]),
    "an image that is none": (lambda f: (f / "image" / "002.png").write_text("?"), ["002.png"]),
    "a pose with nan": (
        edit_cameras(lambda a: a["world_mat_4"].__setitem__((0, 3), np.nan)),
        ["world_mat_4 has nan or inf", "remove that view"],
    ),
    "a pose without rank": (edit_cameras(lambda a: a["world_mat_4"].fill(0)), ["004.png", "cannot be used"]),
    "intrinsics of another size": (resize("*/*.png", 16), ["2 times as large", "16x16"]),
    "black masks": (
        lambda f: [Image.new("L", (32, 32)).save(p) for p in (f / "mask").iterdir()],
        ["masks of dtu scene mug are black in every training view", "White is foreground"],
    ),
}


def edit_json(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def breakage(folder: Path) -> None:
        file = folder / "transforms_train.json"
        meta = json.loads(file.read_text())
        change(meta)
        file.write_text(json.dumps(meta))

    return breakage


BLENDER = {
    "a missing image": (lambda f: (f / "train" / "r_3.png").unlink(), ["r_3", "transforms_train.json"]),
    "a truncated image": (truncate("train/r_2.png"), ["r_2.png", "again"]),
    "a json cut off": (truncate("transforms_train.json"), ["transforms_train.json", "export it again"]),
    "a json without frames": (edit_json(lambda m: m.pop("frames")), ["transforms_train.json", "frames"]),
    "a frame without its matrix": (
        edit_json(lambda m: m["frames"][1].pop("transform_matrix")),
        ["transforms_train.json", "transform_matrix"],
    ),
    "a pose with inf": (
        edit_json(lambda m: m["frames"][1]["transform_matrix"][0].__setitem__(3, float("inf"))),
        ["transforms_train.json", "r_1"],
    ),
    "one pose for all": (
        edit_json(
            lambda m: [f.update(transform_matrix=m["frames"][0]["transform_matrix"]) for f in m["frames"]]
        ),
        ["all 8 training views of blender scene mug have one and the same pose"],
    ),
}


LAYOUTS = {"dtu": (tiny_neus, NEUS), "blender": (tiny_blender, BLENDER)}


@pytest.mark.parametrize(
    ("dataset", "name"), [(d, name) for d, (_, cases) in LAYOUTS.items() for name in cases]
)
def test_a_broken_scene_is_refused_by_name(dataset: str, name: str, tmp_path: Path) -> None:
    make, cases = LAYOUTS[dataset]
    breakage, words = cases[name]
    breakage(make(tmp_path / "data"))
    refused(main(f"dataset={dataset}", "scene=mug", cwd=tmp_path), *words)
    left_clean(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tiny_blender(tmp_path / "data")
    (tmp_path / "taken").write_text("a file where the folder should be")
    done = main_alone("dataset=blender", "scene=mug", "run.root=taken/runs", cwd=tmp_path)
    refused(done, "taken", "run.root")
    assert (tmp_path / "taken").read_text() == "a file where the folder should be"


def test_a_disk_that_fills_up_ends_the_run_and_keeps_what_was_whole(tmp_path: Path) -> None:
    """A limit on the size of a file stops the first checkpoint as a full disk would."""
    tiny_blender(tmp_path / "data")
    command = ("dataset=blender", "scene=mug")
    refused(main_alone(*command, cwd=tmp_path, largest_file=30_000), "cannot write", ".pt", "free space")
    left_clean(tmp_path)
    again = main(*command, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    (folder,) = find_runs(tmp_path / "results" / "runs")
    assert read_record(folder).status == "finished"


def test_without_a_ground_truth_the_scores_say_so(tmp_path: Path) -> None:
    folder = tiny_neus(tmp_path / "data")
    (folder / "gt" / "mesh.ply").unlink()
    geometry = ("export.mesh=true", "eval.geometry=true")
    done = main("dataset=dtu", "dataset.name=own", "scene=mug", *geometry, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = find_runs(tmp_path / "results" / "runs")
    assert run.parent == tmp_path / "results" / "runs" / "own" / "mug"
    record = read_record(run)
    assert record.dataset == "own"
    assert record.scores is not None
    assert record.scores.values["geometry/chamfer"] is None
    why = "own scene mug comes without a ground-truth surface: dataset.truth= names one"
    assert record.scores.reasons["geometry/chamfer"] == why
    assert f"geometry/chamfer             none ({why})" in done.stdout


def test_a_checkpoint_of_another_config_is_refused_and_kept(tmp_path: Path) -> None:
    tiny_blender(tmp_path / "data")
    command = ("dataset=blender", "scene=mug")
    assert main(*command, cwd=tmp_path).returncode == 0
    (folder,) = find_runs(tmp_path / "results" / "runs")
    own = (folder / "last.pt").read_bytes()

    other = ("encoding.n_levels=6", f"train.init_from={folder}")
    refused(main(*command, *other, cwd=tmp_path), str(folder), "encoding")

    foreign = torch.load(folder / "last.pt", weights_only=True) | {"run_key": "0123456789abcdef"}
    torch.save(foreign, folder / "last.pt")
    refused(main(*command, "mode=eval", cwd=tmp_path), "last.pt", "0123456789abcdef")
    (folder / "last.pt").write_bytes(own)
    assert main(*command, "mode=eval", cwd=tmp_path).returncode == 0
