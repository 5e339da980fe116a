"""Seeds until decided: which runs are started, what is said, and how it goes on. Runs are replaced by their records."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from isosweep.config import multirun
from isosweep.config.check import ConfigError
from isosweep.launchers import hydra_sweeps, plan_command
from isosweep.launchers.seed_rows import conditions, pairs_of, rows_of
from isosweep.report import TableRequest, make_table
from isosweep.report.decisions import decisions_path
from tests.launchers.synthetic import Machine, installed, main, noise

WEIGHT = "loss.terms.eikonal.weight"


def seeds_of(machine: Machine) -> dict[str, int]:
    """Eikonal weight -> how many seeds were trained."""
    runs = [dict(text.split("=", 1) for text in run) for run in machine.trained]
    weights = sorted({run[WEIGHT] for run in runs})
    return {w: len({run["seed"] for run in runs if run[WEIGHT] == w}) for w in weights}


def by_weight(effects: Mapping[str, float], spread: float = 0.3) -> Callable[[dict[str, str], int], float]:
    """Scenes differ by 10 dB, seeds by 2 dB that the rows share, and rows by their effect."""

    def psnr(values: dict[str, str], seed: int) -> float:
        scene = {"mug": 25.0, "rings": 35.0}[values.get("scene", "mug")]
        own = spread * noise(values[WEIGHT], values.get("scene"), seed)
        return scene + 2 * noise(seed) + effects[values[WEIGHT]] + own

    return psnr


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    yield installed(tmp_path / "runs", monkeypatch)
    multirun.split([])


def sweep(machine: Machine, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit code of the sweep's command."""
    return main(monkeypatch, *machine.sweep("until", "tried"), *arguments)


THREE = [f"{WEIGHT}=0.1,0.2,0.3", "scene=mug,rings", "hydra.sweeper.max_seeds=5"]
ONE_IS_BETTER = {"0.1": 0.0, "0.2": 0.0, "0.3": 3.0}


def test_seeds_are_added_only_where_they_decide(machine, monkeypatch, capsys) -> None:
    machine.psnr = by_weight(ONE_IS_BETTER)
    assert sweep(machine, monkeypatch, *THREE) == 0
    seeds = seeds_of(machine)
    assert seeds["0.1"] == seeds["0.2"] == 5
    assert 3 <= seeds["0.3"] < 5
    said = capsys.readouterr().out
    lines = {tuple(line.split()[:2]): line for line in said.splitlines() if line.startswith("eikonal")}
    assert "eikonal.weight=0.3 is better" in lines["eikonal.weight=0.3", "eikonal.weight=0.1"]
    assert "eikonal.weight=0.3 is better" in lines["eikonal.weight=0.3", "eikonal.weight=0.2"]
    assert lines["eikonal.weight=0.2", "eikonal.weight=0.1"].rstrip().endswith("undecided")
    tried = 2 * sum(seeds.values())
    assert len(machine.trained) == tried
    assert f"by nvs/psnr: {tried} of 30 possible runs were tried (at most 5 seeds); 2 of 3 pairs" in said
    assert "valid for all 3 looks of 3 pairs together at 95%" in said

    # the same command trains nothing and says the same
    before = machine.launches
    assert sweep(machine, monkeypatch, *THREE) == 0
    assert len(machine.trained) == tried
    assert machine.launches == before + 1, "finished runs are listed in one start"
    assert f"{tried} of 30 possible runs were tried" in capsys.readouterr().out

    # and the table says how many were tried
    made = make_table(TableRequest(("tried",), machine.root, metrics=("psnr",)))
    (note,) = [n for n in made.document.notes if n.startswith("Seeds until decided")]
    assert f"{tried} of 30 possible runs were tried" in note
    counts = {value: cell.n for (row, *_), cell in made.table.cells.items() for value in row}
    assert counts == {float(w): n for w, n in seeds.items()}


