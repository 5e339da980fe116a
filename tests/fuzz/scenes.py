"""Good inputs to spoil, as small as their readers take them: four views of 8 x 6 pixels."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from isosweep.data.lens import Lens
from isosweep.geometry import opencv_to_opengl
from tests.support.captures import write_model
from tests.support.pose_folders import around, write_matrix

SIZE = (8, 6)
FOCAL = 7.0
N = 4
POSES = around(N)
POINTS = np.random.default_rng(0).uniform(-1, 1, (6, 3))
LENS = Lens("PINHOLE", *SIZE, (FOCAL, FOCAL, 4.0, 3.0))


def picture(i: int = 0, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(i)
    return Image.fromarray(rng.integers(0, 256, (SIZE[1], SIZE[0], 4), dtype=np.uint8)).convert(mode)


def images(folder: Path, names: list[str], mode: str = "RGB") -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        picture(i, mode).save(folder / name)
    return names


def numbered(n: int = N, ending: str = "png") -> list[str]:
    return [f"{i:03d}.{ending}" for i in range(n)]


def opengl(pose: np.ndarray) -> list[list[float]]:
    return [*opencv_to_opengl(pose[:3]).round(6).tolist(), [0, 0, 0, 1]]


def transforms(folder: Path) -> None:
    """nerfstudio's dialect: a lens, splits, masks and points."""
    names = images(folder / "images", numbered())
    images(folder / "masks", numbered(), "L")
    frames = [
        {"file_path": f"images/{n}", "mask_path": f"masks/{n}", "transform_matrix": opengl(p)}
        for n, p in zip(names, POSES, strict=True)
    ]
    shared = {
        "camera_model": "OPENCV",
        "fl_x": FOCAL,
        "fl_y": FOCAL,
        "cx": 4.0,
        "cy": 3.0,
        "w": 8,
        "h": 6,
        "k1": 0.01,
    }
    more = {"ply_file_path": "points.ply", "applied_transform": np.eye(4)[:3].tolist(), "applied_scale": 1.0}
    split = {"train_filenames": [f"images/{n}" for n in names[:3]], "test_filenames": [f"images/{names[3]}"]}
    (folder / "transforms.json").write_text(
        json.dumps({**shared, "frames": frames, **more, **split}, indent=1)
    )
    (folder / "points.ply").write_bytes(ply(POINTS))


def instant(folder: Path) -> None:
    """instant-ngp's dialect: angles, a box, and a lens for each frame."""
    names = images(folder / "images", numbered())
    frames = [
        {
            "file_path": f"./images/{n}",
            "sharpness": 20.0,
            "transform_matrix": opengl(p),
            "fl_x": FOCAL,
            "k1": 0.0,
        }
        for n, p in zip(names, POSES, strict=True)
    ]
    meta = {
        "camera_angle_x": 1.0,
        "camera_angle_y": 0.8,
        "w": 8.0,
        "h": 6.0,
        "aabb_scale": 4,
        "scale": 0.33,
        "offset": [0.5] * 3,
    }
    (folder / "transforms.json").write_text(json.dumps({**meta, "frames": frames}, indent=1))


def blender(folder: Path) -> None:
    for split, views in {"train": (0, 1, 2), "val": (3,), "test": (3,)}.items():
        images(folder / split, [f"r_{i}.png" for i in views], "RGBA")
        frames = [
            {"file_path": f"./{split}/r_{i}", "rotation": 0.1, "transform_matrix": opengl(POSES[i])}
            for i in views
        ]
        (folder / f"transforms_{split}.json").write_text(
            json.dumps({"camera_angle_x": 0.8, "frames": frames}, indent=1)
        )


def linemod(folder: Path) -> None:
    matrix = LENS.K.tolist()
    for split, views in {"train": (0, 1, 2), "val": (3,), "test": (3,)}.items():
        images(folder / split, numbered(len(views)), "RGBA")
        frames = [
            {
                "file_path": f"./data/ape/{split}/{at:03d}.png",
                "transform_matrix": opengl(POSES[i]),
                "intrinsic_matrix": matrix,
            }
            for at, i in enumerate(views)
        ]
        (folder / f"transforms_{split}.json").write_text(
            json.dumps({"frames": frames, "near": 1, "far": 4}, indent=1)
        )


def colmap(folder: Path, binary: bool = True, model: str = "sparse/0", pictures: str = "images") -> None:
    views = [
        (name, 1, pose[:3]) for name, pose in zip(images(folder / pictures, numbered()), POSES, strict=True)
    ]
    write_model(folder / model, {1: LENS}, views, POINTS, binary)
    (folder / "isosweep.json").write_text(json.dumps({"to_world": np.eye(4).tolist(), "world_unit": "m"}))


def colmap_text(folder: Path) -> None:
    colmap(folder, binary=False)


def scannetpp(folder: Path) -> None:
    dslr = folder / "dslr"
    colmap(dslr, False, "colmap", "resized_images")
    names = numbered()
    split = {"train": names[:3], "test": names[3:], "has_masks": False}
    (dslr / "train_test_lists.json").write_text(json.dumps(split))


