"""Pictures and geometry while a run trains: there when they are due, cheap, and without any trace in the training."""

import json
import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import trimesh

from isosweep.app import entry, run, watching
from isosweep.app.watching import detail, least_detail, pictures_every
from isosweep.config.settings import TrainSettings
from isosweep.record import Record, find_runs, read_metrics, read_record
from isosweep.rendering.view_row import rays_of
from isosweep.runtime.interrupts import RunPreempted
from isosweep.trackers import Tracker
from tests.app.test_run import config

ALL = ("train.watch_share=1000", "train.val_mesh=24", "train.val_samples=2000", "eval.samples=2000")
"""So much time that nothing is left out."""
LESS = ("export.video=false", "export.renders=0", "eval.lpips=null", "eval.n_views=1")


def trained(root: Path, *more: str) -> tuple[Path, Record]:
    entry.run(config(root, *LESS, *more))
    (folder,) = find_runs(root)
    return folder, read_record(folder)


class Fake(Tracker):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures: list[tuple[str, int | None]] = []
        self.lines: list[tuple[int, dict[str, float]]] = []

    def image(self, name, array, step=None):
        assert array.dtype == np.uint8
        self.pictures.append((name, step))

    def log(self, step, scalars):
        self.lines.append((step, dict(scalars)))


@dataclass
class Watched:
    folder: Path
    record: Record
    said: str
    tracker: Fake


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """A run that was looked at as often as it asked for, what it said, and what its tracker got."""
    logger = logging.getLogger("isosweep")
    level, handlers = logger.level, list(logger.handlers)
    root, load = tmp_path_factory.mktemp("watched"), run.load_scene

    def with_truth(*args, **more):
        scene = load(*args, **more)
        ball = trimesh.creation.icosphere(3, radius=0.5)
        ball.apply_transform(scene.to_world)
        ball.export(root / "truth.ply")
        return replace(scene, truth=root / "truth.ply")

    tracker = Fake()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "load_scene", with_truth)
        patch.setattr(run, "open_tracker", lambda *_: tracker)
        folder, record = trained(root, *ALL)
    logger.setLevel(level)
    logger.handlers[:] = handlers
    return Watched(folder, record, (folder / "run.log").read_text(), tracker)


def geometry(folder: Path) -> dict[int, dict[str, float]]:
    lines = read_metrics(folder / "metrics.jsonl")
    return {
        int(line["step"]): {k: v for k, v in line.items() if k.startswith("val/geometry/")}
        for line in lines
        if any(k.startswith("val/geometry/") for k in line)
    }


def test_pictures_lie_under_stable_names_with_their_steps(watched: Watched) -> None:
    folder, said = watched.folder, watched.said
    files = sorted((folder / "pictures").iterdir())
    # a fifth of 12 steps is 2
    assert [p.name for p in files] == [f"val_view-{step:07d}.png" for step in (2, 4, 6, 8, 10, 12)]
    sizes = {PIL.Image.open(p).size for p in files}
    assert len(sizes) == 1
    assert "step 2  picture of view" in said
    first, last = (np.asarray(PIL.Image.open(p)) for p in (files[0], files[-1]))
    panel = slice(0, 16)  # the first column is the truth, which no step changes
    assert (first[16:, panel] == last[16:, panel]).all()
    assert (first[16:] != last[16:]).any()


def test_trackers_get_the_pictures_under_one_name_with_their_steps(watched: Watched) -> None:
    found = [p for p in watched.tracker.pictures if not p[0].startswith("render/")]
    assert found == [("pictures/val_view", step) for step in (2, 4, 6, 8, 10, 12)]
    assert [step for step, line in watched.tracker.lines if "val/geometry/chamfer" in line] == [4, 8, 12]


def test_the_last_geometry_of_the_curve_is_the_score_of_the_end(watched: Watched) -> None:
    folder, record = watched.folder, watched.record
    curve = geometry(folder)
    assert list(curve) == [4, 8, 12]
    assert record.scores is not None
    final = record.scores.values  # export.resolution=24, and as many samples
    last = curve[12]
    assert {"val/geometry/chamfer", "val/geometry/genus", "val/geometry/components"} <= set(last)
    assert last == {f"val/{k}": final[k] for k in (name.removeprefix("val/") for name in last)}
    assert curve[4]["val/geometry/chamfer"] != last["val/geometry/chamfer"]


