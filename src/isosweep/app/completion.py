"""Completes ``scene=`` on the command line with the scenes that the chosen data set has.

Hydra's own completion (``eval "$(python main.py -sc install=bash)"``) knows groups, options and keys, but of a scene
only the default.
"""

from collections.abc import Sequence
from pathlib import Path

from hydra.plugins.completion_plugin import CompletionPlugin
from hydra.types import RunMode
from omegaconf import DictConfig

from isosweep.app.scene_folder import is_demo, is_ours, is_picture
from isosweep.data.folders import DEMO_SCENES, neighbours
from isosweep.data.picture_files import pictures

_WORD = "scene="


def is_asked(arguments: Sequence[str]) -> bool:
    """Whether a command line asks Hydra for completion."""
    return any(text in ("-sc", "--shell_completion", "--shell-completion") for text in arguments)


def with_scenes() -> None:
    """Have Hydra's completion plugins, which share one function, offer scenes as well."""
    hydras = CompletionPlugin._query  # no other place sees the line that is completed

    def query(self: CompletionPlugin, config_name: str | None, line: str) -> list[str]:
        word = line.rpartition(" ")[2]
        if not word.startswith(_WORD):
            return hydras(self, config_name, line)
        others = [text for text in line.split()[:-1] if "=" in text]
        config = self.config_loader.load_configuration(config_name, overrides=others, run_mode=RunMode.RUN)
        assert isinstance(config, DictConfig)
        return [f"{_WORD}{found}" for found in completed(word.removeprefix(_WORD), scenes(config.dataset))]

    CompletionPlugin._query = query


def completed(typed: str, names: Sequence[str]) -> list[str]:
    """The values that ``typed`` may become; the last scene of a list (``mug,ri``) is completed."""
    before, comma, last = typed.rpartition(",")
    given = before.split(",")
    return [f"{before}{comma}{name}" for name in names if name.startswith(last) and name not in given]


def scenes(dataset: DictConfig) -> list[str]:
    """The scenes that the data folder has for a data set; none for a loader of another package."""
    if not is_ours(dataset):
        return []
    if is_demo(dataset):
        return list(DEMO_SCENES)
    name, root, path = dataset.name, Path(dataset.root), dataset.path
    if path is not None:
        return [Path(path).name]
    if is_picture(dataset):
        return pictures(root)
    own = [p.name.removeprefix(f"{name}_") for p in root.glob(f"{name}_*") if p.is_dir()]
    return sorted(own) or neighbours(root, name, lambda folder: not folder.name.startswith("."))
