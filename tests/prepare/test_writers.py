"""Every layout loads back to the same rays and the same world, through the project's own loaders."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from isosweep.geometry import pixel_rays
from isosweep.prepare import writers
from isosweep.types import Scene
from tests.support.loading import load_scene
from tests.support.solved_scene import matrix, solved_demo, write_images


def written(out: Path, masked: bool = True, test_every: int = 0) -> Path:
    recon = solved_demo()
    write_images(out, recon, masked)
    for writer in writers.WRITERS.values():
        writer(out, recon, matrix(), masked, test_every, 2, lambda: None)
    return out


def loaded(out: Path) -> dict[str, Scene]:
    path = str(out)
    return {
        "neus": load_scene("dtu", "s", path=path),
        "blender": load_scene("blender", "s", path=path),
        "nerfstudio": load_scene("nerfstudio", "s", path=path, test_every=None),
        "colmap": load_scene("colmap", "s", path=path, test_every=None),
    }


def rays_of(scene: Scene) -> tuple[torch.Tensor, torch.Tensor]:
    row, col = torch.tensor([0, 0, 31, 31, 13]), torch.tensor([0, 31, 0, 31, 20])
    made = [
        pixel_rays(scene.cameras, torch.full_like(row, v), row, col, torch.zeros(3))
        for v in range(len(scene.cameras))
    ]
    return torch.cat([r.origins for r in made]), torch.cat([r.dirs for r in made])


def test_all_layouts_give_the_same_rays_and_the_same_world(tmp_path: Path) -> None:
    scenes = loaded(written(tmp_path))
    origins, dirs = rays_of(scenes["neus"])
    recon = solved_demo()
    expected = (recon.c2w[:, :, 3] - matrix()[:3, 3]) / matrix()[0, 0]
    assert np.allclose(origins[::5].numpy(), expected, atol=1e-5)
    for name, scene in scenes.items():
        assert len(scene.cameras) == 8, name
        assert np.allclose(scene.to_world, matrix(), atol=1e-9), name
        own = rays_of(scene)
        assert float((own[0] - origins).abs().max()) < 1e-5, name
        assert float((own[1] - dirs).abs().max()) < 1e-5, name
        assert scene.images.has_masks, name
        assert torch.equal(scene.images.image(3)[1], scenes["colmap"].images.image(3)[1]), name


def test_points_project_where_they_were_seen(tmp_path: Path) -> None:
    scene = loaded(written(tmp_path))["colmap"]
    recon = solved_demo()
    assert scene.points is not None
    assert len(scene.points) == len(recon.xyz)
    world = scene.points.double().numpy() * matrix()[0, 0] + matrix()[:3, 3]
    assert np.allclose(world, recon.xyz, atol=1e-5)


def test_colmap_files_keep_the_tracks(tmp_path: Path) -> None:
    recon = solved_demo()
    written(tmp_path)
    data = (tmp_path / "sparse/0/points3D.bin").read_bytes()
    assert struct.unpack_from("<Q", data)[0] == len(recon.xyz)
    length = struct.unpack_from("<Q", data, 8 + 8 + 24 + 3 + 8)[0]
    assert length == int((recon.seen_point == 0).sum())
    image, place = struct.unpack_from("<II", data, 8 + 8 + 24 + 3 + 8 + 8)
    own = np.flatnonzero(recon.seen_view == image - 1)
    assert recon.seen_point[own[place]] == 0


def test_held_out_views_are_named_where_a_layout_has_splits(tmp_path: Path) -> None:
    out = written(tmp_path, test_every=4)
    a = load_scene("blender", "s", path=str(out))
    b = load_scene("nerfstudio", "s", path=str(out))
    assert a.held_out
    assert b.held_out
    assert [a.names[v] for v in a.splits["test"]] == ["test/img_000", "test/img_004"]
    assert [b.names[v] for v in b.splits["test"]] == ["images/img_000.jpg", "images/img_004.jpg"]
    assert not (out / "transforms_val.json").exists(), "validation on test views would choose by them"


def test_json_carries_what_other_readers_need(tmp_path: Path) -> None:
    out = written(tmp_path)
    meta = json.loads((out / "transforms.json").read_text())
    # nerfstudio: original -> json frame is applied_scale * (applied_transform x)
    point = solved_demo().c2w[2, :, 3]
    moved = meta["applied_scale"] * (np.array(meta["applied_transform"]) @ np.append(point, 1))
    assert np.allclose(moved, np.array(meta["frames"][2]["transform_matrix"])[:3, 3])
    assert {"fl_x", "fl_y", "cx", "cy", "w", "h", "camera_angle_x", "k1", "aabb_scale"} <= set(meta)
    assert (out / meta["ply_file_path"]).is_file()
    assert (out / meta["frames"][0]["mask_path"]).is_file()
    classic = json.loads((out / "transforms_train.json").read_text())
    assert classic["camera_angle_x"] == pytest.approx(2 * np.arctan(16 / solved_demo().K[0, 0, 0]))
    assert (out / f"{classic['frames'][0]['file_path']}.png").is_file()


def test_views_of_several_cameras_keep_their_own_intrinsics(tmp_path: Path) -> None:
    recon = solved_demo()
    K, hw, camera = recon.K.copy(), recon.hw.copy(), recon.camera.copy()
    K[5, 0, 0] *= 1.25
    camera[5] = 2
    recon = type(recon)(**{**vars(recon), "K": K, "hw": hw, "camera": camera})
    write_images(tmp_path, recon, True)
    for writer in writers.WRITERS.values():
        writer(tmp_path, recon, matrix(), True, 0, 2, lambda: None)
    for name, scene in loaded(tmp_path).items():
        assert scene.cameras.K[:, 0, 0].tolist() == pytest.approx(K[:, 0, 0].tolist(), rel=1e-5), name


@pytest.mark.parametrize("seed", range(20))
def test_quaternions_are_those_of_the_rotation(seed: int) -> None:
    from scipy.spatial.transform import Rotation

    if seed < 3:  # half turns, where w is 0
        R = -np.eye(3)
        R[seed, seed] = 1
    else:
        R = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    w, x, y, z = writers.quaternion(R)
    assert w >= 0
    assert np.allclose(Rotation.from_quat([x, y, z, w]).as_matrix(), R)
