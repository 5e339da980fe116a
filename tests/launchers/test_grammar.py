"""All that Hydra's override grammar allows in a sweep: jobs are those of plain Hydra, each composed alone."""

import runpy
import sys
from collections.abc import Sequence

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from isosweep.config import command_line, multirun
from isosweep.config.schema import CONF
from isosweep.launchers import hydra_sweeps

MAIN = str(CONF.parent / "main.py")


def swept(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[list[list[str]], list[dict]]:
    """The overrides and the composed config of every job of a sweep; nothing is started."""
    jobs: list[list[str]] = []
    configs: list[dict] = []

    def keep(context, config, name, found):
        assert name
        for job in found:
            own = [text for text in job if not text.startswith("run.name=")]
            jobs.append(own)
            composed = context.config_loader.load_sweep_config(config, own)
            configs.append(plain(composed))

    monkeypatch.setattr(hydra_sweeps, "on_jobs", keep)
    monkeypatch.setattr(sys, "argv", [MAIN, "-m", *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(MAIN, run_name="__main__")
    assert end.value.code == 0
    return jobs, configs


def alone(job: Sequence[str]) -> dict:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose("config", list(job), return_hydra_config=True))


def plain(cfg) -> dict:
    return {key: OmegaConf.to_container(cfg)[key] for key in cfg if key != "hydra"}  # type: ignore[index]


CASES = {
    "a fixed key that one data set of two has at the default": (
        ["dataset=colmap,llff", "dataset.images=images_4", "scene=x"],
        [[f"dataset={name}", "dataset.images=images_4", "scene=x"] for name in ("colmap", "llff")],
    ),
    "of experiments": (
        ["experiment=neus-dtu,neus-dtu-wmask", "dataset.official=/x", "scene=scan24"],
        [[f"experiment=neus-dtu{end}", "dataset.official=/x", "scene=scan24"] for end in ("", "-wmask")],
    ),
    "of samplers": (
        ["sampler=hierarchical,upsample", "sampler.n_fine=32"],
        [[f"sampler={name}", "sampler.n_fine=32"] for name in ("hierarchical", "upsample")],
    ),
    "a glob": (
        ["sampler=glob(*,exclude=[occgrid*,uniform,plane,proposal*,resampled*,*_*])", "sampler.n_fine=32"],
        [[f"sampler={name}", "sampler.n_fine=32"] for name in ("hierarchical", "upsample")],
    ),
    "choices": (
        ["sampler=choice(hierarchical,upsample)", "sampler.n_fine=8"],
        [[f"sampler={name}", "sampler.n_fine=8"] for name in ("hierarchical", "upsample")],
    ),
    "a range, and a list": (
        ["seed=range(0,4,2)", "export.formats=[ply],[obj,glb]"],
        [[f"seed={s}", f"export.formats={f}"] for s in (0, 2) for f in ("[ply]", "[obj,glb]")],
    ),
    "an interval of one": (["seed=tag(a,choice(3))"], [["seed=3"]]),
    "sorted": (["seed=sort(3,1,2)"], [[f"seed={s}"] for s in (1, 2, 3)]),
    "rows": (
        ["hydra.sweeper.zip={sampler:[hierarchical,upsample],sampler.n_fine:[16,32]}", "train.rays=64"],
        [
            ["train.rays=64", "sampler=hierarchical", "sampler.n_fine=16"],
            ["train.rays=64", "sampler=upsample", "sampler.n_fine=32"],
        ],
    ),
    "params": (
        ["+hydra.sweeper.params.sampler='hierarchical,upsample'", "sampler.n_fine=4"],
        [[f"sampler={name}", "sampler.n_fine=4"] for name in ("hierarchical", "upsample")],
    ),
    "a nested group": (
        ["model=nerf_bg,neus_bg", "encoding@model.background.encoding=freq"],
        [[f"model={m}", "encoding@model.background.encoding=freq"] for m in ("nerf_bg", "neus_bg")],
    ),
    "an added key": (
        ["model=nerf,neus", "+loss.terms.mine={weight:0.0}"],
        [[f"model={m}", "+loss.terms.mine={weight:0.0}"] for m in ("nerf", "neus")],
    ),
    "a forced key": (
        ["seed=0,1", "++train.rays=77", "++model.color.direction=null"],
        [[f"seed={s}", "++train.rays=77", "++model.color.direction=null"] for s in (0, 1)],
    ),
    "a deletion": (
        ["model=nerf_bg,neus_bg", "~model.background.color"],
        [[f"model={m}", "~model.background.color"] for m in ("nerf_bg", "neus_bg")],
    ),
    "quoted text": (
        ["seed=0,1", "run.name='a, b'", "scene='mug'"],
        [[f"seed={s}", "scene=mug"] for s in (0, 1)],
    ),
    "a sweep file": (
        ["+sweep=seeds", "sampler=hierarchical", "sampler.n_fine=32"],
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_jobs_are_those_of_plain_hydra(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, expected = CASES[case]
    jobs, configs = swept(monkeypatch, *arguments)
    GlobalHydra.instance().clear()
    if expected is None:
        assert len(jobs) > 1
        assert all(job[-2:] == ["sampler=hierarchical", "sampler.n_fine=32"] for job in jobs)
    else:
        canonical = [[text.replace("'", "") for text in job] for job in jobs]
        assert canonical == expected
    for job, config in zip(jobs, configs, strict=True):
        single = alone(job)
        for composed in (single, config):
            composed["run"].pop("name")
        assert config == single


def test_shuffle_keeps_every_value(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, _ = swept(monkeypatch, "seed=shuffle(0,1,2,3)", "model.n_steps=64")
    assert sorted(job[0] for job in jobs) == [f"seed={s}" for s in range(4)]


@pytest.mark.parametrize(
    "arguments",
    [
        ["model=neus", "seed=0"],
        ["-m", "hydra/sweeper=optuna", "model.n_steps=64"],
        ["-m", "hydra/sweeper=basic", "model.n_steps=64", "seed=0,1"],
        ["--help"],
    ],
)
def test_only_sweeps_of_the_grid_are_split(arguments: list[str]) -> None:
    assert multirun.split(arguments) == arguments
    assert multirun.arguments_of_jobs(["given"]) == ["given"]


def test_what_hydra_sees_and_what_the_jobs_get() -> None:
    of_jobs = ["model.n_steps=64", "~loss.terms.mask"]
    given = ["-m", "+sweep=dtu", "run.root=/r", "hydra.launcher.slots=2", *of_jobs, "seed=0,1"]
    try:
        assert multirun.split(given) == [
            "-m",
            "+sweep=dtu",
            "run.root=/r",
            "hydra.launcher.slots=2",
            "seed=0,1",
        ]
        assert multirun.arguments_of_jobs([]) == ["+sweep=dtu", "run.root=/r", *of_jobs, "seed=0,1"]
    finally:
        multirun.split([])


def test_a_misspelt_fixed_key_is_explained_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path
) -> None:
    arguments = ["-m", "sampler=hierarchical,upsample", "sampler.n_fin=8", f"run.root={tmp_path}"]
    monkeypatch.setattr(sys, "argv", [MAIN, *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(MAIN, run_name="__main__")
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert "did you mean 'sampler.n_fine'" in said
    assert "2 of 2 runs cannot start; nothing was started" in said
    assert command_line.full_error() is False
