"""Lists of runs from records, outcomes and launches on disk, made by hand."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from isosweep.launchers.estimates import human, wall_clock
from isosweep.launchers.jobs import EmptySweep, expand
from isosweep.launchers.planning import sweep_name
from isosweep.launchers.run_states import gather, to_retry
from isosweep.launchers.slurm.job_states import JobState
from isosweep.record import Record, ScoreRecord, Times
from isosweep.record.launch import (
    Launch,
    SweepJob,
    new_launch_folder,
    outcome_path,
    sweeps_root,
    write_launch,
)
from isosweep.record.lock import LOCK_FILE, this_process
from isosweep.record.outcome import JobOutcome, JobStatus
from isosweep.record.schema import Attempt, ErrorRecord, encode_record

ROOT = Path(__file__).resolve().parents[2]


def record(number: int, **changes) -> Record:
    plain = Record(
        run_key=f"{number:016x}",
        name="many",
        dataset="demo",
        scene=f"scene{number % 10}",
        label="neus-hashgrid",
        seed=number,
        status="finished",
        trained=True,
        steps_done=2000,
        max_steps=2000,
        config={"train": {"max_steps": 2000}, "note": "x" * 2000},
        overrides=["model=neus", f"seed={number}"],
        scores=ScoreRecord(protocol="standard", values={"nvs/psnr": 30.0, "nvs/ssim": 0.9}),
        times=Times(total_s=90.0, train_s=80.0),
        attempts=[Attempt(action="train", started="2026-11-21T00:00:00+00:00", host="gone", pid=1)],
    )
    return msgspec.structs.replace(plain, **changes)


def put(root: Path, one: Record) -> Path:
    folder = root / one.dataset / one.scene / f"{one.label}-s{one.seed}-{one.run_key}"
    folder.mkdir(parents=True)
    (folder / "record.json").write_bytes(encode_record(one))
    return folder


def put_launch(root: Path, sweep: str, jobs: list[SweepJob], **changes) -> Path:
    folder = new_launch_folder(sweeps_root(root), sweep)
    gone = msgspec.structs.replace(this_process(0.0), pid=2**22 + 1, birth="0")
    launch = Launch(
        id=folder.name, sweep=sweep, created="", launcher="local", holder=gone, cwd=str(root), run_root=str(root),
        jobs=jobs,
    )  # fmt: skip
    write_launch(folder, msgspec.structs.replace(launch, **changes))
    return folder


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty thousand finished runs of 3.4 KB, and one record that was cut off."""
    root = tmp_path_factory.mktemp("many") / "runs"
    for number in range(20_000):
        folder = put(root, record(number))
    assert 3000 < (folder / "record.json").stat().st_size < 5000
    (folder / "record.json").write_bytes(b'{"run_key": "cut')
    return root


@pytest.mark.parametrize(
    "command",
    [["status"], ["status", "many"], ["plan", "debug=tiny", "scene=mug,rings", "seed=0,1"]],
    ids=["status", "status of a sweep", "plan"],
)
def test_twenty_thousand_records_take_less_than_a_second_and_a_half(many: Path, command: list[str]) -> None:
    where = [f"run.root={many}"] if command[0] == "plan" else ["--root", str(many)]
    before = os.times()
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "runs.py"), *command, *where],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=many,
    )
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    assert done.returncode == 0, done.stderr
    assert "broken:" in done.stderr, "one broken record is named by its path"
    assert "record.json" in done.stderr
    if command[0] == "status":
        assert "19999 finished" in done.stdout
    else:
        assert "about 6 min of computing" in done.stdout or "4 runs to start" in done.stdout
    print(f"{cpu:.2f} s of CPU")
    if os.environ.get("ISOSWEEP_TIMINGS"):
        assert cpu < (1.5 if command[0] == "status" else 2.5)  # a plan composes configs as well


def states(root: Path, sweep: str | None = None, cluster=None) -> dict[str, str]:
    return {e.title: e.state for e in gather(root, sweep, cluster).entries}


