"""``scripts/prepare.py inspect``: draw the contact sheet of an existing scene, of any data set."""

import logging
import re
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from isosweep.app.build import build_scene
from isosweep.app.debug import scene_lines
from isosweep.app.telling import Lines
from isosweep.config.errors import explain
from isosweep.config.schema import CONF
from isosweep.data.any_layout import layouts_of
from isosweep.data.checks import warning_lines
from isosweep.errors import InputError
from isosweep.prepare.contact_sheet import draw
from isosweep.prepare.messages import quoted
from isosweep.prepare.views import scene_view
from isosweep.runtime import progress

log = logging.getLogger("isosweep")


def inspect(target: list[str], out: Path | None) -> list[str]:
    """Write the contact sheet of a scene.

    Args:
        target: a folder, the name of a data set, or overrides as main.py takes them.
        out: path of the picture; None writes ``results/inspect/<dataset>-<scene>.png``.

    Returns: lines for the terminal.

    Raises:
        FileNotFoundError: there is no such folder, or it has no format that a loader reads.
        InputError: the overrides do not compose, or the scene's loader refuses it.
    """
    notes, overrides = overrides_of(target)
    cfg = _composed(overrides)
    with progress.heard_by(Lines()):
        scene = build_scene(cfg.dataset)
    name = re.sub(r"[^\w.-]+", "-", f"{scene.dataset}-{scene.name}")
    path = out or Path("results/inspect") / f"{name}.png"
    shown = scene_view(scene)
    lines = [
        *scene_lines(scene),
        *(f"WARNING: {line}" for line in warning_lines(scene)),
    ]
    facts = draw(shown, lines, path)
    return [*notes, *lines, f"points: {shown.points_are}", *facts, f"contact sheet: {path}"]


def overrides_of(target: list[str]) -> tuple[list[str], list[str]]:
    """Notes for the terminal, and Hydra overrides, made from the arguments of inspect.

    Raises:
        FileNotFoundError, InputError: as `inspect`.
    """
    if len(target) == 1 and Path(target[0]).is_dir():
        return _of_folder(Path(target[0]))
    if len(target) == 1 and "=" not in target[0]:
        folder = Path(target[0])
        if (CONF / "dataset" / f"{target[0]}.yaml").is_file():
            return [], [f"dataset={target[0]}"]
        options = ", ".join(sorted(p.stem for p in (CONF / "dataset").glob("*.yaml")))
        raise FileNotFoundError(
            f"no folder {folder}: give a scene's folder, a data set ({options}), or overrides such as dataset=dtu "
            "scene=scan24"
        )
    wrong = [t for t in target if "=" not in t]
    if wrong:
        raise InputError(
            f"inspect takes one folder or overrides key=value, found {wrong[0]!r} among {len(target)} arguments"
        )
    return [], target


def _of_folder(folder: Path) -> tuple[list[str], list[str]]:
    found = layouts_of(folder)
    name = folder.resolve().name
    scene = name.removeprefix(f"{found[0]}_") if found[0] != "demo" else name.split("-v")[0]
    note = f"read as {found[0]}"
    if len(found) > 1:
        note += (
            f"; it also has the format of {', '.join(found[1:])}; to choose one: inspect dataset=<format> "
            f"dataset.path={folder}"
        )
    return [note], [f"dataset={found[0]}", f"scene={quoted(scene)}", f"dataset.path={quoted(str(folder))}"]


def _composed(overrides: list[str]) -> DictConfig:
    # masks are shown even if the loss does not use them
    shown = (
        overrides
        if any(o.startswith("dataset.masks=") for o in overrides)
        else [*overrides, "dataset.masks=true"]
    )
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("config", shown)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(explain(error, overrides, CONF)) from error
