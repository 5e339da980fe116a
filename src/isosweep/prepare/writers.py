"""Write a reconstruction in the layouts of NeuS, NeRF-synthetic (blender), nerfstudio and COLMAP.

All layouts fit into one folder. They share images/ and masks/, which undistort.py has written before. NeuS'
layout stores the normalisation as scale_mat. The other layouts store it where their own readers ignore it: in
the key ``isosweep`` of the json files, and in the file isosweep.json for COLMAP (docs/prepare.md).

All writers have the same signature:

    out: the folder of the scene, with images/ and masks/
    recon: the reconstruction, in world units
    to_world: normalised points to world points [4, 4]; a scale and a shift
    masked: whether masks/ has the masks
    test_every: hold out every n-th view if the layout names splits, 0 holds out none; or the views to hold out
    workers: number of threads
    tick: called once for each view

They return the files and folders that they wrote.
"""

import io
import json
import math
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from isosweep.geometry import from_world, opencv_to_opengl
from isosweep.prepare.image_io import read_grey, read_rgb
from isosweep.prepare.reconstruction import Reconstruction
from isosweep.runtime.files import atomic_write_bytes, atomic_write_text

UNIT = "unit"
"""Name of the world's unit: its length is unknown, because photographs alone have no scale."""
Tick = Callable[[], None]


def mask_name(image: str) -> str:
    """File name in masks/ of the mask of images/<image>, as COLMAP expects it."""
    return f"{image}.png"


def write_neus(
    out: Path,
    recon: Reconstruction,
    to_world: np.ndarray,
    masked: bool,
    test_every: int | frozenset[int],
    workers: int,
    tick: Tick,
) -> list[Path]:
    """Write image/000.png, mask/000.png and cameras_sphere.npz. Pixel centres are integers in this layout."""
    cameras: dict[str, np.ndarray] = {}
    for v in range(len(recon)):
        K = recon.K[v].copy()
        K[:2, 2] -= 0.5
        world = np.eye(4)
        world[:3] = K @ _w2c(recon.c2w[v])[:3]
        cameras[f"world_mat_{v}"], cameras[f"scale_mat_{v}"] = world, to_world
    width = max(3, len(str(len(recon) - 1)))

    def write_view(v: int) -> None:
        target = f"{v:0{width}d}.png"
        read_rgb(out / "images" / recon.names[v]).save(out / "image" / target, compress_level=3)
        if masked:
            read_grey(out / "masks" / mask_name(recon.names[v])).save(out / "mask" / target)

    _empty_folders(out, ("image", "mask") if masked else ("image",))
    _for_each_view(write_view, len(recon), workers, tick)
    buffer = io.BytesIO()
    np.savez(buffer, **cameras)  # pyright: ignore[reportArgumentType] - no key is allow_pickle
    atomic_write_bytes(out / "cameras_sphere.npz", buffer.getvalue())
    return [out / "image", out / "cameras_sphere.npz", *([out / "mask"] if masked else [])]


def write_blender(
    out: Path,
    recon: Reconstruction,
    to_world: np.ndarray,
    masked: bool,
    test_every: int | frozenset[int],
    workers: int,
    tick: Tick,
) -> list[Path]:
    """Write transforms_train.json (and _test), and train/<name>.png with the mask as alpha; poses are normalised.

    The classic readers take ``camera_angle_x`` alone; fl_x, fl_y, cx, cy, w and h are for readers that know them.
    """
    split_of = [_split(v, test_every) for v in range(len(recon))]
    splits = {"train": [v for v, split in enumerate(split_of) if split == "train"]}
    if test_every:
        splits["test"] = [v for v, split in enumerate(split_of) if split == "test"]
    folders = sorted(set(split_of))

    def write_view(v: int) -> None:
        image = read_rgb(out / "images" / recon.names[v])
        if masked:
            image.putalpha(read_grey(out / "masks" / mask_name(recon.names[v])))
        image.save(out / split_of[v] / f"{Path(recon.names[v]).stem}.png", compress_level=3)

    _empty_folders(out, folders)
    _for_each_view(write_view, len(recon), workers, tick)
    poses = opencv_to_opengl(normalised(recon.c2w, to_world))
    written = [out / folder for folder in folders]
    for split in splits:
        frames = [
            {
                "file_path": f"./{split_of[v]}/{Path(recon.names[v]).stem}",
                "transform_matrix": _to_4x4(poses[v]).tolist(),
                **_intrinsics(recon, v),
            }
            for v in splits[split]
        ]
        angle = frames[0]["camera_angle_x"]
        meta = {"camera_angle_x": angle, "frames": frames, **_normalisation(to_world)}
        if len({(frame["w"], frame["h"]) for frame in frames}) == 1:
            meta |= {name: frames[0][name] for name in ("w", "h")}  # instant-nsr-pl takes 800x800 otherwise
        atomic_write_text(out / f"transforms_{split}.json", json.dumps(meta, indent=1))
        written.append(out / f"transforms_{split}.json")
    return written


