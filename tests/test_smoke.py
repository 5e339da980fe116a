"""Every model, encoding and data set composes and trains: all that is in the config groups, found by listing them."""

import copy
import functools
import importlib
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

import isosweep.config.schema  # noqa: F401 - registers the schema of the plain nodes
from isosweep.app.build import build_scene
from isosweep.config.settings import OptimSettings, TrainSettings
from isosweep.data.batches import has_points
from isosweep.data.demo.make import Demo, make, write_blender, write_neus
from isosweep.samplers import with_nerfacc
from isosweep.training.loop import start, train
from tests.support import nerfacc_kernels
from tests.support.captures import tiny_colmap, tiny_llff, tiny_nerfstudio
from tests.support.pairs import covering_pairs

CONF = Path(__file__).resolve().parents[1] / "conf"
CPU = torch.device("cpu")


def options(group: str) -> list[str]:
    return sorted(p.stem for p in (CONF / group).glob("*.yaml"))


CAPTURES = {"colmap": tiny_colmap, "llff": tiny_llff, "nerfstudio": tiny_nerfstudio}
MODELS, ENCODINGS, DATASETS = options("model"), options("encoding"), options("dataset")
MODELS.remove("external")  # builds nothing: tests/external has its runs
SMALL = [
    "train=tiny",
    "train.max_steps=8",
    "train.rays=48",
    "train.target_samples=1500",
    "train.val_every=0",
    "train.log_every=1",
    "train.checkpoint_every=0",
]


def small_encoding(node: DictConfig, at: str) -> list[str]:
    """Overrides that make the encoding at ``at`` small, by the keys that it has."""
    small = {"n_frequencies": 3, "n_levels": 4, "log2_size": 10, "base_resolution": 8, "resolutions": [4, 8]}
    sizes = {key: value for key, value in small.items() if key in node}
    if node.get("start_level"):
        # every level is on before the end, so that every table row's tensor can learn
        sizes |= {"start_level": 2, "grow_until": 0.3}
    return [f"{at}.{key}={value}" for key, value in sizes.items()]


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> Path:
    """One tiny demo as every data set finds it below one root."""
    root = tmp_path_factory.mktemp("scenes")
    tiny: Demo = make("mug", n_train=8, n_val=1, n_test=2, size=32, supersample=2, mesh_resolution=48)
    for name in DATASETS:
        folder = root / name if name == "demo" or name in CAPTURES else root / f"{name}_tiny"
        if name in ("demo", "blender"):
            write_blender(folder, tiny)
        elif name in ("dtu", "bmvs"):
            write_neus(folder, tiny)
        elif name in CAPTURES:
            CAPTURES[name](folder).rename(folder / "tiny")
        else:  # a data set that was added: its own tests have a writer
            importlib.import_module(f"tests.data.test_{name}").tiny(folder)
    return root


def place(scenes: Path, dataset: str) -> list[str]:
    """Where the tiny scene of a data set lies."""
    return (
        [f"dataset.path={scenes / 'demo'}"] if dataset == "demo" else ["scene=tiny", f"dataset.root={scenes}"]
    )


def config(scenes: Path, model: str, encoding: str, dataset: str, *more: str):
    names = [f"model={model}", f"encoding={encoding}", f"dataset={dataset}", *place(scenes, dataset)]
    return composed(*names, *SMALL, *small_sizes(*names[:2]), *more)


