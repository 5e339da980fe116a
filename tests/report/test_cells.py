"""Means, spreads, data set means, missing and failed cells: against numbers recomputed from the json files."""

import csv
import io
import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isosweep.record.key import ABSENT, essential
from isosweep.report import NoRuns, ReportError, TableRequest, make_table, render_files
from isosweep.report.collect import parse_record
from isosweep.report.keys import config_differences, sort_key, value_text
from tests.report.hand import put, record

SCENES = ("mug", "rings", "scan_9%")


def sweep(root: Path, *, scenes=SCENES, seeds=(0, 1, 2)) -> None:
    """2 models x 2 encodings x scenes x seeds with numbers from a generator."""
    draw = np.random.default_rng(5)
    for model in ("nerf", "neus"):
        for encoding in ("freq", "hashgrid"):
            for scene in scenes:
                for seed in seeds:
                    values = {
                        "nvs/psnr": float(draw.normal(30, 2)),
                        "geometry/chamfer": float(draw.uniform(0.01, 0.02)),
                    }
                    put(root, record(model, encoding, scene, seed, values=values))


def request(root: Path, **changes) -> TableRequest:
    return TableRequest(sources=(str(root),), root=root / "no runs", **changes)


def long(root: Path, **changes) -> list[dict[str, str]]:
    made = make_table(request(root, **changes))
    return list(csv.DictReader(io.StringIO(render_files(made, ["csv"])[".csv"].decode())))


def files(root: Path) -> list[dict]:
    return [json.loads(p.read_text()) for p in sorted(root.rglob("record.json"))]


def test_numbers_equal_a_recomputation_from_the_files(tmp_path: Path) -> None:
    sweep(tmp_path)
    lines = long(tmp_path, metrics=("psnr", "chamfer"))
    assert len(lines) == 4 * (len(SCENES) + 1) * 2
    raw = files(tmp_path)
    for line in lines:
        seeds: dict[int, list[float]] = {}
        for one in raw:
            if (one["model"], one["encoding"]) == (line["model"], line["encoding"]) and line["scene"] in (
                "",
                one["scene"],
            ):
                seeds.setdefault(one["seed"], []).append(one["scores"]["values"][line["metric"]])
        values = [statistics.fmean(v) for v in seeds.values()]
        assert {len(v) for v in seeds.values()} == {1 if line["scene"] else len(SCENES)}
        assert int(line["n"]) == 3
        assert float(line["mean"]) == pytest.approx(np.mean(values), rel=1e-12)
        assert float(line["std"]) == pytest.approx(np.std(values, ddof=1), rel=1e-9)


def test_printed_cells_are_those_numbers_rounded(tmp_path: Path) -> None:
    sweep(tmp_path, scenes=("mug",))
    page = render_files(make_table(request(tmp_path, metrics=("psnr",))), ["md"])[".md"].decode()
    for model in ("nerf", "neus"):
        for encoding in ("freq", "hashgrid"):
            values = [
                r["scores"]["values"]["nvs/psnr"]
                for r in files(tmp_path)
                if (r["model"], r["encoding"]) == (model, encoding)
            ]
            (line,) = [x for x in page.splitlines() if x.startswith("|") and model in x and encoding in x]
            shown = line.replace("*", "").replace("<ins>", "").replace("</ins>", "")
            assert f" {statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} |" in shown
    assert "n = 3" in page


def test_one_seed_has_no_spread_and_says_so(tmp_path: Path) -> None:
    put(tmp_path, record("nerf"), record("neus"))
    made = make_table(request(tmp_path, metrics=("psnr",)))
    page = render_files(made, ["md"])[".md"].decode()
    assert "30.00" in page
    assert all("±" not in line for line in page.splitlines() if line.startswith("|"))
    assert "every number is of one run" in page
    assert long(tmp_path)[0]["std"] == ""


def test_means_alone_on_demand(tmp_path: Path) -> None:
    put(tmp_path, record(seed=0), record(seed=1, values={"nvs/psnr": 32.0}), record("nerf"))
    made = make_table(request(tmp_path, metrics=("psnr",), plain=True))
    nerf, neus = made.document.blocks[0].lines
    assert [(c.main, c.extra) for c in (*nerf.cells, *neus.cells)] == [("30.00", ""), ("31.00", "")]
    assert "mean over seed, n = 1, 2; the spread is in the csv" in made.document.notes[0]
    assert {x["std"] for x in long(tmp_path, metrics=("psnr",), plain=True)} == {"", "1.4142135623730951"}


