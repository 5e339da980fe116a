"""Which benchmarks can be downloaded: their scenes, terms and layouts.

The error for a missing scene reads this table, so this file imports little.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from isosweep.download import addresses
from isosweep.download.addresses import Archive
from isosweep.errors import InputError


@dataclass(frozen=True)
class Take:
    """What a scene takes out of an archive: a folder with all that is in it, or one file."""

    archive: Archive
    folder: str | None = None
    """The name of the folder (or a path, train/cube) that becomes the scene's folder, at any depth of the archive."""
    file: str | None = None
    """Or the name of one file, at any depth."""
    to: str = ""
    """The folder below the scene's in which it is put."""
    skip: tuple[str, ...] = ()
    """Patterns of paths below the folder that are left out."""
    optional: bool = False
    """Whether the scene is whole without it, where the archive does not have it."""


@dataclass(frozen=True)
class Benchmark:
    """A data set that can be downloaded."""

    name: str
    title: str
    page: str
    """The authors' page: what to read, and what to cite."""
    licence: str
    terms: str
    scenes: Mapping[str, tuple[Take, ...]]
    loader: str | None
    """The name of ``dataset=`` that reads it; None for data that belong to no run's scene."""
    command: str
    """What to run then; ``{scene}``, ``{folder}`` and ``{images}`` stand in it (`told`)."""
    together: str | None = None
    """The folder that all scenes share; None gives each scene <loader>/<scene>."""

    def place(self, scene: str) -> str:
        """The scene's folder below the data root: one in which ``find_scene`` looks."""
        return self.together or f"{self.loader}/{scene}"

    def told(self, scene: str, folder: object = "", images: str | None = None) -> str:
        """The command for a scene; ``folder`` is where all scenes together lie."""
        return self.command.format(scene=scene, folder=folder, images=images or "images_8")

    def archives(self) -> list[Archive]:
        """The archives of all scenes, each once."""
        return list(
            {take.archive.url: take.archive for takes in self.scenes.values() for take in takes}.values()
        )


DTU_SCANS = (24, 37, 40, 55, 63, 65, 69, 83, 97, 105, 106, 110, 114, 118, 122)
"""The fifteen scans of IDR, NeuS and the papers after them."""
_RESEARCH = "No licence was found beside the data: treat them as given for research, and cite the paper."
_DTU_TERMS = (
    "The authors call the data freely available and ask for a citation: Jensen et al., Large Scale Multi-view"
    " Stereopsis Evaluation, CVPR 2014; Aanaes et al., IJCV 2016."
)
_TNT_TERMS = (
    "The authors give the data for non-commercial scientific research, and forbid to pass them on; read"
    " https://www.tanksandtemples.org/license/ before you accept. Cite Knapitsch et al., ACM TOG 36(4), 2017."
)

