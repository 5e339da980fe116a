"""scripts/report.py: on the records of a real sweep, on broken ones, on ten thousand, and while it watches."""

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from isosweep.report.command import main
from tests.report import latex
from tests.report.hand import put, record
from tests.report.tables import READ
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
ENV = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
METRICS = ("nvs/psnr", "nvs/ssim")


def report(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command in this process: starting a Python for each call would take most of the time."""
    out, err = io.StringIO(), io.StringIO()
    words = [str(a) for a in arguments]
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def script(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "report.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=ENV, timeout=300)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a sweep of 2 models x 2 encodings x 2 scenes x 2 seeds ran."""
    cwd = tmp_path_factory.mktemp("swept")
    sweep = ["model=nerf,neus", "encoding=freq,hashgrid", "scene=ball_1,ball_2", "seed=0,1", "run.name=small"]
    tiny = [
        "debug=tiny", "dataset._target_=tests.report.balls.load", "backend=torch", "train.max_steps=2",
        "train.val_every=2", "train.checkpoint_every=2", "sampler.resolution=16", "model.n_steps=64",
        "eval.geometry=false", "eval.n_views=2", "export.mesh=false", "export.video=false", "export.renders=0",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "-m", "hydra/launcher=basic", *tiny, *sweep],
        capture_output=True, text=True, cwd=cwd, env=ENV, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return cwd


def recomputed(cwd: Path) -> dict[tuple[str, str, str, str], tuple[float, float]]:
    """(model, encoding, scene or 'mean', metric) -> mean and spread over seeds, from the json files with numpy."""
    cube: dict[tuple[str, str, str], dict[str, dict[int, float]]] = {}
    for path in (cwd / "results" / "runs").rglob("record.json"):
        one = json.loads(path.read_text())
        for metric in METRICS:
            scenes = cube.setdefault((one["model"], one["encoding"], metric), {})
            scenes.setdefault(one["scene"], {})[one["seed"]] = one["scores"]["values"][metric]
    found = {}
    for (model, encoding, metric), scenes in cube.items():
        values = np.array([[scenes[s][seed] for seed in (0, 1)] for s in ("ball_1", "ball_2")])
        assert values.shape == (2, 2)
        for name, row in (("ball_1", values[0]), ("ball_2", values[1]), ("mean", values.mean(axis=0))):
            found[model, encoding, name, metric] = (float(row.mean()), float(row.std(ddof=1)))
    return found


def test_a_real_sweep_ends_in_five_formats_whose_numbers_are_those_of_the_records(
    swept: Path, tmp_path: Path
) -> None:
    done = script(
        "small", "--rows", "model,encoding", "--cols", "scene", "--metrics", "psnr,ssim", "--over", "seed",
        "-f", "md,tex,csv,html,parquet", cwd=swept,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "16 runs, 24 cells" in done.stderr
    tables = swept / "results" / "tables"
    expected = recomputed(swept)
    assert len(expected) == 24
    assert len(set(expected.values())) == 24, "the runs differ"

    rows = {
        "csv": list(csv.DictReader((tables / "small.csv").open())),
        "parquet": pyarrow.parquet.read_table(tables / "small.parquet").to_pylist(),
    }
    for lines in rows.values():
        assert len(lines) == 24
        for line in lines:
            mean, std = expected[line["model"], line["encoding"], line["scene"] or "mean", line["metric"]]
            assert float(line["mean"]) == pytest.approx(mean, rel=1e-12)
            assert float(line["std"]) == pytest.approx(std, rel=1e-9, abs=1e-12)
            assert (int(line["n"]), line["state"], line["protocol"]) == (2, "value", "quick")

    assert done.stdout.rstrip("\n") == (tables / "small.md").read_text().rstrip("\n")
    for name, reader in READ.items():
        blocks = reader((tables / f"small.{name}").read_text())
        for block, metric, digits in zip(blocks, METRICS, (2, 3), strict=True):
            assert block.rows[0] == ["model", "encoding", "ball_1", "ball_2", "mean"]
            assert len(block.rows) == 5
            for at, scene in enumerate(block.rows[0][2:], start=2):
                column = [m for k, (m, _) in expected.items() if k[2:] == (scene, metric)]
                ranks = sorted({round(m, digits) for m in column}, reverse=True)
                for row, marks in zip(block.rows[1:], block.marks[1:], strict=True):
                    mean, std = expected[row[0], row[1], scene, metric]
                    assert row[at] == f"{mean:.{digits}f} ± {std:.{digits}f}", name
                    place = ranks.index(round(mean, digits))
                    assert marks[at] == {0: "best", 1: "second"}.get(place, ""), name
    latex.check((tables / "small.tex").read_text(), tmp_path)


def test_without_names_a_sweep_shows_what_varies_and_costs_on_demand(swept: Path, tmp_path: Path) -> None:
    done = report(
        "small", "--columns", "time,memory,gpu_hours", "--cols", "none", "-o", f"{tmp_path}/", cwd=swept
    )
    assert done.returncode == 0, done.stderr
    (block,) = READ["md"]((tmp_path / "small.md").read_text())
    assert block.rows[0][:2] == ["model", "encoding"]
    assert block.rows[0][-3:] == ["training time (min)", "peak memory (GiB)", "device hours (h)"]
    files = list((swept / "results" / "runs").rglob("nerf-freq*/record.json"))
    seconds = [json.loads(p.read_text())["times"]["train_s"] for p in files]
    row = next(r for r in block.rows if r[:2] == ["nerf", "freq"])
    assert row[-3].startswith(f"{np.mean(seconds) / 60:.2f} ± ")


def test_differences_of_a_real_sweep_are_those_of_the_records(swept: Path, tmp_path: Path) -> None:
    words = ("small", "--against", "model=nerf", "--metrics", "psnr", "-f", "csv", "-o", tmp_path / "t")
    done = report(*words, cwd=swept)
    assert done.returncode == 0, done.stderr
    expected = recomputed(swept)
    lines = list(csv.DictReader((tmp_path / "t-against.csv").open()))
    assert [(x["model"], x["encoding"]) for x in lines] == [("neus", "freq"), ("neus", "hashgrid")]
    for line in lines:
        pairs = [
            expected["neus", line["encoding"], scene, "nvs/psnr"][0]
            - expected["nerf", line["encoding"], scene, "nvs/psnr"][0]
            for scene in ("ball_1", "ball_2")
        ]
        assert float(line["mean_difference"]) == pytest.approx(np.mean(pairs), rel=1e-9)
        assert min(pairs) - 1e-9 <= float(line["low"]) <= float(line["high"]) <= max(pairs) + 1e-9
    assert "Few scenes: with 2 the sign test cannot come below p = 0.5" in done.stdout


def test_a_folder_a_sweep_and_a_record_are_sources(swept: Path, tmp_path: Path) -> None:
    one = next((swept / "results" / "runs").rglob("record.json"))
    other = tmp_path / "elsewhere" / "gsplat"
    other.mkdir(parents=True)
    scores = {"protocol": "quick", "values": {"nvs/psnr": 99}}
    minimal = {"dataset": "demo", "scene": "ball_1", "model": "gsplat", "scores": scores}
    (other / "record.json").write_text(json.dumps(minimal))
    for sources, runs in (
        (["small"], 16), (["results/runs"], 16), ([], 16), ([str(one)], 1),
        (["small", "results/runs", str(one.parent)], 16), (["small", str(tmp_path / "elsewhere")], 17),
    ):  # fmt: skip
        done = report(*sources, "-q", "-o", tmp_path / "t", cwd=swept)
        assert done.returncode == 0, done.stderr
        assert f"({runs} runs, " in done.stderr, sources
    page = (tmp_path / "t.md").read_text()
    assert "gsplat (external)" in page
    assert "**99.00**" in page


def test_the_record_in_the_docs_is_a_row(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "report.md").read_text()
    text = page.partition("```json\n")[2].partition("```")[0]
    folder = tmp_path / "r" / "2dgs"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(text)
    ours = record(
        dataset="dtu", scene="scan24", values={"geometry/chamfer": 0.5}, settings={"world_unit": "mm"}
    )
    put(tmp_path / "r", ours)
    done = report("r", "--columns", "time", "--no-published", "--metrics", "psnr,chamfer", cwd=tmp_path)
    (block,) = READ["md"](done.stdout)
    assert block.rows == [
        ["model", "PSNR (dB) ↑", "Chamfer (mm) ↓", "training time (min)"],
        ["2DGS (external)", "–", "0.48", "10.67"],
        ["neus", "30.00", "0.50", "1.50"],
    ]
    assert "model=2DGS: chamfer under protocol dtu-2dgs, not ranked with ours." in done.stdout
    assert "model=2DGS, scene=scan24, seed=0 (psnr): its record has no nvs/psnr" in done.stdout


def test_it_answers_without_torch(swept: Path, tmp_path: Path) -> None:
    words = [
        "small",
        "-q",
        "-f",
        "md,tex,csv,html,parquet",
        "--against",
        "model=nerf",
        "-o",
        str(tmp_path / "t"),
    ]
    code = (
        f"import sys; from isosweep.report.command import main; assert main({words!r}) == 0; "
        "heavy = {'torch', 'numba', 'trimesh', 'matplotlib', 'hydra', 'pandas'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=swept, env=ENV, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_nothing_to_report_is_exit_code_2_and_a_refusal_1_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = script("empty", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: no runs in empty: there is nothing to make a table of\n"
    put(tmp_path / "mixed", record(seed=0), record(seed=1, code_hash="beef"))
    done = report("mixed", cwd=tmp_path)
    assert done.returncode == 1
    assert "code code_hash: c0de (1 runs), beef (1 runs)" in done.stderr
    assert "--allow code" in done.stderr
    done = report("nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert "'nowhere' is neither a folder nor a sweep" in done.stderr
    assert not (tmp_path / "results").exists()
    done = report("mixed", "--allow", "code", cwd=tmp_path)
    assert done.returncode == 0
    assert "tolerated: model=neus on demo: code code_hash: c0de (1 runs), beef (1 runs)" in done.stderr
    assert "Tolerated (code), model=neus on demo: code\\_hash" in done.stdout.replace(
        "code_hash", "code\\_hash"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-f", "md,docx"], "-f md,docx: the formats are md, tex, csv, html, parquet"),
        (["-f", ""], "the formats are"),
        (["--against", "nerf"], "--against 'nerf': give KEY=VALUE, e.g. --against model=nerf"),
        (["--where", "modle=neus"], "--where modle: no record has this key. Did you mean model"),
        (["--where", "model=nerf"], "none of the 2 runs in r has model=nerf; there are model: neus"),
        (["--digits", "psnr=x"], "--digits psnr=x: give a number of decimals"),
        (["--published", "nowhere"], "--published nowhere: there is no such folder"),
        (["--watch", "--every", "0"], "--every 0: give more than 0 seconds"),
        (["--allow", "everything"], "--allow everything: there is no such word or key."),
        (["-o", "r/00000/record.json/t"], "cannot write r/00000/record.json/t.md"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_without_a_traceback(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    put(tmp_path / "r", record(), record(seed=1))
    done = report("r", *arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_conditions_are_numbers_lists_and_null_as_one_types_them(tmp_path: Path) -> None:
    put(tmp_path / "r", record(config={"optim.lr": 1e-3, "model.widths": [64, 64], "model.near": None}))
    put(tmp_path / "r", record(seed=1, config={"optim.lr": 2e-3, "model.widths": [64], "model.near": 0.5}))
    for where in (
        "optim.lr=0.001",
        "optim.lr=1e-3",
        "model.widths=[64,64]",
        "model.near=null",
        "seed=0,scene=mug",
    ):
        done = report("r", "--where", where, "-q", cwd=tmp_path)
        assert "(1 runs, " in done.stderr, (where, done.stderr)


def test_a_broken_record_is_named_by_its_path_and_costs_only_itself(tmp_path: Path) -> None:
    put(tmp_path / "r", record())
    for i, text in enumerate(
        ('{"run_key": "cut', "[]", '{"dataset": "demo", "scene": "mug"}', '{"dataset": 3}', "")
    ):
        folder = tmp_path / "r" / f"broken{i}"
        folder.mkdir()
        (folder / "record.json").write_text(text)
    (tmp_path / "r" / "broken5" / "record.json").mkdir(parents=True)
    done = report("r", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for i in range(6):
        assert f"broken: r/broken{i}/record.json: " in done.stderr
    assert "it names neither a `model` nor a `label`" in done.stderr
    assert "Left out because they cannot be read as records: r/broken0/record.json, " in done.stdout
    assert "(1 runs, " in done.stderr


def test_where_the_table_goes(tmp_path: Path) -> None:
    put(tmp_path / "r", record())
    (tmp_path / "there").mkdir()
    for output, files in (
        ([], ["results/tables/r.md"]), (["-o", "there"], ["there/r.md"]), (["-o", "new/"], ["new/r.md"]),
        (["-o", "x.tex"], ["x.tex"]), (["-o", "y.tex", "-f", "md,csv"], ["y.md", "y.csv"]),
        (["-o", "v1.2"], ["v1.2.md"]),
    ):  # fmt: skip
        done = report("r", "-q", *output, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"wrote {', '.join(files)} (" in done.stderr
        assert all((tmp_path / f).is_file() for f in files)
    assert report(".", "-q", "-o", "t/", cwd=tmp_path / "r").returncode == 0
    assert (tmp_path / "r" / "t" / "r.md").is_file()


def test_published_rows_are_found_from_any_folder(tmp_path: Path) -> None:
    put(tmp_path / "r", record(dataset="dtu", scene="scan24"), record(dataset="dtu", scene="scan37"))
    done = report("r", "--metrics", "chamfer", cwd=tmp_path)
    assert "*VolSDF*" in done.stdout
    assert "1.14" in done.stdout
    assert "VolSDF" not in report("r", "--metrics", "chamfer", "--no-published", cwd=tmp_path).stdout
    own = tmp_path / "results" / "published"
    own.mkdir(parents=True)
    assert "VolSDF" not in report("r", "--metrics", "chamfer", cwd=tmp_path).stdout, (
        "a folder of one's own comes first"
    )


def test_ten_thousand_records_take_less_than_three_seconds(tmp_path: Path) -> None:
    """1000 cells a metric; records as long as real ones."""
    draw = np.random.default_rng(0)
    many = tmp_path / "many"
    folder = many
    views = {"nvs/psnr": {f"view{i:03}": float(v) for i, v in enumerate(draw.normal(30, 1, 120))}}
    for number in range(10_000):
        rest, seed = divmod(number, 5)
        rest, scene = divmod(rest, 20)
        weight = rest % 25 / 10
        values = {"nvs/psnr": float(draw.normal(30, 2)), "geometry/chamfer": float(draw.uniform())}
        one = record(
            ("nerf", "neus")[rest // 25 % 2], ("freq", "hashgrid")[rest // 50], f"scan{scene}", seed, values=values,
            config={"loss.terms.eikonal.weight": weight}, run_key=f"{number:016x}",
            overrides=[f"loss.terms.eikonal.weight={weight}"],
        )  # fmt: skip
        one["scores"]["per_view"] = views
        folder = many / f"{number // 100:03}" / f"{number:05}"
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(one, indent=2))
    assert (folder / "record.json").stat().st_size > 6000
    for options in (["-f", "md,tex,csv,html"], ["--against", "model=nerf", "--cols", "none"]):
        before = os.times()
        done = script(many, "-q", *options, "-o", tmp_path / "t", cwd=tmp_path)
        after = os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        assert done.returncode == 0, done.stderr
        assert "(10000 runs, " in done.stderr
        print(f"{cpu:.2f} s of CPU")
        if os.environ.get("ISOSWEEP_TIMINGS"):
            assert cpu < 3.0
    assert READ["md"]((tmp_path / "t.md").read_text())[0].rows[0][:3] == [
        "model",
        "encoding",
        "eikonal.weight",
    ]


def test_watch_writes_whole_files_whenever_records_change_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    table, errors = tmp_path / "t.md", tmp_path / "errors"
    torn: list[str] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            if table.exists() and not (text := table.read_text()).endswith("missing.\n"):
                torn.append(text)
            time.sleep(0.001)

    process = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "report.py"), "r", "--watch", "--every", "0.05", "-q", "-o", "t"],
        cwd=tmp_path, env=ENV, stderr=errors.open("w"), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    looker = threading.Thread(target=look)
    looker.start()
    try:
        (file,) = put(tmp_path / "r", record())
        until(lambda: table.exists() and "30.00" in table.read_text())
        for psnr in (31.0, 32.0, 33.0):
            temporary = file.with_suffix(".tmp")
            temporary.write_text(json.dumps(record(values={"nvs/psnr": psnr})))
            temporary.replace(file)
            until(lambda psnr=psnr: f"{psnr:.2f}" in table.read_text())
        put(tmp_path / "r", record(scene="rings", values={"nvs/psnr": 20.0}))
        until(lambda: "rings" in table.read_text())
        put(tmp_path / "r", record(seed=1, code_hash="beef"))  # refused: the last good table stays
        until(lambda: "cannot stand in one table" in errors.read_text())
        assert "rings" in table.read_text()
        assert process.poll() is None
        untouched = table.stat().st_mtime_ns
        time.sleep(0.3)
        assert table.stat().st_mtime_ns == untouched, "nothing changed, nothing is written"
        process.send_signal(signal.SIGINT)
        process.wait(timeout=120)
    finally:
        stop.set()
        looker.join()
        process.kill()
    said = errors.read_text()
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "not written: 'r' is neither a folder nor a sweep" in said or "wrote t.md" in said
    assert "not written: these numbers cannot stand in one table" in said
    assert not torn
    assert {p.name for p in tmp_path.iterdir()} == {"r", "t.md", "errors"}, "no temporary file is left"
