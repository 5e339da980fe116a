"""The settings of the plain config groups, as dataclasses. This module imports no torch; every room may import it.

A field's comment gives its unit and what it changes. ``config/schema.py`` makes Hydra's schema of these classes, so a
value of the wrong type or an unknown key fails before anything loads. Which values a field allows stands beside it
(``one_of``, ``each_of``, ``bounded`` and its like); ``config/values.py`` checks them. A number that may follow a
schedule has the type ``Any`` and is read by ``config/schedules.py``.
"""

from dataclasses import dataclass, field
from typing import Any

from isosweep.bounds import LARGEST_SEED, Bound
from isosweep.record import CHECKPOINTS

SPLITS = ("train", "val", "test")
LPIPS_NETS = ("vgg", "alex")
MESH_FORMATS = ("ply", "obj", "stl", "glb")
MESH_METHODS = ("field", "tsdf")
TRIANGULATORS = ("skimage", "mcubes", "open3d")
TEXTURES = ("photos", "field")
CLEANING = ("near", "sphere", "masks", "unseen")
DEPTH_COLORS = ("viridis", "turbo", "jet", "magma", "grey")
VIDEO_PATHS = ("auto", "turntable", "spiral", "cameras")
VIDEO_FORMATS = ("mp4", "gif", "png")
OPTIMIZERS = (
    "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "asgd", "nadam", "radam", "rmsprop", "rprop", "sgd",
)  # fmt: skip
"""The optimisers of torch.optim but LBFGS, which evaluates the loss several times a step, SparseAdam, which takes
sparse gradients alone, and Muon, which takes matrices alone."""
DEBUG_PARTS = ("dataset", "model", "eval")


def one_of(default: Any, *choices: str | None) -> Any:
    """A field whose value is one of ``choices``, or ``default``."""
    return field(default=default, metadata={"choices": choices})


def one_of_or(default: Any, *choices: str, form: str, words: str) -> Any:
    """A field whose value is one of ``choices``, or fits the regular expression ``form``, which ``words`` describe."""
    return field(default=default, metadata={"choices": choices, "form": form, "words": words})


def each_of(default: list[str], *choices: str) -> Any:
    """A field whose value is a list of members of ``choices``."""
    return field(default_factory=lambda: list(default), metadata={"choices": choices})


def bounded(default: Any, **ends: float) -> Any:
    """A field whose value is within the `Bound` of these ends, or None where its type allows that.

    Of a list, each item is.
    """
    metadata = {"bound": Bound(**ends)}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def at_least(default: float | None, least: float) -> Any:
    """A field whose value is ``least`` or more."""
    return bounded(default, least=least)


def positive(default: float | None) -> Any:
    """A field whose value is above 0."""
    return bounded(default, above=0)


def share(default: float) -> Any:
    """A field whose value is from 0 to 1, with both."""
    return bounded(default, least=0, most=1)


def fraction(default: float) -> Any:
    """A field whose value is at least 0 and below 1."""
    return bounded(default, least=0, below=1)


@dataclass
class TrainSettings:
    """How a model is trained."""

    max_steps: int = at_least(2000, 1)
    rays: int = at_least(512, 1)  # of the first batch
    min_rays: int = at_least(16, 1)  # bounds of the dynamic ray count; max_rays wins
    max_rays: int = at_least(8192, 1)
    target_samples: int = at_least(8192, 0)  # samples a batch aims at; 0 keeps the ray count fixed
    # parts that a batch is computed in, one after another, to save memory; the result is the same
    micro_batches: int = at_least(1, 1)
    cuda_graphs: bool = False  # record the steps on a card and start each at once; not measured yet
    ray_ema: float = fraction(0.9)  # weight of the old ray count when it is updated
    # rays of a batch are of all training views, or of a random one
    batch_from: str = one_of("all", "all", "one_image")
    replacement: bool = True  # draw pixels independently; false: each pixel once before any comes again
    background: str = one_of("random", "random", "white", "black", "dataset")  # behind composited pixels
    # autocast of colour and density MLPs, on CUDA only
    precision: str = one_of("auto", "auto", "float32", "float16", "bfloat16")
    precrop: float = share(0.0)  # side of the central crop, fraction of the image; 0 is off
    precrop_until: float = share(0.0)  # fraction of max_steps
    grad_clip: float | None = positive(None)  # largest gradient norm
    log_every: int = at_least(100, 1)  # steps
    val_every: int = at_least(500, 0)  # steps; 0 is off
    val_views: int = at_least(2, 1)  # views rendered at each validation
    # steps between pictures of a validation view; below 1 a fraction of max_steps (0.2: five a run); null: none
    pictures_every: float | None = at_least(0.2, 0.001)
    # cells along the mesh that is scored at validation steps; null: none
    val_mesh: int | None = bounded(128, least=8, most=4096)
    val_samples: int = at_least(100_000, 1)  # points on each surface for its scores
    # most of the training time that pictures may take, and as much again for those meshes
    watch_share: float = at_least(0.03, 0)
    checkpoint_every: int = at_least(500, 0)  # steps; 0 writes only the last
    # steps; each such checkpoint stays (step-00002000.pt); None keeps none
    keep_every: int | None = at_least(None, 1)
    checkpoint_minutes: float = positive(5.0)  # wall-clock upper bound between checkpoints
    init_from: str | None = None  # run folder or checkpoint whose weights to start from
    # first 16 digits of that file's SHA-256, filled in: they stand for it in the run key. Given, they are compared
    init_hash: str | None = None
    threads: int = bounded(0, least=0, most=4096)  # CPU threads; 0 takes the cores this process may use


