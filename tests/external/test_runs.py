"""Runs of a method that is not ours, with a stand-in for it: what it makes is scored, and what goes wrong has a
cause."""

import copy
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from isosweep.app import entry, foreign
from isosweep.config.check import ConfigError
from isosweep.config.method_settings import MethodSettings, ResumeSettings
from isosweep.config.names import identify
from isosweep.errors import InputError, OverLimit
from isosweep.external import command
from isosweep.external.process import MethodFailed, MethodOutOfMemory
from isosweep.record import Record, find_runs, read_record
from isosweep.record.key import matters
from tests.external.conftest import COMMAND


def only(root: Path) -> tuple[Path, Record]:
    (folder,) = find_runs(root)
    return folder, read_record(folder)


def starts(folder: Path) -> list[str]:
    return (folder / "method" / "out" / "starts.txt").read_text().splitlines()


def test_a_run_of_another_method_is_a_run_like_any_other(config, tmp_path, capsys):
    assert math.isnan(entry.run(config()))
    folder, record = only(tmp_path / "runs")
    assert (record.status, record.model, record.label, record.encoding) == (
        "finished",
        "stand-in",
        "stand-in",
        "",
    )
    assert (record.steps_done, record.max_steps, record.trained) == (4, 4, True)
    assert record.scores is not None
    values = record.scores.values
    assert values["nvs/psnr"] > 60  # it "renders" the test images themselves
    assert values["geometry/chamfer"] < 0.1  # two samplings of one surface, which is about five units large
    assert values["geometry/silhouette_iou"] > 0.95
    assert record.scores.settings["method"]["version"] == "1"
    assert record.config["method"]["version"] == "1"
    assert record.times.train_s > 0
    assert record.memory.ram_peak_bytes
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert next(line["psnr"] for line in lines if "psnr" in line) in (21.5, 22.5, 23.5, 24.5)
    assert starts(folder) == ["0 0.5 None"]
    assert "step 4/4" in (folder / "method" / "output.log").read_text()
    assert "| step 4/4" in (folder / "run.log").read_text()
    assert not (folder / "method" / "data" / "train").exists()
    assert (folder / "mesh.ply").is_file()
    assert list((folder / "renders").glob("*_rgb.png"))
    assert (folder / "renders" / "grid.png").is_file()

    entry.run(config())
    told = capsys.readouterr().out
    assert "nothing to do" in told
    assert "python scripts/report.py" in told
    assert "scripts/view.py" not in told, "the viewer cannot draw what is not ours"
    entry.run(config("mode=eval", "eval.samples=1000"))
    _, again = only(tmp_path / "runs")
    assert again.scores.settings["samples"] == 1000
    assert again.scores.values["nvs/psnr"] == values["nvs/psnr"]
    assert starts(folder) == ["0 0.5 None"]
    entry.run(config("run.force=true"))
    assert len(starts(folder)) == 1  # a new folder of results; the old one is in previous-1
    assert list(folder.glob("previous-*/method/out/starts.txt"))


