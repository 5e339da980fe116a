"""The composition root."""

from omegaconf import DictConfig


def guarded_run(cfg: DictConfig) -> float:
    raise NotImplementedError