@dataclass
class OptimSettings:
    """The optimiser and its learning rates."""

    name: str = one_of("adam", *OPTIMIZERS)
    args: Any = None  # {argument of that optimiser: value} beside the ones below, e.g. {momentum: 0.9}
    lr_tables: float = bounded(2e-2, above=0, most=1000)
    lr_networks: float = bounded(1e-2, above=0, most=1000)
    lr_sharpness: float = bounded(8e-3, above=0, most=1000)
    # every parameter of a background model but its tables
    lr_background: float = bounded(1e-2, above=0, most=1000)
    # {pattern of parameter names: rate in place of the ones above}, e.g. {coarse.*: 1e-3}; the last that fits.
    # Any and null, because a command line can add no key to a typed or an empty mapping
    rates: Any = None
    # where the optimiser has betas
    betas: list[float] = bounded([0.9, 0.99], least=0, below=1)  # noqa: RUF009 - it makes a field
    eps: float = at_least(1e-15, 0)  # where it has an eps
    weight_decay: float = at_least(0.0, 0)  # of networks, never of the sharpness
    weight_decay_tables: float = at_least(0.0, 0)  # of tables: it clears space that no photograph shows
    # factor on every rate: a number or a schedule
    schedule: Any = at_least(1.0, 0)  # noqa: RUF009 - it makes a field
    # weight of the old in the moving average of the parameters, which is validated and scored; 0 scores the last step
    average: float = fraction(0.0)
    warmup: float = share(0.02)  # fraction of max_steps
    warmup_start: float = share(0.01)  # factor at step 0
    # of its rise; sine: a quarter of a wave, steep at first
    warmup_shape: str = one_of("linear", "linear", "sine")


@dataclass
class EvalSettings:
    """What is scored, and how."""

    protocol: str = "standard"
    split: str = one_of("test", *SPLITS)
    n_views: int | None = at_least(None, 1)  # None scores every view of the split; else evenly spaced
    # which one is scored: a name, a step that train.keep_every has kept, or a file of the run
    checkpoint: str = one_of_or("last", *CHECKPOINTS, form=r"\d+|.+\.pt", words="a kept step, a file.pt")
    quantise: bool = True  # round predictions to 8 bit before scoring
    lpips: str | None = one_of("vgg", *LPIPS_NETS, None)  # backbone; None leaves LPIPS out
    masked: bool = True  # also score the masked pixels where masks exist
    geometry: bool = True  # Chamfer and silhouettes where there is something to compare with
    samples: int = at_least(1_000_000, 1)  # points on each surface
    fscore_at: float = positive(0.01)  # fraction of the truth's bounding-box diagonal
    visibility_views: int = at_least(0, 0)  # cameras used to cull unseen surface; 0 takes all
    # of the scored views, evenly spaced, those in which the mesh is scored with colours baked from training views
    # (evaluation/mesh_renders.py); 0: none, null: all
    mesh_renders: int | None = at_least(0, 0)
    chunk: int = at_least(8192, 1)  # rays rendered at once; halved where the GPU's memory does not hold them
    seed: int = bounded(0, least=0, most=LARGEST_SEED)


