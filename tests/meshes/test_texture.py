"""Textures with numbers worked by hand: texels, photographs of a checkerboard, hidden halves, masks, light."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from isosweep import geometry
from isosweep.config.settings import ExportSettings
from isosweep.errors import InputError
from isosweep.meshes import atlas as charts
from isosweep.meshes import files, texture
from isosweep.meshes.atlas import Atlas, texels
from isosweep.meshes.raycast import Caster
from isosweep.meshes.textured_files import write_textured
from isosweep.types import Cameras, Mesh, Scene
from tests.meshes.test_extract import similarity
from tests.support.analytic import KNOBS, SphereModel, StoredImages, joined, sphere, sphere_scene

SQUARE = Mesh(
    np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]]),
    np.array([[0, 1, 2], [0, 2, 3]]),
)
"""In the plane z = 0, facing up, counter-clockwise from the corner of smallest x and y."""
WHOLE = Atlas(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]), np.arange(4), SQUARE.faces)
"""The square fills its texture: u = x + 1/2, v = y + 1/2."""


def from_above(eyes: Sequence[Sequence[float]], size: int = 64, focal: float = 60.0) -> Cameras:
    """Cameras that look at the origin from ``eyes``."""
    poses = [geometry.look_at(np.array(e, dtype=float), np.zeros(3), np.array([0.0, 1, 0])) for e in eyes]
    K = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    n = len(eyes)
    return Cameras(torch.tensor(np.stack(poses)).float(), K.repeat(n, 1, 1), torch.full((n, 2), size), 0.5)


def plane_colors(cameras: Cameras, view: int, paint) -> Tensor:
    """What a view sees of the plane z = 0, in the colours ``paint(x, y)``."""
    h, w = cameras.hw[view].tolist()
    row, col = (x.reshape(-1) for x in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
    rays = geometry.pixel_rays(cameras, torch.full_like(row, view), row, col, torch.ones(3))
    at = rays.origins - rays.origins[:, 2:] / rays.dirs[:, 2:] * rays.dirs
    return paint(at[:, 0], at[:, 1]).reshape(h, w, 3)


def checkerboard(x: Tensor, y: Tensor) -> Tensor:
    """Fields of side 1/4, in two colours."""
    even = ((torch.floor(4 * x) + torch.floor(4 * y)) % 2 == 0)[:, None]
    return torch.where(even, torch.tensor([0.9, 0.2, 0.1]), torch.tensor([0.1, 0.3, 0.8]))


def scene_of(
    cameras: Cameras, photos: list[Tensor], masks: list[Tensor] | None = None, **changes: object
) -> Scene:
    made = sphere_scene(SphereModel(0.5))
    views = tuple(range(len(photos)))
    return replace(
        made,
        cameras=cameras,
        images=StoredImages(photos, masks),
        names=tuple(map(str, views)),
        splits={"train": views, "val": (), "test": ()},
        composite=masks is not None,
        **changes,  # type: ignore[arg-type]
    )


def nothing_ignored(view: int) -> None:
    return None


def baked(scene: Scene, mesh: Mesh = SQUARE, size: int = 32, most: int = 3, kept=nothing_ignored):
    """The square's colours [size, size, 3] and whether each is seen, row 0 at the largest y."""
    found = texels(WHOLE, size)
    points = found.of(SQUARE, SQUARE.vertices)
    normals = np.broadcast_to([0.0, 0, 1], points.shape)
    colors, seen = texture.from_photos(points, normals, Caster(mesh), scene, most, kept)
    assert len(colors) == size * size
    return colors.reshape(size, size, 3), seen.reshape(size, size), points.reshape(size, size, 3)


def test_a_texel_s_point_by_hand() -> None:
    """Of 4 x 4 texels [0, 2] has u = 5/8, v = 7/8: in the face 0 2 3, x = 1/8, y = 3/8."""
    found = texels(WHOLE, 4)
    assert found.row.tolist() == np.repeat(np.arange(4), 4).tolist()
    assert found.col.tolist() == np.tile(np.arange(4), 4).tolist()
    assert found.face[2] == 1
    np.testing.assert_allclose(found.weights[2], [1 / 8, 5 / 8, 1 / 4], atol=1e-12)
    np.testing.assert_allclose(found.of(SQUARE, SQUARE.vertices)[2], [1 / 8, 3 / 8, 0], atol=1e-12)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1)


