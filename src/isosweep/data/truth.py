"""The true surface of a scene: the option ``dataset.truth`` of every data set."""

from pathlib import Path

from isosweep.data.loading import ViewOptions

ENDINGS = (".ply", ".obj", ".stl", ".glb", ".gltf", ".off")


def truth_file(views: ViewOptions, scene: Path) -> Path | None:
    """The file or folder that ``dataset.truth`` names, as it is or below the scene's folder; None without the option.

    Raises:
        FileNotFoundError: there is no such file, or the folder holds no mesh.
    """
    if views.truth is None:
        return None
    # the json or model that lists the images may lie up to two folders below the scene's
    for path in (Path(views.truth), *(folder / views.truth for folder in (scene, *list(scene.parents)[:2]))):
        if path.is_file():
            return path
        if path.is_dir():
            if not parts(path):
                raise FileNotFoundError(
                    f"the ground truth {path} (dataset.truth) is a folder without meshes ({', '.join(ENDINGS)}): "
                    "give a file, or the folder with the parts of the surface"
                )
            return path
    raise FileNotFoundError(
        f"no ground truth at {views.truth} (dataset.truth), also not below {scene}: give a ply, or null"
    )


def parts(folder: Path) -> list[Path]:
    """The meshes in a folder, at any depth, sorted."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS)
