"""Tables of runs: columns for what is varied, no two rows alike, and never wider than the terminal."""

from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from isosweep.launchers import tables
from isosweep.launchers.columns import Run, common, fitted, identity, titles
from isosweep.launchers.display import summary
from isosweep.launchers.estimates import left_of_sweep
from isosweep.launchers.next_commands import how_to_compare, runs_command
from isosweep.launchers.run_states import Entry
from isosweep.record.progress import ProgressNote

NAMES = {"dataset": "demo", "scene": "rings", "model": "neus", "encoding": "hashgrid"}


def run(*overrides: str, key: str = "0123456789abcdef", **names: str) -> Run:
    return Run({**NAMES, "seed": "0", **names}, overrides, key)


def entries() -> list[Entry]:
    """A sweep of two keys and two seeds at work: a bar, scoring, a failure, and ends."""
    found = []
    for i, (weight, seed) in enumerate((w, s) for w in ("0.01", "0.05", "0.1") for s in ("0", "1")):
        note = None
        if i == 0:
            note = ProgressNote(
                what="training", done=750, total=3000, left_s=200, rays_per_s=35e3, val_psnr=24.125
            )
        elif i == 1:
            note = ProgressNote(what="scoring views", done=5, total=50, left_s=400)
        state = "running" if note else "failed" if i == 2 else "finished"
        found.append(
            Entry(
                state,
                "demo/rings neus-hashgrid",
                step=f"{750 * i}/3000",
                score="nvs/psnr 25.261" if state == "finished" else "",
                seconds=100.0 + i,
                cause="RuntimeError: the disk with the photographs is gone" if state == "failed" else "",
                machine="gpu-node-17 job 12345_3",
                key=f"{i}123456789abcdef",
                names=NAMES | {"seed": seed},
                overrides=(f"loss.terms.eikonal.weight={weight}", f"seed={seed}", "run.name=night"),
                note=note,
            )
        )
    return found


def text(table: object, width: int) -> list[str]:
    console = Console(width=width, record=True, file=open("/dev/null", "w"), color_system=None)  # noqa: SIM115
    console.print(table)
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_what_is_varied_stands_in_columns_of_its_own() -> None:
    runs = [run(f"loss.terms.eikonal.weight={w}", f"seed={s}", seed=s) for w in ("0.1", "0.5") for s in "01"]
    columns = identity(runs)
    assert [c.name for c in columns] == ["eikonal.weight", "seed"]
    assert [list(c.cells) for c in columns] == [["0.1", "0.1", "0.5", "0.5"], ["0", "1", "0", "1"]]
    assert common(runs) == "demo/rings, neus, hashgrid"
    assert titles(runs)[3] == "eikonal.weight=0.5  seed=1"


def test_scenes_and_models_stand_first_and_seeds_last() -> None:
    runs = [run("seed=1", "encoding.n_levels=8", scene="mug", seed="1"), run(model="nerf")]
    assert [c.name for c in identity(runs)] == ["scene", "model", "encoding.n_levels", "seed"]


def test_one_run_is_named_by_scene_model_and_seed() -> None:
    assert [c.name for c in identity([run()])] == ["scene", "model", "seed"]
    assert titles([run()]) == ["rings  neus  seed=0"]


def test_values_that_differ_late_are_shown_whole() -> None:
    runs = [run("optim.lr=0.00123456"), run("optim.lr=0.00123457")]
    assert list(identity(runs)[0].cells) == ["0.00123456", "0.00123457"]


def test_rows_that_read_the_same_get_their_keys() -> None:
    runs = [run(key="a" * 16), run(key="b" * 16)]
    columns = [c.name for c, _ in fitted(identity(runs), runs, 80)]
    assert columns[0] == "key"
    assert titles(runs) == ["rings  neus  seed=0  aaaaaaaa", "rings  neus  seed=0  bbbbbbbb"]


def test_many_settings_share_a_column() -> None:
    runs = [run(*(f"group.key{i}={i + j}" for i in range(8))) for j in range(2)]
    columns = identity(runs)
    assert [c.name for c in columns] == ["key0", "key1", "key2", "key3", "key4", "settings"]
    assert columns[-1].cells[1] == "key5=6 key6=7 key7=8"


