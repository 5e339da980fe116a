"""Kernels against other libraries, and every preset on cases made by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import morphology

from isosweep.evaluation import dtu_culling
from isosweep.evaluation.surface_metrics import Observers
from isosweep.types import Cameras, Mesh

NAMES = ("neus", "monosdf", "2dgs", "neuralwarp")


def full(half_widths: np.ndarray) -> np.ndarray:
    """The structuring element as an array."""
    reach = len(half_widths) // 2
    return np.abs(np.arange(-reach, reach + 1)) <= half_widths[:, None]


@pytest.mark.parametrize("reach", [0, 1, 2, 5, 12, 24])
def test_disks_are_scikit_images(reach: int) -> None:
    np.testing.assert_array_equal(
        full(dtu_culling.kernel("disk", reach)), morphology.disk(reach).astype(bool)
    )
    np.testing.assert_array_equal(full(dtu_culling.kernel("square", reach)), np.ones((2 * reach + 1,) * 2))


@pytest.mark.parametrize("reach", [1, 2, 3, 5, 12, 50])
def test_ellipses_are_opencvs(reach: int) -> None:
    """By the loop of OpenCV's getStructuringElement, and by itself where it is installed."""
    size = 2 * reach + 1
    element = np.zeros((size, size), dtype=bool)
    for i in range(size):
        down = i - reach
        across = round(reach * ((reach * reach - down * down) * (1 / (reach * reach))) ** 0.5)
        element[i, reach - across : reach + across + 1] = True
    np.testing.assert_array_equal(full(dtu_culling.kernel("ellipse", reach)), element)
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    theirs = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    np.testing.assert_array_equal(element, theirs.astype(bool))