def test_only_centres_in_a_chart_are_texels_and_others_take_the_nearest_colour() -> None:
    """A triangle over the lower left half of a quarter: 10 of the 4 x 4 centres of that quarter lie in it."""
    one = Atlas(np.array([[0.0, 0], [0.5, 0], [0, 0.5]]), np.arange(3), np.array([[0, 1, 2]]))
    found = texels(one, 8)
    assert len(found.row) == 10
    assert (found.row - found.col >= 4).all()
    assert found.row.min() == 4
    image = np.zeros((8, 8, 3), dtype=np.float32)
    image[found.row, found.col] = np.stack([found.row, found.col, found.col], axis=1)
    whole = charts.spread(image, found)
    assert whole[0, 0].tolist() == [4, 0, 0]
    assert whole[7, 7].tolist() == [7, 3, 3]
    np.testing.assert_array_equal(whole[found.row, found.col], image[found.row, found.col])


def test_large_charts_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = texels(WHOLE, 16)
    monkeypatch.setattr(charts, "_AT_ONCE", 7)
    np.testing.assert_array_equal(texels(WHOLE, 16).weights, whole.weights)


def test_light_of_srgb_by_hand() -> None:
    """0.5 is 0.21404 of the light, and the mean light of black and white is 0.73536."""
    values = np.array([0.0, 0.04045, 0.5, 1.0])
    np.testing.assert_allclose(texture.decoded(values), [0, 0.0031308, 0.2140411, 1], atol=1e-7)
    np.testing.assert_allclose(texture.encoded(texture.decoded(values)), values, atol=1e-6)
    assert texture.encoded(np.array(0.5)) == pytest.approx(0.7353569, abs=1e-6)


def test_a_photographed_checkerboard_comes_back() -> None:
    cameras = from_above([[0, 0, 1.2], [0.6, 0.2, 1.1], [-0.5, 0.4, 1.2]], size=128, focal=140.0)
    scene = scene_of(cameras, [plane_colors(cameras, v, checkerboard) for v in range(3)])
    colors, seen, points = baked(scene, size=64)
    assert seen.all()
    at = torch.tensor(points.reshape(-1, 3))
    truth = checkerboard(at[:, 0], at[:, 1]).numpy().reshape(colors.shape)
    to_border = np.abs((4 * points[..., :2] + 0.5) % 1 - 0.5).min(axis=-1) / 4
    error = np.abs(colors - truth).max(axis=-1)
    assert (to_border > 0.012).mean() > 0.75
    assert error[to_border > 0.012].max() < 2e-3, "a pixel is 0.0086 wide"
    assert error.mean() < 0.06


def test_the_best_photograph_is_taken_and_several_are_blended_by_light() -> None:
    """At the centre: straight above at 1 the weight is f^2, at 45 degrees and sqrt(2) it is f^2 (1/2) (1/2)."""
    cameras = from_above([[1, 0, 1], [0, 0, 1]])
    white, dark = torch.ones(64, 64, 3), torch.full((64, 64, 3), 0.2)
    scene = scene_of(cameras, [white, dark])
    centre = np.zeros((1, 3))
    up = np.array([[0.0, 0, 1]])
    one, _ = texture.from_photos(centre, up, Caster(SQUARE), scene, 1, nothing_ignored)
    two, _ = texture.from_photos(centre, up, Caster(SQUARE), scene, 2, nothing_ignored)
    np.testing.assert_allclose(one, 0.2, atol=1e-6)
    mean = (0.25 * 1 + 1 * ((0.2 + 0.055) / 1.055) ** 2.4) / 1.25
    np.testing.assert_allclose(two, 1.055 * mean ** (1 / 2.4) - 0.055, atol=1e-5)


def test_the_next_best_photograph_lowers_the_shares() -> None:
    """Of 5, 3, 2 with two blended the shares are as 3.005 to 1.003; equal ones have halves; an empty row has none."""
    found = texture._shares(np.array([[3.0, 2, 5], [1, 1, 1], [0, 0, 4], [0, 0, 0]]))
    np.testing.assert_allclose(found[0], [1.003 / 4.008, 0, 3.005 / 4.008])
    np.testing.assert_allclose(sorted(found[1]), [0, 0.5, 0.5])
    np.testing.assert_allclose(found[2:], [[0, 0, 1], [0, 0, 0]])


def test_views_that_are_held_out_give_nothing() -> None:
    cameras = from_above([[0, 0, 1], [0, 0, 1]])
    scene = scene_of(cameras, [torch.full((64, 64, 3), 0.25), torch.ones(64, 64, 3)])
    held_out = replace(scene, splits={"train": (0,), "val": (), "test": (1,)})
    colors, seen, _ = baked(held_out)
    assert seen.all()
    np.testing.assert_allclose(colors, 0.25, atol=1e-5)


