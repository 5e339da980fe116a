"""The archives that can be downloaded: address, size, checksum, and where the address was found.

No address here was tried when it was written down: the machine had no network. ``Archive.tried`` says when one was.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """A zip on somebody's server."""

    name: str
    """The file's name."""
    url: str
    found: str
    """Where this address stands: a page or a file of a public repository."""
    size: int | None = None
    """Bytes, where somebody has published them."""
    sha256: str | None = None
    """Of the whole archive, where somebody has published it. ``found`` or a comment says who."""
    tried: str | None = None
    """The day on which a download from this address worked; None for never."""


def drive(identity: str) -> str:
    """The address of a large public file on Google Drive, past its page about viruses."""
    return f"https://drive.usercontent.google.com/download?id={identity}&export=download&confirm=t"


NERF_SYNTHETIC = Archive(
    "nerf_synthetic.zip",
    drive("18JxhpWD-4ZmuFKLzKlAw-w5PpzZxXOcG"),
    "the folder https://drive.google.com/drive/folders/128yBriW1IG_3NJ5Rp7APSTZsJqdJdfc1 of the NeRF authors, linked by"
    " google-research/jaxnerf (README.md); file id in nerfstudio (nerfstudio/scripts/downloads/download_data.py) and"
    " nerfbaselines (nerfbaselines/datasets/blender.py)",
    sha256="f01fd1b4ab045b0d453917346f26f898657bb5bec4834b95fdad1f361826e45e",  # as nerfbaselines has it
)
NERF_LLFF = Archive(
    "nerf_llff_data.zip",
    drive("16VnMcF1KJYxN9QId6TClMsZRahHNMW5g"),
    "the same folder of the NeRF authors; file id in nerfbaselines (nerfbaselines/datasets/llff.py) and"
    " googleinterns/IBRNet (data/download_eval_data.sh)",
    sha256="5794b432feaf4f25bcd603addc6ad0270cec588fed6a364b7952001f07466635",  # as nerfbaselines has it
)
MIPNERF_360 = Archive(
    "360_v2.zip",
    "https://storage.googleapis.com/gresearch/refraw360/360_v2.zip",
    "https://jonbarron.info/mipnerf360/, the authors' page; also nerfstudio and nerfbaselines"
    " (nerfbaselines/datasets/mipnerf360.py)",
    size=12_535_427_936,
)
MIPNERF_360_EXTRA = Archive(
    "360_extra_scenes.zip",
    "https://storage.googleapis.com/gresearch/refraw360/360_extra_scenes.zip",
    MIPNERF_360.found,
    size=4_488_140_217,
)
NEUS_DTU = Archive(
    "data_DTU.zip",
    drive("1zgD-uTLjO8hXcjLqelU444rwS9s9-Syg"),
    "file id in NVIDIA's neuralangelo (projects/neuralangelo/scripts, DTU download script); not seen to lie in the"
    " folder that the README of Totoro97/NeuS links, https://drive.google.com/drive/folders/1Nlzejs4mfPuJYORLbDEUDWlc9IZIbU0C",
)
DTU_POINTS = Archive(
    "Points.zip",
    "http://roboimagedata2.compute.dtu.dk/data/MVS/Points.zip",
    "https://roboimagedata.compute.dtu.dk/?page_id=36, the authors' page",
    size=6_966_262_016,
    # measured by somebody after a download, not published by the authors
    sha256="85862c8844978e8958040982b0071442d2a47fe67391aa1aca9a743153c9edc1",
)
DTU_SAMPLE = Archive(
    "SampleSet.zip",
    "http://roboimagedata2.compute.dtu.dk/data/MVS/SampleSet.zip",
    DTU_POINTS.found,
    size=6_905_656_531,
    sha256="f719a5259db9257c4716ce014964444c1bb82fbb893e0d100b5fa01b82c029c7",
)
TNT_GOF = Archive(
    "TNT_GOF.zip",
    "https://huggingface.co/datasets/ZehaoYu/gaussian-opacity-fields/resolve/main/TNT_GOF.zip",
    "README of hbb1/2d-gaussian-splatting ('preprocessed TnT_data')",
    size=8_004_621_817,
)
TNT_TRAINING = Archive(
    "trainingdata.zip",
    drive("1jAr3IDvhVmmYeDWi0D_JfgiHcl70rzVE"),
    "https://www.tanksandtemples.org/download/ (training data); file id in neuralangelo's DATA_PROCESSING.md",
)
NSVF_SYNTHETIC = Archive(
    "Synthetic_NSVF.zip",
    "https://dl.fbaipublicfiles.com/nsvf/dataset/Synthetic_NSVF.zip",
    "the NSVF authors' server, as linked by creiser/kilonerf and apchenstu/TensoRF",
)
NSVF_TNT = Archive(
    "TanksAndTemple.zip",
    "https://dl.fbaipublicfiles.com/nsvf/dataset/TanksAndTemple.zip",
    NSVF_SYNTHETIC.found,
)
NSVF_BMVS = Archive(
    "BlendedMVS.zip",
    "https://dl.fbaipublicfiles.com/nsvf/dataset/BlendedMVS.zip",
    NSVF_SYNTHETIC.found,
)
DEEPVOXELS = Archive(
    "synthetic_scenes.zip",
    drive("1lUvJWB6oFtT8EQ_NzBrXnmi25BufxRfl"),
    "googleinterns/IBRNet (data/download_eval_data.sh); the DeepVoxels authors' folder is"
    " https://drive.google.com/drive/folders/1ScsRlnzy9Bd_n-xw83SP-0t548v63mPH",
)
