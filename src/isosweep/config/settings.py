"""The plain config nodes as dataclasses: torch-free, imported by every layer.

A field's comment gives its unit and what it changes; config.py turns these into Hydra's schema,
so a typing error or an unknown key fails before anything loads. Numbers that may follow a
schedule are typed ``Any`` and read by schedules.py.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class TrainSettings:
    max_steps: int = 2000
    rays: int = 512  # rays of the first batch
    max_rays: int = 8192  # upper bound of the dynamic ray count
    target_samples: int = 8192  # samples a batch aims at; 0 keeps the ray count fixed
    ray_ema: float = 0.9  # weight of the old ray count when it is updated
    batch_from: str = "all"  # all | one_image: rays of a batch are of all training views, or of a random one
    replacement: bool = True  # draw pixels independently; false: each pixel once before any comes again
    background: str = "random"  # random | white | black | dataset: behind composited pixels
    precision: str = (
        "auto"  # auto | float32 | float16 | bfloat16: autocast of colour and density MLPs, CUDA only
    )
    precrop: float = 0.0  # side of the central crop, fraction of the image; 0 is off
    precrop_until: float = 0.0  # fraction of max_steps
    grad_clip: float | None = None  # largest gradient norm
    log_every: int = 100  # steps
    val_every: int = 500  # steps; 0 is off
    val_views: int = 2  # views rendered at each validation
    checkpoint_every: int = 500  # steps; 0 writes only the last
    checkpoint_minutes: float = 5.0  # wall-clock upper bound between checkpoints
    init_from: str | None = None  # run folder or checkpoint whose weights to start from
    threads: int = 0  # CPU threads; 0 takes the cores this process may use


@dataclass
class OptimSettings:
    name: str = "adam"  # adam | adamw
    lr_tables: float = 2e-2
    lr_networks: float = 1e-2
    lr_sharpness: float = 8e-3
    lr_background: float = 1e-2  # every parameter of a background model but its tables
    # pattern of parameter names -> rate in place of the ones above, e.g. {"coarse.*": 1e-3}; the last that fits
    rates: dict[str, float] = field(default_factory=dict)
    betas: list[float] = field(default_factory=lambda: [0.9, 0.99])
    eps: float = 1e-15
    weight_decay: float = 0.0  # networks only, never tables or sharpness
    schedule: Any = 1.0  # factor on every rate: a number or a schedule (schedules.py)
    warmup: float = 0.02  # fraction of max_steps
    warmup_start: float = 0.01  # factor at step 0


@dataclass
class EvalSettings:
    protocol: str = "standard"
    split: str = "test"
    n_views: int | None = None  # None scores every view of the split; else evenly spaced
    checkpoint: str = "last"  # last | best
    quantise: bool = True  # round predictions to 8 bit before scoring
    lpips: str | None = "vgg"  # vgg | alex | null
    masked: bool = True  # also score the masked pixels where masks exist
    geometry: bool = True  # Chamfer and silhouettes where there is something to compare with
    samples: int = 1_000_000  # points on each surface
    fscore_at: float = 0.01  # fraction of the truth's bounding-box diagonal
    visibility_views: int = 0  # cameras used to cull unseen surface; 0 takes all
    chunk: int = 8192  # rays rendered at once; halved by itself on CUDA out-of-memory
    seed: int = 0


@dataclass
class ExportSettings:
    mesh: bool = True
    resolution: int = 256  # cells along the box
    block: int = 64  # cells a block, bounds the memory
    level: Any = None  # iso value; None takes the model's own
    colors: bool = True
    largest_component: bool = False
    formats: list[str] = field(default_factory=lambda: ["ply"])  # ply obj stl glb
    renders: int = 8  # test views written as rgb, depth, normal; -1 writes all
    video: bool = True
    video_path: str = "auto"  # turntable | spiral | auto: a spiral where the cameras look one way
    video_frames: int = 48
    video_fps: int = 24
    video_size: int = 192  # pixels along the longer side
    chunk: int = 65536  # points or rays at once


@dataclass
class TrackerSettings:
    name: Any = "none"  # wandb | trackio | tensorboard | none, or a list of them
    project: str = "isosweep"
    entity: str | None = None
    group: str | None = None
    tags: list[str] = field(default_factory=list)
    mode: str = "auto"  # auto | online | offline: of wandb alone; disabled: no tracker at all
    images: int = 4  # test renders logged
    mesh: bool = True
    timeout: float = 30.0  # seconds that the tracker may take to start or to finish


@dataclass
class RunSettings:
    root: str = "results/runs"
    name: str | None = None  # sweep or study this run belongs to; no part of the run key
    force: bool = False  # retrain a finished run
    heartbeat: float = 30.0  # seconds between lock heartbeats
    stale_after: float = 180.0  # seconds after which a silent lock is taken over


@dataclass
class DebugSettings:
    part: str | None = None  # dataset | model | eval: look at one part alone
    anomaly: bool = False  # torch.autograd anomaly detection
