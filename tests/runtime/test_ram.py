"""How much memory is free: of the system, and of a control group of either version."""

from pathlib import Path

from isosweep.runtime import ram


def group(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text)
    return folder


def test_the_free_memory_is_that_of_the_system_or_of_the_group(tmp_path: Path) -> None:
    info = tmp_path / "info"
    info.write_text("MemTotal: 10 kB\nMemAvailable:   8 kB\n")
    assert ram.available(info, tmp_path) == 8192
    group(tmp_path, memory_max="5000\n", memory_current="1000\n")
    assert ram.available(info, tmp_path) == 4000
    group(tmp_path, memory_max="max\n")
    assert ram.available(info, tmp_path) == 8192


def test_files_in_the_cache_of_a_group_are_free(tmp_path: Path) -> None:
    """A job that has read a data set has its whole limit in use, and may take nearly all of it."""
    info = tmp_path / "info"
    info.write_text("MemAvailable: 80000 kB\n")
    group(tmp_path, memory_max="5000", memory_current="4900")
    group(tmp_path, memory_stat="anon 700\nfile 4200\ninactive_file 3000\nactive_file 1200\nslab 9\n")
    assert ram.available(info, tmp_path) == 5000 - 700


def test_groups_of_version_1_tell_with_those_below(tmp_path: Path) -> None:
    info, folder = tmp_path / "none", tmp_path / "memory"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text("5000\n")
    (folder / "memory.usage_in_bytes").write_text("4900\n")
    stat = "inactive_file 1\nactive_file 2\ntotal_inactive_file 3000\ntotal_active_file 1200\n"
    (folder / "memory.stat").write_text(stat)
    assert ram.limit(tmp_path) == 5000
    assert ram.available(info, tmp_path) == 5000 - 700


def test_kills_for_memory_are_those_of_the_own_group(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/job/step\n")
    assert ram.out_of_memory_kills(tmp_path, own) == 0, "no kernel that counts"
    (tmp_path / "job" / "step").mkdir(parents=True)
    (tmp_path / "memory.events").write_text("low 1\noom 9\noom_kill 7\n")
    assert ram.out_of_memory_kills(tmp_path, own) == 7, "a container sees its own group at the top"
    (tmp_path / "job" / "step" / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert ram.out_of_memory_kills(tmp_path, own) == 2
    own.write_text("12:cpu:/x\n9:memory:/job\n")
    (tmp_path / "memory.events").unlink()
    (tmp_path / "memory" / "job").mkdir(parents=True)
    (tmp_path / "memory" / "job" / "memory.oom_control").write_text(
        "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"
    )
    assert ram.out_of_memory_kills(tmp_path, own) == 4
