"""The values of the plain groups: what their fields allow, and the messages for what they do not."""

from dataclasses import MISSING, Field, fields, replace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from isosweep.config import settings
from isosweep.config.check import ConfigError
from isosweep.config.schema import CONF, MODES, Config
from isosweep.config.values import Settings, check_settings, checked_settings
from isosweep.errors import InputError
from isosweep.record import CHECKPOINTS


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


def defaults() -> Settings:
    return Settings(
        settings.TrainSettings(),
        settings.OptimSettings(),
        settings.EvalSettings(),
        settings.ExportSettings(),
        settings.TrackerSettings(),
        settings.ViewSettings(),
        settings.DebugSettings(),
    )


def restricted() -> list[tuple[str, Field[Any]]]:
    groups = defaults()
    return [
        (group.name, field)
        for group in fields(groups)
        for field in fields(getattr(groups, group.name))
        if "choices" in field.metadata
    ]


def changed(group: str, name: str, value: object) -> Settings:
    plain = defaults()
    return replace(plain, **{group: replace(getattr(plain, group), **{name: value})})


def test_the_composed_groups_are_typed_and_allowed() -> None:
    found = checked_settings(composed("train.max_steps=7", "export.formats=[ply,glb]", "eval.lpips=null"))
    assert type(found.train) is settings.TrainSettings
    assert found.train.max_steps == 7
    assert found.export.formats == ["ply", "glb"]
    assert found.eval.lpips is None


def test_fields_name_their_choices_once() -> None:
    choices = {
        f"{group}.{f.name}": f.metadata["choices"] for group, f in restricted() if "choices" in f.metadata
    }
    assert choices == {
        "train.batch_from": ("all", "one_image"),
        "train.background": ("random", "white", "black", "dataset"),
        "train.precision": ("auto", "float32", "float16", "bfloat16"),
        "optim.name": settings.OPTIMIZERS,
        "optim.warmup_shape": ("linear", "sine"),
        "eval.split": ("train", "val", "test"),
        "eval.checkpoint": tuple(CHECKPOINTS),
        "eval.lpips": ("vgg", "alex", None),
        "export.method": ("field", "tsdf"),
        "export.marching_cubes": ("skimage", "mcubes", "open3d"),
        "export.clean": ("near", "sphere", "masks", "unseen"),
        "export.formats": ("ply", "obj", "stl", "glb"),
        "export.texture_from": ("photos", "field"),
        "export.depth_colors": ("viridis", "turbo", "jet", "magma", "grey"),
        "export.video_path": ("auto", "turntable", "spiral", "cameras"),
        "export.video_formats": ("mp4", "gif", "png"),
        "debug.part": ("dataset", "model", "eval"),
    }
    mode = next(f for f in fields(Config) if f.name == "mode")
    assert mode.metadata["choices"] == MODES


@pytest.mark.parametrize("place", [f"{group}.{f.name}" for group, f in restricted()])
def test_each_restricted_field_refuses_what_it_does_not_allow(place: str) -> None:
    group, name = place.split(".")
    field = next(f for g, f in restricted() if (g, f.name) == (group, name))
    default = field.default if field.default is not MISSING else field.default_factory()  # pyright: ignore[reportCallIssue]
    for value in [default, *([] if isinstance(default, list) else field.metadata.get("choices", ()))]:
        check_settings(changed(group, name, value))
    known = ", ".join("null" if c is None else c for c in field.metadata["choices"])
    known += f", {field.metadata['words']}" if "words" in field.metadata else ""
    wrong = [field.metadata["choices"][0], "nothing"] if isinstance(default, list) else "nothing"
    with pytest.raises(ConfigError, match=rf"^{group}\.{name}=nothing is none of {known}\.$"):
        check_settings(changed(group, name, wrong))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "eval.checkpoint=lst",
            "eval.checkpoint=lst is none of last, best, a kept step, a file.pt; did you mean 'last'?",
        ),
        ("eval.lpips=squeeze", "eval.lpips=squeeze is none of vgg, alex, null."),
        ("export.formats=[ply,step]", "export.formats=step is none of ply, obj, stl, glb."),
        (
            "export.video_path=spirl",
            "export.video_path=spirl is none of auto, turntable, spiral, cameras, a file.json; did you mean",
        ),
        ("train.rays=0", "train.rays=0: give a whole number of 1 or more."),
        ("eval.n_views=-1", "eval.n_views=-1: give a whole number of 1 or more, or null."),
        (
            "optim.args=0.9",
            "optim.args=0.9: give a mapping from arguments of the optimiser to values, such as",
        ),
        ("optim.rates=1e-3", "optim.rates=0.001: give a mapping from patterns of parameter names to"),
        ("optim.rates={*table:x}", "optim.rates: the rate of '*table' is x: give a number of 0 or more."),
        ("optim.rates={*table:-1}", "optim.rates: the rate of '*table' is -1: give a number of 0 or more."),
    ],
)
def test_a_message_names_the_key_the_value_and_the_choices(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        checked_settings(composed(override))
    assert str(error.value).startswith(message)


def test_all_wrong_values_are_told_at_once() -> None:
    with pytest.raises(
        ConfigError, match=r"^train\.rays=0: .*\. optim\.name=sgdx is none .* optim\.rates: .*\.$"
    ):
        checked_settings(composed("train.rays=0", "optim.name=sgdx", "optim.rates={a:x}"))


def test_rates_by_pattern_come_from_the_command_line() -> None:
    assert checked_settings(composed("optim.rates={*.table:1e-2,coarse.*:0}")).optim.rates == {
        "*.table": 0.01,
        "coarse.*": 0,
    }


def test_a_bad_schedule_is_refused() -> None:
    with pytest.raises(InputError, match=r"^optim\.schedule: positions must not decrease"):
        check_settings(changed("optim", "schedule", [0.5, 1.0, 0.1, 0.2]))
