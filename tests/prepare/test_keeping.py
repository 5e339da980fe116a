"""Files of the user are never removed, and a later call remembers the options of the last one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from isosweep.prepare.messages import quoted, train_commands
from isosweep.prepare.options import PrepareOptions, merge_options
from isosweep.prepare.stages import MANIFEST, Manifest, claim_folder

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts/prepare.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=300,
    )


@pytest.mark.parametrize("where", ["proj/work/images", "proj/images", "proj"])
def test_photographs_inside_of_out_are_refused_and_stay(tmp_path: Path, where: str) -> None:
    (tmp_path / where).mkdir(parents=True)
    for i in range(4):
        (tmp_path / where / f"{i}.jpg").write_bytes(b"a photograph")
    done = command(where, "--out", "proj", cwd=tmp_path)
    assert done.returncode == 1
    assert "lies in --out proj, where files are made, replaced and removed" in done.stderr
    assert len(list((tmp_path / where).glob("*.jpg"))) == 4


def test_masks_inside_of_out_are_refused(tmp_path: Path) -> None:
    (tmp_path / "scene" / "masks").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"--masks .*scene/masks lies in --out"):
        PrepareOptions(
            tmp_path / "photos", tmp_path / "scene", masks=str(tmp_path / "scene" / "masks")
        ).check()
    PrepareOptions(tmp_path / "photos", tmp_path / "scene", masks=str(tmp_path / "masks")).check()


def test_a_work_folder_of_somebody_else_is_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    with pytest.raises(FileExistsError, match=r"holds work and no prepare\.json"):
        claim_folder(tmp_path)
    claim_folder(tmp_path / "new")
    claim_folder(tmp_path / "new")
    assert json.loads((tmp_path / "new" / MANIFEST).read_text())["steps"] == {}


def test_only_files_that_were_written_here_are_removed(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path, [])
    images, masks = tmp_path / "images", tmp_path / "masks"
    for folder in (images, masks):
        folder.mkdir()
    manifest.take_over([images / "a.jpg", masks / "a.jpg.png"])
    (images / "a.jpg").write_bytes(b"1")
    (masks / "a.jpg.png").write_bytes(b"1")
    (masks / "drawn.png").write_bytes(b"by hand")
    later = Manifest(tmp_path, [])
    with pytest.raises(
        FileExistsError, match=r"masks holds 1 files that were not made here \(masks/drawn\.png\)"
    ):
        later.take_over([images / "b.jpg"])
    assert sorted(p.name for p in tmp_path.rglob("*.[jp]*g")) == ["a.jpg", "a.jpg.png", "drawn.png"]
    (masks / "drawn.png").rename(tmp_path / "drawn.png")
    later.take_over([images / "b.jpg"])
    assert [p.name for p in tmp_path.rglob("*.[jp]*g")] == ["drawn.png"]
    (images / "mine.jpg").write_bytes(b"by hand")
    with pytest.raises(FileExistsError, match=r"images holds 1 files .* \(images/mine\.jpg\)"):
        later.check_no_foreign_files()
    (images / "mine.jpg").unlink()
    later.take_over([images / "b.jpg"])  # which the user has deleted
    assert Manifest(tmp_path, []).owned == ["images/b.jpg"]


def test_options_of_an_earlier_call_are_kept_until_others_are_given() -> None:
    first = PrepareOptions(
        Path("p"), Path("s"), sphere=(1.0, 2.0, 3.0, 4.0), size=800, layouts=("neus",), threads=2
    )
    before = json.loads(json.dumps(first.non_defaults()))
    assert before == {"sphere": [1.0, 2.0, 3.0, 4.0], "size": 800}
    base = {"source": Path("p"), "out": Path("s")}
    merged, remembered = merge_options(base, before)
    assert (merged["sphere"], remembered) == ((1.0, 2.0, 3.0, 4.0), ["size", "sphere"])
    merged, remembered = merge_options({**base, "box": (0.0,) * 3 + (1.0,) * 3, "size": 1600}, before)
    assert ("sphere" in merged, remembered) == (False, [])
    assert PrepareOptions(**merged).non_defaults() == {"box": [0.0] * 3 + [1.0] * 3}
    merged, remembered = merge_options(
        {**base, "sphere": (0.0, 0.0, 0.0, 1.0)}, PrepareOptions(**merged).non_defaults()
    )
    assert ("box" in merged, remembered) == (False, [])
    assert merge_options(base, {"an option of another version": 3})[1] == []


def test_masks_are_found_from_another_folder_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m").mkdir()
    Path("net.pt").touch()
    assert PrepareOptions(Path("p"), Path("s"), masks="m").non_defaults() == {"masks": str(tmp_path / "m")}
    assert PrepareOptions(Path("p"), Path("s"), masks="model:net.pt").non_defaults() == {
        "masks": f"model:{tmp_path / 'net.pt'}"
    }
    assert PrepareOptions(Path("p"), Path("s"), masks="gone").masks == "gone"


def test_folder_names_are_quoted_for_the_shell_and_for_hydra(tmp_path: Path) -> None:
    import shlex

    from hydra.core.override_parser.overrides_parser import OverridesParser

    for name in (
        "scene",
        "my scene, (a=b)",
        "it's",
        "2024",
        "null",
        "1e5",
        "True",
        "inf",
        "nan",
        "-inf",
        "a\\b",
        "a\\",
        "a\\'b",
        "été",
    ):
        words = shlex.split(train_commands(tmp_path / name, ("colmap",), False)[0])
        found = OverridesParser.create().parse_overrides([w for w in words if "=" in w])
        values = {o.key_or_group: o.value() for o in found}
        assert (values["scene"], values["dataset.path"]) == (name, str(tmp_path / name)), name
    assert quoted("a_1.b-c/d") == "a_1.b-c/d"