@functools.cache
def composed(*overrides: str) -> DictConfig:
    """The config of some overrides, which nobody may change."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


def assembled(scenes: Path, model: str, encoding: str, dataset: str) -> DictConfig:
    """``config``, of nodes that were each composed once: composing every two options anew took longer than training."""
    cfg = copy.deepcopy(composed(f"model={model}", *SMALL))
    names = [f"dataset={dataset}", *place(scenes, dataset)]
    cfg.scene, cfg.dataset = composed(*names).scene, copy.deepcopy(composed(*names).dataset)
    cfg.encoding = copy.deepcopy(composed(f"encoding={encoding}").encoding)
    for override in small_sizes_of(cfg, model):
        key, _, value = override.partition("=")
        OmegaConf.update(cfg, key, yaml.safe_load(value))
    return cfg


def test_what_is_assembled_is_what_is_composed(scenes):
    for trio in [
        ("nerf_bg", "progressive", "dtu"),
        ("neus", "freq", "colmap"),
        ("mip_nerf", "integrated", "demo"),
    ]:
        one, other = assembled(scenes, *trio), config(scenes, *trio)
        assert OmegaConf.to_container(one, resolve=True) == OmegaConf.to_container(other, resolve=True)


def small_sizes(*choices: str) -> tuple[str, ...]:
    """Overrides that make the parts of a choice of options small; the model is the first of them."""
    return small_sizes_of(composed(*choices), choices[0].removeprefix("model="))


def small_sizes_of(cfg: DictConfig, model: str) -> tuple[str, ...]:
    """Overrides that make encoding, model and sampler small, by the keys that they have."""
    sizes = small_encoding(cfg.encoding, "encoding")
    sizes += ["sampler.resolution=16", "sampler.warmup=8"] if "resolution" in cfg.sampler else []
    sizes += ["sampler.n_coarse=8", "sampler.n_fine=8"] if "n_coarse" in cfg.sampler else []
    sizes += ["model.coarse.hidden_dim=32", "model.coarse.color_dim=16"] if "coarse" in cfg.model else []
    one = "color_dim" in cfg.model.get("field", {})
    sizes += ["model.field.hidden_dim=32", "model.field.color_dim=16"] if one else []
    if model.startswith("neus_original"):
        sizes += ["model.field.hidden_dim=64", "model.field.feature_dim=17", "model.color.feature_dim=16"]
        sizes += ["model.color.hidden_dim=32"]
    rounds = cfg.sampler.get("rounds")  # of proposals; elsewhere a number
    for name, part in rounds.items() if isinstance(rounds, DictConfig) else ():
        if part:
            sizes += small_encoding(part.density.encoding, f"sampler.rounds.{name}.density.encoding")
    behind = cfg.model.get("background")
    sizes += [] if behind is None else small_encoding(behind.encoding, "model.background.encoding")
    return tuple(sizes)


class Watch:
    """A record that notes which parameters ever had a gradient."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model, self.moved, self.losses, self.errors = model, set(), [], []

    def log(self, step, scalars):
        self.losses.append(scalars["train/loss"])
        self.errors.append(10 ** (-scalars["train/psnr"] / 10))
        for name, p in self.model.named_parameters():
            if p.grad is not None and bool((p.grad != 0).any()):
                self.moved.add(name)

    def check(self):
        pass

    def checkpointed(self, step):
        pass

    def may_be_killed(self):
        raise AssertionError("nobody sent a signal")


def fit(cfg, folder: Path) -> tuple[torch.nn.Module, dict, Watch]:
    torch.manual_seed(cfg.seed)
    scene = build_scene(cfg.dataset)
    model = instantiate(cfg.model, _convert_="all")
    loss = instantiate(cfg.loss, _convert_="all")
    loss.check("model", model.provides, has_masks=scene.use_masks, has_points=has_points(scene))
    settings = TrainSettings(**OmegaConf.to_container(cfg.train))
    optim = OptimSettings(**OmegaConf.to_container(cfg.optim))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    state = start(model, settings, optim, cfg.seed, CPU)
    inside = {id(p) for group in state.optimizer.param_groups for p in group["params"]}
    assert inside == {id(p) for p in model.parameters()}
    watch = Watch(model)
    train(
        model, loss, scene, state, settings, optim, folder=folder, run_key="smoke", record=watch, device=CPU
    )
    return model, before, watch


@pytest.mark.parametrize(("model", "encoding", "dataset"), covering_pairs(MODELS, ENCODINGS, DATASETS))
def test_every_two_options_train_every_parameter_together(model, encoding, dataset, scenes, tmp_path):
    net, before, watch = fit(assembled(scenes, model, encoding, dataset), tmp_path)
    for name, p in net.named_parameters():
        assert name in watch.moved, f"{name} never had a gradient"
        assert torch.isfinite(p).all(), name
        assert not torch.equal(p.detach(), before[name]), f"{name} did not change"


@pytest.mark.parametrize("model", MODELS)
def test_each_model_learns_a_tiny_scene(model, scenes, tmp_path):
    dataset = "picture" if model == "image" else "blender"
    if model.endswith(("_bg", "_unbounded")):
        dataset = "dtu"
    more = ["train.max_steps=100", "train.target_samples=2000", "optim.warmup=0.05"]
    if "neus_original" in model:  # nine layers do not bear the rates of one
        more += ["optim.lr_networks=3e-3"]
    _, _, watch = fit(config(scenes, model, "hashgrid", dataset, *more), tmp_path)
    # the loss of proposals may rise, because what they follow grows sharper
    losses = watch.errors if model.endswith("_unbounded") else watch.losses
    first, last = sum(losses[:10]), sum(losses[-10:])
    assert last < 0.5 * first, (first, last)