_ROWS = (
    Benchmark(
        "nerf_synthetic",
        "NeRF-synthetic, 800x800, with depth and normals of the test views",
        "https://www.matthewtancik.com/nerf",
        "each scene its own, see README.txt in the archive (from CC0 to non-commercial)",
        "The scenes are renders of Blend Swap models, and each model's licence holds for its renders; README.txt of the"
        " archive names them, and is put beside the scene. Cite Mildenhall et al., NeRF, ECCV 2020.",
        {
            scene: (
                Take(addresses.NERF_SYNTHETIC, folder=scene),
                Take(addresses.NERF_SYNTHETIC, file="README.txt", optional=True),
            )
            for scene in ("chair", "drums", "ficus", "hotdog", "lego", "materials", "mic", "ship")
        },
        "blender",
        "python main.py model=nerf dataset=blender scene={scene}",
    ),
    Benchmark(
        "llff",
        "LLFF, eight forward-facing captures, with images_4 and images_8",
        "https://bmild.github.io/llff/",
        "none found",
        _RESEARCH + " Mildenhall et al., Local Light Field Fusion, SIGGRAPH 2019; NeRF, ECCV 2020.",
        {
            scene: (Take(addresses.NERF_LLFF, folder=scene),)
            for scene in ("fern", "flower", "fortress", "horns", "leaves", "orchids", "room", "trex")
        },
        "llff",
        "python main.py model=nerf dataset=llff scene={scene} dataset.images={images}",
    ),
    Benchmark(
        "mipnerf360",
        "mip-NeRF 360, nine unbounded scenes with COLMAP models, with images_2, images_4 and images_8",
        "https://jonbarron.info/mipnerf360/",
        "none found",
        _RESEARCH + " Barron et al., Mip-NeRF 360, CVPR 2022.",
        {
            scene: (Take(addresses.MIPNERF_360, folder=scene),)
            for scene in ("bicycle", "bonsai", "counter", "garden", "kitchen", "room", "stump")
        }
        | {scene: (Take(addresses.MIPNERF_360_EXTRA, folder=scene),) for scene in ("flowers", "treehill")},
        "colmap",
        "python main.py model=nerf_bg dataset=colmap scene={scene} dataset.images={images}",
    ),
    Benchmark(
        "dtu",
        "DTU as NeuS prepared it: 1600x1200 with masks and cameras_sphere.npz",
        "https://roboimagedata.compute.dtu.dk/?page_id=36",
        "none found for the prepared files; the images are DTU's",
        _DTU_TERMS
        + " The masks and cameras are those of IDR and NeuS: cite Wang et al., NeuS, NeurIPS 2021.",
        {f"scan{n}": (Take(addresses.NEUS_DTU, folder=f"dtu_scan{n}"),) for n in DTU_SCANS},
        "dtu",
        "python main.py experiment=neus-dtu scene={scene}",
    ),
    Benchmark(
        "dtu-official",
        "DTU's laser scans and observation masks, for eval=dtu_official (all fifteen scans unless you name some)",
        "https://roboimagedata.compute.dtu.dk/?page_id=36",
        "none stated; 'freely available', citation asked for",
        _DTU_TERMS,
        {
            f"scan{n}": (
                Take(addresses.DTU_POINTS, file=f"stl{n:03d}_total.ply", to="Points/stl"),
                Take(addresses.DTU_SAMPLE, file=f"ObsMask{n}_10.mat", to="ObsMask"),
                Take(addresses.DTU_SAMPLE, file=f"Plane{n}.mat", to="ObsMask"),
            )
            for n in DTU_SCANS
        },
        None,
        "python main.py dataset=dtu scene={scene} dataset.official={folder} eval=dtu_official",
        together="dtu_official",
    ),
    Benchmark(
        "tanks_and_temples",
        "Tanks and Temples, training scenes: images and COLMAP models (GOF's), scan and alignment (the authors')",
        "https://www.tanksandtemples.org/download/",
        "https://www.tanksandtemples.org/license/: non-commercial scientific research",
        _TNT_TERMS + " The COLMAP models are those of Yu et al., Gaussian Opacity Fields, 2024.",
        {
            scene.lower(): (
                Take(addresses.TNT_GOF, folder=scene),
                Take(addresses.TNT_TRAINING, folder=scene, skip=("*_COLMAP.ply", "*_mapping_reference.txt")),
            )
            for scene in ("Barn", "Caterpillar", "Courthouse", "Ignatius", "Meetingroom", "Truck")
        },
        "tanks_and_temples",
        "python main.py model=neus_bg dataset=tanks_and_temples scene={scene} eval=tanks_and_temples",
    ),
    Benchmark(
        "nsvf_synthetic",
        "Synthetic-NSVF, eight scenes of 800x800 in NSVF's layout",
        "https://lingjie0206.github.io/papers/NSVF/",
        "none found beside the data",
        _RESEARCH + " Liu et al., Neural Sparse Voxel Fields, NeurIPS 2020.",
        {
            scene.lower(): (Take(addresses.NSVF_SYNTHETIC, folder=scene),)
            for scene in (
                "Bike",
                "Lifestyle",
                "Palace",
                "Robot",
                "Spaceship",
                "Steamtrain",
                "Toad",
                "Wineholder",
            )
        },
        "nsvf",
        "python main.py model=nerf dataset=nsvf scene={scene}",
    ),
    Benchmark(
        "nsvf_tanks_and_temples",
        "Tanks and Temples as NSVF prepared it: object-centric, masked, in NSVF's layout",
        "https://lingjie0206.github.io/papers/NSVF/",
        "https://www.tanksandtemples.org/license/: non-commercial scientific research",
        _TNT_TERMS + " Masks and boxes: Liu et al., Neural Sparse Voxel Fields, NeurIPS 2020.",
        {
            scene.lower(): (Take(addresses.NSVF_TNT, folder=scene),)
            for scene in ("Barn", "Caterpillar", "Family", "Ignatius", "Truck")
        },
        "nsvf",
        "python main.py model=nerf dataset=nsvf scene={scene}",
    ),
    Benchmark(
        "nsvf_blendedmvs",
        "BlendedMVS as NSVF prepared it: four objects in NSVF's layout",
        "https://github.com/YoYo000/BlendedMVS",
        "CC BY 4.0 (BlendedMVS)",
        "BlendedMVS is given under CC BY 4.0: cite Yao et al., BlendedMVS, CVPR 2020, and Liu et al., NSVF, NeurIPS"
        " 2020.",
        {
            scene.lower(): (Take(addresses.NSVF_BMVS, folder=scene),)
            for scene in ("Character", "Fountain", "Jade", "Statues")
        },
        "nsvf",
        "python main.py model=nerf dataset=nsvf scene={scene}",
    ),
    Benchmark(
        "deepvoxels",
        "DeepVoxels, four synthetic objects of 512x512",
        "https://vsitzmann.github.io/deepvoxels/",
        "none found beside the data",
        _RESEARCH + " Sitzmann et al., DeepVoxels, CVPR 2019.",
        {
            scene: tuple(
                Take(addresses.DEEPVOXELS, folder=f"{split}/{scene}", to=split)
                for split in ("train", "validation", "test")
            )
            for scene in ("armchair", "cube", "greek", "vase")
        },
        "deepvoxels",
        "python main.py model=nerf dataset=deepvoxels scene={scene}",
    ),
)
BENCHMARKS: Mapping[str, Benchmark] = {one.name: one for one in _ROWS}