def write_nerfstudio(
    out: Path,
    recon: Reconstruction,
    to_world: np.ndarray,
    masked: bool,
    test_every: int | frozenset[int],
    workers: int,
    tick: Tick,
) -> list[Path]:
    """Write transforms.json, as ns-process-data and Instant-NGP do, and sparse_pc.ply; poses are normalised."""
    poses = opencv_to_opengl(normalised(recon.c2w, to_world))
    frames, test, train = [], [], []
    for v, name in enumerate(recon.names):
        frame: dict[str, Any] = {
            "file_path": f"images/{name}",
            "transform_matrix": _to_4x4(poses[v]).tolist(),
        }
        if masked:
            frame["mask_path"] = f"masks/{mask_name(name)}"
        frames.append({**frame, **_intrinsics(recon, v)})
        (test if _split(v, test_every) == "test" else train).append(frame["file_path"])
        tick()
    meta: dict[str, Any] = {"camera_model": "OPENCV", **dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0)}
    shared = _intrinsics(recon, 0)
    if len(set(recon.camera.tolist())) == 1:
        meta |= shared
        frames = [{k: v for k, v in frame.items() if k not in shared} for frame in frames]
    # Instant-NGP reconstructs a cube around the sphere; 16 times its side leaves room for a background
    meta |= {"aabb_scale": 16}
    written = [out / "transforms.json"]
    if len(recon.xyz):
        meta["ply_file_path"] = "sparse_pc.ply"
        written.append(out / "sparse_pc.ply")
        write_points(out / "sparse_pc.ply", recon, to_world)
    meta["frames"] = frames
    if test_every:
        meta |= {"train_filenames": train, "val_filenames": test, "test_filenames": test}
    atomic_write_text(
        out / "transforms.json",
        json.dumps({**meta, **_normalisation(to_world)}, indent=1),
    )
    return written


def write_colmap(
    out: Path,
    recon: Reconstruction,
    to_world: np.ndarray,
    masked: bool,
    test_every: int | frozenset[int],
    workers: int,
    tick: Tick,
) -> list[Path]:
    """Write sparse/0/{cameras,images,points3D}.bin with PINHOLE cameras and tracks, and isosweep.json.

    The poses stay in world units. Every version of COLMAP reads these three files.
    Source: colmap/scene/reconstruction_io_binary.cc.
    """
    folder = out / "sparse" / "0"
    folder.mkdir(parents=True, exist_ok=True)
    first = {int(c): int(np.flatnonzero(recon.camera == c)[0]) for c in np.unique(recon.camera)}
    parts = [struct.pack("<Q", len(first))]
    for camera, v in first.items():
        K, (h, w) = recon.K[v], recon.hw[v]
        parts.append(struct.pack("<iiQQ4d", camera, 1, w, h, K[0, 0], K[1, 1], K[0, 2], K[1, 2]))
    atomic_write_bytes(folder / "cameras.bin", b"".join(parts))

    order = np.argsort(recon.seen_view, kind="stable")
    bounds = np.searchsorted(recon.seen_view[order], np.arange(len(recon) + 1))
    tracks: list[list[tuple[int, int]]] = [[] for _ in recon.xyz]
    parts = [struct.pack("<Q", len(recon))]
    for v, name in enumerate(recon.names):
        own = order[bounds[v] : bounds[v + 1]]
        w2c = _w2c(recon.c2w[v])[:3]
        parts.append(struct.pack("<I7dI", v + 1, *quaternion(w2c[:, :3]), *w2c[:, 3], int(recon.camera[v])))
        parts.append(name.encode() + b"\0" + struct.pack("<Q", len(own)))
        for place, o in enumerate(own):
            point = int(recon.seen_point[o])
            parts.append(struct.pack("<2dQ", *recon.seen_xy[o], point + 1))
            tracks[point].append((v + 1, place))
        tick()
    atomic_write_bytes(folder / "images.bin", b"".join(parts))

    parts = [struct.pack("<Q", len(recon.xyz))]
    for p, track in enumerate(tracks):
        rgb = recon.rgb[p].tolist()
        parts.append(struct.pack("<Q3d3BdQ", p + 1, *recon.xyz[p], *rgb, recon.error[p], len(track)))
        parts += [struct.pack("<II", image, place) for image, place in track]
    atomic_write_bytes(folder / "points3D.bin", b"".join(parts))
    extension = json.dumps(_isosweep_field(to_world), indent=1)
    atomic_write_text(out / "isosweep.json", extension)
    return [folder / "cameras.bin", folder / "images.bin", folder / "points3D.bin", out / "isosweep.json"]


