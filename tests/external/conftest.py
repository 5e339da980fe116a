"""A small scene, and runs of the stand-in method (tests/support/stand_in.py) on it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from isosweep.config.schema import CONF
from isosweep.geometry import from_world
from isosweep.meshes.files import read_mesh, write_mesh
from isosweep.types import Scene
from tests.support import stand_in
from tests.support.loading import load_scene
from tests.support.scenes import tiny_blender

COMMAND = (
    "{python} "
    + str(stand_in.__file__)
    + " --data {data} --out {out} --steps {steps} --seed {seed} {args} {resume}"
)


@pytest.fixture(scope="session")
def mug(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny demo scene, whose world is turned, moved and scaled, and its mesh in data.ply."""
    folder = tiny_blender(tmp_path_factory.mktemp("external"))
    mesh = read_mesh(folder / "mesh.ply")
    to_world = np.array(json.loads((folder / "demo.json").read_text())["to_world"])
    write_mesh(replace(mesh, vertices=from_world(mesh.vertices, to_world)), folder / "data")
    return folder


@pytest.fixture(scope="session")
def scene(mug: Path) -> Scene:
    return load_scene("demo", "mug", path=str(mug))


@pytest.fixture
def config(mug: Path, tmp_path: Path) -> Callable[..., DictConfig]:
    """Composes a run of the stand-in with more overrides."""

    def composed(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("config", [*stand_in_overrides(mug, tmp_path / "runs"), *overrides])

    return composed


def stand_in_overrides(mug: Path, root: Path) -> list[str]:
    """What makes the stand-in of the shipped visual-hull."""
    return [
        "method=visual-hull", "method.name=stand-in", f"dataset.path={mug}", "scene=mug", "debug=tiny", "device=cpu",
        f"run.root={root}", "eval.protocol=standard", f'method.commands=["{COMMAND}"]', "method.version=1",
        "method.prepare={layout: blender, masks: true, test_views: true, points: false}", "method.steps=4",
        "~method.args.resolution", "~method.args.tolerance", f"+method.args.mesh={mug / 'data.ply'}",
        "+method.args.lambda_normal=0.5", "method.watch.progress='step (?P<step>\\d+)/(?P<total>\\d+)'",
        "+method.watch.metrics.psnr='PSNR: ([\\d.]+)'", "method.collect.mesh='{out}/meshes/*.ply'",
        "method.collect.frame=data", "method.collect.renders='{out}/renders/*.png'",
    ]  # fmt: skip
