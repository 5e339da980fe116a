"""``runs.py watch``: the table of a sweep from its records, until none of its runs is alive."""

from argparse import Namespace
from pathlib import Path

import pytest
from rich.console import Console

from isosweep.launchers import watching
from isosweep.launchers.run_states import Entry, Listing, gather
from isosweep.record import Record
from isosweep.record.launch import SweepJob
from tests.launchers.test_run_states import put, put_launch, record


def job(number: int, one: Record) -> SweepJob:
    return SweepJob(number=number, overrides=[f"seed={one.seed}"], key=one.run_key)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A sweep of two runs, the second of which is not there yet, and whose launcher is gone."""
    root = tmp_path / "runs"
    first, second = record(1, name="night", scene="mug"), record(2, name="night", scene="mug")
    put(root, first)
    put_launch(root, "night", [job(0, first), job(1, second)])
    return root


def test_a_sweep_that_is_over_is_told_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert watching.watch("night", Namespace(root=root)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["finished", "not"]
    put(root, record(2, name="night", scene="mug"))
    assert watching.watch("night", Namespace(root=root)) == 0


def test_each_change_of_a_state_is_a_line(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = gather(root, "night").entries[0]
    states = iter(
        [["waiting", "waiting"], ["running", "waiting"], ["running", "waiting"], ["finished", "failed"]]
    )

    def now(*_: object) -> Listing:
        return Listing([_as(done, state, i) for i, state in enumerate(next(states))], {})

    monkeypatch.setattr(watching, "gather", now)
    monkeypatch.setattr(watching.time, "sleep", lambda _: None)
    assert watching.watch("night", Namespace(root=root)) == 1
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [" ".join(words[:2]) for words in told] == [
        "waiting seed=0", "waiting seed=1", "running seed=0", "finished seed=0", "failed seed=1",
    ]  # fmt: skip


def _as(entry: Entry, state: str, seed: int) -> Entry:
    return Entry(state, entry.title, names={**entry.names, "seed": str(seed)}, key=str(seed) * 16)  # pyright: ignore


def test_where_not_all_rows_fit_those_at_work_stay_and_then_the_failed(root: Path) -> None:
    one = gather(root, "night").entries[0]
    states = ["finished"] * 30 + ["failed"] * 2 + ["waiting"] * 30 + ["running"] * 3
    entries = [_as(one, state, seed) for seed, state in enumerate(states)]
    console = Console(width=80, record=True, file=open("/dev/null", "w"), color_system=None)  # noqa: SIM115
    console.print(watching.view("night", entries, 80, 20))
    lines = console.export_text().splitlines()
    assert len(lines) <= 20
    assert sum("running" in line for line in lines[1:]) == 3
    assert sum("failed" in line for line in lines[1:]) == 2
    assert lines[0].startswith("night: 65 runs: 30 finished, 30 waiting, 3 running, 2 failed")
    assert "... 53 more" in lines[-1]
