"""What the page says of threads, memory, disk, compiler, accounts, cluster and data."""

import shutil
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest

from isosweep.doctor import machine
from isosweep.doctor.page import Finding
from isosweep.launchers.slurm import calls
from isosweep.runtime import ram

GIB = 1 << 30
Usage = namedtuple("Usage", "total used free")


def one(found) -> Finding:
    (finding,) = found
    return finding


@pytest.mark.parametrize(("usable", "text"), [(8, "8, one for each core"), (2, "2 of 8 cores (bound")])
def test_threads(usable: int, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: usable)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 8)
    assert one(machine.threads()).text.startswith(text)


def test_memory_counts_what_is_free_and_the_limit_of_the_group(tmp_path: Path) -> None:
    info = tmp_path / "meminfo"
    info.write_text(f"MemTotal: {16 * GIB // 1024} kB\nMemAvailable: {3 * GIB // 1024} kB\n")
    assert one(machine.memory(info, tmp_path)) == Finding("memory", "ok", "16.0 GiB, 3.0 GiB free")
    (tmp_path / "memory.max").write_text(f"{GIB}\n")
    found = one(machine.memory(info, tmp_path))
    assert (found.state, found.text) == (
        "look",
        "little: 16.0 GiB, 3.0 GiB free, at most 1.0 GiB for this control group",
    )
    (tmp_path / "memory.max").write_text("max\n")
    assert one(machine.memory(info, tmp_path)).state == "ok"


def test_memory_without_proc_is_that_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"SC_PHYS_PAGES": 1 << 20, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(ram.os, "sysconf", sizes.__getitem__)
    assert one(machine.memory(tmp_path / "none", tmp_path)).text == "4.0 GiB"
    monkeypatch.setattr(ram.os, "sysconf", lambda _: int("unknown"))
    assert one(machine.memory(tmp_path / "none", tmp_path)).state == "look"


@pytest.mark.parametrize(("free", "state"), [(GIB // 4, "BROKEN"), (2 * GIB, "look"), (9 * GIB, "ok")])
def test_disk(free: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10 * GIB, 0, free))
    found = one(machine.disk({"runs": tmp_path / "not" / "made"}))
    assert (found.name, found.state) == ("disk: runs", state)
    assert not (tmp_path / "not").exists()


def test_a_folder_that_cannot_be_written_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    found = one(machine.disk({"cache": tmp_path}))
    assert (found.state, found.text) == (
        "BROKEN",
        f"{tmp_path} cannot be written to (Permission denied)",
    )
    assert "ISOSWEEP_CACHE" in found.todo


@pytest.mark.parametrize(("card", "state"), [(True, "BROKEN"), (False, "-")])
def test_a_compiler_is_needed_with_a_card(card: bool, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert one(machine.compiler(card)).state == state


def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.lab")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert one(machine.wandb()).state == "-"
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    found = one(machine.wandb())
    assert found == Finding("W&B", "ok", "logged in at https://wandb.lab: runs are tracked online")


def test_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert one(machine.slurm()).state == "-"
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")

    def away(timeout_s: float) -> None:
        raise calls.ClusterUnreachable("no SLURM controller answers.")

    monkeypatch.setattr(calls, "require_cluster", away)
    assert one(machine.slurm()) == Finding(
        "SLURM", "look", "its commands are here, but no SLURM controller answers."
    )
    monkeypatch.setattr(calls, "require_cluster", lambda timeout_s: None)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert "this shell is in job 17" in one(machine.slurm()).text


def test_the_folder_of_sweeps_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "conf" / "sweep").mkdir(parents=True)
    assert one(machine.checkout(tmp_path)).state == "ok"
    (tmp_path / "conf" / "sweep").rmdir()
    (tmp_path / "conf" / "sweep").write_text("../sweeps")  # as git writes it where links are not allowed
    assert one(machine.checkout(tmp_path)).state == "BROKEN"


def test_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ISOSWEEP_DATA", raising=False)
    assert one(machine.data(tmp_path)).state == "-"
    monkeypatch.setenv("ISOSWEEP_DATA", str(tmp_path / "gone"))
    assert one(machine.data(tmp_path)).state == "BROKEN"
    for name in ("dtu_scan24", ".cache", *(f"blender_{i}" for i in range(7))):
        (tmp_path / "data" / name).mkdir(parents=True)
    monkeypatch.setenv("ISOSWEEP_DATA", str(tmp_path / "data"))
    found = one(machine.data(tmp_path))
    assert found.state == "ok"
    assert found.text.endswith("blender_4, blender_5 and 2 more")
