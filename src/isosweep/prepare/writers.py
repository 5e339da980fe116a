"""A solved scene in the layouts of NeuS, NeRF-synthetic (blender), nerfstudio and COLMAP.

All of them fit into one folder. Files that two layouts share (images/, masks/) are written before, by
undistort.py. The normalisation is scale_mat in NeuS' layout; the others get a field that their own readers
ignore: ``isosweep`` in the json, isosweep.json in the folder for COLMAP (docs/prepare.md).
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
from PIL import Image

from isosweep.geometry import from_world, opencv_to_opengl
from isosweep.prepare.reconstruction import Solved
from isosweep.record.files import atomic_write_bytes, atomic_write_text

UNIT = "unit"
Tick = Callable[[], None]


def mask_name(image: str) -> str:
    """The mask of images/<image> in masks/, as COLMAP calls it."""
    return f"{image}.png"


def write_neus(
    out: Path, solved: Solved, to_world: np.ndarray, masked: bool, test_every: int, workers: int, tick: Tick
) -> list[Path]:
    """image/000.png, mask/000.png, cameras_sphere.npz; pixel centres are integers there."""
    cameras: dict[str, np.ndarray] = {}
    for v in range(len(solved)):
        K = solved.K[v].copy()
        K[:2, 2] -= 0.5
        world = np.eye(4)
        world[:3] = K @ _w2c(solved.c2w[v])[:3]
        cameras[f"world_mat_{v}"], cameras[f"scale_mat_{v}"] = world, to_world
    width = max(3, len(str(len(solved) - 1)))

    def one(v: int) -> None:
        target = f"{v:0{width}d}.png"
        _rgb(out / "images" / solved.names[v]).save(out / "image" / target, compress_level=3)
        if masked:
            _grey(out / "masks" / mask_name(solved.names[v])).save(out / "mask" / target)

    _folders(out, ("image", "mask") if masked else ("image",))
    _each(one, len(solved), workers, tick)
    buffer = io.BytesIO()
    np.savez(buffer, **cameras)  # pyright: ignore[reportArgumentType] - no key is allow_pickle
    atomic_write_bytes(out / "cameras_sphere.npz", buffer.getvalue())
    return [out / "image", out / "cameras_sphere.npz", *([out / "mask"] if masked else [])]


def write_blender(
    out: Path, solved: Solved, to_world: np.ndarray, masked: bool, test_every: int, workers: int, tick: Tick
) -> list[Path]:
    """transforms_train.json (and _test), train/<name>.png with the mask as alpha; normalised poses.

    ``camera_angle_x`` for readers that know nothing else, fl_x, fl_y, cx, cy, w and h for those that do.
    """
    held = [bool(test_every) and v % test_every == 0 for v in range(len(solved))]
    splits = {"train": [v for v in range(len(solved)) if not held[v]]}
    if test_every:
        splits["test"] = [v for v in range(len(solved)) if held[v]]
    of_view = dict.fromkeys(splits["train"], "train") | dict.fromkeys(splits.get("test", []), "test")

    def one(v: int) -> None:
        image = _rgb(out / "images" / solved.names[v])
        if masked:
            image.putalpha(_grey(out / "masks" / mask_name(solved.names[v])))
        image.save(out / of_view[v] / f"{Path(solved.names[v]).stem}.png", compress_level=3)

    _folders(out, sorted(set(of_view.values())))
    _each(one, len(solved), workers, tick)
    poses = opencv_to_opengl(normalised(solved.c2w, to_world))
    written = [out / folder for folder in sorted(set(of_view.values()))]
    for split in splits:
        frames = [
            {
                "file_path": f"./{of_view[v]}/{Path(solved.names[v]).stem}",
                "transform_matrix": _square(poses[v]).tolist(),
                **_pinhole(solved, v),
            }
            for v in splits[split]
        ]
        angle = frames[0]["camera_angle_x"]
        meta = {"camera_angle_x": angle, "frames": frames, **_applied(to_world), **_extension(to_world)}
        atomic_write_text(out / f"transforms_{split}.json", json.dumps(meta, indent=1))
        written.append(out / f"transforms_{split}.json")
    return written


def write_nerfstudio(
    out: Path, solved: Solved, to_world: np.ndarray, masked: bool, test_every: int, workers: int, tick: Tick
) -> list[Path]:
    """transforms.json as ns-process-data and Instant-NGP write it, and sparse_pc.ply; normalised poses."""
    poses = opencv_to_opengl(normalised(solved.c2w, to_world))
    frames, test, train = [], [], []
    for v, name in enumerate(solved.names):
        frame: dict[str, Any] = {
            "file_path": f"images/{name}",
            "transform_matrix": _square(poses[v]).tolist(),
        }
        if masked:
            frame["mask_path"] = f"masks/{mask_name(name)}"
        frames.append({**frame, **_pinhole(solved, v)})
        (test if test_every and v % test_every == 0 else train).append(frame["file_path"])
        tick()
    meta: dict[str, Any] = {"camera_model": "OPENCV", **dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0)}
    shared = _pinhole(solved, 0)
    if len(set(solved.camera.tolist())) == 1:
        meta |= shared
        frames = [{k: v for k, v in frame.items() if k not in shared} for frame in frames]
    # Instant-NGP's own cube is the middle of the sphere's surroundings; 16 times it holds a background
    meta |= {"aabb_scale": 16, "ply_file_path": "sparse_pc.ply", "frames": frames}
    if test_every:
        meta |= {"train_filenames": train, "val_filenames": test, "test_filenames": test}
    write_points(out / "sparse_pc.ply", solved, to_world)
    atomic_write_text(
        out / "transforms.json", json.dumps({**meta, **_applied(to_world), **_extension(to_world)}, indent=1)
    )
    return [out / "transforms.json", out / "sparse_pc.ply"]


def write_colmap(
    out: Path, solved: Solved, to_world: np.ndarray, masked: bool, test_every: int, workers: int, tick: Tick
) -> list[Path]:
    """sparse/0/{cameras,images,points3D}.bin (PINHOLE cameras, tracks kept) and isosweep.json.

    Source: colmap/scene/reconstruction_io_binary.cc; the three files that every version reads.
    """
    folder = out / "sparse" / "0"
    folder.mkdir(parents=True, exist_ok=True)
    first = {int(c): int(np.flatnonzero(solved.camera == c)[0]) for c in np.unique(solved.camera)}
    parts = [struct.pack("<Q", len(first))]
    for camera, v in first.items():
        K, (h, w) = solved.K[v], solved.hw[v]
        parts.append(struct.pack("<iiQQ4d", camera, 1, w, h, K[0, 0], K[1, 1], K[0, 2], K[1, 2]))
    atomic_write_bytes(folder / "cameras.bin", b"".join(parts))

    order = np.argsort(solved.seen_view, kind="stable")
    bounds = np.searchsorted(solved.seen_view[order], np.arange(len(solved) + 1))
    tracks: list[list[tuple[int, int]]] = [[] for _ in solved.xyz]
    parts = [struct.pack("<Q", len(solved))]
    for v, name in enumerate(solved.names):
        own = order[bounds[v] : bounds[v + 1]]
        w2c = _w2c(solved.c2w[v])[:3]
        parts.append(struct.pack("<I7dI", v + 1, *quaternion(w2c[:, :3]), *w2c[:, 3], int(solved.camera[v])))
        parts.append(name.encode() + b"\0" + struct.pack("<Q", len(own)))
        for place, o in enumerate(own):
            point = int(solved.seen_point[o])
            parts.append(struct.pack("<2dQ", *solved.seen_xy[o], point + 1))
            tracks[point].append((v + 1, place))
        tick()
    atomic_write_bytes(folder / "images.bin", b"".join(parts))

    parts = [struct.pack("<Q", len(solved.xyz))]
    for p, track in enumerate(tracks):
        rgb = solved.rgb[p].tolist()
        parts.append(struct.pack("<Q3d3BdQ", p + 1, *solved.xyz[p], *rgb, solved.error[p], len(track)))
        parts += [struct.pack("<II", image, place) for image, place in track]
    atomic_write_bytes(folder / "points3D.bin", b"".join(parts))
    extension = json.dumps(_extension(to_world)["isosweep"], indent=1)
    atomic_write_text(out / "isosweep.json", extension)
    return [folder / "cameras.bin", folder / "images.bin", folder / "points3D.bin", out / "isosweep.json"]


def normalised(c2w: np.ndarray, to_world: np.ndarray) -> np.ndarray:
    """Poses in normalised units; ``to_world`` is scale and shift."""
    scale, centre = float(to_world[0, 0]), to_world[:3, 3]
    return np.concatenate([c2w[:, :, :3], (c2w[:, :, 3:] - centre[:, None]) / scale], 2)


def quaternion(R: np.ndarray) -> tuple[float, float, float, float]:
    """(w, x, y, z) of a rotation, w >= 0: by its largest component, so that nothing small divides."""
    square = np.array([1 + np.trace(R), *(1 + 2 * R[k, k] - np.trace(R) for k in range(3))])
    k = int(np.argmax(square))
    q = np.empty(4)
    q[k] = math.sqrt(square[k]) / 2
    off = {0: R[2, 1] - R[1, 2], 1: R[0, 2] - R[2, 0], 2: R[1, 0] - R[0, 1]}
    both = {(0, 1): R[1, 0] + R[0, 1], (0, 2): R[0, 2] + R[2, 0], (1, 2): R[2, 1] + R[1, 2]}
    for i in range(4):
        if i == k:
            continue
        numerator = off[max(i, k) - 1] if 0 in (i, k) else both[min(i, k) - 1, max(i, k) - 1]
        q[i] = numerator / (4 * q[k])
    w, x, y, z = (q if q[0] >= 0 else -q).tolist()
    return w, x, y, z


def write_points(path: Path, solved: Solved, to_world: np.ndarray) -> None:
    """The points as a binary ply with colours, normalised units as the poses beside it."""
    vertex = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])
    data = np.empty(len(solved.xyz), vertex)
    data["xyz"], data["rgb"] = from_world(solved.xyz, to_world), solved.rgb
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


def _extension(to_world: np.ndarray) -> dict[str, Any]:
    return {"isosweep": {"to_world": to_world.tolist(), "world_unit": UNIT}}


WRITERS: dict[str, Callable[..., list[Path]]] = {
    "neus": write_neus,
    "blender": write_blender,
    "nerfstudio": write_nerfstudio,
    "colmap": write_colmap,
}
"""All of one signature: the files and folders written; ``tick`` is called once a view."""


def _applied(to_world: np.ndarray) -> dict[str, Any]:
    """nerfstudio's fields for how its frame came from the world's: x -> applied_scale (applied_transform x)."""
    shift = np.column_stack([np.eye(3), -to_world[:3, 3]])
    return {"applied_transform": shift.tolist(), "applied_scale": 1 / float(to_world[0, 0])}


def _pinhole(solved: Solved, v: int) -> dict[str, float]:
    K, (h, w) = solved.K[v], solved.hw[v].tolist()
    return {
        "camera_angle_x": 2 * math.atan(0.5 * w / K[0, 0]),
        "fl_x": float(K[0, 0]), "fl_y": float(K[1, 1]),
        "cx": float(K[0, 2]), "cy": float(K[1, 2]), "w": w, "h": h,
    }  # fmt: skip


def _w2c(c2w: np.ndarray) -> np.ndarray:
    rotation = c2w[:, :3].T
    return _square(np.column_stack([rotation, -rotation @ c2w[:, 3]]))


def _square(matrix: np.ndarray) -> np.ndarray:
    return np.vstack([matrix, [0, 0, 0, 1]])


def _rgb(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _grey(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("L")


def _folders(out: Path, names: tuple[str, ...] | list[str]) -> None:
    """Empty folders: images of an earlier preparation must not stay among the new ones."""
    for name in names:
        (out / name).mkdir(parents=True, exist_ok=True)
        for old in (out / name).iterdir():
            if old.suffix == ".png":
                old.unlink()


def _each(work: Callable[[int], None], n: int, workers: int, tick: Tick) -> None:
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(work, range(n)):
            tick()