def benchmark(name: str) -> Benchmark:
    """The benchmark of this name; '-' and '_' are the same.

    Raises:
        InputError: there is none; the message has the nearest name.
    """
    by_key = {key.replace("-", "_"): one for key, one in BENCHMARKS.items()}
    found = by_key.get(name.lower().replace("-", "_"))
    if found is not None:
        return found
    near = difflib.get_close_matches(name, BENCHMARKS, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    raise InputError(f"no data set '{name}' to download{hint} There are: {', '.join(BENCHMARKS)}")


def scenes_of(one: Benchmark, wanted: Iterable[str]) -> list[str]:
    """The names of the wanted scenes, each once; 'all' is every scene. Case does not matter.

    Raises:
        InputError: there is no such scene, or none is named where all would be a large download.
    """
    names = list(dict.fromkeys(w.lower() for w in wanted))
    if names == ["all"] or (not names and one.together is not None):
        return list(one.scenes)
    if not names:
        raise InputError(
            f"which scenes of {one.name}? Name some of {', '.join(one.scenes)}, or say all:"
            f" python scripts/data.py get {one.name} {next(iter(one.scenes))}"
        )
    for name in names:
        if name not in one.scenes:
            near = difflib.get_close_matches(name, one.scenes, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else "."
            raise InputError(f"{one.name} has no scene '{name}'{hint} It has: {', '.join(one.scenes)}")
    return names


def command_for(loader: str, scene: str) -> str | None:
    """The command that downloads a scene for ``dataset=<loader> scene=<scene>``; None if no benchmark has it."""
    wanted = scene.lower().removeprefix(f"{loader}_")
    for one in BENCHMARKS.values():
        if one.loader == loader and wanted in one.scenes:
            return f"python scripts/data.py get {one.name} {wanted}"
    return None
