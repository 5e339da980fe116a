"""Records, launches and outcomes with every kind of damage, among good ones: each command names them and goes on."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from isosweep.launchers import commands
from isosweep.launchers.run_states import gather, to_retry
from isosweep.record.launch import SweepJob, outcome_path
from isosweep.report.collect import collect
from tests.launchers.test_cleaning import young
from tests.launchers.test_run_states import put, put_launch, record
from tests.support.damage import DAMAGE

ROOT = Path(__file__).resolve().parents[2]
KINDS = list(DAMAGE)
GOOD = 99


def script(name: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / name), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """results/runs with a good run, one broken in each way, one of a later version, and a name that is no text."""
    place = tmp_path_factory.mktemp("place")
    root = place / "results" / "runs"
    put(root, record(GOOD))
    for number, kind in enumerate(KINDS):
        path = put(root, record(number)) / "record.json"
        path.write_bytes(DAMAGE[kind](path.read_bytes()))
    later = put(root, record(98)) / "record.json"
    later.write_bytes(later.read_bytes().replace(b'"schema_version": 2', b'"schema_version": 3'))
    bad_name = bytes(root / "demo") + b"/\x1b]0;owned\x07\xff"
    shutil.copytree(bytes(root / "demo" / "scene0"), bad_name)
    jobs = [
        SweepJob(number=n, overrides=[f"seed={n}"], title=f"job {n}", key=f"{n:016x}")
        for n in [*range(len(KINDS)), 98, GOOD]
    ]
    put_launch(root, "many", jobs)
    folder = put_launch(root, "many", jobs[:1])
    (folder / "launch.json").write_bytes(b"\xff")
    return place


def names_all(done: subprocess.CompletedProcess[str]) -> None:
    assert "Traceback" not in done.stderr, done.stderr
    assert all(line.isprintable() for line in (done.stdout + done.stderr).replace("\t", "").splitlines())
    broken = [line for line in done.stderr.splitlines() if line.startswith("broken: ")]
    for number, kind in enumerate(KINDS):
        assert any(f"{number:016x}" in line for line in broken), kind
    assert any(f"{98:016x}" in line and "a newer version of isosweep" in line for line in broken)
    assert any("owned" in line for line in broken)


def test_status_names_them_and_lists_the_rest(place: Path) -> None:
    for sweep in ([], ["many"]):
        done = script("runs.py", "status", *sweep, cwd=place)
        assert done.returncode == 0
        names_all(done)
        assert f"{len(KINDS)} broken" in done.stdout
        assert "2 finished" in done.stdout, "of a later version, what is known is listed"
        assert "launch.json" in done.stderr
    names_all(script("runs.py", "status", "--json", cwd=place))


def test_retry_cancel_and_clean_leave_them_out(place: Path) -> None:
    done = script("runs.py", "retry", "many", cwd=place)
    assert done.returncode == 0
    names_all(done)
    assert "many: nothing to retry" in done.stdout
    for command in (["cancel", "many"], ["clean", "--yes"], ["clean", "--yes", "--state", "broken,lost"]):
        done = script("runs.py", *command, cwd=place)
        assert done.returncode == 0, done.stderr
        names_all(done)
    assert len(list((place / "results" / "runs").rglob("record.json"))) == len(KINDS) + 2 + 1


def test_a_later_version_is_not_retried(tmp_path: Path) -> None:
    path = put(tmp_path, young(1, "preempted")) / "record.json"
    (entry,) = gather(tmp_path, None).entries
    assert to_retry(entry)
    path.write_bytes(path.read_bytes().replace(b'"schema_version": 2', b'"schema_version": 3'))
    (entry,) = gather(tmp_path, None).entries
    assert entry.state == "preempted"
    assert not to_retry(entry), "its start would be refused, and with it the start of all others"


def test_plan_names_them(place: Path) -> None:
    done = script("runs.py", "plan", "debug=tiny", "scene=mug,rings", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "2 train" in done.stdout
    for number in range(len(KINDS)):
        assert f"{number:016x}" in done.stderr


def test_tables_in_every_format_and_the_page_name_them(place: Path) -> None:
    formats = "md,tex,csv,html" + (",parquet" if _has("pyarrow") else "")
    page = ["--page", "page"] if _has("numpy") else []
    done = script("report.py", "results/runs", "-f", formats, "-o", "table/", *page, cwd=place)
    assert done.returncode == 0, done.stderr
    names_all(done)
    assert "Left out because they cannot be read as records" in (place / "table" / "runs.md").read_text()
    assert len(list((place / "table").iterdir())) == len(formats.split(","))
    if page:
        assert f"{3:016x}" in (place / "page" / "runs" / "index.js").read_text()
    done = script("report.py", "many", "-f", "md", cwd=place)
    assert done.returncode == 0, done.stderr
    found = collect(["many"], place / "results" / "runs")
    assert found.absent["job 0"].startswith("its record cannot be read: ")


def _has(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def test_retry_starts_the_others_with_the_newest_launch_that_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "runs"
    jobs = [SweepJob(number=n, overrides=[f"seed={n}"], title=f"job {n}", key=f"{n:016x}") for n in range(3)]
    put(root, young(0, "preempted"))
    (put(root, young(1, "failed")) / "record.json").write_bytes(b"{")
    put_launch(root, "s", jobs, hydra_overrides=["hydra/launcher=local"])
    gone = put_launch(root, "s", jobs[2:])
    outcome_path(gone, 2).write_bytes(b"\xff")
    (put_launch(root, "s", []) / "launch.json").write_bytes(b"[")
    started: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        started.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(commands.subprocess, "run", run)
    options = commands.Namespace(root=root, sweep="s", state=None, overrides=[])
    assert commands.retry(options) == 0
    (jobs_file,) = (root.parent / "sweeps" / "s").glob("retry-*.json")
    assert '"seed=0"' in jobs_file.read_text()
    assert '"seed=1"' not in jobs_file.read_text(), "a broken one would stop all others before they start"
    assert '"seed=2"' in jobs_file.read_text()


def test_retry_says_so_where_no_launch_can_be_read(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    put(root, young(0, "failed", name="s"))
    (put_launch(root, "s", []) / "launch.json").write_bytes(b"[")
    with pytest.raises(commands.CommandError, match="none of the 1 starts of s can be read"):
        commands.newest_launch(root, "s")


def test_a_page_shows_a_run_whose_metrics_are_damaged(tmp_path: Path) -> None:
    pytest.importorskip("numpy", reason="the page draws curves with numpy")
    from isosweep.report.browse.curves import read_curves

    path = tmp_path / "metrics.jsonl"
    lines = [b'{"step": 1, "loss": 0.5, "time_s": 1}', *(f(b'{"step": 2}\n') for f in DAMAGE.values())]
    lines += [b'{"step": 3, "loss": ' + b"9" * 400 + b"}", b'{"step": 4, "loss": "inf"}']
    path.write_bytes(b"\n".join(lines))
    curves, message = read_curves(path, 100)
    assert curves["loss"]["x"] == [1, 3, 4]
    assert curves["loss"]["y"] == [0.5, None, None]
    assert "are left out" in message


def test_an_outcome_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    job = SweepJob(number=0, overrides=["seed=0"], title="job 0")
    folder = put_launch(tmp_path / "runs", "s", [job])
    outcome_path(folder, 0).mkdir()
    listing = gather(tmp_path / "runs", "s")
    assert list(listing.broken) == [outcome_path(folder, 0)]