def test_cells_of_different_n_each_show_theirs(tmp_path: Path) -> None:
    put(tmp_path, record(seed=0), record(seed=1, values={"nvs/psnr": 32.0}), record("nerf"))
    page = render_files(make_table(request(tmp_path, metrics=("psnr",))), ["md"])[".md"].decode()
    assert "31.00** ± 1.41 (2)" in page
    assert "30.00</ins> (1)" in page


def test_no_mean_without_every_scene_and_every_seed(tmp_path: Path) -> None:
    put(tmp_path, record("nerf", scene="mug"), record("nerf", scene="rings"), record("neus", scene="mug"))
    put(
        tmp_path,
        record("both", scene="mug"),
        record("both", scene="mug", seed=1),
        record("both", scene="rings"),
    )
    lines = {(x["model"], x["scene"]): x for x in long(tmp_path, rows=("model",), metrics=("psnr",))}
    assert lines["nerf", ""]["mean"] == "30.0"
    assert (lines["neus", ""]["state"], lines["neus", ""]["mean"]) == ("missing", "")
    assert lines["neus", ""]["cause"] == "scene=rings: no record"
    assert lines["neus", "rings"]["cause"] == "no record"
    assert lines["both", ""]["mean"] == "", "rings has no second seed"
    assert lines["both", ""]["cause"] == "scene=rings, seed=1: no record"
    page = render_files(make_table(request(tmp_path, rows=("model",), metrics=("psnr",))), ["md"])[
        ".md"
    ].decode()
    assert "- model=neus, scene=rings: no record" in page
    assert "- model=both, scene=rings, seed=1: no record" in page.replace(", mean", "")


def test_failed_and_missing_cells_are_marked_and_listed_with_their_cause(tmp_path: Path) -> None:
    broken = {"type": "FloatingPointError", "message": "loss is nan\nmore", "traceback": ""}
    put(
        tmp_path,
        record("a", status="failed", scores=None, error=broken, steps_done=70),
        record("b", status="preempted", scores=None, steps_done=500),
        record("c", status="running", scores=None, steps_done=10),
        record("d", scores=None),
        record("e", values={"nvs/psnr": None}, reasons={"nvs/psnr": "no view has a mask"}),
        record("f", values={"nvs/psnr": math.nan}),
        record("g", values={"nvs/psnr": math.inf}),
        record("h", values={"nvs/psnr": "absent"}),
        record("ok"),
    )
    assert "NaN" in (tmp_path / "00005" / "record.json").read_text()
    page = render_files(make_table(request(tmp_path, rows=("model",), metrics=("psnr",))), ["md"])[
        ".md"
    ].decode()
    marks = {
        line.split("|")[1].strip(): line.split("|")[2].strip()
        for line in page.splitlines()
        if line[:1] == "|"
    }
    assert [marks[m] for m in "abcdefgh"] == ["failed", "–", "–", "failed", "none", "failed", "failed", "–"]
    assert marks["ok"] == "30.00", "the only number is not called the best"
    for said in (
        "- model=a, scene=mug, seed=0: failed at step 70 of 2000: FloatingPointError: loss is nan\n",
        "- model=b, scene=mug, seed=0: preempted at step 500 of 2000\n",
        "- model=c, scene=mug, seed=0: its process is gone and left no message at step 10 of 2000\n",
        "- model=d, scene=mug, seed=0: its record is finished and holds no scores\n",
        "- model=e, scene=mug, seed=0: no view has a mask\n",
        "- model=f, scene=mug, seed=0: its value is nan\n",
        "- model=g, scene=mug, seed=0: its value is inf\n",
        "- model=h, scene=mug, seed=0: its record has no nvs/psnr\n",
    ):
        assert said in page


def test_a_failed_seed_is_listed_and_left_out_of_the_mean(tmp_path: Path) -> None:
    put(
        tmp_path,
        record(seed=0),
        record(seed=1, status="oom", scores=None),
        record(seed=2, values={"nvs/psnr": 31.0}),
    )
    made = make_table(request(tmp_path, metrics=("psnr",)))
    page = render_files(made, ["md"])[".md"].decode()
    assert "30.50 ± 0.71" in page
    assert "seed=1: oom at step 2000 of 2000" in page