def llff(folder: Path) -> None:
    images(folder / "images", numbered(ending="jpg"))
    rows = []
    for pose in POSES:
        right, down, ahead, place = pose[:3].T
        rows.append([*np.stack([down, right, -ahead, place, [6, 8, FOCAL]], 1).ravel(), 2.0, 6.0])
    np.save(folder / "poses_bounds.npy", np.array(rows))


def neus(folder: Path) -> None:
    images(folder / "image", numbered())
    images(folder / "mask", numbered(), "L")
    arrays = {}
    K = np.eye(4)
    K[:3, :3] = LENS.K
    for i, pose in enumerate(POSES):
        arrays |= {f"world_mat_{i}": K @ np.linalg.inv(pose), f"scale_mat_{i}": np.diag([2.0, 2, 2, 1])}
    np.savez_compressed(folder / "cameras_sphere.npz", allow_pickle=False, **arrays)


def nsvf(folder: Path) -> None:
    names = [f"{s}_{i:03d}.png" for i, s in enumerate((0, 0, 1, 2))]
    images(folder / "rgb", names)
    K = np.eye(4)
    K[:3, :3] = LENS.K
    for name, pose in zip(names, POSES, strict=True):
        write_matrix(folder / "pose" / f"{Path(name).stem}.txt", pose)
    write_matrix(folder / "intrinsics.txt", K)
    (folder / "bbox.txt").write_text("-1 -1 -1 1 1 1 0.1\n")


def deepvoxels(folder: Path) -> None:
    for split, views in {"train": (0, 1), "validation": (2,), "test": (3,)}.items():
        images(folder / split / "rgb", [f"{i:06d}.png" for i in views])
        for i in views:
            write_matrix(folder / split / "pose" / f"{i:06d}.txt", POSES[i])
        (folder / split / "intrinsics.txt").write_text("7.0 4.0 3.0 0.\n0. 0. 0. 1.\n0.\n1.\n6 8\n")


def scannet(folder: Path) -> None:
    images(folder / "color", [f"{i}.jpg" for i in range(N)])
    K = np.eye(4)
    K[:3, :3] = LENS.K
    (folder / "depth").mkdir()
    for i, pose in enumerate(POSES):
        write_matrix(folder / "pose" / f"{i}.txt", pose)
        Image.fromarray(np.full((6, 8), 2000, np.uint16)).save(folder / "depth" / f"{i}.png")
    write_matrix(folder / "intrinsic" / "intrinsic_color.txt", K)
    write_matrix(folder / "intrinsic" / "intrinsic_depth.txt", K)


def tanks_log(folder: Path) -> None:
    images(folder / "images", [f"{i + 1:06d}.jpg" for i in range(N)])
    lines: list[str] = []
    for i, pose in enumerate(POSES):
        lines += [f"{i} {i} 0", *(" ".join(map(str, row)) for row in pose.round(5))]
    (folder / "Barn_COLMAP_SfM.log").write_text("\n".join(lines) + "\n")


def pictures(folder: Path) -> None:
    """One picture of each kind."""
    folder.mkdir(exist_ok=True)
    picture().save(folder / "rgb.png")
    picture(1, "RGBA").save(folder / "alpha.png")
    picture(2, "P").save(folder / "palette.png")
    Image.fromarray(np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000).save(folder / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(3).save(folder / "turned.jpg", exif=exif)
    picture(4, "CMYK").save(folder / "cmyk.jpg")
    picture(5).save(folder / "photo.webp")
    picture(6).save(folder / "plain.tif")
    picture(7).save(folder / "lzw.tif", compression="tiff_lzw")
    picture(8).save(folder / "plain.bmp")
    picture(9).save(folder / "turned.png", exif=exif)


def ply(points: np.ndarray, faces: np.ndarray | None = None, text: bool = False) -> bytes:
    head = [
        "ply",
        f"format {'ascii' if text else 'binary_little_endian'} 1.0",
        f"element vertex {len(points)}",
    ]
    head += [f"property float {c}" for c in "xyz"]
    if faces is not None:
        head += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    start = "\n".join([*head, "end_header", ""]).encode()
    index = np.zeros((0, 3), np.int64) if faces is None else faces
    if text:
        rows = [" ".join(f"{v:.3f}" for v in p) for p in points] + [f"3 {a} {b} {c}" for a, b, c in index]
        return start + "\n".join([*rows, ""]).encode()
    body = points.astype("<f4").tobytes()
    return start + body + b"".join(b"\x03" + face.astype("<i4").tobytes() for face in index)


def meshes(folder: Path) -> None:
    """A tetrahedron in each format."""
    import trimesh

    folder.mkdir(exist_ok=True)
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    (folder / "binary.ply").write_bytes(ply(points, faces))
    (folder / "text.ply").write_bytes(ply(points, faces, text=True))
    made = trimesh.Trimesh(points, faces, process=False)
    for ending in ("obj", "stl", "glb", "off"):
        data: Any = made.export(file_type=ending)
        (folder / f"mesh.{ending}").write_bytes(data.encode() if isinstance(data, str) else data)
    (folder / "text.stl").write_text(str(made.export(file_type="stl_ascii")))


def arrays(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    out = io.BytesIO()
    np.savez_compressed(out, a=np.arange(6.0), b=np.ones((2, 3), np.int32))
    (folder / "two.npz").write_bytes(out.getvalue())
    np.save(folder / "one.npy", np.arange(12.0).reshape(3, 4))
