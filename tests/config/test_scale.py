"""train=auto: the schedule of the machine, the same run as where the schedule is named."""

import functools
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from isosweep.config import scale
from isosweep.config.schema import CONF
from isosweep.config.values import plain_config
from isosweep.record.key import run_key
from isosweep.runtime import gpus


@functools.cache
def composed(kind: str, *overrides: str) -> dict[str, Any]:
    """The config of some overrides for a kind of device, which nobody may change."""
    with scale.composing_for(kind), initialize_config_dir(str(CONF), version_base="1.3"):
        return plain_config(compose("config", [*overrides, "scene=x"]))


def key(kind: str, *overrides: str) -> str:
    return run_key(composed(kind, *overrides) | {"backend": "torch", "device": kind})


def test_on_a_cpu_it_is_the_fast_schedule_and_the_run_of_earlier_versions() -> None:
    before = ["train=fast", "encoding=hashgrid"]  # the defaults of earlier versions
    background = "encoding@model.background.encoding=hashgrid"
    assert composed("cpu") == composed("cpu", *before)
    assert composed("cpu")["train"]["max_steps"] == 4000
    assert key("cpu", "model=neus_bg", "train.max_steps=100") == key(
        "cpu", "model=neus_bg", *before, background, "train.max_steps=100"
    )
    assert key("cpu") == key("cpu", "train=auto") == key("cpu", *before)


@pytest.mark.parametrize(("model", "grid"), [("neus", "hashgrid_large"), ("nerf", "hashgrid_ngp")])
def test_on_a_gpu_it_is_the_published_scale(model: str, grid: str) -> None:
    own = f"model={model}"
    found = composed("cuda", own)
    assert found == composed("cuda", own, "train=full") == composed("cuda", own, "train=auto")
    assert found == composed("cuda", own, "train=published", f"encoding={grid}")
    assert (found["train"]["max_steps"], found["train"]["target_samples"]) == (20_000, 2**18)
    assert found["encoding"]["log2_size"] == 19
    assert key("cuda", own) == key("cuda", own, "train=full")


def test_what_is_named_is_the_same_on_every_machine() -> None:
    for named in (
        ["train=fast"],
        ["train=full"],
        ["train=published"],
        ["experiment=fast-demo"],
        ["experiment=neus-original-dtu"],
        ["debug=tiny"],
    ):
        assert composed("cpu", *named) == composed("cuda", *named), named
    assert composed("cuda", "train=published")["encoding"]["log2_size"] == 15, "as in earlier versions"
    assert composed("cpu", "train=full")["encoding"]["log2_size"] == 19


def test_settings_on_top_stay() -> None:
    found = composed("cuda", "model=neus_bg", "encoding=freq", "train.max_steps=100")
    assert found["train"]["max_steps"] == 100
    assert found["train"]["target_samples"] == 2**18
    assert found["encoding"] == composed("cpu", "encoding=freq")["encoding"]
    assert found["model"]["background"]["encoding"]["log2_size"] == 19
    own = composed("cuda", "model=neus_bg", "encoding@model.background.encoding=freq")
    assert "log2_size" not in own["model"]["background"]["encoding"]
    assert composed("cuda", "encoding.log2_size=17")["encoding"]["log2_size"] == 17


def test_a_process_composes_for_its_own_machine(monkeypatch) -> None:
    for found, kind in (((), "cpu"), (("0", "1"), "cuda")):
        monkeypatch.setattr(gpus, "visible_gpus", lambda found=found: found)
        assert scale.kind() == kind
        with scale.composing_for("auto"):
            assert scale.kind() == kind
        for named in ("cpu", "cuda:1"):
            with scale.composing_for(named):
                assert scale.kind() == named.split(":")[0]
        assert scale.kind() == kind


@pytest.mark.parametrize(
    ("overrides", "device"),
    [
        ([], None),
        (["device=cpu"], "cpu"),
        (["device=cpu", "model=nerf", "++device=cuda:1"], "cuda:1"),
        (["device=auto"], "auto"),
        (["device=cpu,cuda"], None),
        (["my.device=cpu"], None),
    ],
)
def test_the_device_of_a_command_line(overrides, device) -> None:
    assert scale.device_named(overrides) == device


@pytest.mark.parametrize(
    ("there", "kind", "device", "asked", "line"),
    [
        ((), "cpu", "auto", None, "train=fast, because there is no GPU"),
        (("0",), "cuda", "auto", None, "train=full, because there is a GPU"),
        (("0",), "cpu", "cpu", None, "train=fast, because device=cpu"),
        ((), "cuda", "cuda:1", "cuda", "train=full, because device=cuda:1"),
        ((), "cuda", "auto", "cuda", "train=full, because the launcher asks for a GPU"),
        (("0",), "cpu", "auto", "cpu", "train=fast, because the launcher asks for no GPU"),
        (("0",), "cpu", "auto", "cuda", "train=fast, because an earlier start found no GPU"),
        (("0",), "cpu", "auto", None, "train=fast, because torch cannot use the GPU here"),
        ((), "cuda", "auto", None, "train=full, because torch can use a GPU here"),
    ],
)
def test_the_line_that_tells(monkeypatch, there, kind, device, asked, line) -> None:
    monkeypatch.setattr(gpus, "visible_gpus", lambda: there)
    assert scale.told(kind, device, asked) == line
    assert len(line) <= 80
