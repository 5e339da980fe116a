"""Images of several sizes together: what is joined, what is drawn, and what is scored."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

import isosweep.config.schema  # noqa: F401 - registers the schema of the plain nodes
from isosweep.app.build import build_scene
from isosweep.config.settings import EvalSettings
from isosweep.data.batches import draw
from isosweep.data.image_store import ImageStore
from isosweep.data.loading import sizes_of, split_settings
from isosweep.data.shuffled import ShuffledPixels
from isosweep.data.sizes import joined
from isosweep.errors import InputError
from isosweep.evaluation import evaluate
from isosweep.geometry import pixel_rays
from isosweep.types import Scene, Sightings
from tests.support.analytic import KNOBS, SphereModel, sphere_scene
from tests.support.scenes import tiny_blender

CONF = Path(__file__).resolve().parents[2] / "conf"
CPU = torch.device("cpu")


def load(folder: Path, downscale: str) -> Scene:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["dataset=blender", "model=nerf", "scene=mug", f"dataset.path={folder}"]
        cfg = compose("config", [*overrides, f"dataset.downscale={downscale}"])
    return build_scene(cfg.dataset)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_blender(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def scene(folder: Path) -> Scene:
    return load(folder, "[1,2,4]")


def test_a_list_is_the_same_scene_at_each_size(folder: Path, scene: Scene) -> None:
    single = [load(folder, str(size)) for size in (1, 2, 4)]
    n = len(single[0].cameras)
    assert scene.sizes == (1,) * n + (2,) * n + (4,) * n
    assert single[0].sizes is None
    assert scene.names == (
        *single[0].names,
        *(f"{x}@2" for x in single[0].names),
        *(f"{x}@4" for x in single[0].names),
    )
    for k, one in enumerate(single):
        rows = slice(k * n, (k + 1) * n)
        assert torch.equal(scene.cameras.K[rows], one.cameras.K)
        assert torch.equal(scene.cameras.c2w[rows], one.cameras.c2w)
        assert torch.equal(scene.cameras.hw[rows], one.cameras.hw)
        for view in range(n):
            found, mask = scene.images.image(k * n + view)
            expected, true = one.images.image(view)
            assert torch.equal(found, expected)
            assert torch.equal(mask, true)  # pyright: ignore[reportArgumentType]
        for split, views in one.splits.items():
            mine = scene.splits[split][k * len(views) : (k + 1) * len(views)]
            assert mine == tuple(k * n + view for view in views)
    assert {len(v) for v in scene.splits.values()} == {3 * len(v) for v in single[0].splits.values()}
    assert scene.images.is_alpha
    assert scene.composite


def test_small_images_are_the_premultiplied_means_of_large_ones(scene: Scene) -> None:
    n = len(scene.cameras) // 3
    rgb, mask = scene.images.image(0)
    small, alpha = scene.images.image(2 * n)
    assert mask is not None
    assert alpha is not None
    over = (rgb * mask[..., None]).unflatten(0, (8, 4)).unflatten(2, (8, 4)).mean((1, 3))
    torch.testing.assert_close(small * alpha[..., None], over, rtol=0, atol=1.5 / 255)
    torch.testing.assert_close(
        alpha, mask.unflatten(0, (8, 4)).unflatten(2, (8, 4)).mean((1, 3)), rtol=0, atol=1 / 255
    )


def test_pixels_of_small_images_have_wider_cones(scene: Scene) -> None:
    n = len(scene.cameras) // 3
    view = torch.tensor([0, n, 2 * n])
    # the ray through the corner of the middle pixels, which all sizes share
    middle = torch.tensor([15.5, 7.5, 3.5])
    rays = pixel_rays(scene.cameras, view, middle, middle, torch.zeros(3), cones=True)
    assert rays.radius is not None
    torch.testing.assert_close(rays.radius / rays.radius[0], torch.tensor([1.0, 2.0, 4.0]))


def test_pixels_of_one_list_have_their_area_and_those_of_views_have_none(scene: Scene) -> None:
    g = torch.Generator().manual_seed(0)
    order = ShuffledPixels(scene.cameras.hw, scene.splits["train"], 0)
    batch = draw(scene, 4096, "dataset", 0.0, g, CPU, shuffled=order, drawn=0)
    counts = {size: int((batch.ray_extras["area"] == size**2).sum()) for size in (1, 2, 4)}
    assert sum(counts.values()) == 4096
    for size, count in counts.items():  # 16 : 4 : 1 pixels, so that all sizes weigh the same
        assert count * size**2 == pytest.approx(4096 * 16 / 21, rel=0.2)
    assert draw(scene, 64, "dataset", 0.0, g, CPU).ray_extras == {}
    assert draw(scene, 64, "dataset", 0.0, g, CPU, shuffled=order, one_image=True).ray_extras == {}
    assert draw(scene, 64, "dataset", 0.5, g, CPU, shuffled=order).ray_extras == {}
    plain = replace(scene, sizes=None)
    assert draw(plain, 64, "dataset", 0.0, g, CPU, shuffled=order).ray_extras == {}


def test_sightings_near_distances_and_other_stores() -> None:
    one, two = (
        replace(
            sphere_scene(SphereModel(), views=3),
            images=ImageStore(
                torch.zeros(3 * h * 2, 3, dtype=torch.uint8), torch.tensor([[h, 2]] * 3), False
            ),
            sightings=Sightings(torch.tensor([5, 6, 7 + h]), torch.tensor([0, 2, 2, 3])),
        )
        for h in (4, 2)
    )
    both = joined([one, two], [1, 2])
    assert both.sightings is not None
    assert both.sightings.point.tolist() == [5, 6, 11, 5, 6, 9]
    assert both.sightings.offsets.tolist() == [0, 2, 2, 3, 5, 5, 6]
    assert both.cameras.near is None
    assert joined([one, replace(two, sightings=None)], [1, 2]).sightings is None
    near = [
        replace(s, cameras=replace(s.cameras, near=torch.full((3,), x))) for s, x in ((one, 1.0), (two, 2.0))
    ]
    known = joined(near, [1, 2]).cameras.near
    assert known is not None
    assert known.tolist() == [1, 1, 1, 2, 2, 2]
    with pytest.raises(InputError, match="those of scene ball are in a StoredImages: give one number"):
        joined([sphere_scene(SphereModel())], [1])


def test_what_is_a_list_of_sizes() -> None:
    assert sizes_of(2.0) is None
    assert sizes_of([1, 2.0, 4]) == (1, 2, 4)
    for wrong in ([], [1, 1], [0, 1], [1.5], [True, 2], ["a"]):
        with pytest.raises(InputError, match="a list of different ones for images of several sizes together"):
            sizes_of(wrong)
    assert split_settings({"scene": "s", "downscale": [4, 8]})[0].downscale == 4


def test_each_size_has_scores_of_its_own_and_the_protocol_says_so() -> None:
    model = SphereModel(error=0.1)
    scene = sphere_scene(SphereModel())
    quick = EvalSettings(lpips=None, geometry=False, quantise=False)
    plain = evaluate.evaluate(model, scene, KNOBS, quick)
    scores = evaluate.evaluate(model, replace(scene, sizes=(1, 1, 1, 1, 1, 4)), KNOBS, quick)
    assert scores.protocol == plain.protocol + "-sizes"
    assert scores.settings["sizes"] == [1, 4]
    for name in ("psnr", "ssim", "psnr_masked", "ssim_masked"):
        views = plain.per_view[f"nvs/{name}"]
        assert scores.values[f"nvs/{name}"] == plain.values[f"nvs/{name}"]
        assert scores.per_view[f"nvs/{name}@1"] == {"view_4": views["view_4"]}
        assert scores.per_view[f"nvs/{name}@4"] == {"view_5": views["view_5"]}
    assert not any("@" in name for name in plain.values)
    assert "sizes" not in plain.settings