@pytest.mark.parametrize("shape", ["ellipse", "disk", "square"])
@pytest.mark.parametrize("hw", [(40, 60), (7, 90), (90, 7), (1, 1)])
def test_grown_masks_are_scipys(shape: str, hw: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for reach, share in ((0, 0.1), (3, 0.01), (12, 0.002), (30, 0.001)):
        half_widths = dtu_culling.kernel(shape, reach)
        mask = rng.random(hw) < share
        mask[-1, -1] = True
        expected = ndimage.binary_dilation(mask, full(half_widths))
        np.testing.assert_array_equal(dtu_culling.dilated(mask, half_widths), expected)
        assert not dtu_culling.dilated(np.zeros(hw, dtype=bool), half_widths).any()
        assert dtu_culling.dilated(np.ones(hw, dtype=bool), half_widths).all()


WIDTH, HEIGHT = 800, 600
REACH = {"neus": 25, "monosdf": 6, "2dgs": 12, "neuralwarp": 12}
"""px at half of the full width; 25 / 2 is rounded to even."""


def above(*centres: tuple[float, float]) -> Cameras:
    """Cameras 100 above z = 0 that look down: a pixel is 1 wide there, x runs right and y up."""
    turn = np.diag([1.0, -1.0, -1.0])
    poses = [np.column_stack([turn, [x, y, 100.0]]) for x, y in centres]
    K = torch.tensor(
        [[100.0, 0, (WIDTH - 1) / 2], [0, 100, (HEIGHT - 1) / 2], [0, 0, 1]], dtype=torch.float64
    )
    n = len(centres)
    return Cameras(
        torch.tensor(np.stack(poses)), K.expand(n, 3, 3), torch.tensor([[HEIGHT, WIDTH]]).expand(n, 2), 0.0
    )


def square_mask(half: int = 50) -> np.ndarray:
    """On within ``half`` of the middle: |x| and |y| below it."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[HEIGHT // 2 - half : HEIGHT // 2 + half, WIDTH // 2 - half : WIDTH // 2 + half] = True
    return mask


def seen(*centres: tuple[float, float], mask: np.ndarray | None = None) -> Observers:
    mask = square_mask() if mask is None else mask
    return Observers(above(*centres), range(len(centres)), [mask] * len(centres))


def at(*places: tuple[float, float, float]) -> Mesh:
    """A small triangle at each place, its other corners 0.1 towards the middle."""
    corners = []
    for place in places:
        middle = np.array(place)
        inward = -0.1 * np.sign(middle) * [1, 1, 0]
        corners += [middle, middle + inward * [1, 0, 0] + [0, 0.01, 0], middle + inward * [0, 1, 0]]
    return Mesh(np.array(corners), np.arange(3 * len(places)).reshape(-1, 3))


def kept(mesh: Mesh, name: str, observers: Observers | None) -> list[float]:
    """x of the first corners of the faces that are left."""
    left = dtu_culling.cull(mesh, name, observers)
    return sorted(round(float(v), 3) for v in left.vertices[left.faces[:, 0]][:, 0])


@pytest.mark.parametrize("name", NAMES)
def test_each_preset_reaches_as_far_as_its_kernel(name: str) -> None:
    """Sideways from the mask's edge, and for diagonals as its shape has it; scaled with the image."""
    rule = dtu_culling.preset(name)
    assert rule is not None
    dtu_culling.PRESETS["one part less"] = replace(rule, largest=None)
    try:
        observers = seen((0.0, 0.0), (0.0, 0.0))
        reach = REACH[name]
        edge = 49.5  # the centre of the mask's last pixel
        near, far = edge + reach - 0.3, edge + reach + 0.8
        assert kept(at((near, 0.0, 0.0), (far, 0.0, 0.0), (0.0, 0.0, 0.0)), "one part less", observers) == [
            0.0,
            round(near, 3),
        ]
        corner = edge + reach - 1
        diagonal = kept(at((corner, corner, 0.0)), "one part less", observers)
        assert bool(diagonal) == (name == "neuralwarp")
        # a mask of full size reaches twice as many pixels
        big = replace(observers, masks=[np.kron(m, np.ones((2, 2), dtype=bool)) for m in observers.masks])
        K = above((0, 0), (0, 0)).K.clone()
        K[:, :2, :2] *= 2
        K[:, 0, 2], K[:, 1, 2] = WIDTH - 0.5, HEIGHT - 0.5
        big = replace(big, cameras=replace(big.cameras, K=K, hw=2 * big.cameras.hw))
        assert kept(at((near - 0.5, 0.0, 0.0), (far + 0.5, 0.0, 0.0)), "one part less", big) == [
            round(near - 0.5, 3)
        ]
    finally:
        del dtu_culling.PRESETS["one part less"]


@pytest.mark.parametrize("name", NAMES)
def test_one_view_that_misses_is_enough_and_a_frame_that_misses_is_not(name: str) -> None:
    place = at((40.0, 0.0, 0.0))
    beside = seen((0.0, 0.0), (0.0, 0.0), (120.0, 0.0))  # in the third the point is 80 px beside the middle
    assert kept(place, name, seen((0.0, 0.0), (0.0, 0.0))) == [40.0]
    assert kept(place, name, beside) == []
    out = seen((0.0, 0.0), (0.0, 0.0), (500.0, 0.0))  # in the third it is out of the frame
    assert kept(place, name, out) == [40.0]
    once = seen((0.0, 0.0), (500.0, 0.0))
    assert kept(place, name, once) == ([] if name == "neuralwarp" else [40.0])
    never = seen((500.0, 0.0), (500.0, 0.0))
    assert kept(place, name, never) == ([] if name == "neuralwarp" else [40.0])
    behind = at((40.0, 0.0, 150.0))
    assert kept(behind, name, seen((0.0, 0.0), (0.0, 0.0))) == ([] if name == "neuralwarp" else [40.0])


def test_faces_on_the_rim_and_the_points_they_leave() -> None:
    """A triangle with one corner of three on the mask: neuralwarp keeps it whole, the others keep its corner."""
    observers = seen((0.0, 0.0), (0.0, 0.0))
    rim = Mesh(np.array([[0.0, 0, 0], [200, 0, 0], [200, 50, 0]]), np.array([[0, 1, 2]]))
    assert len(dtu_culling.cull(rim, "neuralwarp", observers).faces) == 1
    for name in ("monosdf", "2dgs"):
        left = dtu_culling.cull(rim, name, observers)
        assert len(left.faces) == 0
        np.testing.assert_array_equal(left.vertices, rim.vertices[:1])
    left = dtu_culling.cull(rim, "neus", observers)
    assert (len(left.faces), len(left.vertices)) == (0, 0)


def strip(x: float, cells: int, size: float) -> Mesh:
    """Triangles in a row, joined along their edges."""
    top = np.column_stack([x + size * np.arange(cells + 1), np.full(cells + 1, size), np.zeros(cells + 1)])
    i = np.arange(cells)
    return Mesh(
        np.concatenate([top * [1, 0, 1], top]),
        np.concatenate(
            [np.stack([i, i + 1, i + cells + 1], 1), np.stack([i + 1, i + cells + 2, i + cells + 1], 1)]
        ),
    )


def both(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + start for m, start in zip(meshes, starts[:-1], strict=True)]),
    )