def test_a_hidden_half_takes_another_view_or_none() -> None:
    """A wall hides x < 0 from the best view, which paints red; the other view, blue, comes from that side."""
    wall = Mesh(
        np.array([[-0.001, -1, 0.4], [-0.001, 1, 0.4], [-2, 1, 0.4], [-2, -1, 0.4]]),
        np.array([[0, 1, 2], [0, 2, 3]]),
    )
    cameras = from_above([[0, 0, 1], [-1, 0, 0.35]], focal=20.0)
    red, blue = (torch.tensor(c).expand(64, 64, 3) for c in ([1.0, 0, 0], [0.0, 0, 1]))
    scene = scene_of(cameras, [red, blue])
    colors, seen, points = baked(scene, joined(SQUARE, wall), most=1)
    left = points[..., 0] < -0.02
    right = points[..., 0] > 0.02
    assert seen.all()
    np.testing.assert_allclose(colors[left], np.broadcast_to([0, 0, 1], colors[left].shape), atol=1e-5)
    np.testing.assert_allclose(colors[right], np.broadcast_to([1, 0, 0], colors[right].shape), atol=1e-5)
    only = replace(scene, splits={"train": (0,), "val": (), "test": ()})
    _, seen, _ = baked(only, joined(SQUARE, wall))
    assert not seen[left].any()
    assert seen[right].all()


def test_pixels_beside_another_surface_are_the_last_choice() -> None:
    """A pixel of the better view, red, is 1/60 wide. Up to two pixels from the wall the other one, blue, is taken."""
    wall = Mesh(
        np.array([[0.0, -1, 0.4], [0.0, 1, 0.4], [-2, 1, 0.4], [-2, -1, 0.4]]),
        np.array([[0, 1, 2], [0, 2, 3]]),
    )
    cameras = from_above([[0, 0, 1], [0.6, 0, 1]])
    red, blue = (torch.tensor(c).expand(64, 64, 3) for c in ([1.0, 0, 0], [0.0, 0, 1]))
    at = np.array([[0.01, 0, 0], [0.02, 0, 0], [0.06, 0, 0], [0.1, 0, 0]])
    up = np.broadcast_to([0.0, 0, 1], at.shape)
    caster = Caster(joined(SQUARE, wall))
    colors, _ = texture.from_photos(at, up, caster, scene_of(cameras, [red, blue]), 1, nothing_ignored)
    np.testing.assert_allclose(colors[:, 0], [0, 0, 1, 1], atol=1e-5)
    alone, seen = texture.from_photos(
        at, up, caster, scene_of(from_above([[0, 0, 1]]), [red]), 1, nothing_ignored
    )
    assert seen.all()
    np.testing.assert_allclose(alone[:, 0], 1, atol=1e-5)


def test_masks_and_pixels_to_ignore_leave_photographs_out() -> None:
    """The better photograph, white, counts in the mask's half alone; then the lower half of it is ignored, too."""
    cameras = from_above([[0, 0, 1], [0, 0, 2]])
    photos = [torch.ones(64, 64, 3), torch.full((64, 64, 3), 0.5)]
    half = torch.zeros(64, 64)
    half[:, 32:] = 1
    colors, _, points = baked(scene_of(cameras, photos, [half, torch.ones(64, 64)]), most=1)
    right = points[..., 0] > 0.03
    np.testing.assert_allclose(colors[right], 1, atol=1e-5)
    np.testing.assert_allclose(colors[points[..., 0] < 0], 0.5, atol=1e-5)
    plain = replace(scene_of(cameras, photos, [half, torch.ones(64, 64)]), composite=False)
    np.testing.assert_allclose(baked(plain, most=1)[0], 1, atol=1e-5)
    upper = torch.zeros(64, 64, dtype=torch.bool)
    upper[:32] = True
    colors, _, points = baked(
        scene_of(cameras, photos), most=1, kept=lambda view: upper if view == 0 else None
    )
    np.testing.assert_allclose(colors[points[..., 1] < 0], 0.5, atol=1e-5)
    np.testing.assert_allclose(colors[points[..., 1] > 0.03], 1, atol=1e-5)


def test_surfaces_that_face_away_or_lie_outside_the_frame_are_not_seen() -> None:
    cameras = from_above([[0, 0, 1]])
    scene = scene_of(cameras, [torch.ones(64, 64, 3)])
    at = np.array([[0.0, 0, 0], [0, 0, 0], [0.6, 0, 0], [0, 0, 0]])
    normals = np.array([[0.0, 0, 1], [0, 0, -1], [0, 0, 1], [1, 0, 0.05]])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    _, seen = texture.from_photos(at, normals, Caster(SQUARE), scene, 3, nothing_ignored)
    assert seen.tolist() == [True, False, False, False], "at 60 pixels of focal length the frame ends at 0.53"


def test_the_field_is_asked_along_the_inward_normal() -> None:
    """The model paints -direction / 2 + 1 / 2."""
    normals = np.array([[0.0, 0, 1], [0.6, 0, -0.8], [1, 0, 0]])
    found = texture.from_field(np.zeros((3, 3)), normals, SphereModel(0.5), KNOBS, 2)
    np.testing.assert_allclose(found, normals / 2 + 0.5, atol=1e-6)


