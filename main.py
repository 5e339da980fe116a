"""Train, score, export or render one run: ``python main.py model=neus dataset=demo``; see ``--help``."""

import sys

import hydra
from omegaconf import DictConfig

from isosweep import app, config


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    return app.guarded_run(cfg)


if __name__ == "__main__":
    sys.exit(config.command_line(main))