@pytest.mark.parametrize("background", options("background"))
def test_every_background_trains_every_parameter(background, scenes, tmp_path):
    """Behind either kind of box; half of them behind each in one run of the tests."""
    model = ("nerf_bg", "neus_bg")[options("background").index(background) % 2]
    behind = f"background@model.background={background}"
    where = ["dataset=blender", "scene=tiny", f"dataset.root={scenes}", f"model={model}", behind]
    narrow = ["model.background.density.hidden_dim=32", "model.background.n_samples=8"]
    sampler = composed(f"model={model}", behind).model.background.sampler
    learns = ["loss.terms.background_interlevel.weight=1"] if sampler else []
    cfg = composed(*where, *SMALL, *small_sizes(f"model={model}", behind), *narrow, *learns)
    net, _, watch = fit(cfg, tmp_path)
    assert watch.moved == {name for name, _ in net.named_parameters()}


@pytest.mark.parametrize("loss", ["neus", "mask", "nomask", "eikonal_heavy"])
@pytest.mark.parametrize("dataset", ["blender", "dtu"])
def test_every_surface_loss_trains(loss, dataset, scenes, tmp_path):
    _, _, watch = fit(
        config(scenes, "neus", "hashgrid", dataset, f"loss={loss}", "train.max_steps=6"), tmp_path
    )
    assert len(watch.losses) == 6


@pytest.mark.parametrize(
    ("model", "loss"), [("neus", "sfm"), ("neus_bg", "sfm"), ("neus_bg", "geo_neus_sfm")]
)
def test_points_are_a_loss_where_the_data_has_them(model, loss, scenes, tmp_path):
    more = [f"loss={loss}", "loss.points=64", "train.max_steps=6"]
    _, _, watch = fit(config(scenes, model, "hashgrid", "colmap", *more), tmp_path)
    assert len(watch.losses) == 6
    with pytest.raises(ValueError, match="loss term 'sfm' reads structure-from-motion points inside the box"):
        fit(config(scenes, model, "hashgrid", "llff", *more), tmp_path)