def test_a_failed_run_gives_way_to_a_finished_one_of_the_same_seed(tmp_path: Path) -> None:
    put(tmp_path, record(status="failed", scores=None, run_key="x", config={"train.max_steps": 1}), record())
    page = render_files(make_table(request(tmp_path, metrics=("psnr",))), ["md"])[".md"].decode()
    assert "30.00" in page
    assert "1 runs without scores are left out" in page


def test_the_same_run_found_twice_counts_once(tmp_path: Path) -> None:
    put(tmp_path / "a", record())
    put(tmp_path / "b", record())
    made = make_table(
        TableRequest(
            sources=(str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "a")), metrics=("psnr",)
        )
    )
    assert len(made.table.runs) == 1
    assert "1 records are copies" in " ".join(made.document.notes)


def test_rows_and_columns_are_any_key(tmp_path: Path) -> None:
    for weight in (0.05, 0.5, 10.0):
        for scene in ("mug", "rings"):
            put(
                tmp_path,
                record(scene=scene, config={"loss.terms.eikonal.weight": weight}, run_key=f"{weight}{scene}"),
            )
    key = "loss.terms.eikonal.weight"
    made = make_table(request(tmp_path, rows=(key,), metrics=("psnr",)))
    assert made.document.blocks[0].labels == ("eikonal.weight",)
    assert [line.labels for line in made.document.blocks[0].lines] == [("0.05",), ("0.5",), ("10",)]
    across = make_table(request(tmp_path, rows=("scene",), cols=(key,), metrics=("psnr",)))
    assert across.document.blocks[0].columns == ("0.05", "0.5", "10")
    means = long(tmp_path, rows=(key,), cols=(), metrics=("psnr",))
    assert [(x[key], x["scene"]) for x in means] == [("0.05", ""), ("0.5", ""), ("10", "")]


def test_without_names_the_rows_are_what_varies(tmp_path: Path) -> None:
    sweep(tmp_path / "a", scenes=("mug", "rings"), seeds=(0, 1))
    assert make_table(request(tmp_path / "a")).table.spec.rows == ("model", "encoding")
    assert make_table(request(tmp_path / "a")).table.spec.cols == ("scene",)
    for weight in (0.1, 0.2):
        put(
            tmp_path / "b",
            record(
                run_key=f"{weight}",
                config={
                    "loss.terms.eikonal.weight": weight,
                    "loss.copy": weight,
                    "train.log_every": int(weight * 10),
                },
                overrides=[f"loss.terms.eikonal.weight={weight}"],
            ),
        )
    assert make_table(request(tmp_path / "b")).table.spec.rows == ("loss.terms.eikonal.weight",), (
        "set by hand, not its copy"
    )
    put(tmp_path / "c", record())
    assert make_table(request(tmp_path / "c")).table.spec.rows == ("model",)


def test_several_data_sets_have_columns_and_means_of_their_own(tmp_path: Path) -> None:
    for dataset, scenes in (("dtu", ("scan105", "scan24")), ("demo", ("mug",))):
        for i, scene in enumerate(scenes):
            put(tmp_path, record(scene=scene, dataset=dataset, values={"nvs/psnr": 30.0 + i}))
    (block,) = make_table(request(tmp_path, metrics=("psnr",))).document.blocks
    assert block.columns == ("demo/mug", "dtu/scan24", "dtu/scan105", "dtu/mean")
    assert [c.main for c in block.lines[0].cells] == ["30.00", "31.00", "30.00", "30.50"]
    (means,) = make_table(request(tmp_path, metrics=("psnr",), cols=())).document.blocks
    assert means.columns == ("demo", "dtu")
    assert [c.main for c in means.lines[0].cells] == ["30.00", "30.50"]


def test_one_column_puts_the_metrics_side_by_side(tmp_path: Path) -> None:
    put(tmp_path, record())
    (block,) = make_table(request(tmp_path, metrics=("psnr", "ssim", "lpips", "chamfer"))).document.blocks
    assert block.columns == ("PSNR (dB) ↑", "SSIM ↑", "LPIPS (vgg) ↓", "Chamfer ↓")
    assert [c.main for c in block.lines[0].cells] == ["30.00", "0.900", "0.100", "0.0123"]