def test_times_and_shares_are_told_by_the_records_clock(watched: Watched) -> None:
    record, said = watched.record, watched.said
    times = record.times
    assert 0 < times.pictures_s < times.train_s
    assert 0 < times.val_mesh_s < times.train_s
    for what, seconds, count in (("pictures", times.pictures_s, 6), ("meshes", times.val_mesh_s, 3)):
        share = 100 * seconds / times.train_s
        assert f"{what} while it trained: {count}, {seconds:.1f} s, {share:.1f} % of the training" in said


def test_looking_changes_nothing_of_the_training(watched: Watched, tmp_path: Path) -> None:
    seen = watched.folder
    blind, _ = trained(tmp_path, *ALL[2:], "train.pictures_every=null", "train.val_mesh=null")
    assert blind.name == seen.name, "one run key"
    assert not (blind / "pictures").exists()
    assert geometry(blind) == {}

    def lines(folder: Path) -> list[dict[str, float]]:
        every = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        kept = [x for x in every if "val/geometry/components" not in x]
        return [{k: v for k, v in x.items() if k != "time_s"} for x in kept]

    assert lines(seen) == lines(blind)
    ours, theirs = (torch.load(f / "last.pt", weights_only=True) for f in (seen, blind))
    assert all(torch.equal(ours["model"][name], theirs["model"][name]) for name in theirs["model"])
    assert torch.equal(ours["generator"], theirs["generator"])
    assert (ours["rays"], ours["drawn"]) == (theirs["rays"], theirs["drawn"])


def test_a_short_training_leaves_out_what_does_not_fit_and_says_so(tmp_path: Path) -> None:
    sizes = ("train.max_steps=4", "train.pictures_every=2", "train.val_every=2", "train.val_mesh=64")
    folder, record = trained(tmp_path, *sizes, "train.watch_share=0.001")
    assert not (folder / "pictures").exists()
    assert geometry(folder) == {}
    said = (folder / "run.log").read_text()
    assert (
        len(re.findall(r"step 2  no picture yet: it would take 0.4 s, and train.watch_share=0.001", said))
        == 1
    )
    assert len(re.findall(r"step 2  no mesh yet: it would take 1.0 s, and", said)) == 1
    assert "pictures while it trained: 0, 0.0 s, 0.0 % of the training; left out at steps 2, 4" in said
    assert re.search(r"meshes while it trained: 0, .* left out at steps 2, 4", said)
    assert record.times.pictures_s == 0


def test_without_validation_views_it_is_a_training_view_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = run.load_scene

    def without(*args, **more):
        scene = load(*args, **more)
        return replace(scene, splits={**scene.splits, "val": ()})

    monkeypatch.setattr(run, "load_scene", without)
    folder, _ = trained(tmp_path, *ALL, "train.max_steps=4", "train.pictures_every=4")
    assert [p.name for p in (folder / "pictures").iterdir()] == ["train_view-0000004.png"]
    assert list(geometry(folder)) == [4], "a mesh needs no validation view"


def test_a_signal_in_the_middle_of_a_mesh_still_saves_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_, **__):
        raise RunPreempted("asked to stop")

    monkeypatch.setattr(watching.extract, "export_mesh", asked)
    with pytest.raises(RunPreempted):  # of the end's mesh; the one of the training was given up
        trained(tmp_path, *ALL, "train.max_steps=4", "train.pictures_every=null")
    (folder,) = find_runs(tmp_path)
    assert torch.load(folder / "last.pt", weights_only=True)["step"] == 4
    assert (folder / "run.log").read_text().count("looks no further") == 1


def test_steps_between_pictures() -> None:
    def every(value: float | None, max_steps: int = 4000) -> int | None:
        return pictures_every(replace(TrainSettings(), pictures_every=value, max_steps=max_steps))

    assert [every(v) for v in (0.2, 1, 250, None)] == [800, 1, 250, None]
    assert every(0.2, 3) == 1


def test_the_picture_is_as_fine_as_the_time_allows() -> None:
    hw = (300, 400)
    assert detail(hw, 300 * 400) == 1
    assert detail(hw, 300 * 400 - 1) == 2
    for rays in (50_000, 7_777, 400):
        found = detail(hw, rays)
        assert rays_of(hw, found) <= rays < rays_of(hw, found - 1)
    # 1200 x 1600 has each fourth pixel in a panel at most
    assert detail((1200, 1600), 300 * 400) == 1
    assert least_detail(hw) == 400 // 24
    assert least_detail((20, 20)) == 1
