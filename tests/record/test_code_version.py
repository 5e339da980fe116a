"""The code hash follows what the numerical code says, and nothing else."""

import ast
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from isosweep.record import code_version
from isosweep.record.code_version import NUMERICAL, PACKAGE, code_hash, representative, same_code

NOT_NUMERICAL = ("record", "trackers", "report", "launchers", "bench", "prepare", "download")
SUPPORT = {"bounds", "config", "download", "errors", "record", "runtime", "rendering"}
"""What numerical code may import beside itself: values that are in the config, messages, and bookkeeping."""


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One copy for all tests of the file: files that did not change are parsed once (code_version.py)."""
    folder = tmp_path_factory.mktemp("code") / "isosweep"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__", "static"))
    return folder


@pytest.fixture
def package(copied: Path) -> Iterator[Path]:
    """The copy, as it was again after each test."""
    texts = {path: (path.read_text(), path.stat()) for path in python_files(copied)}
    yield copied
    for path in python_files(copied):
        if path not in texts:
            path.unlink()
    for path, (text, old) in texts.items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path} has no {old!r}: point this test to another line"
    path.write_text(text.replace(old, new, 1))


def imports(path: Path) -> set[str]:
    """Modules of the package that a file imports; names out of ``isosweep`` itself are modules."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "isosweep":
            found |= {f"isosweep.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name for name in found if name.startswith("isosweep.")}


def python_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def test_comments_docstrings_and_formatting_do_not_change_it(package: Path) -> None:
    before = code_hash(package)
    for path in [p for name in NUMERICAL for p in python_files(package / name) or [package / name]]:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
                and ast.get_docstring(node) is not None
            ):
                node.body[0] = ast.Expr(ast.Constant("another text"))
        path.write_text("# a comment\n\n" + ast.unparse(tree) + "\n\n\n# another\n")
    assert code_hash(package) == before


def test_a_docstring_in_an_empty_file_does_not_change_it(package: Path) -> None:
    (package / "models" / "empty.py").write_text("")
    before = code_hash(package)
    (package / "models" / "empty.py").write_text('"""What will lie here."""\n')
    assert code_hash(package) == before


@pytest.mark.parametrize("room", NOT_NUMERICAL)
def test_what_makes_no_number_does_not_change_it(package: Path, room: str) -> None:
    before = code_hash(package)
    for path in python_files(package / room):
        path.write_text("x = 1\n")
    (package / room / "new.py").write_text("y = 2\n")
    assert code_hash(package) == before


@pytest.mark.parametrize("name", NUMERICAL)
def test_a_statement_anywhere_in_numerical_code_changes_it(package: Path, name: str) -> None:
    place = package / name
    assert place.exists(), f"{name} is in NUMERICAL and not in the package"
    before = code_hash(package)
    for path in python_files(place) if place.is_dir() else [place]:
        text = path.read_text()
        path.write_text(f"{text}\nADDED = 1\n")
        assert code_hash(package) != before, path
        path.write_text(text)
    assert code_hash(package) == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("losses/terms.py", "clamp_min_(1e-6)", "clamp_min_(1e-7)"),
        ("ops/reference.py", "0.5", "0.25"),
        ("ops/cpu/grid.py", "0.5", "0.25"),
        ("evaluation/surface_metrics.py", "(accuracy + completeness) / 2", "(accuracy + completeness) / 3"),
    ],
)
def test_a_constant_changes_it(package: Path, file: str, old: str, new: str) -> None:
    before = code_hash(package)
    edit(package / file, old, new)
    assert code_hash(package) != before


def test_a_renamed_file_changes_it(package: Path) -> None:
    before = code_hash(package)
    (package / "models" / "nerf.py").rename(package / "models" / "radiance.py")
    assert code_hash(package) != before


def test_numerical_code_imports_numerical_code_only() -> None:
    """Otherwise something that makes numbers would be missing from the list."""
    covered = {name.removesuffix(".py").replace("/", ".") for name in NUMERICAL}
    for path in [p for name in NUMERICAL for p in python_files(PACKAGE / name) or [PACKAGE / name]]:
        for module in imports(path):
            parts = module.split(".")[1:]
            known = any(".".join(parts[:i]) in covered for i in range(1, len(parts) + 1))
            assert known or parts[0] in SUPPORT, (
                f"{path} imports {module}, which the code hash does not cover"
            )


def test_form_and_equal_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert code_hash().startswith("2:")
    assert len(code_hash()) == 18
    monkeypatch.setattr(code_version, "EQUAL", (frozenset({"2:a", "old"}), frozenset({"2:b", "2:c"})))
    assert same_code("old", "2:a")
    assert same_code("other", "other")
    assert not same_code("2:a", "2:b")
    assert representative("old") == representative("2:a") == "2:a"
    assert representative("other") == "other"
