"""``train=auto`` in a run that has composed its config: whether it was for this device, and the line that tells.

A config is composed before torch is imported, for the device that the command line names or the driver shows. What a
yaml file says of the device, and what torch can use, is known only then.
"""

from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict, read_write

from isosweep.config import scale


def for_device(cfg: DictConfig, kind: str) -> DictConfig:
    """The run's config for a kind of device ('cuda', 'cpu'): ``cfg``, or the same command composed again."""
    if not _left_to_the_machine() or kind == scale.kind():
        return cfg
    hydra = HydraConfig.get()
    overrides = [*hydra.overrides.hydra, *hydra.overrides.task]
    with scale.composing_for(kind):
        loader = GlobalHydra.instance().config_loader()
        found = loader.load_configuration(hydra.job.config_name, overrides, RunMode.RUN)
    node: Any = hydra
    with read_write(node), open_dict(node):
        node.runtime.choices = found.hydra.runtime.choices
    with open_dict(found):
        del found["hydra"]
    return found


def schedule_line(cfg: DictConfig, kind: str) -> str | None:
    """What the schedule is and why, for the run's first line; None where it was named."""
    return scale.told(kind, str(cfg.device)) if _left_to_the_machine() else None


def _left_to_the_machine() -> bool:
    return HydraConfig.initialized() and scale.is_auto(HydraConfig.get().runtime.choices)