@pytest.mark.parametrize("model", ["nerf_bg", "neus"])
def test_rays_lead_to_points_where_the_data_has_them(model, scenes, tmp_path):
    more = ["loss.terms.point_distance.weight=0.1", "train.max_steps=6"]
    _, _, watch = fit(config(scenes, model, "hashgrid", "colmap", *more), tmp_path)
    assert len(watch.losses) == 6
    with pytest.raises(ValueError, match="no view that is known to see a point inside its box"):
        fit(config(scenes, model, "hashgrid", "llff", *more), tmp_path)


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("nerf", ["sampler=uniform", "sampler.n_samples=16"]),
        ("nerf", ["sampler=proposal", "loss.terms.interlevel.weight=1", "loss.terms.distortion.weight=0.01"]),
        ("nerf", ["sampler=proposal_large", "loss.terms.interlevel.weight=1"]),
        ("neus", ["sampler=proposal", "loss.terms.interlevel.weight=1", "sampler.spacing=disparity"]),
        ("nerf", ["sampler=hierarchical", "sampler.n_coarse=8", "sampler.n_fine=8"]),
        ("neus", ["sampler=uniform", "sampler.n_samples=16"]),
        ("neus", ["sampler=upsample", "sampler.n_coarse=8", "sampler.n_fine=8", "sampler.rounds=2"]),
        ("neus", ["model.gradient=finite_difference", "loss.terms.curvature.weight=1e-4"]),
        (
            "neus",
            ["encoding=progressive", "model.gradient=finite_difference", "model.taps=4", "loss=neuralangelo"],
        ),
        ("neus", ["model.color.appearance_dim=2", "model.interval=sphere", "model.color.weight_norm=true"]),
        ("nerf", ["model.color.appearance_dim=2", "model.color.appearance_unseen=zero"]),
        (
            "neus_original",
            ["sampler.perturb=ray", "sampler=upsample", "loss.terms.rgb_l1_masked.weight=1", "loss=mask"],
        ),
        ("neus_bg", ["model.background.color.appearance_dim=2", "model.interval=nearest", "encoding=freq"]),
        ("neus", ["loss.terms.sparsity.weight=0.01", "loss.terms.opacity_entropy.weight=0.01"]),
        ("neus", ["model.color.direction=null", "model.near_scaling=true", "model.cos_from=normal"]),
        ("neus", ["model.sharpness_cap=[0.0,20.0,200.0,1.0]", "model.occupancy=solid", "model.n_steps=128"]),
        ("neus_bg", ["loss.terms.distortion.weight=0.01", "loss.terms.background_distortion.weight=0.01"]),
        ("neus_bg", ["encoding@model.background.encoding=freq"]),
        ("neus", ["loss=geo_neus", "loss.patches=8", "loss.terms.photo.fn.side=3"]),
        ("nero", ["model.color.n_bands=2", "model.every=1", "sampler=uniform", "sampler.n_samples=16"]),
        ("nerf_bg", ["loss.terms.background_distortion.weight=0.01", "model.render_finer=2"]),
        ("nerf_original", ["sampler.spacing=disparity", "sampler.jitter=false", "model.raw_noise_std=1"]),
        (
            "nerf_original",
            ["train.batch_from=one_image", "train.replacement=false", "model.coarse.direction=null"],
        ),
        ("mip_nerf", ["encoding.covariance=isotropic", "model.raw_noise_std=1", "sampler.spacing=disparity"]),
        ("mip_nerf", ["dataset.downscale=[1,2,4]", "train.replacement=false", "optim.warmup_shape=sine"]),
        ("nerf", ["train.replacement=false", "optim.rates={*table:1e-2}"]),
        ("nerf", ["model.density.network=FullyFusedMLP", "model.color.network=CutlassMLP"]),
        ("neus", ["model.field.network=FullyFusedMLP"]),
        ("nerf", ["encoding=freq", "encoding.include_xyz=false", "direction@model.color.direction=freq"]),
        ("nerf", ["encoding.include_xyz=false", "optim.name=rmsprop", "optim.args={momentum:0.9}"]),
        ("nerf", ["model.density.activation=softplus", "model.color.activation=softplus|lin2srgb"]),
        ("neus", ["direction@model.color.direction=freq", "model.color.direction.include_xyz=false"]),
        (
            "nerf_original",
            [
                "model.coarse.density_activation=softplus",
                "optim.schedule=null",  # else it would be merged with the mapping that is there
                "optim.schedule={kind:chained,parts:[1,0.5]}",
            ],
        ),
        ("image", ["model.field.activation=scale1", "dataset=picture", "dataset.held_out=0.5"]),
        (
            "nerf",
            ["train.precrop=0.5", "train.precrop_until=0.5", "train.background=black", "train.grad_clip=1"],
        ),
    ],
)
def test_options_train(model, more, scenes, tmp_path):
    groups = [
        m for m in more if m.partition("=")[0].partition("@")[0] in ("sampler", "encoding", "direction")
    ]
    where = ["dataset=blender", "scene=tiny", f"dataset.root={scenes}", f"model={model}"]
    sizes = small_sizes(f"model={model}", *groups)
    cfg = composed(*where, *SMALL, *sizes, "train.max_steps=6", *more)
    _, _, watch = fit(cfg, tmp_path)
    assert len(watch.losses) == 6
    assert all(loss == loss for loss in watch.losses)


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("neus", ["sampler=nerfacc_occgrid"]),
        ("nerf", ["sampler=nerfacc_proposal", "loss.terms.interlevel.weight=1", "sampler.update_every=1"]),
    ],
)
def test_the_samplers_of_nerfacc_train(model, more, scenes, tmp_path, monkeypatch):
    """With a stand-in for the package, which needs a card."""
    monkeypatch.setitem(sys.modules, "nerfacc", nerfacc_kernels.package())
    monkeypatch.setattr(with_nerfacc, "nerfacc_module", lambda sampler: sys.modules["nerfacc"])
    monkeypatch.setattr(with_nerfacc, "require_card", lambda tensor, sampler: None)
    names = [f"model={model}", "dataset=blender", *place(scenes, "blender"), *more]
    cfg = composed(*names, *SMALL, *small_sizes(f"model={model}", *more), "train.max_steps=6")
    net, _, watch = fit(cfg, tmp_path)
    assert watch.moved == {name for name, _ in net.named_parameters()}