def test_the_largest_part_by_faces_for_neus_and_by_area_for_neuralwarp() -> None:
    observers = seen((0.0, 0.0), (0.0, 0.0))
    many, large = strip(-40, 30, 0.5), strip(0, 5, 6.0)
    mesh = both(many, large)
    np.testing.assert_array_equal(dtu_culling.cull(mesh, "neus", observers).vertices, many.vertices)
    np.testing.assert_array_equal(dtu_culling.cull(mesh, "neuralwarp", observers).vertices, large.vertices)
    for name in ("monosdf", "2dgs"):
        assert len(dtu_culling.cull(mesh, name, observers).faces) == len(mesh.faces)


def test_parts_are_trimeshs() -> None:
    """Shared edges join, shared corners do not, vertices at one place are one, and three faces an edge are none."""
    import trimesh

    row = strip(0, 4, 1.0)
    hinge = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1.0]])
    cases = {
        "strip": (row, 1),
        "corner": (Mesh(hinge * 1.0, np.array([[0, 1, 2], [0, 3, 4]])), 2),
        "three on an edge": (Mesh(hinge, np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4]])), 3),
        "soup": (
            Mesh(
                strip(0, 4, 1.0).vertices[strip(0, 4, 1.0).faces].reshape(-1, 3), np.arange(24).reshape(-1, 3)
            ),
            1,
        ),
        "one face": (Mesh(np.eye(3), np.array([[0, 1, 2]])), 1),
        "two strips": (both(strip(0, 3, 1.0), strip(50, 2, 1.0)), 2),
    }
    for name, (mesh, count) in cases.items():
        label = dtu_culling.parts(mesh)
        assert label.shape == (len(mesh.faces),), name
        assert len(np.unique(label)) == count, name
        theirs = trimesh.Trimesh(mesh.vertices, mesh.faces).split(only_watertight=False, repair=False)
        assert len(theirs) == count, name


def test_nothing_is_lost_or_moved_under_none_and_nothing_is_left_of_nothing() -> None:
    mesh = at((0.0, 0.0, 0.0), (300.0, 0.0, 0.0))
    assert dtu_culling.cull(mesh, "none", None) is mesh
    observers = seen((0.0, 0.0), (0.0, 0.0))
    empty = Mesh(mesh.vertices, mesh.faces[:0])
    for name in NAMES:
        left = dtu_culling.cull(mesh, name, observers)
        np.testing.assert_array_equal(left.vertices[left.faces[0]], mesh.vertices[mesh.faces[0]])
        assert len(dtu_culling.cull(empty, name, observers).faces) == 0
        with pytest.raises(ValueError, match=f"preset '{name}' needs the object's masks"):
            dtu_culling.cull(mesh, name, None)
        with pytest.raises(ValueError, match="needs the object's masks"):
            dtu_culling.cull(mesh, name, replace(observers, masks=[None, None]))


def test_a_view_without_a_mask_does_not_cull() -> None:
    both = seen((0.0, 0.0), (0.0, 0.0))
    one = replace(both, masks=[both.masks[0], None])
    mesh = at((10.0, 10.0, 0.0), (200.0, 10.0, 0.0))
    assert kept(mesh, "2dgs", one) == kept(mesh, "2dgs", seen((0.0, 0.0))) == [10.0]
    with pytest.raises(ValueError, match="needs the object's masks, and there are none"):
        dtu_culling.cull(mesh, "2dgs", replace(both, masks=[None, None]))
