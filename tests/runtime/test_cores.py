"""The number of threads follows what the process may use."""

import os
from pathlib import Path

import pytest

from isosweep.runtime.cores import usable_cores

BOUND = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores(folder: Path, environment: dict[str, str] | None = None) -> int:
    return usable_cores(environment or {}, folder / "own", folder)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)


def test_nothing_said_is_the_binding(tmp_path: Path) -> None:
    assert cores(tmp_path) == BOUND


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 64), ("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("broken", 64)],
)
def test_share_of_time(tmp_path: Path, quota: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert cores(tmp_path) == expected


@pytest.mark.usefixtures("many")
def test_the_groups_above_count_too(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("0::/system.slice/job.scope\n")
    inner = tmp_path / "system.slice" / "job.scope"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("800000 100000\n")
    assert cores(tmp_path) == 8
    (inner.parent / "cpu.max").write_text("300000 100000\n")
    assert cores(tmp_path) == 3


@pytest.mark.usefixtures("many")
def test_version_one(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("7:cpuset:/elsewhere\n4:cpu,cpuacct:/docker/abc\n")
    folder = tmp_path / "cpu" / "docker" / "abc"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("400000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert cores(tmp_path) == 4
    (folder / "cpu.cfs_quota_us").write_text("-1\n")
    assert cores(tmp_path) == 64


@pytest.mark.usefixtures("many")
def test_slurms_allocation(tmp_path: Path) -> None:
    assert cores(tmp_path, {"SLURM_CPUS_ON_NODE": "16"}) == 16
    assert cores(tmp_path, {"SLURM_CPUS_PER_TASK": "4", "SLURM_CPUS_ON_NODE": "16"}) == 4
    assert cores(tmp_path, {"SLURM_CPUS_PER_TASK": ""}) == 64
    assert cores(tmp_path, {"SLURM_CPUS_PER_TASK": "100"}) == 64