@pytest.mark.parametrize("width", [140, 100, 80, 60])
def test_the_table_fits_and_tells_every_row_apart(width: int) -> None:
    lines = text(tables.status_table(entries(), width, "2 of 6 ended"), width)
    assert max(cell_len(line) for line in lines) <= width
    assert lines[:2] == ["2 of 6 ended", "all: demo/rings, neus, hashgrid"]
    rows = [line for line in lines if any(word in line.split() for word in ("running", "failed", "finished"))]
    assert len(rows) == 6
    assert len({tuple(row.split()[:2]) for row in rows}) == 6
    assert [row.split()[:3] for row in rows][2] == ["0.05", "0", "failed"]
    whole = " ".join(" ".join(lines).split())
    assert "RuntimeError: the disk with the photographs is gone" in whole
    assert "…" not in whole


def test_at_eighty_columns_progress_and_time_left_stay() -> None:
    lines = text(tables.status_table(entries(), 80), 80)
    assert any("━━──────  25%" in line and "3 min" in line for line in lines)
    assert any("scoring views 10%" in line for line in lines)


def test_a_wide_table_has_every_column() -> None:
    heading = text(tables.status_table(entries(), 220), 220)[2]
    names = "seed state progress step rays/s val PSNR score ETA time where why key"
    for name in names.split():
        assert name in heading, name


def test_a_name_too_long_for_the_terminal_is_cut_and_the_key_tells() -> None:
    runs = [run(scene="a" * 60 + end, key=end * 16) for end in "12"]
    found = fitted(identity(runs), runs, 40)
    assert found[0][0].name == "key"
    assert sum(width for _, width in found) + 2 * (len(found) - 1) <= 40


def test_columns_of_a_part_are_those_of_the_whole_sweep() -> None:
    every = [run(f"loss.terms.eikonal.weight={w}", f"seed={s}", seed=s) for w in ("0.1", "0.5") for s in "01"]
    assert [c.name for c in identity(every[:1], every)] == ["eikonal.weight", "seed"]
    assert titles(every[:1], every) == ["eikonal.weight=0.1  seed=0"]


def test_a_name_that_is_not_known_makes_no_column() -> None:
    runs = [run("seed=0"), Run({"scene": "rigns"}, ["scene=rigns"])]
    assert [c.name for c in identity(runs)] == ["scene"]
    assert common(runs) == "demo, neus, hashgrid, seed 0"


def test_time_left_of_a_sweep_by_hand() -> None:
    # two slots; runs take 100 s: 60 s and 90 s are left of those at work, then three more runs in two slots
    assert left_of_sweep([(40, 60.0), (10, None)], 3, [100.0]) == 260.0
    assert left_of_sweep([(40, 160.0)], 1, []) == 360.0, "a run at work tells where none is finished"
    assert left_of_sweep([(40, None)], 1, []) is None


def test_the_end_says_how_to_compare() -> None:
    assert how_to_compare("night 1", "results/runs").splitlines()[1:] == [
        "python scripts/report.py 'night 1'",
        "python scripts/report.py 'night 1' --page page",
    ]
    assert "report.py night --root /data/runs\n" in how_to_compare("night", "/data/runs")


def test_commands_name_another_root_and_a_name_with_blanks() -> None:
    assert runs_command("retry", "night", "results/runs") == "python scripts/runs.py retry night"
    assert (
        runs_command("retry", "night", Path("results/runs").resolve()) == "python scripts/runs.py retry night"
    )
    assert (
        runs_command("status", "my night", "/my runs")
        == "python scripts/runs.py status 'my night' --root '/my runs'"
    )
    assert runs_command("retry", None, "/data") == "python scripts/runs.py retry --root /data"


def test_the_last_line_counts_the_runs() -> None:
    assert (
        summary("night", {"finished": 6, "failed": 2, "skipped": 0})
        == "sweep night: 8 runs: 6 finished, 2 failed"
    )