@pytest.mark.parametrize(
    ("more", "kind", "status", "words"),
    [
        (["+method.args.fail-at=2"], MethodFailed, "failed", "ended with code 3: something went wrong"),
        (["+method.args.fail-at=2", "+method.args.last-words='CUDA out of memory. Tried to allocate 2 GiB'"],
         MethodOutOfMemory, "oom", "code 3 for want of memory: CUDA out of memory. Tried"),
        (["+method.args.hang-at=2", "method.limit_minutes=0.02"], OverLimit, "timeout", "limit of 0.02 minutes"),
        (["+method.args.hang-at=2", "method.watch.silent_minutes=0.02"], OverLimit, "timeout", "printed nothing for"),
        (["+method.args.no-mesh=true"], MethodFailed, "failed", r"wrote no mesh: sought .*; in .* are ckpt_1.txt"),
        (["+method.args.no-renders=true"], MethodFailed, "failed", "wrote no renders"),
        (["method.commands=[no-such-program]"], InputError, "failed", r"missing:\n  program no-such-program"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_a_state_with_a_cause(config, tmp_path, more, kind, status, words):
    with pytest.raises(kind, match=words):
        entry.run(config(*more))
    _, record = only(tmp_path / "runs")
    assert record.status == status
    assert record.error is not None
    assert record.scores is None


def test_a_mesh_in_another_frame_is_told_and_collected_again_without_training(config, mug, tmp_path):
    wrong = f"method.args.mesh={mug / 'mesh.ply'}"  # in world units, where data.ply is expected
    with pytest.raises(
        MethodFailed, match=r"in another frame than method.collect.frame=data: its overlap with the box"
    ):
        entry.run(config(wrong))
    folder, record = only(tmp_path / "runs")
    assert (record.status, record.trained) == ("failed", True)
    to_world = json.loads((mug / "demo.json").read_text())["to_world"]

    back = np.linalg.inv(np.array(to_world)).tolist()
    entry.run(config(wrong, "method.collect.frame=matrix", f"method.collect.matrix={back}"))
    _, record = only(tmp_path / "runs")
    assert record.status == "finished"
    assert record.scores.values["geometry/chamfer"] < 0.1
    assert len(starts(folder)) == 1


def test_no_progress_is_told_and_scored_all_the_same(config, tmp_path, capsys):
    entry.run(config("+method.args.quiet=true"))
    folder, record = only(tmp_path / "runs")
    assert record.status == "finished"
    assert "warning: stand-in printed no progress: it printed nothing" in capsys.readouterr().out
    assert "method.watch.progress" in json.loads((folder / "method" / "done.json").read_text())["no_progress"]


def test_it_goes_on_from_its_own_checkpoint_where_the_config_says_how(config, tmp_path):
    own = ["method.resume.checkpoint='{out}/ckpt_*.txt'", "method.resume.words='--resume {checkpoint}'"]
    with pytest.raises(MethodFailed):
        entry.run(config("+method.args.fail-at=2", *own))
    entry.run(config("+method.args.fail-at=2", *own))
    folder, record = only(tmp_path / "runs")
    assert record.status == "finished"
    assert starts(folder)[0] == "0 0.5 None"
    assert starts(folder)[1].endswith("ckpt_2.txt")
    assert [a.action for a in record.attempts] == ["train", "resume"]


def test_commands_that_have_ended_do_not_run_again(config, tmp_path, capsys):
    there = tmp_path / "there"
    check = tmp_path / "check.py"
    check.write_text(f"import os, sys; sys.exit(not os.path.exists({str(there)!r}))")
    second = f"{{python}} {check}"
    commands = f'method.commands=["{COMMAND}","{second}"]'
    with pytest.raises(MethodFailed, match="ended with code 1"):
        entry.run(config(commands))
    there.touch()
    entry.run(config(commands))
    folder, record = only(tmp_path / "runs")
    assert record.status == "finished"
    assert len(starts(folder)) == 1, "the training ran once"
    assert "command 1 of 2 has ended well before" in capsys.readouterr().out
    assert [a.action for a in record.attempts] == ["train", "resume"]


@pytest.mark.parametrize(
    ("pattern", "left"),
    [(r"step-(?P<last>\d+)", 40), (r"step-(?P<done>\d+)", 41), (None, 100)],
)
def test_steps_that_are_left_after_a_checkpoint(pattern: str | None, left: int):
    method = MethodSettings(steps=100, resume=ResumeSettings(checkpoint="x", step=pattern))
    assert command.steps_left(method, Path("out/step-000059.ckpt")) == left
    assert command.steps_left(method, None) == 100


def test_a_checkpoint_of_the_last_step_leaves_one_and_one_without_a_step_is_told():
    method = MethodSettings(steps=10, resume=ResumeSettings(checkpoint="x", step=r"-(?P<done>\d+)"))
    assert command.steps_left(method, Path("a-10.pt")) == 1
    with pytest.raises(
        InputError, match=r"^method\.resume\.step=.* finds no step in the path last\.pt: mend it"
    ):
        command.steps_left(method, Path("last.pt"))


def test_damage_to_what_says_which_commands_ended_starts_them_again(config, tmp_path):
    entry.run(config())
    folder, _ = only(tmp_path / "runs")
    for text in ("", "[]", '{"commands": "1"}'):
        (folder / "method" / "ended.json").write_text(text)
        assert foreign._ended_before(folder / "method" / "ended.json") == 0
    (folder / "method" / "ended.json").write_text('{"commands": 1}')
    assert foreign._ended_before(folder / "method" / "ended.json") == 1


def test_without_a_checkpoint_it_starts_over(config, tmp_path):
    with pytest.raises(OverLimit):
        entry.run(config("+method.args.hang-at=2", "method.limit_minutes=0.01"))
    with pytest.raises(OverLimit):
        entry.run(config("+method.args.hang-at=2", "method.limit_minutes=0.02"))
    folder, _ = only(tmp_path / "runs")
    assert len(starts(folder)) == 1


def test_the_key_is_of_method_version_arguments_data_and_seed_alone(config):
    cfg = config()

    def key(path: str = "run.name", value: object = None) -> str:
        changed = copy.deepcopy(cfg)
        OmegaConf.update(changed, path, value, force_add=True)
        return identify(changed, backend="cpu", device="cpu", choices={"model": "external"}).key

    usual = key()
    same = {
        "train.max_steps": 7, "encoding.n_levels": 3, "optim.lr_tables": 0.5, "export.resolution": 7, "device": "cuda",
        "backend": "torch", "method.limit_minutes": 3, "method.watch.silent_minutes": 4, "run.name": "x",
        "method.collect.frame": "neus", "method.folder": "/nowhere", "method.environment.modules": ["cuda"],
        "method.needs": ["x"], "eval.samples": 5,
    }  # fmt: skip
    assert {path: key(path, value) for path, value in same.items()} == dict.fromkeys(same, usual)
    other = {
        "method.args.lambda_normal": 0.6, "method.version": "2", "seed": 1, "method.steps": 5, "method.name": "y",
        "method.model": "z", "dataset.n_images": 4, "method.args.new": 1,
    }  # fmt: skip
    assert len({usual, *(key(path, value) for path, value in other.items())}) == 1 + len(other)
    assert not matters("method.folder", "a", "b")
    assert matters("method.args.lambda_normal", 0.5, 0.6)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["model=external"], "say which with method=<name>"),
        (["model=neus"], "a method that is not ours takes the model's place"),
        (["mode=view"], "looks into a model of ours"),
        (["debug.part=model"], "looks into a model of ours"),
        (["method.commands=['x {dta}']"], r"there is no placeholder \{dta\}; did you mean 'data'"),
        (["method.commands=['x {']"], "cannot be read"),
        (["method.prepare.layout=nerfstudo"], "did you mean 'nerfstudio'"),
        (["method.watch.progress='step'"], "name the group that is the step"),
        (["method.watch.progress='('"], "no regular expression"),
        (["method.watch.metrics.psnr='x'"], "put the number in brackets"),
        (["method.environment.kind=conda"], "needs method.environment.name"),
        (["method.collect.mesh=null", "method.collect.renders=null"], "collects neither mesh nor renders"),
        (["method.collect.frame=matrix"], "needs method.collect.matrix"),
        (["method.args=3"], "give a mapping"),
        (["method.limit_minutes=-1"], "give a number of 0 or more"),
    ],
)  # fmt: skip
def test_a_wrong_config_is_refused_before_anything_loads(config, tmp_path, more, words):
    if more == ["model=external"]:
        from hydra import compose, initialize_config_dir

        from isosweep.config.schema import CONF

        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("config", ["scene=mug", *more])
    else:
        cfg = config(*more)
    with pytest.raises(ConfigError, match=words):
        entry.run(cfg)
    assert not (tmp_path / "runs").exists()


def test_what_is_missing_here_is_said_at_once_before_anything_is_prepared(config, tmp_path):
    cfg = config("+method.needs=[no_such_module, nor_this]")
    with pytest.raises(InputError) as error:
        entry.run(cfg)
    assert re.search(
        r"module no_such_module.*\n.*module nor_this.*\n.*methods.py check stand-in", str(error.value)
    )
    (folder,) = find_runs(tmp_path / "runs")
    assert read_record(folder).status == "failed"
    assert not (folder / "method").exists()
