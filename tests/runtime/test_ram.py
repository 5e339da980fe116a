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
