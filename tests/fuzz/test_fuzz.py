"""A thousand and some inputs for each reader in turn, and the inputs that once were faults.

ISOSWEEP_FUZZ_SEEDS says which seeds (0:1500); `scripts/fuzz.py` takes them by the hundred thousand.
"""

import mmap
import os
import re
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from isosweep.errors import InputError
from tests.fuzz import trial
from tests.fuzz.mutator import changes_of, spoiled
from tests.fuzz.targets import BY_NAME, TARGETS, TURNS, Target
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).parent / "corpus"
FIRST, END = map(int, os.environ.get("ISOSWEEP_FUZZ_SEEDS", "0:1500").split(":"))
LONGEST_S = 60


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """One test here reads for at most some minutes; one input for at most `LONGEST_S`."""

    def too_long(*_: object) -> None:
        raise AssertionError(f"an input is read for more than {LONGEST_S} s")

    before = signal.signal(signal.SIGALRM, too_long)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_spoiled_inputs_are_read_or_refused_in_words(target: Target) -> None:
    trial.read_good(target)
    for seed in range(FIRST, END):
        if TURNS[seed % len(TURNS)] is target:
            signal.alarm(LONGEST_S)
            fault = trial.judged(target, trial.changed(target, trial.changes(target, seed)))
            assert fault is None, f"scripts/fuzz.py --seeds {seed}:{seed + 1}\n{fault.kind}: {fault.text}"


CASES = sorted(path.parent.name + "/" + path.name for path in CORPUS.glob("*/*") if path.is_dir())


@pytest.mark.parametrize("case", CASES)
def test_what_once_was_a_fault_is_read_or_refused_in_words(case: str) -> None:
    target = BY_NAME[case.partition("/")[0]]
    signal.alarm(LONGEST_S)
    fault = trial.judged(target, trial.restored(target, CORPUS / case))
    assert fault is None, f"{fault.kind}: {fault.text}"
    small = [path for path in (CORPUS / case).rglob("*") if path.is_file()]
    assert small
    assert all(path.stat().st_size < 4096 for path in small), "a minimal input is small"


def test_a_seed_names_one_input() -> None:
    target = BY_NAME["blender"]
    seeds = trial.changes(target, 7)
    assert trial.changed(target, seeds) == trial.changed(target, seeds)
    inputs = [trial.changed(target, trial.changes(target, seed)) for seed in range(20)]
    base = trial.good(target)
    assert sum(one != base for one in inputs) >= 18
    assert len({str(sorted((k, v) for k, v in one.items() if base.get(k) != v)) for one in inputs}) >= 18


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_good_input_is_the_same_from_every_process(target: Target) -> None:
    trial.good.cache_clear()
    first = trial.good(target)
    trial.good.cache_clear()
    assert trial.good(target) == first


def test_every_kind_of_change_takes_bytes_of_any_kind() -> None:
    texts = [
        b"",
        b"{}",
        b'{"a": [1, 2.5]}\n',
        b"PK\x03\x04",
        b"\x89PNG\r\n\x1a\n",
        b"1 2 3\n4 5 6\n",
        bytes(range(256)),
    ]
    names = ("a.json", "a.jsonl", "a.npz", "a.png", "a.txt", "a.bin")
    for data in texts:
        for name in names:
            for at, change in enumerate(changes_of(name, data, texts)):
                assert isinstance(change(data, Random(at)), bytes)
            assert isinstance(spoiled(name, data, Random(1), texts), bytes)


def reader(error: BaseException | None, text: str = "") -> Target:
    def read(folder: Path) -> None:
        if error is not None:
            raise error

    return Target("made", lambda folder: (folder / "one.txt").write_text("1 2 3"), read)


def test_the_judge_tells_faults_from_refusals(tmp_path: Path) -> None:
    files = {"one.txt": b"1"}
    assert trial.judged(reader(None), files) is None
    assert trial.judged(reader(InputError("one.txt has no number: write one")), files) is None

    def kind(error: BaseException) -> str:
        found = trial.judged(reader(error), files)
        assert found is not None
        return found.kind

    assert kind(InputError("a number is missing")) == "unclear"
    assert kind(InputError("")) == "unclear"
    assert kind(InputError("one.txt " + "x " * 4500)) == "unclear"
    assert kind(ValueError("one.txt")) == "traceback"
    assert kind(RecursionError("one.txt")) == "traceback"
    assert kind(MemoryError()) == "memory"


