"""Every yaml that ships composes, and its targets exist with the arguments it gives."""

import copy
import functools
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from isosweep.config.check import check
from isosweep.config.schema import CONF
from isosweep.launchers.jobs import expand
from tests.support.pairs import covering_pairs


def options(group: str) -> list[str]:
    return sorted(p.stem for p in (CONF / group).glob("*.yaml"))


DATASETS, MODELS, ENCODINGS = options("dataset"), options("model"), options("encoding")
MODELS.remove("external")  # builds nothing: every option of ``method`` is composed with it


@functools.cache
def composed(*overrides: str) -> DictConfig:
    """The config of some overrides, which nobody may change."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


GROUPS = sorted(
    p.name
    for p in CONF.iterdir()
    if p.is_dir() and p.name not in ("experiment", "sweep", "background", "direction", "proposal")
)
"""Groups with a key at the top; ``background``, ``direction`` and ``proposal`` are composed with their model."""


def every_option() -> list[tuple[str, str]]:
    return [(group, option) for group in GROUPS for option in options(group)]


@pytest.mark.parametrize(("group", "option"), every_option())
def test_every_option_composes_and_fits_its_target(group: str, option: str) -> None:
    cfg = composed(f"{group}={option}", "scene=x")
    check(cfg)
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


def test_every_group_is_a_top_level_key() -> None:
    assert set(GROUPS) <= set(composed())


PAIRS = covering_pairs(MODELS, ENCODINGS, DATASETS, options("loss"))


def assembled(model: str, encoding: str, dataset: str, loss: str) -> DictConfig:
    """The config of four options, of nodes that were each composed once."""
    cfg = copy.deepcopy(composed(f"model={model}", "scene=x"))
    for group, option in (("encoding", encoding), ("dataset", dataset), ("loss", loss)):
        cfg[group] = copy.deepcopy(composed(f"{group}={option}", "scene=x")[group])
    return cfg


@pytest.mark.parametrize(("model", "encoding", "dataset", "loss"), PAIRS[::25])
def test_what_is_assembled_is_what_is_composed(model: str, encoding: str, dataset: str, loss: str) -> None:
    cfg = composed(f"model={model}", f"encoding={encoding}", f"dataset={dataset}", f"loss={loss}", "scene=x")
    assert assembled(model, encoding, dataset, loss) == cfg


@pytest.mark.parametrize(("model", "encoding", "dataset", "loss"), PAIRS)
def test_every_two_options_compose(model: str, encoding: str, dataset: str, loss: str) -> None:
    cfg = assembled(model, encoding, dataset, loss)
    check(cfg)
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    assert plain["dataset"]["masks"] == (plain["loss"]["masks"] or "auto")
    assert plain["model"]["radius"] == plain["dataset"]["radius"]


@pytest.mark.parametrize("background", options("background"))
@pytest.mark.parametrize("model", [model for model in MODELS if model.endswith("_bg")])
def test_every_background_composes(model: str, background: str) -> None:
    cfg = composed(f"model={model}", f"background@model.background={background}", "scene=x")
    check(cfg)
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


@pytest.mark.parametrize("model", MODELS)
def test_loss_follows_the_model_unless_chosen(model: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"model={model}"], return_hydra_config=True)
        assert cfg.hydra.runtime.choices.loss == model
        cfg = compose("config", [f"model={model}", "loss=nomask"], return_hydra_config=True)
        assert cfg.hydra.runtime.choices.loss == "nomask"


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_composes_and_debug_wins_over_it(experiment: str) -> None:
    check(composed(f"experiment={experiment}", "scene=x"))
    cfg = composed(f"experiment={experiment}", "scene=x", "debug=tiny")
    check(cfg)
    assert cfg.train.max_steps == 20
    assert cfg.tracker.name == "none"


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_takes_another_encoding(experiment: str) -> None:
    check(composed(f"experiment={experiment}", "encoding=freq", "sampler=uniform", "scene=x"))


def test_published_recipes_hold_the_published_values() -> None:
    cfg = composed("experiment=nerf-blender", "scene=chair")
    assert (cfg.encoding.base_resolution, cfg.encoding.log2_size, cfg.train.max_steps) == (16, 19, 20000)
    assert cfg.encoding.per_level_scale == pytest.approx(1.4473, abs=1e-4)
    assert OmegaConf.to_container(cfg.optim.schedule) == {
        "kind": "steps",
        "factor": 0.33,
        "at": [0.5, 0.75, 0.9],
    }
    cfg = composed("experiment=neus-blender", "scene=chair")
    weights = {name: term.weight for name, term in cfg.loss.terms.items() if term.weight}
    assert weights == {"rgb_mse": 10.0, "mask": 0.1, "eikonal": 0.1}
    assert (cfg.dataset.radius, cfg.sampler.threshold, cfg.optim.lr_sharpness) == (1.5, 0.001, 0.001)
    cfg = composed("experiment=neus-dtu", "scene=scan24")
    assert (cfg.dataset.downscale, cfg.dataset.masks, cfg.model.background.n_samples) == (2.0, "auto", 64)
    assert cfg.model.background.encoding.log2_size == 19
    assert (cfg.optim.schedule.begin, cfg.optim.warmup) == (0.25, 0.0)
    cfg = composed("experiment=neus-dtu-wmask", "scene=scan24")
    weights = {name: term.weight for name, term in cfg.loss.terms.items() if term.weight}
    assert weights == {"rgb_l1": 1.0, "mask": 0.1, "eikonal": 0.1}
    assert cfg.dataset.masks is True
    cfg = composed("experiment=neuralangelo-like", "scene=scan24")
    assert (cfg.model.gradient, cfg.encoding.start_level, cfg.encoding.grow_until) == (
        "finite_difference",
        4,
        0.6,
    )


def test_the_recipes_of_mip_nerf_hold_the_published_values() -> None:
    for name in ("mip-nerf-blender", "mip-nerf-multiscale-blender", "mip-nerf-llff"):
        cfg = composed(f"experiment={name}", "scene=chair")
        field = cfg.model.field
        assert (field.n_hidden, field.hidden_dim, field.color_dim, list(field.skips)) == (8, 256, 128, [5])
        assert (field.density_activation, field.density_bias, field.color_padding) == (
            "softplus",
            -1.0,
            0.001,
        )
        assert (cfg.encoding.n_frequencies, field.direction.n_frequencies) == (16, 4)
        assert (cfg.sampler.n_coarse, cfg.sampler.n_fine, cfg.sampler.padding) == (128, 128, 0.01)
        weights = {term: node.weight for term, node in cfg.loss.terms.items() if node.weight}
        assert weights == {"rgb_mse_area": 1.0, "rgb_mse_area_coarse": 0.1}
        assert (cfg.train.max_steps, cfg.train.rays, cfg.train.max_rays, cfg.train.target_samples) == (
            10**6,
            4096,
            4096,
            0,
        )
        assert (cfg.optim.lr_networks, cfg.optim.schedule.end, cfg.optim.schedule.kind) == (
            5e-4,
            0.01,
            "exponential",
        )
        assert cfg.optim.warmup * cfg.train.max_steps == 2500
        assert (cfg.optim.warmup_start, cfg.optim.warmup_shape) == (0.01, "sine")
        assert cfg.model.raw_noise_std == (1.0 if name == "mip-nerf-llff" else 0.0)
    assert list(composed("experiment=mip-nerf-multiscale-blender", "scene=chair").dataset.downscale) == [
        1,
        2,
        4,
        8,
    ]


def with_every_value(jobs: list[list[str]]) -> list[list[str]]:
    """Of the jobs those with a value that no job before has: scenes times models are their sum."""
    seen: set[str] = set()
    kept = []
    for job in jobs:
        if not seen.issuperset(job):
            kept.append(job)
            seen.update(job)
    return kept


@pytest.mark.parametrize("sweep", options("sweep"))
def test_every_sweep_composes_and_every_value_of_it_too(sweep: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"sweep={sweep}", "scene=x"], return_hydra_config=True)
        assert cfg.run.name == sweep
        sweeper = OmegaConf.to_container(cfg.hydra.sweeper)
        assert isinstance(sweeper, dict)
        scene = [] if "scene" in sweeper["params"] else ["scene=x"]
        jobs = expand([f"sweep={sweep}", *scene], params=sweeper["params"], zipped=sweeper["zip"] or [])
        assert len(jobs) > 1, "a sweep file says what it varies"
        for job in with_every_value(jobs):
            check(compose("config", job))


def test_debug_wins_over_a_sweep_which_wins_over_an_experiment(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "long.yaml").write_text(
        "# @package _global_\ndefaults: [override /experiment: neus-dtu]\ntrain: {max_steps: 999}\n"
    )
    found = f"hydra.searchpath=[file://{tmp_path}]"
    cfg = composed(found, "sweep=long")
    assert (cfg.train.max_steps, cfg.dataset.downscale) == (999, 2.0)
    assert composed(found, "sweep=long", "debug=tiny").train.max_steps == 20
    assert composed(found, "sweep=long", "debug=tiny", "train.max_steps=7").train.max_steps == 7


def test_data_sets_that_need_no_file_have_a_scene_of_their_own_and_others_do_not() -> None:
    made = {"demo", "picture"}
    assert {d for d in DATASETS if composed(f"dataset={d}").scene is not None} == made
    assert composed("scene=other").dataset.scene == "other"


@pytest.mark.parametrize("model", sorted(p.stem for p in (CONF / "model").glob("*.yaml")))
def test_the_network_of_colour_draws_its_weights_last(model):
    """Modules are built in the order of their keys, so another order would change every run of a seed."""
    node = composed(f"model={model}").model
    for part in (node, node.get("background")):
        if part and "color" in part:
            assert {"density", "field"} & set(list(part)[: list(part).index("color")])