def normalised(c2w: np.ndarray, to_world: np.ndarray) -> np.ndarray:
    """Camera-to-world poses [V, 3, 4] in normalised units: centre_n = (centre - shift) / scale, same rotation.

    Args:
        c2w: poses in world units [V, 3, 4].
        to_world: a scale and a shift [4, 4].
    """
    scale, centre = float(to_world[0, 0]), to_world[:3, 3]
    return np.concatenate([c2w[:, :, :3], (c2w[:, :, 3:] - centre[:, None]) / scale], 2)


def quaternion(R: np.ndarray) -> tuple[float, float, float, float]:
    """The unit quaternion (w, x, y, z), w >= 0, of a rotation [3, 3].

    The products 4 q_i q_j are sums of entries of R. A row of them, divided by 2 sqrt(4 q_k^2), is the quaternion;
    the row of the largest component is taken, so that the divisor is never small.
    """
    t = np.trace(R)
    wx, wy, wz = R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]
    xy, xz, yz = R[1, 0] + R[0, 1], R[0, 2] + R[2, 0], R[2, 1] + R[1, 2]
    products = np.array(
        [
            [1 + t, wx, wy, wz],
            [wx, 1 + 2 * R[0, 0] - t, xy, xz],
            [wy, xy, 1 + 2 * R[1, 1] - t, yz],
            [wz, xz, yz, 1 + 2 * R[2, 2] - t],
        ]
    )
    k = int(np.argmax(np.diag(products)))
    root = math.sqrt(products[k, k])
    q = products[k] / (2 * root)
    q[k] = root / 2
    w, x, y, z = (q if q[0] >= 0 else -q).tolist()
    return w, x, y, z


def write_points(path: Path, recon: Reconstruction, to_world: np.ndarray) -> None:
    """Write the points as a binary ply with colours, in normalised units like the poses of the layout."""
    vertex = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])
    data = np.empty(len(recon.xyz), vertex)
    data["xyz"], data["rgb"] = from_world(recon.xyz, to_world), recon.rgb
    fields = [f"property float {a}" for a in "xyz"] + [
        f"property uchar {c}" for c in ("red", "green", "blue")
    ]
    head = [
        "ply",
        "format binary_little_endian 1.0",
        f"element vertex {len(data)}",
        *fields,
        "end_header",
        "",
    ]
    atomic_write_bytes(path, "\n".join(head).encode() + data.tobytes())


def _isosweep_field(to_world: np.ndarray) -> dict[str, Any]:
    """The normalisation, as our own loaders read it."""
    return {"to_world": to_world.tolist(), "world_unit": UNIT, "mask_meaning": "object"}


WRITERS: dict[str, Callable[..., list[Path]]] = {
    "neus": write_neus,
    "blender": write_blender,
    "nerfstudio": write_nerfstudio,
    "colmap": write_colmap,
}
"""Name of a layout, as ``--layout`` takes it -> its writer."""


def _split(view: int, test_every: int | frozenset[int]) -> str:
    held = view in test_every if isinstance(test_every, frozenset) else test_every and view % test_every == 0
    return "test" if held else "train"


def _normalisation(to_world: np.ndarray) -> dict[str, Any]:
    """The normalisation in a transforms.json, for nerfstudio and for our own loaders.

    nerfstudio maps world points to normalised points by x -> applied_scale * (applied_transform x).
    """
    shift = np.column_stack([np.eye(3), -to_world[:3, 3]])
    return {
        "applied_transform": shift.tolist(),
        "applied_scale": 1 / float(to_world[0, 0]),
        "isosweep": _isosweep_field(to_world),
    }


def _intrinsics(recon: Reconstruction, v: int) -> dict[str, float]:
    K, (h, w) = recon.K[v], recon.hw[v].tolist()
    return {
        "camera_angle_x": 2 * math.atan(0.5 * w / K[0, 0]),
        "fl_x": float(K[0, 0]), "fl_y": float(K[1, 1]),
        "cx": float(K[0, 2]), "cy": float(K[1, 2]), "w": w, "h": h,
    }  # fmt: skip


def _w2c(c2w: np.ndarray) -> np.ndarray:
    """The inverse of a pose, [3, 4] -> [4, 4]."""
    rotation = c2w[:, :3].T
    return _to_4x4(np.column_stack([rotation, -rotation @ c2w[:, 3]]))


def _to_4x4(matrix: np.ndarray) -> np.ndarray:
    return np.vstack([matrix, [0, 0, 0, 1]])


def _empty_folders(out: Path, names: tuple[str, ...] | list[str]) -> None:
    """Create the folders and remove the png files in them, which an earlier preparation may have left."""
    for name in names:
        (out / name).mkdir(parents=True, exist_ok=True)
        for old in (out / name).glob("*.png"):
            old.unlink()


def _for_each_view(work: Callable[[int], None], n: int, workers: int, tick: Tick) -> None:
    """Call ``work`` for each of ``n`` views in several threads; an error in one of them is raised."""
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(work, range(n)):
            tick()