def test_columns_on_demand(tmp_path: Path) -> None:
    put(
        tmp_path,
        record(),
        record("nerf", times={}, memory={"ram_peak_bytes": 5, "cuda_peak_bytes": 3 * 2**30}),
    )
    made = make_table(request(tmp_path, metrics=("psnr",), columns=("time", "memory", "gpu_hours")))
    nerf, neus = made.document.blocks[0].lines
    assert [c.main for c in neus.cells] == ["30.00", "1.50", "1.00", "0.05"]
    assert [c.main for c in nerf.cells] == ["30.00", "–", "3.00", "–"]
    assert {c.mark for c in (*nerf.cells[1:], *neus.cells[1:])} == {""}, "costs are not ranked"
    assert any("AMD EPYC" in note for note in made.document.notes)


def test_nothing_to_show_and_wrong_names(tmp_path: Path) -> None:
    with pytest.raises(NoRuns, match="no runs in"):
        make_table(request(tmp_path))
    put(tmp_path, record())
    with pytest.raises(NoRuns, match=r"none of the 1 runs .* model=nerf; there are model: neus"):
        make_table(request(tmp_path, conditions=(("model", "nerf"),)))
    with pytest.raises(ReportError, match=r"Did you mean train.max_steps\?"):
        make_table(request(tmp_path, rows=("train.max_step",)))
    with pytest.raises(ReportError, match=r"Did you mean loss.terms.eikonal.weight"):
        make_table(request(tmp_path, rows=("eikonal.wieght",)))
    with pytest.raises(ReportError, match=r"names a group of settings; name one below it: train.max_steps"):
        make_table(request(tmp_path, rows=("train",)))
    with pytest.raises(ReportError, match=r"no record has a score 'pnsr'. Did you mean psnr"):
        make_table(request(tmp_path, metrics=("pnsr",)))
    with pytest.raises(ReportError, match="there are time, memory, gpu_hours"):
        make_table(request(tmp_path, columns=("speed",)))
    with pytest.raises(ReportError, match="scene is named twice"):
        make_table(request(tmp_path, rows=("scene",), cols=("scene",)))
    with pytest.raises(ReportError, match="leave scene out of --over"):
        make_table(request(tmp_path, over=("seed", "scene"), cols=()))
    with pytest.raises(ReportError, match=r"neither a folder nor a sweep .* Did you mean hand"):
        make_table(TableRequest(sources=("hnad",), root=tmp_path))


def test_a_score_that_no_record_has_is_a_column_of_missing_cells(tmp_path: Path) -> None:
    put(tmp_path, record(values={"nvs/lpips_vgg": "absent"}))
    made = make_table(request(tmp_path, metrics=("psnr", "lpips")))
    assert [c.main for c in made.document.blocks[0].lines[0].cells] == ["30.00", "–"]
    assert made.document.causes == ["model=neus, scene=mug, seed=0 (lpips): its record has no lpips"]


def test_text_order_and_what_cannot_change_a_result() -> None:
    assert [value_text(v) for v in (None, "", True, 1.0, 5e-5, "a", [1])] == [
        "–",
        "–",
        "true",
        "1",
        "5e-05",
        "a",
        "[1]",
    ]
    assert sorted(["scan105", "scan24", "b", None, 2, 1.5], key=sort_key) == [
        None,
        1.5,
        2,
        "b",
        "scan24",
        "scan105",
    ]
    kept = essential(
        {"run": 1, "train": {"threads": 2, "rays": 3}, "device": "cuda:1", "eval": {}, "seed": 1}
    )
    assert kept == {"train": {"rays": 3}, "device": "cuda", "seed": 1}


def test_records_with_equal_settings_share_them_and_differences_are_found_all_the_same() -> None:
    shared: dict[bytes, Any] = {}
    both = [{"seed": s, "optim": {"lr": 0.1, "b": [s]}, "loss": {"w": 1}} for s in (0, 1)]
    one, other = (parse_record(json.dumps(record(config=c)).encode(), shared) for c in both)
    assert one.config["loss"] is other.config["loss"]
    assert config_differences(one.config, other.config) == {"seed": (0, 1), "optim.b": ([0], [1])}
    assert config_differences({"a": {"b": 1}, "c": 2}, {"a": {"d": 1}}) == {
        "a.b": (1, ABSENT), "a.d": (ABSENT, 1), "c": (2, ABSENT),
    }  # fmt: skip
