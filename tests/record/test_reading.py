"""Whatever is wrong with a file of a run or of a sweep: it is named, in one line, and nothing else happens."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from isosweep.record import find_runs, known_key, read_metrics, read_record, run_key
from isosweep.record.abandoned import close_abandoned
from isosweep.record.launch import Launch, SweepJob, read_launch, write_launch
from isosweep.record.lock import LOCK_FILE, Lock, holder_is_alive, this_process
from isosweep.record.outcome import JobOutcome, read_outcome
from isosweep.record.reading import SCHEMA_VERSION, Unreadable, decoded, json_values, read_whole
from isosweep.record.schema import ErrorRecord
from isosweep.record.summaries import read_summaries
from isosweep.report.collect import read_folder
from tests.record.test_run import CONFIG, finished, start, train
from tests.support.damage import DAMAGE

JSON = [kind for kind in DAMAGE if kind != "a number too large"]


def damaged(path: Path, kind: str) -> None:
    path.write_bytes(DAMAGE[kind](path.read_bytes()))


def refused(read: Callable[[], object], *words: str) -> None:
    with pytest.raises(ValueError) as info:
        read()
    text = str(info.value)
    assert text.isprintable(), text
    assert len(text) < 800
    for word in words:
        assert word in text


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_record_is_named_by_every_reader(tmp_path: Path, kind: str) -> None:
    folder = finished(tmp_path).folder
    path = folder / "record.json"
    damaged(path, kind)
    before = path.read_bytes()
    refused(lambda: read_record(folder), str(path), "is not a run record", "move the run folder aside")
    refused(lambda: start(tmp_path), str(path))
    error = ErrorRecord(type="x", message="", traceback="")
    refused(lambda: close_abandoned(folder, "failed", error), str(path))
    rows, broken = read_summaries(tmp_path)
    assert (rows, list(broken)) == ({}, [path])
    assert broken[path].isprintable()
    table = read_folder(tmp_path)
    assert (table.runs, list(table.broken)) == ([], [str(path)])
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_record_of_an_earlier_version_is_passed_over(tmp_path: Path, kind: str) -> None:
    folder = finished(tmp_path).folder
    damaged(folder / "record.json", kind)
    other = run_key({**CONFIG, "seed": 0, "scene": "other"})
    assert known_key(folder.parent, 0, other) == other


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_launch_and_a_damaged_outcome_are_named(tmp_path: Path, kind: str) -> None:
    launch = Launch(
        id="a", sweep="s", created="", launcher="local", holder=this_process(0.0), cwd="", run_root="",
        jobs=[SweepJob(number=0, overrides=["seed=0"])],
    )  # fmt: skip
    write_launch(tmp_path, launch)
    damaged(tmp_path / "launch.json", kind)
    refused(lambda: read_launch(tmp_path), str(tmp_path / "launch.json"), "is not the list of a sweep's jobs")
    path = tmp_path / "0000.json"
    JobOutcome(status="failed", host="a").write(path)
    damaged(path, kind)
    refused(lambda: read_outcome(path), str(path), "is not a job's outcome")


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_lock_is_judged_by_its_age(tmp_path: Path, kind: str) -> None:
    path = tmp_path / LOCK_FILE
    path.write_bytes(msgspec.json.encode(this_process(30.0)))
    damaged(path, kind)
    assert holder_is_alive(tmp_path), "it is fresh"
    path.unlink()
    Lock(tmp_path).acquire().release()


def test_a_lock_that_cannot_be_read_is_somebodys(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).mkdir()
    assert holder_is_alive(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        b'{"step": 1e400}',
        b'{"step": 2, "loss": 1e400}',
        b'{"step": 2, "loss": "abc"}',
        b'{"step": 2, "loss": [1]}',
        b'{"step": 2, "loss": null}',
        b'{"step": 2.5}',
        b'{"step": "2"}',
        b'{"step": true}',
        b'{"loss": 1.0}',
        b'{"step": 2, "loss": ' + b"9" * 400 + b"}",
        b'{"step": ' + b"9" * 400 + b"}",
        b'{"step": 2, "loss": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"step": 2, "lo\xffss": 1.0}',
        b"\x1b[2J",
        b"",
    ],
)
def test_a_bad_line_of_metrics_is_named_when_the_run_is_resumed(tmp_path: Path, line: bytes) -> None:
    with start(tmp_path) as run:
        train(run, until=200)
    path = run.folder / "metrics.jsonl"
    first, second = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, line, second, b""]))
    words = (
        f"{path} has a line that is no metrics (line 2, ",
        "remove that line, or move the run folder aside",
    )
    refused(lambda: read_metrics(path), *words)
    with start(tmp_path) as again:
        refused(lambda: again.resume_from(200), *words)


def test_metrics_that_were_written_are_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 3, "n": 4, "a": -0.5, "b": "inf", "c": "nan", "time_s": 1e-3}\n')
    (values,) = read_metrics(path)
    assert (values["step"], values["n"], values["b"]) == (3, 4, float("inf"))
    assert values["c"] != values["c"]


def test_a_record_of_a_later_version_is_listed_and_never_written(tmp_path: Path) -> None:
    folder = finished(tmp_path).folder
    path = folder / "record.json"
    later = json.loads(path.read_bytes()) | {"schema_version": SCHEMA_VERSION + 1, "units": {"psnr": "B"}}
    path.write_text(json.dumps(later))
    before = path.read_bytes()
    assert read_record(folder).steps_done == 300
    rows, broken = read_summaries(tmp_path)
    assert rows[folder].status == "finished"
    assert "a newer version of isosweep wrote it (schema 3, this one writes 2)" in broken[path]
    assert list(read_folder(tmp_path).broken) == [str(path)], "its numbers may mean something else"
    for options in ({}, {"rescore": True}, {"force": True}):
        refused(lambda options=options: start(tmp_path, **options), str(path), "update isosweep")
    later["status"] = "running"
    path.write_text(json.dumps(later))
    assert not close_abandoned(folder, "failed", ErrorRecord(type="x", message="", traceback=""))
    assert json.loads(path.read_bytes()) == later
    assert "lock" not in [p.name for p in folder.iterdir()]
    path.write_bytes(before)
    later["status"] = "hibernating"
    path.write_text(json.dumps(later))
    assert read_summaries(tmp_path)[0] == {}
    assert "hibernating" in read_summaries(tmp_path)[1][path]


def test_a_record_of_the_first_version_is_read_and_goes_on_as_one_of_this(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        train(run, until=100)
    path = run.folder / "record.json"
    old = json.loads(path.read_bytes()) | {"schema_version": 1, "status": "preempted"}
    path.write_text(json.dumps(old))
    assert read_summaries(tmp_path)[1] == {}
    with start(tmp_path) as again:
        assert again.reason.startswith("the last start was preempted at step 100")
    assert read_record(run.folder).schema_version == SCHEMA_VERSION


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finished(tmp_path).folder
    (tmp_path / "closed").mkdir()
    scandir = __import__("os").scandir

    def closed(path: str):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("isosweep.record.folder.os.scandir", closed)
    rows, broken = read_summaries(tmp_path)
    assert (list(rows), list(broken)) == ([folder], [tmp_path / "closed"])
    assert list(read_folder(tmp_path).broken) == [str(tmp_path / "closed")]
    with pytest.raises(PermissionError):
        find_runs(tmp_path)


def test_a_record_that_is_a_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "demo" / "torus" / "a-s0-0123456789abcdef"
    (folder / "record.json").mkdir(parents=True)
    assert list(read_summaries(tmp_path)[1]) == [folder / "record.json"]


def test_the_words_of_a_parser_are_one_short_printable_line() -> None:
    def parser(data: bytes) -> None:
        raise ValueError("no \x1b]0;owned\x07\nsecond line" + "x" * 1000)

    with pytest.raises(Unreadable) as info:
        decoded(b"{}", parser)
    assert str(info.value).startswith(r"no \x1b]0;owned\x07\nsecond line")
    assert len(str(info.value)) == 300


def test_large_files_are_read_whole(tmp_path: Path) -> None:
    for size in (0, 1, 65_535, 65_536, 65_537, 300_000):
        (tmp_path / "f").write_bytes(bytes(size))
        assert len(read_whole(str(tmp_path / "f"))) == size


@pytest.mark.parametrize("kind", JSON)
def test_loose_json_is_guarded_as_well(kind: str) -> None:
    data = DAMAGE[kind](b'{"a": 1}\n')
    if kind in ("a list", "escapes"):
        assert json_values(data) is not None
        return
    with pytest.raises(Unreadable):
        json_values(data)
    assert str(json_values(b'{"a": NaN}')["a"]) == "nan"
