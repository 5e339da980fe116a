"""The demo: an exact watertight surface, soft pictures that fit it, made once and whole."""

import errno
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
import yaml

from isosweep.data.demo import loader
from isosweep.data.demo import make as demo_make
from isosweep.data.demo.make import Demo, exact_mesh, make
from isosweep.data.demo.render import render_views
from isosweep.data.demo.scenes import SOLIDS, normals
from isosweep.data.demo.tracing import REACH, trace
from isosweep.data.folders import DEMO_SCENES
from isosweep.geometry import from_world, pixel_rays, similarity_scale
from isosweep.types import Cameras
from tests.support.loading import load_scene
from tests.support.scenes import tiny_blender, tiny_demo

NAMES = sorted(SOLIDS)


def test_the_list_of_scenes_is_complete() -> None:
    assert list(DEMO_SCENES) == NAMES


def cameras_of(made: Demo) -> Cameras:
    size = made.rgba.shape[1]
    n = len(made.c2w)
    K = torch.tensor(made.K, dtype=torch.float32).expand(n, 3, 3)
    return Cameras(torch.tensor(made.c2w, dtype=torch.float32), K, torch.full((n, 2), size), 0.5)


def test_there_are_two_scenes_with_a_hole() -> None:
    assert len(NAMES) >= 2
    assert all(s.genus >= 1 for s in SOLIDS.values())


@pytest.mark.parametrize("name", NAMES)
def test_mesh_is_exact_watertight_and_has_the_genus_it_says(name: str) -> None:
    solid = SOLIDS[name]
    vertices, faces = exact_mesh(solid, 128)
    x, y, z = torch.from_numpy(vertices).T
    assert solid.sdf(x, y, z).abs().max() < 1e-9
    assert np.linalg.norm(vertices, axis=1).max() < REACH
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.is_watertight
    assert mesh.body_count == 1
    assert mesh.volume > 0, "faces look outward"
    assert 1 - mesh.euler_number // 2 == solid.genus


