"""The command line: terms first, then the scene; and a table whose places are those of the loaders."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from isosweep.data.folders import places
from isosweep.download import command, sources
from isosweep.download.addresses import Archive
from isosweep.download.archive import OnDisk, read_directory
from isosweep.download.server import Server
from isosweep.download.sources import BENCHMARKS, Benchmark, Take, command_for
from isosweep.errors import InputError
from tests.download.shop import WITH_README_OF_CHAIR, shop, there, zipped
from tests.support.file_server import serving

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    """The table holds one benchmark, whose archive a local server gives."""
    store = shop()
    with serving(store) as address:
        archive = Archive("data.zip", f"{address}/data.zip", "this test")
        scenes = {
            scene: (Take(archive, folder=scene), Take(archive, file="README.txt"))
            for scene in ("chair", "drums", "lego")
        }
        one = Benchmark(
            "toys", "Toys", "https://page", "CC0", "Be kind.", scenes, "blender", "run scene={scene}"
        )
        monkeypatch.setattr(sources, "BENCHMARKS", {"toys": one})
        monkeypatch.setattr(command, "BENCHMARKS", {"toys": one})
        monkeypatch.setattr(command, "Server", lambda: Server(tries=1, pause=0.001, timeout=(30, 30)))
        monkeypatch.setenv("ISOSWEEP_DATA", str(tmp_path / "data"))
        yield store


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_terms_are_shown_and_must_be_accepted(toys, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(
        InputError, match=r"have to be accepted, and nobody can be asked here: .* add --accept"
    ):
        command.main(["get", "toys", "chair"])
    assert "licence  CC0" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", Terminal("no\n"))
    assert command.main(["get", "toys", "chair"]) == 1
    assert toys.asked == []
    monkeypatch.setattr(sys, "stdin", Terminal("yes\n"))
    assert command.main(["get", "toys", "chair"]) == 0
    assert there(tmp_path / "data" / "blender" / "chair") == WITH_README_OF_CHAIR


def test_what_is_printed_after_a_download(toys, tmp_path, capsys) -> None:
    assert command.main(["get", "toys", "chair", "--accept"]) == 0
    out = capsys.readouterr().out
    assert "Be kind." in out
    assert f"chair: downloaded to {tmp_path / 'data' / 'blender' / 'chair'}" in out
    assert out.endswith("train:  run scene=chair\n")
    assert command.main(["get", "toys", "chair", "--accept", "--root", str(tmp_path / "b")]) == 0
    assert f"dataset.root={tmp_path / 'b'}" in capsys.readouterr().out
    assert command.main(["get", "toys", "chair", "--accept"]) == 0
    assert "chair: is there already, whole:" in capsys.readouterr().out


def test_the_command_names_the_images_that_were_taken() -> None:
    assert BENCHMARKS["llff"].told("fern").endswith("scene=fern dataset.images=images_8")
    assert BENCHMARKS["mipnerf360"].told("garden", images="images_4").endswith("dataset.images=images_4")
    assert "dataset.official=x/dtu_official" in BENCHMARKS["dtu-official"].told("scan24", "x/dtu_official")


def test_a_scene_that_fails_does_not_stop_the_others(toys, tmp_path, capsys) -> None:
    assert command.main(["get", "toys", "lego", "chair", "--accept"]) == 1
    told = capsys.readouterr()
    assert "error: lego:" in told.out
    assert "has no folder lego" in told.out
    assert "1 of 2 scenes failed: lego" in told.err
    assert there(tmp_path / "data" / "blender" / "chair") == WITH_README_OF_CHAIR


def test_wrong_names_have_a_suggestion() -> None:
    with pytest.raises(InputError, match=r"no data set 'nerf_syntetic' .*did you mean 'nerf_synthetic'"):
        sources.benchmark("nerf_syntetic")
    with pytest.raises(
        InputError, match=r"llff has no scene 'ferm'; did you mean 'fern'.* It has: fern, flower"
    ):
        sources.scenes_of(BENCHMARKS["llff"], ["ferm"])
    with pytest.raises(InputError, match=r"which scenes of llff.*or say all"):
        sources.scenes_of(BENCHMARKS["llff"], [])
    assert sources.benchmark("DTU_official").name == "dtu-official"
    assert sources.scenes_of(BENCHMARKS["tanks_and_temples"], ["Barn", "barn"]) == ["barn"]
    assert len(sources.scenes_of(BENCHMARKS["dtu-official"], [])) == 15
    assert len(sources.scenes_of(BENCHMARKS["dtu"], ["all"])) == 15


def test_an_archive_by_hand_has_to_bear_its_name(tmp_path: Path) -> None:
    for name in ("Points.zip", "other.zip"):
        (tmp_path / name).touch()
    one = BENCHMARKS["dtu-official"]
    assert command._by_name([tmp_path / "Points.zip"], one) == {"Points.zip": tmp_path / "Points.zip"}
    with pytest.raises(InputError, match=r"dtu-official has the archives Points\.zip, SampleSet\.zip"):
        command._by_name([tmp_path / "other.zip"], one)
    with pytest.raises(InputError, match="there is no such file"):
        command._by_name([tmp_path / "none.zip"], one)


def test_the_list_names_every_data_set_with_its_licence(capsys) -> None:
    assert command.main(["list"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n{name} " in out for name in BENCHMARKS)
    assert out.count("licence:") == len(BENCHMARKS)
    for name, one in BENCHMARKS.items():
        command.main(["list", name])
        out = capsys.readouterr().out
        assert "not tried yet" in out
        assert all(archive.url in out for archive in one.archives())


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_scene_is_put_where_its_loader_looks(name: str) -> None:
    one = BENCHMARKS[name]
    assert one.licence
    assert one.terms
    assert all(a.url.startswith(("https://", "http://roboimagedata2.")) and a.found for a in one.archives())
    for scene in one.scenes:
        if one.loader is None:
            assert one.place(scene) == "dtu_official"
            continue
        assert Path("data") / one.place(scene) in places(one.loader, scene, None, Path("data"))
        assert f"dataset={one.loader}" in one.command or "experiment=neus-dtu" in one.command
        assert (ROOT / "conf" / "dataset" / f"{one.loader}.yaml").is_file()
        assert command_for(one.loader, scene) is not None


@pytest.mark.parametrize(
    ("name", "scene", "archives"),
    [
        (
            "tanks_and_temples",
            "barn",
            {
                "TNT_GOF.zip": ["TNT_GOF/TrainingSet/Barn/images/000001.jpg", "TNT_GOF/TrainingSet/Truck/images/1.jpg"],
                "trainingdata.zip": ["trainingdata/Barn/Barn.ply", "trainingdata/Barn/Barn_COLMAP.ply"],
            },
        ),
        (
            "deepvoxels",
            "cube",
            {
                "synthetic_scenes.zip": [
                    f"synthetic_scenes/{split}/{scene}/rgb/0.png"
                    for split in ("train", "validation", "test")
                    for scene in ("cube", "vase")
                ]
            },
        ),
        ("dtu", "scan65", {"data_DTU.zip": ["dtu_scan65/cameras_sphere.npz", "dtu_scan24/cameras_sphere.npz"]}),
        (
            "dtu-official",
            "scan24",
            {
                "Points.zip": ["Points/stl/stl024_total.ply", "Points/stl/stl001_total.ply"],
                "SampleSet.zip": [f"SampleSet/MVS Data/ObsMask/{file}.mat" for file in ("ObsMask24_10", "Plane24")],
            },
        ),
    ],
)  # fmt: skip
def test_what_a_scene_takes_of_its_archives(tmp_path: Path, name: str, scene: str, archives: dict) -> None:
    taken = []
    for take in BENCHMARKS[name].scenes[scene]:
        file = tmp_path / take.archive.name
        file.write_bytes(zipped(dict.fromkeys(archives[take.archive.name], b"x")))
        taken += [member.path for member in read_directory(OnDisk(file)).choose(take)]
    assert (
        taken
        == {
            "cube": [f"{split}/rgb/0.png" for split in ("train", "validation", "test")],
            "barn": ["images/000001.jpg", "Barn.ply"],
            "scan65": ["cameras_sphere.npz"],
            "scan24": ["Points/stl/stl024_total.ply", "ObsMask/ObsMask24_10.mat", "ObsMask/Plane24.mat"],
        }[scene]
    )


def test_an_archive_of_more_than_4_gb_has_large_offsets(tmp_path: Path) -> None:
    file = tmp_path / "large.zip"
    gap = 5 << 30
    with file.open("wb") as out:
        out.truncate(gap)  # a hole, which takes no space
        out.seek(gap)
        with zipfile.ZipFile(out, "a") as archive:
            archive.writestr("data/chair/a.json", b"{}" * 50)
    one = Take(Archive("large.zip", "", ""), folder="chair")
    (member,) = read_directory(OnDisk(file)).choose(one)
    assert member.start == gap
    assert (member.path, member.size) == ("a.json", 100)


def test_the_script_ends_with_one_line_and_a_code() -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "scripts" / "data.py"), *words],
            capture_output=True,
            text=True,
            check=False,
        )

    wrong = run("get", "dtu", "scan25")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: dtu has no scene 'scan25'; did you mean 'scan")
    assert wrong.stderr.count("\n") == 1
    assert "nerf_synthetic" in run("list").stdout