@dataclass
class ExportSettings:
    """Which files are made of a trained model."""

    mesh: bool = True
    # of the field's level set, or of the depths of the training views, fused by Open3D (rendering/tsdf.py)
    method: str = one_of("field", *MESH_METHODS)
    marching_cubes: str = one_of("skimage", *TRIANGULATORS)  # the package that cuts the cells of method=field
    clusters: int = at_least(50, 1)  # connected parts that method=tsdf keeps, the largest ones
    resolution: int = bounded(256, least=1, most=65536)  # cells along the box
    block: int = at_least(64, 1)  # cells along a block, which bounds the memory
    level: Any = None  # iso value; None takes the model's own
    # box that the mesh is extracted in: six numbers in normalised units, or the viewer's json (config/crop.py)
    crop: Any = None
    colors: bool = True
    # what is taken off the mesh, in this order (meshes/cleaning.py); then all but its largest part
    clean: list[str] = each_of([], *CLEANING)  # noqa: RUF009 - it makes a field
    largest_component: bool = False
    # longest hole that is closed after that: the length of its edges, in sides of the box; 0 closes none
    fill_holes: float = at_least(0.0, 0)
    faces: int | None = at_least(None, 1)  # faces that the mesh is then reduced to; None keeps all
    formats: list[str] = each_of(["ply"], *MESH_FORMATS)  # noqa: RUF009 - it makes a field
    # pixels along the texture of obj and glb; None: colours of vertices
    texture: int | None = bounded(None, least=1, most=65536)
    # of the photographs that see a point best, or of the model's colour (meshes/texture.py)
    texture_from: str = one_of("photos", *TEXTURES)
    texture_views: int = at_least(3, 1)  # photographs that are blended at a point, at most
    renders: int = at_least(8, -1)  # test views written as rgb, depth, normal; -1 writes all
    depth_colors: str = one_of("viridis", *DEPTH_COLORS)  # of depth maps, also of those made while it trains
    video: bool = True
    # auto: a spiral where the cameras look one way, else a turntable; cameras: along the training views, smoothed;
    # or a json of key frames, as the viewer keeps them
    video_path: str = one_of_or("auto", *VIDEO_PATHS, form=r".+\.json", words="a file.json")
    video_formats: list[str] = each_of(["mp4"], *VIDEO_FORMATS)  # noqa: RUF009 - it makes a field
    video_frames: int = at_least(48, 1)
    video_fps: int = bounded(24, least=1, most=1000)
    video_size: int = bounded(192, least=1, most=16384)  # pixels along the longer side
    # the video is rendered with so many times fewer pixels along each side, and enlarged; None renders no more
    # pixels than the photographs have
    render_factor: float | None = at_least(None, 1)
    chunk: int = at_least(65536, 1)  # points or rays at once


@dataclass
class TrackerSettings:
    """Where a run is logged beside its own record."""

    name: Any = "none"  # wandb | trackio | tensorboard | none, or a list of them
    project: str = "isosweep"
    entity: str | None = None
    group: str | None = None
    tags: list[str] = field(default_factory=list)
    mode: str = "auto"  # auto | online | offline (wandb alone), or disabled: no tracker at all
    images: int = at_least(4, 0)  # test renders logged
    mesh: bool = True
    timeout: float = positive(30.0)  # seconds that the tracker may take to start or to finish


@dataclass
class RunSettings:
    """Where a run lies, and how it is locked."""

    root: str = "results/runs"
    name: str | None = None  # sweep or study that this run belongs to; it does not enter the run key
    force: bool = False  # retrain a finished run
    resume: str | None = None  # checkpoint file of this run to go on from, in place of its last.pt
    heartbeat: float = positive(30.0)  # seconds between lock heartbeats
    stale_after: float = positive(180.0)  # seconds after which a silent lock is taken over


@dataclass
class DebugSettings:
    """Parts of a run alone, and slow checks."""

    part: str | None = one_of(None, *DEBUG_PARTS)  # the part that is drawn or printed instead of a run
    anomaly: bool = False  # torch.autograd anomaly detection


@dataclass
class ViewSettings:
    """The live viewer of a run."""

    on: bool = False  # while the run trains; view=true is short for it
    host: str = "127.0.0.1"  # address that browsers connect to: this machine alone, or through an SSH tunnel
    port: int = bounded(8080, least=1, most=65535)
    # largest part of the time that pictures may take from training while somebody looks
    share: float = bounded(0.2, above=0, below=1)
    # pixels along the longer side of the picture of a camera that rests
    size: int = bounded(512, least=1, most=16384)
    mesh: int = bounded(96, least=1, most=4096)  # cells along the box of a mesh that is asked for