@pytest.mark.parametrize("name", NAMES)
def test_the_level_never_overestimates_the_distance(name: str) -> None:
    """What sphere tracing with the full step relies on: |grad| <= 1."""
    solid = SOLIDS[name]
    x, y, z = torch.rand(3, 20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert normals(solid, x, y, z)[3].max() < 1 + 1e-3


def test_normals_point_outward_with_unit_length() -> None:
    """The mug's floor from below, its wall away from the handle, and the float32 form."""
    for dtype in (torch.float64, torch.float32):
        x, y, z = torch.tensor([[-0.18, 0.0, -0.5], [-0.63, 0.0, 0.1]], dtype=dtype).T
        a, b, c, length = normals(SOLIDS["mug"], x, y, z)
        found = torch.stack([a, b, c], -1)
        expected = torch.tensor([[0, 0, -1], [-1, 0, 0]], dtype=dtype)
        assert torch.allclose(found, expected, atol=1e-3)
        assert torch.allclose(length, torch.ones(2, dtype=dtype), atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_pictures_have_soft_edges_and_colour(name: str) -> None:
    rgba = tiny_demo(name).rgba
    assert rgba.shape == (13, 32, 32, 4)
    assert rgba.dtype == np.uint8
    alpha = rgba[..., 3]
    for view in alpha:
        assert (view == 0).mean() > 0.3
        assert (view == 255).mean() > 0.05
        assert ((view > 0) & (view < 255)).any()
        # the object is seen whole: its bounding sphere just fits
        assert np.concatenate([view[0], view[-1], view[:, 0], view[:, -1]]).max() < 128
    assert rgba[alpha == 255][:, :3].astype(float).std(0).min() > 20


def test_alpha_is_the_share_of_rays_that_hit() -> None:
    """The cone pass must lose none: the same rays traced one by one from the sphere on."""
    made = tiny_demo()
    some = cameras_of(made)
    fine = Cameras(some.c2w, some.K * torch.tensor([[3.0], [3.0], [1.0]]), some.hw * 3, 0.5)
    pixel = torch.arange(96 * 96)
    wrong = 0.0
    for view in range(4):
        rays = pixel_rays(fine, torch.full_like(pixel, view), pixel // 96, pixel % 96, torch.zeros(3))
        _, hit = trace(SOLIDS["mug"], rays, torch.full((len(pixel),), 3.0 - REACH))
        share = hit.float().view(32, 3, 32, 3).mean((1, 3))
        wrong += (share - torch.from_numpy(made.rgba[view, ..., 3]).float() / 255).abs().sum().item()
    assert wrong < 0.35


def test_depth_meets_the_surface_and_sees_through_the_handle() -> None:
    """Level 0 at every hit; the ray through the middle of the handle's hole passes."""
    made = tiny_demo()
    pixel = torch.arange(32 * 32)
    rays = pixel_rays(cameras_of(made), torch.zeros_like(pixel), pixel // 32, pixel % 32, torch.zeros(3))
    t, hit = trace(SOLIDS["mug"], rays, torch.full((len(pixel),), 2.0))
    points = rays.origins[hit] + t[hit, None] * rays.dirs[hit]
    assert SOLIDS["mug"].sdf(*points.T).abs().max() < 3e-4
    hole = torch.tensor([-0.18 + 0.48 + 0.1, -2.5, 0.0])
    across = rays.__class__(hole[None], torch.tensor([[0.0, 1.0, 0.0]]), torch.zeros(1, 3))
    assert not trace(SOLIDS["mug"], across, torch.zeros(1))[1].any()
    body = rays.__class__(
        torch.tensor([[-0.18, -2.5, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]]), torch.zeros(1, 3)
    )
    t, hit = trace(SOLIDS["mug"], body, torch.zeros(1))
    assert hit.all()
    assert t.item() == pytest.approx(2.5 - 0.45, abs=3e-4)


def test_colour_moves_with_the_view() -> None:
    """The same surface points from two sides differ where the highlight is, by no more than it is strong."""
    from isosweep.data.demo.scenes import shade

    vertices, _ = exact_mesh(SOLIDS["mug"], 48)
    x, y, z = torch.from_numpy(vertices).float().T
    a = shade(SOLIDS["mug"], x, y, z, torch.tensor([[0.0, 0.0, -1.0]]).expand(len(x), 3))
    b = shade(SOLIDS["mug"], x, y, z, torch.tensor([[-0.5, 0.4, -0.77]]).expand(len(x), 3))
    difference = (a - b).abs().amax(-1)
    assert 0.02 < difference.max() <= 0.26
    assert (difference < 1e-3).float().mean() > 0.3


def test_test_views_are_no_training_views_and_look_from_all_sides() -> None:
    made = make("mug", n_train=40, n_val=4, n_test=8, size=2, supersample=1, mesh_resolution=16)
    eyes = made.c2w[:, :, 3]
    assert [len(made.splits[s]) for s in ("train", "val", "test")] == [40, 4, 8]
    train, rest = eyes[:40], eyes[40:]
    assert np.linalg.norm(rest[:, None] - train[None], axis=-1).min() > 0.02
    assert np.allclose(np.linalg.norm(eyes, axis=1), 3)
    for axis in range(3):
        assert train[:, axis].min() < -1.5
        assert train[:, axis].max() > 1.5


def test_the_same_arguments_give_the_same_bytes_and_threads_are_as_before() -> None:
    threads = torch.get_num_threads()
    again = make("mug", n_train=8, n_val=2, n_test=3, size=32, supersample=3, mesh_resolution=64)
    assert np.array_equal(again.rgba, tiny_demo().rgba)
    assert np.array_equal(again.vertices, tiny_demo().vertices)
    assert torch.get_num_threads() == threads


def test_world_units_are_not_the_normalised_ones() -> None:
    made = tiny_demo()
    assert similarity_scale(made.to_world) == pytest.approx(2.5)
    assert not np.allclose(made.to_world[:3, :3], 2.5 * np.eye(3), atol=0.1)
    back = from_world(made.vertices, made.to_world)
    assert np.abs(back).max() < REACH
    x, y, z = torch.from_numpy(back).T
    assert SOLIDS["mug"].sdf(x, y, z).abs().max() < 1e-9


def test_load_reads_what_was_written(tmp_path: Path) -> None:
    made = tiny_demo()
    scene = load_scene("demo", "mug", path=str(tiny_blender(tmp_path)))
    assert (scene.dataset, scene.name, scene.world_unit, scene.score_prefix) == ("demo", "mug", "unit", "nvs")
    assert {k: len(v) for k, v in scene.splits.items()} == {"train": 8, "val": 2, "test": 3}
    assert scene.names[:2] == ("train/r_0", "train/r_1")
    assert len(set(scene.names)) == 13
    assert scene.use_masks
    assert scene.composite
    assert np.allclose(scene.to_world, made.to_world)
    for view in range(13):
        rgb, mask = scene.images.image(view)
        assert np.array_equal((torch.cat([rgb, mask[..., None]], -1) * 255).round().byte(), made.rgba[view])
    assert torch.allclose(scene.cameras.c2w, torch.tensor(made.c2w, dtype=torch.float32), atol=1e-6)
    assert torch.allclose(scene.cameras.K[0], torch.tensor(made.K, dtype=torch.float32), atol=1e-4)
    assert scene.truth is not None
    truth = trimesh.load(scene.truth)
    assert truth.is_watertight
    assert 1 - truth.euler_number // 2 == made.genus
    assert np.allclose(truth.bounds, [made.vertices.min(0), made.vertices.max(0)], atol=1e-5)


def test_masks_off_still_composites_alpha(tmp_path: Path) -> None:
    scene = load_scene("demo", "mug", path=str(tiny_blender(tmp_path)), masks=False)
    assert not scene.use_masks
    assert scene.composite
    assert scene.images.has_masks


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Makes the tiny demo in place of the full one, and lists what was made."""
    made: list[str] = []

    def instead(name: str) -> Demo:
        made.append(name)
        return tiny_demo(name)

    monkeypatch.setattr(loader, "make", instead)
    return made


def test_first_use_makes_the_scene_and_the_second_reads_it(tmp_path: Path, quick: list[str]) -> None:
    first = load_scene("demo", "rings", root=str(tmp_path))
    second = load_scene("demo", "rings", root=str(tmp_path))
    assert quick == ["rings"]
    assert first.truth == second.truth
    assert [p.name for p in (tmp_path / "demo").iterdir()] == [f"rings-v{loader.VERSION}"]


def test_the_config_names_the_version_of_the_pictures(tmp_path: Path) -> None:
    config = yaml.safe_load((Path(__file__).parents[2] / "conf/dataset/demo.yaml").read_text())
    assert config["dataset"]["version"] == loader.VERSION
    with pytest.raises(ValueError, match=rf"version=2: this code makes version {loader.VERSION} of"):
        load_scene("demo", "rings", version=2, root=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_cameras_look_into_the_cavity_and_under_the_floor() -> None:
    made = tiny_demo("mug")
    eyes = made.c2w[made.splits["train"], :, 3]
    np.testing.assert_allclose(np.linalg.norm(eyes, axis=1), 3.0)
    elevation = np.degrees(np.arcsin(eyes[:, 2] / 3))
    assert elevation.max() > 70
    assert elevation.min() < -35
    np.testing.assert_allclose(np.diff(np.sort(elevation)), 125 / len(eyes), atol=1e-6)


def test_two_at_once_end_with_one_whole_scene(
    tmp_path: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process finishes while this one still writes: its folder stays, nothing else is left."""
    folder = tmp_path / "demo" / f"mug-v{loader.VERSION}"

    def slow(path: Path, made: Demo) -> None:
        demo_make.write_blender(path, made)
        demo_make.write_blender(folder, made)
        (folder / "by_the_other").touch()

    monkeypatch.setattr(loader, "write_blender", slow)
    scene = load_scene("demo", "mug", root=str(tmp_path))
    assert len(scene.names) == 13
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]
    assert (folder / "by_the_other").exists()


def test_a_failure_half_way_leaves_nothing(
    tmp_path: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, made: Demo) -> None:
        (path / "train").mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(loader, "write_blender", full)
    with pytest.raises(OSError, match="No space left on device"):
        load_scene("demo", "mug", root=str(tmp_path))
    assert list((tmp_path / "demo").iterdir()) == []


def test_a_read_only_root_falls_back_to_the_cache_folder(
    tmp_path: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated, because root may write anywhere."""
    monkeypatch.setenv("ISOSWEEP_CACHE", str(tmp_path / "cache"))
    mkdtemp = loader.tempfile.mkdtemp

    def refuse(prefix: str, dir: Path) -> str:
        if tmp_path / "cache" not in Path(dir).parents:
            raise OSError(errno.EROFS, "Read-only file system")
        return mkdtemp(prefix=prefix, dir=dir)

    monkeypatch.setattr(loader.tempfile, "mkdtemp", refuse)
    scene = load_scene("demo", "mug", root=str(tmp_path / "data"))
    assert scene.truth is not None
    assert tmp_path / "cache" in scene.truth.parents
    load_scene("demo", "mug", root=str(tmp_path / "data"))
    assert quick == ["mug"]
    with pytest.raises(
        OSError, match=r"cannot make the demo scene in .*: Read-only file system; set dataset.root="
    ):
        load_scene("demo", "mug", path=str(tmp_path / "elsewhere"))


def test_wrong_names_and_wrong_folders(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"no demo scene 'ring'; did you mean 'rings'\? The demo has: chrome, mug, rings"
    ):
        load_scene("demo", "ring", root=str(tmp_path))
    folder = tiny_blender(tmp_path)
    with pytest.raises(
        ValueError, match=r"holds the demo scene 'mug', not 'rings': change scene= or dataset.path="
    ):
        load_scene("demo", "rings", path=str(folder))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="it holds something else"):
        load_scene("demo", "mug", path=str(tmp_path / "full"))


def test_empty_pictures_render_as_nothing() -> None:
    """A camera that looks away."""
    away = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 3]]])
    K = torch.tensor([[[8.0, 0, 4], [0, 8, 4], [0, 0, 1]]])
    assert not render_views(SOLIDS["mug"], Cameras(away, K, torch.tensor([[8, 8]]), 0.5), 2).any()