def test_a_fault_is_saved_with_what_differs_alone_and_found_again(tmp_path: Path) -> None:
    target = BY_NAME["blender"]
    good = trial.good(target)
    names = sorted(good)
    files = {**good, names[0]: b"\xff", names[1]: None}
    del files[names[2]]
    trial.saved(target, files, tmp_path / "kept")
    assert trial.restored(target, tmp_path / "kept") == files
    assert sum(p.is_file() for p in (tmp_path / "kept").rglob("*")) == 3


def test_reduced_drops_changes_that_are_not_to_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(folder: Path) -> None:
        if (folder / "bad.txt").read_text() != "good":
            raise ValueError("x")

    def make(folder: Path) -> None:
        for name in ("bad.txt", "other.txt"):
            (folder / name).write_text("good")

    target = Target("two", make, read)
    files = {"bad.txt": b"bad", "other.txt": b"bad"}
    assert trial.reduced(target, files, "traceback") == {"bad.txt": b"bad", "other.txt": b"good"}


def script() -> types.ModuleType:
    import importlib.util

    found = importlib.util.spec_from_file_location("fuzz_command", ROOT / "scripts" / "fuzz.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["fuzz_command"] = module
    found.loader.exec_module(module)
    return module


def test_the_command_counts_tracebacks_hangs_memory_and_crashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = script()
    monkeypatch.setattr(command, "COMPUTING_S", 0.5)
    monkeypatch.setattr(command, "MOST_BYTES", 64 << 20)

    def make(folder: Path) -> None:
        (folder / "n.txt").write_text("0")

    def read(folder: Path) -> None:
        number = int((folder / "n.txt").read_text())
        if number == 3:
            raise KeyError("x")
        if number == 5:
            while True:
                pass
        if number == 7:
            with mmap.mmap(-1, 100 << 20) as pages:  # malloc may have kept as much from an earlier test
                pages[:: mmap.PAGESIZE] = bytes(len(pages) // mmap.PAGESIZE)
        if number == 9:
            os.kill(os.getpid(), signal.SIGKILL)

    target = Target("numbers", make, read)
    monkeypatch.setitem(BY_NAME, "numbers", target)
    monkeypatch.setattr(command, "changes", lambda target, seed: [seed])
    monkeypatch.setattr(command, "changed", lambda target, seeds: {"n.txt": str(seeds[0]).encode()})
    assert command.fuzz(range(12), target, 1, tmp_path) == 1
    told = capsys.readouterr().out
    assert "12 inputs in" in told
    assert "1 traceback, 0 unclear, 1 hang, 1 memory, 1 crash (4 places)" in told
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == [f"numbers-{n}" for n in (3, 5, 7, 9)]
    assert (tmp_path / "numbers-3" / "n.txt").read_text() == "3"


def test_the_command_ends_well_where_nothing_is_wrong(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "fuzz.py"), "--seeds", "0:6", "--target", "arrays", "--jobs", "2"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("6 inputs in")
    assert "0 traceback, 0 unclear, 0 hang, 0 memory, 0 crash (0 places)" in done.stdout


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at /proc for the command's processes")
def test_the_command_stopped_in_the_background_tells_its_figures(tmp_path: Path) -> None:
    """A shell has what it starts in the background ignore Ctrl-C; a job's end is a SIGTERM."""
    command = [sys.executable, str(ROOT / "scripts" / "fuzz.py"), "--seeds", "0:900000", "--target", "arrays"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    ) as process:  # fmt: skip
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until(lambda: len(children.read_text().split()) >= 2, 120)
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.search(r"^\d+ inputs in \d+ s: 0 traceback", told, re.MULTILINE), told
    assert re.search(r"^stopped: --seeds \d+:900000 goes on", told, re.MULTILINE), told
