"""Whole runs of the composition root on a tiny analytic scene, in this process."""

import json
import logging
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from isosweep.app import build, checks, entry, run
from isosweep.app.device import Machine, activate
from isosweep.app.plan import plan_run
from isosweep.config.check import ConfigError
from isosweep.config.schema import CONF
from isosweep.config.settings import DEBUG_PARTS
from isosweep.ops import Choice
from isosweep.record import Record, find_runs, read_record
from isosweep.record.metrics import TRAINING_VIEWS, objective
from isosweep.training import loop
from isosweep.types import Scene
from tests.support.ball import load_ball


def config(root: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(
            "config",
            [
                "dataset._target_=tests.support.ball.load_ball",
                "scene=ball",
                "debug=tiny",
                "backend=torch",
                f"run.root={root}",
                "train.max_steps=12",
                "train.checkpoint_every=4",
                "train.val_every=4",
                "export.resolution=24",
                "export.video_frames=2",
                "sampler.resolution=16",
                *overrides,
            ],
        )


def record_of(root: Path) -> tuple[Path, Record]:
    (folder,) = find_runs(root)
    return folder, read_record(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a finished run, for reading only."""
    root = tmp_path_factory.mktemp("whole")
    logger = logging.getLogger("isosweep")
    level, handlers = logger.level, list(logger.handlers)
    entry.run(config(root))
    logger.setLevel(level)
    logger.handlers[:] = handlers
    return root


@pytest.fixture
def finished(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to go on with."""
    return shutil.copytree(whole, tmp_path / "finished")


def test_a_run_trains_scores_exports_and_is_skipped_the_second_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = entry.run(config(tmp_path))
    folder, record = record_of(tmp_path)
    said = capsys.readouterr().out
    assert record.status == "finished"
    assert record.scores is not None
    assert record.scores.values["nvs/psnr"] is not None
    assert record.backend == "torch"
    assert (folder / "mesh.ply").is_file()
    assert (folder / "turntable.mp4").is_file()
    assert (folder / "renders" / "grid.png").is_file()
    assert record.times.train_s > 0
    for word in ("nvs/psnr", "mesh ", "video ", "record ", str(folder)):
        assert word in said
    assert said.endswith(
        f"viewer and on a page with the scene's other runs:\npython scripts/view.py {folder}\n"
        f"python scripts/report.py {folder.parent} --page page\n"
    )
    assert "\r" not in said
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert value == [line["val/psnr"] for line in lines if "val/psnr" in line][-1]
    before = (folder / "record.json").read_bytes()
    assert entry.run(config(tmp_path, "tracker.images=9")) == value
    assert "nothing to do" in capsys.readouterr().out
    assert (folder / "record.json").read_bytes() == before


def test_scoring_alone_gives_the_same_numbers_and_export_and_render_alone_work(finished: Path) -> None:
    folder, first = record_of(finished)
    for name in ("mesh.ply", "turntable.mp4"):
        (folder / name).unlink()
    entry.run(config(finished, "mode=eval"))
    assert record_of(finished)[1].scores == first.scores
    assert not (folder / "mesh.ply").exists()
    entry.run(config(finished, "mode=export", "export.formats=[obj]"))
    assert (folder / "mesh.obj").is_file()
    entry.run(config(finished, "mode=render"))
    assert (folder / "turntable.mp4").is_file()
    last = record_of(finished)[1]
    assert last.scores == first.scores
    assert last.config["export"]["formats"] == ["ply"], "one part alone does not claim the others were made"


def test_other_eval_settings_score_again_and_do_not_train(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "train", lambda *a, **k: pytest.fail("trained again"))
    entry.run(config(finished, "eval.n_views=1"))
    _, record = record_of(finished)
    assert record.scores is not None
    assert record.scores.settings["n_views"] == 1


def test_a_run_that_was_interrupted_ends_like_one_that_was_not(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop.TrainState, "save", _killed_at(8, loop.TrainState.save))
    with pytest.raises(KeyboardInterrupt):
        entry.run(config(tmp_path / "cut"))
    folder, record = record_of(tmp_path / "cut")
    assert record.status == "interrupted"
    monkeypatch.undo()
    entry.run(config(tmp_path / "cut"))
    uncut_folder, uncut = record_of(whole)
    assert read_record(folder).scores == uncut.scores
    ours, theirs = (torch.load(f / "last.pt", weights_only=True)["model"] for f in (folder, uncut_folder))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def _killed_at(step: int, save):
    def killed(self, path, model, run_key):
        save(self, path, model, run_key)
        if self.step >= step and path.name == "last.pt":
            raise KeyboardInterrupt

    return killed


def test_two_scenes_in_one_process_share_nothing(whole: Path, tmp_path: Path) -> None:
    nothing = ("export.mesh=false", "export.video=false", "eval.geometry=false")
    entry.run(config(tmp_path / "other", "seed=7", "encoding=freq", *nothing))
    entry.run(config(tmp_path / "after"))
    assert record_of(whole)[1].scores == record_of(tmp_path / "after")[1].scores


def test_a_failure_is_recorded_and_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loop, "train", broken)
    with pytest.raises(torch.OutOfMemoryError):
        entry.run(config(tmp_path))
    _, record = record_of(tmp_path)
    assert record.status == "oom"
    assert record.error is not None
    assert record.error.hint == (
        "lower train.target_samples, train.max_rays or encoding.log2_size and start again"
    )


def test_a_field_without_a_surface_keeps_its_image_scores(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entry.run(config(tmp_path, "export.level=99"))
    _, record = record_of(tmp_path)
    assert record.scores is not None
    assert record.scores.values["nvs/psnr"] is not None
    assert record.scores.values["geometry/genus"] is None
    assert record.scores.reasons["geometry/genus"].startswith("no surface at level 99: the field spans [")
    assert "no mesh: no surface at level 99" in caplog.text
    with pytest.raises(ValueError, match="no surface at level 99"):
        entry.run(config(tmp_path, "export.level=99", "mode=export"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["eval.checkpoint=lst"],
            r"^eval\.checkpoint=lst is none of last, best, a kept step, a file\.pt; did you mean 'last'\?$",
        ),
        (["eval.split=tset"], r"^eval\.split=tset is none of train, val, test; did you mean 'test'\?$"),
        (["export.formats=[ply,step]"], r"^export\.formats=step is none of ply, obj, stl, glb"),
        (["export.resolution=0"], r"^export\.resolution=0: give a whole number from 1 to 65536\.$"),
        (["train.precision=half"], r"^train\.precision=half is none of auto, float32, float16, bfloat16"),
        (["encoding.start_level=99"], r"^model\.field\.encoding: start_level must lie in \[0, n_levels=12\]"),
        (
            ["loss=mask", "loss.masks=false"],
            r"^loss term 'mask' reads the masks, and loss\.masks=false keeps",
        ),
        (["device=cuda:99"], r"^device=cuda:99: this machine has .* set device=cpu or auto$"),
        (["device=gpu"], r"^device=gpu is no device: use auto, cpu, cuda or cuda:<index>$"),
        (["optim.schedule.begin=2"], r"^optim\.schedule: positions must not decrease"),
        (["train.val_every=0", "eval.checkpoint=best", "dataset.n_images=3"], None),
    ],
)
def test_settings_are_checked_before_images_load(
    overrides: list[str], message: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if message is None:
        entry.run(config(tmp_path, *overrides))  # the last step validates whatever val_every says
        assert record_of(tmp_path)[1].scores_of == "best"
        return
    monkeypatch.setattr("tests.support.ball.load_ball", lambda **k: pytest.fail("images were loaded"))
    with pytest.raises(ValueError, match=message):
        entry.run(config(tmp_path, *overrides))
    assert not list(tmp_path.iterdir())


def test_a_scene_without_validation_views_has_an_objective(tmp_path: Path, monkeypatch, caplog) -> None:
    def without(**options: object) -> Scene:
        scene = load_ball(**options)  # pyright: ignore[reportArgumentType]
        return replace(scene, splits=scene.splits | {"val": ()})

    monkeypatch.setattr("tests.support.ball.load_ball", without)
    caplog.set_level(logging.INFO, "isosweep")
    value = entry.run(config(tmp_path))
    folder, _ = record_of(tmp_path)
    assert 0 < value == objective(folder) < 100
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if TRAINING_VIEWS in line] == [12], "once, after the training"
    assert not any("val/psnr" in line for line in lines)
    assert "none validate (dataset.val_every=null)" in caplog.text
    assert "in place of a validation" in caplog.text
    assert entry.run(config(tmp_path)) == value, "a finished run has it, too"


def test_a_scene_with_more_views_than_codes_of_appearance_is_refused(tmp_path: Path) -> None:
    scene = load_ball("ball")
    n = len(scene.cameras)
    for views in (n, n - 1):
        settings = ["model.color.appearance_dim=2", f"model.color.appearance_views={views}"]
        cfg = config(tmp_path, "model=neus", *settings)
        model = build.build_model(cfg, torch.device("cpu"))
        loss = build.build_loss(cfg, model, "neus")
        if views == n:
            checks.check_scene(cfg, scene, loss, model, "neus")
            continue
        message = rf"has {n} views, .* codes of appearance for {n - 1}: set model.color.appearance_views={n}"
        with pytest.raises(ValueError, match=message):
            checks.check_scene(cfg, scene, loss, model, "neus")


def test_a_background_that_nothing_models_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = config(tmp_path, "scene=photographs", "model=neus", "loss=nomask")
    model = build.build_model(cfg, torch.device("cpu"))
    loss = build.build_loss(cfg, model, "neus")
    checks.check_scene(cfg, load_ball("photographs"), loss, model, "neus")
    assert "nothing models the background" in caplog.text
    assert "use model=neus_bg" in caplog.text.replace("Use", "use")
    caplog.clear()
    cfg = config(tmp_path, "scene=photographs", "model=neus_bg")
    model = build.build_model(cfg, torch.device("cpu"))
    checks.check_scene(
        cfg, load_ball("photographs"), build.build_loss(cfg, model, "neus_bg"), model, "neus_bg"
    )
    assert not caplog.text
    checks.check_scene(cfg, load_ball("ball"), build.build_loss(cfg, model, "neus_bg"), model, "neus_bg")
    assert "model=neus is enough" in caplog.text


def test_a_mask_term_without_masks_says_what_to_change(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^loss term 'mask' reads the masks, and this run has none"):
        entry.run(config(tmp_path, "scene=unmasked", "loss=mask"))
    assert record_of(tmp_path)[1].status == "failed"


def test_an_interrupted_run_is_not_scored_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigError, match=r"^mode=eval works on a trained run, and there is no run .*mode=train"
    ):
        entry.run(config(tmp_path, "mode=eval"))
    monkeypatch.setattr(loop.TrainState, "save", _killed_at(4, loop.TrainState.save))
    with pytest.raises(KeyboardInterrupt):
        entry.run(config(tmp_path))
    with pytest.raises(
        ConfigError, match=r"is at step 4 of 12 \(interrupted\): run the same command with mode"
    ):
        entry.run(config(tmp_path, "mode=eval"))


@pytest.mark.parametrize("part", DEBUG_PARTS)
def test_looking_at_one_part_trains_nothing(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loop, "train", lambda *a, **k: pytest.fail("trained"))
    assert math.isnan(entry.run(config(tmp_path / "runs", f"debug.part={part}")))
    said = capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
    pictures = list((tmp_path / "debug").glob("*.png")) if part != "model" else []
    if part == "model":
        assert "all parameters: " in said
        assert "tables" in said
    else:
        assert len(pictures) == 1
        assert pictures[0].stat().st_size > 10_000
    words = {
        "dataset": "6 views of 40x32; splits train 4, val 1, test 2",
        "model": "HashGrid",
        "eval": "nvs/psnr",
    }
    assert words[part] in said


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^debug\.part=modle is none of dataset, model, eval; did you mean 'model'"
    ):
        entry.run(config(tmp_path, "debug.part=modle"))


def test_a_backend_that_was_replaced_stands_in_the_record_and_not_in_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config(tmp_path, "eval.lpips=null", "export.video=false")
    plan = plan_run(cfg)

    def replaced(machine: Machine) -> Machine:
        return replace(activate(machine), backend=Choice("other", "the self-test failed: mlp"))

    monkeypatch.setattr(run, "activate", replaced)
    run.execute(cfg)
    record = read_record(plan.identity.folder)
    assert (record.backend, record.backend_reason) == ("other", "the self-test failed: mlp")
    assert record.run_key == plan.identity.key