def test_an_interrupted_sweep_goes_on(machine, monkeypatch, capsys) -> None:
    machine.psnr = by_weight({"0.1": 0.0, "0.2": 0.0})
    arguments = [f"{WEIGHT}=0.1,0.2", "hydra.sweeper.max_seeds=5"]
    machine.stop_at = 2
    assert sweep(machine, monkeypatch, *arguments) == 130
    assert seeds_of(machine) == {"0.1": 4, "0.2": 3}
    machine.stop_at = 0
    assert sweep(machine, monkeypatch, *arguments) == 0
    assert seeds_of(machine) == {"0.1": 5, "0.2": 5}
    assert len(machine.trained) == 10, "nothing was trained twice"
    assert "10 of 10 possible runs were tried" in capsys.readouterr().out


def test_a_row_that_fails_gets_no_more_seeds(machine, monkeypatch, capsys) -> None:
    scored = by_weight(ONE_IS_BETTER)

    def psnr(values: dict[str, str], seed: int) -> float:
        if values[WEIGHT] == "0.2":
            raise ValueError("diverged")
        return scored(values, seed)

    machine.psnr = psnr
    assert sweep(machine, monkeypatch, f"{WEIGHT}=0.1,0.2,0.3", "hydra.sweeper.max_seeds=5") == 1
    assert seeds_of(machine)["0.2"] == 3
    said = capsys.readouterr().out
    assert said.count("undecided: its runs failed") == 2
    assert "eikonal.weight=0.3 is better" in said


def test_against_a_baseline_and_by_another_score(machine, monkeypatch, capsys) -> None:
    machine.psnr = by_weight({"0.1": 0.0, "0.2": 4.0, "0.3": -4.0})
    more = ["hydra.sweeper.against='eikonal.weight=1e-1'", "hydra.sweeper.metric=lpips"]
    assert sweep(machine, monkeypatch, f"{WEIGHT}=0.1,0.2,0.3", *more) == 0
    said = capsys.readouterr().out
    rows = [line.split() for line in said.splitlines() if line.startswith("eikonal")]
    assert [(r[0], r[1]) for r in rows] == [
        ("eikonal.weight=0.2", "eikonal.weight=0.1"),
        ("eikonal.weight=0.3", "eikonal.weight=0.1"),
    ]
    assert "eikonal.weight=0.2 is better" in " ".join(rows[0])
    assert "eikonal.weight=0.1 is better" in " ".join(rows[1])
    assert "of nvs/lpips_vgg (lower is better)" in said
    two = [f"{WEIGHT}=0.1,0.2", "hydra.sweeper.metric=objective", "hydra.sweeper.max_seeds=3"]
    assert sweep(machine, monkeypatch, *two) == 0
    assert "of validation PSNR (higher is better)" in capsys.readouterr().out


def test_a_plan_shows_the_first_round(machine, monkeypatch, capsys) -> None:
    monkeypatch.setattr(hydra_sweeps, "on_jobs", None)
    assert plan_command.plan([*machine.sweep("until", "tried"), *THREE]) == 0
    said = capsys.readouterr().out
    assert "sweep tried: 18 runs: 18 train" in said
    assert (
        "this is the first round: seeds 0 to 2 of 3 rows. Up to 2 rounds of one seed follow, for the rows of pairs "
        "that are not decided: at most 12 runs more, 30 in all"
    ) in said
    assert not machine.trained


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([f"{WEIGHT}=0.1,0.2", "seed=0,1"], "chooses the seeds itself"),
        (["scene=mug,rings"], "compares two or more rows, found 2 jobs that differ in scene"),
        (["export.resolution=64,96"], "are the same runs"),
        ([f"{WEIGHT}=0.1,0.2", "hydra.sweeper.metric=psnrr"], "Did you mean psnr?"),
        ([f"{WEIGHT}=0.1,0.2", "hydra.sweeper.min_seeds=1"], "one seed has no spread"),
        ([f"{WEIGHT}=0.1,0.2", "hydra.sweeper.alpha=5"], "give a chance between 0 and 1"),
        ([f"{WEIGHT}=0.1,0.2", "hydra.sweeper.against=model"], "name the baseline row by a varied key"),
        (
            [f"{WEIGHT}=0.1,0.2", "hydra/launcher=slurm", "hydra.launcher.wait=false"],
            "leave hydra.launcher.wait=false out",
        ),
        ([f"{WEIGHT}=0.1,0.2", "scene=mug,rigns"], "did you mean 'rings'"),
    ],
)
def test_refused_before_anything_starts(machine, monkeypatch, capsys, arguments, words) -> None:
    assert sweep(machine, monkeypatch, *arguments) == 1
    assert words in capsys.readouterr().err
    assert not machine.trained


