"""Train, score, export or render one run: ``python main.py model=neus dataset=demo``; see ``--help``."""

import sys

import hydra
from omegaconf import DictConfig

from isosweep.app import completion, entry
from isosweep.config import command_line


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    return entry.guarded_run(cfg)


if __name__ == "__main__":
    if completion.is_asked(sys.argv):
        completion.with_scenes()
    sys.exit(command_line.command_line(main))