def test_a_running_record_without_its_process_is_lost(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    folder = put(root, record(1, status="running"))
    title = "demo/scene1 neus-hashgrid s1"
    assert states(root) == {title: "lost"}
    (folder / LOCK_FILE).write_bytes(msgspec.json.encode(this_process(30.0)))
    assert states(root) == {title: "running"}


def test_jobs_without_a_record_show_what_they_said(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    jobs = [SweepJob(number=i, overrides=[f"seed={i}"], title=f"job {i}", key=f"{i:016x}") for i in range(4)]
    folder = put_launch(root, "s", jobs)
    error = ErrorRecord(type="ConfigError", message="train.max_steps=-1: give 1 or more\nmore", traceback="")
    JobOutcome(status="failed", error=error, ended="x").write(outcome_path(folder, 0))
    outcome_path(folder, 1).write_text("{half")
    put(root, record(2, scene="scene2"))
    listing = gather(root, "s")
    assert [(e.title, e.state) for e in listing.entries] == [
        ("job 0", "failed"),
        ("job 1", "not started"),
        ("demo/scene2 neus-hashgrid s2", "finished"),
        ("job 3", "not started"),
    ]
    assert listing.entries[0].cause == "ConfigError: train.max_steps=-1: give 1 or more"
    assert list(listing.broken) == [outcome_path(folder, 1)]
    put_launch(root, "s", jobs[3:], holder=this_process(0.0))
    assert states(root, "s")["job 3"] == "waiting", "the newest launch counts, and it lives"


def test_an_interrupted_run_waits_for_the_newer_launch_that_will_go_on_with_it(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    put(root, record(1, status="preempted"))
    job = SweepJob(number=0, overrides=["seed=1"], title="job 0", key=f"{1:016x}")
    title = "demo/scene1 neus-hashgrid s1"
    put_launch(root, "s", [job])
    assert states(root, "s") == {title: "preempted"}, "its launcher is gone"
    put_launch(root, "s", [job], holder=this_process(0.0))
    assert states(root, "s") == {title: "waiting"}


def test_the_cluster_knows_of_jobs_that_said_nothing(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    jobs = [SweepJob(number=i, overrides=[f"seed={i}"], title=f"job {i}", job_id=f"7_{i}") for i in range(5)]
    put_launch(root, "s", jobs, launcher="slurm")
    asked = []

    def cluster(ids):
        asked.extend(ids)
        kinds = ("pending", "running", "cancelled", "node_fail", "oom")
        return {one: JobState(kind, "Resources") for one, kind in zip(sorted(ids), kinds, strict=True)}

    assert list(states(root, "s", cluster).values()) == ["pending", "running", "cancelled", "lost", "oom"]
    assert len(asked) == 5
    why = [e.cause for e in gather(root, "s", cluster).entries]
    assert why[0] == "SLURM job 7_0: pending (Resources)"


def test_a_job_that_slurm_never_starts_says_what_to_do(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    put_launch(root, "s", [SweepJob(number=0, overrides=[], title="job 0", job_id="7_0")], launcher="slurm")
    (entry,) = gather(root, "s", lambda ids: {"7_0": JobState("pending", "PartitionTimeLimit")}).entries
    assert entry.state == "pending"
    assert "submit it again with a smaller timeout_min" in entry.cause


def test_two_sweeps_share_a_run_and_both_list_it(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    put(root, record(1, name="first"))
    for name in ("first", "second"):
        put_launch(root, name, [SweepJob(number=0, overrides=["seed=1"], key=f"{1:016x}")])
    assert len(gather(root, "first").entries) == len(gather(root, "second").entries) == 1
    assert len(gather(root, None).entries) == 1


def test_a_product_with_rows() -> None:
    rows = [{"scene": "a", "train.rays": 1}, {"scene": "b", "train.rays": None}]
    jobs = expand(["seed=0,1", "model=nerf"], params={"optim.eps": "1e-8,1e-9"}, zipped=rows)
    assert len(jobs) == 8
    assert jobs[0] == ["optim.eps=1e-08", "seed=0", "model=nerf", "scene=a", "train.rays=1"]
    assert jobs[-1] == ["optim.eps=1e-09", "seed=1", "model=nerf", "scene=b", "train.rays=null"]
    assert expand(["scene=z"], params={}, zipped=rows)[1] == ["scene=z", "train.rays=null"], (
        "the command line wins"
    )
    assert expand(["seed=5"], params={"seed": "0,1"}, zipped=[]) == [["seed=5"]]
    quoted = expand([], params={}, zipped={"run.name": ["a b, c", "it's"]})
    assert quoted == [["run.name='a b, c'"], ["run.name='it\\'s'"]]
    with pytest.raises(EmptySweep, match="no run"):
        expand([], params={}, zipped={"scene": []})
    with pytest.raises(ValueError, match="seed is no list"):
        expand([], params={}, zipped={"seed": 3})


def test_names_of_sweeps() -> None:
    assert sweep_name("mine", ["seed=0,1"]) == "mine"
    name = sweep_name(None, ["loss.terms.eikonal.weight=0.1,0.5", "seed=0,1", "model=nerf"])
    assert name.startswith("seed-weight-")
    assert name == sweep_name(None, ["model=nerf", "seed=0,1", "loss.terms.eikonal.weight=0.1,0.5"])


def test_durations() -> None:
    assert [human(s) for s in (45, 720, 12_240, 181_440)] == ["45 s", "12 min", "3.4 h", "2.1 days"]
    assert wall_clock([10, 10, 10], 2) == 20


def test_status_speaks_json(tmp_path: Path) -> None:
    put(tmp_path / "runs", record(3))
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "runs.py"), "status", "--json", "--root", str(tmp_path / "runs")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (entry,) = json.loads(done.stdout)
    assert entry["scores"] == {"nvs/psnr": 30.0, "nvs/ssim": 0.9}


def test_unknown_sweeps_and_runs_are_told_apart_from_typing_errors(tmp_path: Path) -> None:
    put(tmp_path / "runs", record(3, name="ablation"))
    for arguments, words in (
        (["status", "ablatoin"], "did you mean 'ablation'"),
        (["logs", "nothing"], "no run matches 'nothing'"),
        (["status", "--state", "faild"], "did you mean 'failed'"),
        (["retry", "ablation", "--state", "lost,faild"], "did you mean 'failed'"),
        (["retry"], "no sweep has been started"),
    ):
        done = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / "runs.py"), *arguments, "--root", str(tmp_path / "runs")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert words in done.stderr


def gone_job(root: Path, status: JobStatus, **changes) -> Path:
    """A launch with one job whose run had a folder, which is gone; the launch's folder."""
    root.mkdir(parents=True, exist_ok=True)
    job = SweepJob(number=0, overrides=["seed=1"], title="job 0", key=f"{1:016x}", job_id=changes.get("job"))
    folder = put_launch(root, "s", [job], launcher="local" if job.job_id is None else "slurm")
    outcome = JobOutcome(status=status, key=job.key, folder=str(root / "gone"), host="other", pid=1)
    msgspec.structs.replace(outcome, **changes).write(outcome_path(folder, 0))
    return folder


@pytest.mark.parametrize(
    ("status", "again"),
    [("finished", False), ("skipped", False), ("failed", True), ("cancelled", True), ("running", True)],
)
def test_a_run_whose_folder_is_gone_is_deleted_whatever_slurm_says(
    tmp_path: Path, status: JobStatus, again: bool
) -> None:
    root = tmp_path / "runs"
    gone_job(root, status, job="7_0")
    for cluster in (None, lambda ids: {}, lambda ids: {"7_0": JobState("cancelled")}):
        (entry,) = gather(root, "s", cluster).entries
        assert entry.state == "deleted"
        assert f"{root / 'gone'} is gone" in entry.cause
        assert to_retry(entry) is again, "one that had finished was deleted on purpose"
    for kind, state in (("pending", "pending"), ("running", "running")):
        (entry,) = gather(root, "s", lambda ids, kind=kind: {"7_0": JobState(kind)}).entries
        assert entry.state == state, "SLURM has requeued it"


def test_a_run_that_lives_without_its_folder_is_not_deleted_yet(tmp_path: Path) -> None:
    gone_job(tmp_path / "runs", "running", host=socket.gethostname(), pid=os.getpid())
    assert states(tmp_path / "runs", "s") == {"job 0": "running"}


def test_runs_are_not_called_deleted_where_the_folder_of_all_runs_is_away(tmp_path: Path) -> None:
    gone_job(tmp_path / "runs", "cancelled", ended="x")
    (tmp_path / "runs").rmdir()
    (entry,) = gather(tmp_path / "runs", "s").entries
    assert (entry.state, entry.cause) == ("lost", f"{tmp_path / 'runs'} is not there")


def test_a_run_that_was_moved_with_its_sweep_is_found_by_its_key(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    gone_job(root, "finished", ended="x")
    put(root, record(1))
    assert list(states(root, "s").values()) == ["finished"]


@pytest.mark.parametrize("status", ["interrupted", "cancelled", "preempted", "timeout"])
def test_every_run_that_was_told_to_end_is_retried(tmp_path: Path, status) -> None:
    put(tmp_path, record(1, status=status, trained=False, scores=None))
    (entry,) = gather(tmp_path, None).entries
    assert (entry.state, to_retry(entry)) == (status, True)


def test_a_live_lock_shows_a_run_that_lives_on_after_an_announced_end(tmp_path: Path) -> None:
    folder = put(tmp_path, record(1, status="preempted", trained=False))
    assert list(states(tmp_path).values()) == ["preempted"]
    (folder / LOCK_FILE).write_bytes(msgspec.json.encode(this_process(30.0)))
    assert list(states(tmp_path).values()) == ["running"]


def test_texts_of_records_cannot_control_a_terminal(tmp_path: Path) -> None:
    bad = "\x1b]0;owned\x07\u202e"
    root = tmp_path / "runs"
    error = ErrorRecord(type=f"E{bad}", message=f"m{bad}\nmore", traceback="")
    attempt = Attempt(action="train", started="", host=f"h{bad}", pid=1, job=f"1{bad}")
    scores = ScoreRecord(protocol="p", values={"nvs/psnr": 1.0})
    one = record(
        1, status="failed", scene=f"s{bad}", label=f"l{bad}", name=f"n{bad}", error=error, attempts=[attempt],
        overrides=[f"scene={bad}"], run_key=f"k{bad}", scores=scores,
    )  # fmt: skip
    folder = root / "demo" / "a"
    folder.mkdir(parents=True)
    (folder / "record.json").write_bytes(encode_record(one))
    put_launch(root, "s", [SweepJob(number=0, overrides=[f"a={bad}"], title=f"t{bad}")])
    entries = gather(root, None).entries
    assert [e.given for e in entries] == [(f"a={bad}",), (f"scene={bad}",)], "retry starts what was given"
    for entry in entries:
        for name, value in vars(entry).items():
            if name not in ("given", "row", "folder", "log", "launch"):
                assert str(value).isprintable(), name
    assert r"\x1b]0;owned\x07\u202e" in entries[0].title
    shown = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "runs.py"), "status", "--root", str(root)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert all(line.isprintable() for line in (shown.stdout + shown.stderr).splitlines())
    assert r"\x1b]0;owned" in shown.stdout


def test_a_log_cannot_control_a_terminal(tmp_path: Path) -> None:
    folder = put(tmp_path / "runs", record(1))
    (folder / "run.log").write_bytes(b"\x1b[31mred\x1b[0m\tline\r\n10%\r20%\n\x1b]0;owned\x07\xff\n")
    shown = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "runs.py"), "logs", f"{1:016x}", "--root", str(tmp_path / "runs")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout.splitlines()[1:] == ["red\tline", "10%", "20%", "\\x1b]0;owned\\x07\ufffd"]


def test_a_log_that_is_followed_cannot_either(tmp_path: Path) -> None:
    folder = put(tmp_path / "runs", record(1))
    (folder / "run.log").write_bytes(b"\x1b[2Jfirst\n")
    command = [sys.executable, str(ROOT / "scripts" / "runs.py"), "logs", f"{1:016x}", "-f", "--root"]
    with subprocess.Popen([*command, str(tmp_path / "runs")], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("# ")
        assert process.stdout.readline() == "\\x1b[2Jfirst\n"
        with (folder / "run.log").open("a") as log:
            log.write("more\n")
        assert process.stdout.readline() == "more\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


def test_commands_to_copy_are_quoted(tmp_path: Path) -> None:
    put(tmp_path / "runs", record(1, status="failed", name="my sweep; rm -rf x"))
    shown = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "runs.py"), "status", "--root", str(tmp_path / "runs")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "python scripts/runs.py retry 'my sweep; rm -rf x'" in shown.stdout


@pytest.mark.parametrize(("seen", "shown"), [("finished", "failed"), ("unknown", "lost")])
def test_a_job_that_slurm_has_ended_or_forgotten_does_not_wait(tmp_path: Path, seen, shown) -> None:
    root = tmp_path / "runs"
    put_launch(root, "s", [SweepJob(number=0, overrides=[], title="job 0", job_id="7_0")], launcher="slurm")
    (entry,) = gather(root, "s", lambda ids: {"7_0": JobState(seen)}).entries
    assert entry.state == shown
    assert entry.cause == f"SLURM job 7_0: {seen}"


def test_a_run_in_an_interactive_job_does_not_live_as_long_as_the_job(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    attempt = Attempt(action="train", started="2026-11-21T00:00:00+00:00", host="gone", pid=1, job="99")
    put(root, record(1, status="preempted", trained=False, scores=None, attempts=[attempt]))
    (entry,) = gather(root, None, lambda ids: {"99": JobState("running")}).entries
    assert entry.state == "preempted"


def test_a_job_that_found_its_run_at_work_elsewhere_did_not_fail(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    folder = put_launch(
        root, "s", [SweepJob(number=0, overrides=[], title="job 0", job_id="7_0")], launcher="slurm"
    )
    outcome = JobOutcome(status="elsewhere", host="other", pid=1, job="7_0")
    outcome_path(folder, 0).write_bytes(msgspec.json.encode(outcome))
    (entry,) = gather(root, "s", lambda ids: {"7_0": JobState("failed")}).entries
    assert entry.state == "elsewhere"


def test_a_process_of_another_machine_is_not_looked_up_here(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    jobs = [SweepJob(number=i, overrides=[f"seed={i}"], title=f"job {i}") for i in range(2)]
    folder = put_launch(root, "s", jobs)
    for number, host in enumerate((socket.gethostname(), "other")):
        outcome = JobOutcome(status="running", host=host, pid=2**22 + 1)
        outcome_path(folder, number).write_bytes(msgspec.json.encode(outcome))
    assert list(states(root, "s").values()) == ["lost", "running"]


def test_of_a_search_the_objective_is_shown(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    one = record(1, name="search")
    put(root, one)
    jobs = [SweepJob(number=0, overrides=["optim.lr_tables=0.01"], key=one.run_key)]
    folder = put_launch(root, "search", jobs, hydra_overrides=["hydra/sweeper=optuna"])
    JobOutcome(status="finished", key=one.run_key, value=27.25).write(outcome_path(folder, 0))
    (entry,) = gather(root, "search").entries
    assert (entry.state, entry.score) == ("finished", "val/psnr 27.250")
    put_launch(root, "search", jobs)
    (entry,) = gather(root, "search").entries
    assert entry.score == "nvs/psnr 30.000"