def read_back(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions [F, 3, 3] and texture coordinates [F, 3, 2] of each face, and the image's bytes."""
    import trimesh

    loaded = trimesh.load(path, process=False)
    mesh = loaded.to_geometry() if isinstance(loaded, trimesh.Scene) else loaded
    material = mesh.visual.material
    image = getattr(material, "image", None) or material.baseColorTexture
    return mesh.vertices[mesh.faces], mesh.visual.uv[mesh.faces], np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("suffix", ["obj", "glb"])
def test_files_come_back_with_the_same_places_coordinates_and_pixels(tmp_path: Path, suffix: str) -> None:
    """The square is cut along its diagonal: six corners for four vertices."""
    cut = Atlas(
        np.array([[0.1, 0.2], [0.6, 0.2], [0.6, 0.7], [0.2, 0.3], [0.7, 0.8], [0.2, 0.8]]),
        np.array([0, 1, 2, 0, 2, 3]),
        np.array([[0, 1, 2], [3, 4, 5]]),
    )
    mesh = Mesh(SQUARE.vertices * 7 + np.array([100.0, -50, 3]), SQUARE.faces)
    image = np.random.default_rng(0).random((16, 16, 3)).round(2)
    paths = write_textured(texture.Textured(mesh, cut, image), tmp_path / "mesh", suffix)
    assert set(paths) == ({"obj", "mtl", "png"} if suffix == "obj" else {"glb"})
    at, uv, pixels = read_back(paths[suffix])
    order = np.argsort(at[:, 1, 1])  # trimesh may change the order of faces
    np.testing.assert_allclose(at[order], mesh.vertices[mesh.faces], atol=1e-4)
    np.testing.assert_allclose(uv[order], cut.uv[cut.faces], atol=1e-6)
    np.testing.assert_array_equal(pixels, files.to_bytes(image))
    assert len(files.read_mesh(paths[suffix], faces=True).faces) == 2
    if suffix == "obj":
        assert paths["obj"].read_text().count("\nv ") == 4, "vertices on seams are one vertex"
    else:
        assert b"KHR_materials_unlit" in paths["glb"].read_bytes()


def test_a_ball_is_unwrapped_without_overlap_and_coloured_in_world_units() -> None:
    """The model and the photographs show the outward normal; charts may not overlap, and every face has its place."""
    pytest.importorskip("xatlas")
    model, matrix = SphereModel(0.5), similarity()
    scene = sphere_scene(model, matrix, views=12, hw=(48, 48))
    ball = sphere(0.5, 3)
    mesh = Mesh(ball.vertices @ matrix[:3, :3].T + matrix[:3, 3], ball.faces)
    settings = ExportSettings(texture=128, chunk=5000)
    for source, bound in (("field", 0.02), ("photos", 0.05)):
        made = texture.textured(
            mesh, model, scene, KNOBS, replace(settings, texture_from=source), nothing_ignored
        )
        np.testing.assert_array_equal(made.atlas.vertex[made.atlas.faces], mesh.faces)
        assert made.image.shape == (128, 128, 3)
        found = texels(made.atlas, 128)
        normal = texture.unit(found.of(mesh, ball.vertices))
        error = np.abs(made.image[found.row, found.col] - (normal / 2 + 0.5))
        assert error.max() < (0.02 if source == "field" else 0.2)
        assert error.mean() < bound
    area = np.abs(np.linalg.det(np.diff(made.atlas.uv[made.atlas.faces], axis=1))).sum() / 2
    assert 0.4 < len(found.row) / 128**2 < 0.95
    assert area == pytest.approx(len(found.row) / 128**2, rel=0.02), "no texel is of two faces"


def test_a_mirrored_world_has_the_same_texture() -> None:
    pytest.importorskip("xatlas")
    model, matrix = SphereModel(0.5), similarity(mirror=True)
    scene = sphere_scene(model, matrix)
    ball = sphere(0.5, 2)
    mesh = Mesh(ball.vertices @ matrix[:3, :3].T + matrix[:3, 3], ball.faces[:, ::-1])
    made = texture.textured(
        mesh, model, scene, KNOBS, ExportSettings(texture=64, texture_from="field"), nothing_ignored
    )
    found = texels(made.atlas, 64)
    normal = texture.unit(found.of(mesh, ball.vertices))
    assert np.abs(made.image[found.row, found.col] - (normal / 2 + 0.5)).max() < 0.05


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as here:
        here.setattr("importlib.util.find_spec", lambda name: object())
        texture.require(["ply", "glb"])
        with pytest.raises(
            InputError, match=r"export\.texture is written into obj and glb.*is \['ply'\]: add obj"
        ):
            texture.require(["ply"])
        here.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(
            InputError, match=r"export\.texture needs xatlas, which is not installed: pip install"
        ):
            texture.require(["obj"])