def test_slurm_is_waited_for_and_no_folder_of_hydras_is_made(tmp_path: Path) -> None:
    """launch_slurm waits where `other_sweeper` says so."""
    folder = tmp_path / "hydra"

    def asked(target: str) -> bool:
        hydra = {
            "sweeper": {"_target_": f"hydra_plugins.isosweep_plugins.{target}"},
            "sweep": {"dir": str(folder)},
        }
        return hydra_sweeps.other_sweeper(OmegaConf.create({"hydra": hydra}))

    assert asked("UntilSweeper")
    assert not asked("GridSweeper")
    assert not folder.exists()
    assert asked("OptunaSweeper")
    assert folder.is_dir(), "Optuna writes its results there"


def test_settings_of_a_scene_are_no_row() -> None:
    jobs = [
        [f"model={model}", f"scene={scene}", f"dataset.downscale={scale}"]
        for model in ("nerf", "neus")
        for scene, scale in (("a", 2), ("b", 4))
    ]
    rows = rows_of(jobs)
    assert [row.text for row in rows] == ["model=nerf", "model=neus"]
    assert [len(row.jobs) for row in rows] == [2, 2]


def test_rows_are_all_that_is_varied() -> None:
    jobs = [
        ["model=neus", WEIGHT + "=0.1", "~loss.terms.mask"],
        ["model=neus", WEIGHT + "=0.2", "~loss.terms.mask"],
        ["model=neus", WEIGHT + "=0.1"],
    ]
    assert [row.text for row in rows_of(jobs)] == [
        "eikonal.weight=0.1, mask=deleted",
        "eikonal.weight=0.2, mask=deleted",
        "eikonal.weight=0.1, mask=default",
    ]
    rows = rows_of([job for job in jobs if WEIGHT + "=0.1" in job])
    assert [(a.text, b.text) for a, b in pairs_of(rows, conditions("mask=default"))] == [
        ("mask=deleted", "mask=default")
    ]


def test_pairs() -> None:
    rows = rows_of([[f"model={m}", f"encoding={e}"] for m in ("nerf", "neus") for e in ("freq", "hashgrid")])
    named = [(a.text, b.text) for a, b in pairs_of(rows, {})]
    assert len(named) == 6
    named = [(a.text, b.text) for a, b in pairs_of(rows, conditions("model=nerf"))]
    assert named == [(f"model=neus, encoding={e}", f"model=nerf, encoding={e}") for e in ("freq", "hashgrid")]
    named = pairs_of(rows, conditions({"model": "nerf", "encoding": "freq"}))
    assert {b.text for _, b in named} == {"model=nerf, encoding=freq"}
    assert len(named) == 3
    with pytest.raises(
        ConfigError, match=r"no row has model=neuss; the rows are model=nerf, encoding=freq; "
    ):
        pairs_of(rows, {"model": "neuss"})
    with pytest.raises(ConfigError, match=r"modle is no key that this sweep varies\. Did you mean model\?"):
        pairs_of(rows, {"modle": "neus"})
    apart = rows_of(
        [["model=nerf", "scene=a"], *(["model=neus", f"scene={s}"] for s in "ab"), ["model=nb", "scene=b"]]
    )
    with pytest.raises(ConfigError, match="have no scene in common"):
        pairs_of(apart, {})


def test_decisions_lie_beside_the_sweeps_starts(tmp_path: Path) -> None:
    assert decisions_path(tmp_path / "runs", "a") == tmp_path / "sweeps" / "a" / "until.json"
