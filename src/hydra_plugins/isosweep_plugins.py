"""isosweep's plugins for Hydra, which finds plugins in this namespace only. The work is done in isosweep.launchers.

May import: launchers.
Hydra imports this file at every start, so it imports nothing heavy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from isosweep.launchers.settings import LocalSettings, SlurmSettings


def _settings_of_optuna() -> Any:
    """The config of the extra `optuna`; without it nothing, and `OptunaSweeper` says what to install."""
    try:
        from hydra_plugins.hydra_optuna_sweeper.config import OptunaSweeperConf
    except ImportError:
        return object
    return OptunaSweeperConf


OptunaSettings: Any = _settings_of_optuna()


@dataclass
class GridSweeperConf:
    _target_: str = "hydra_plugins.isosweep_plugins.GridSweeper"
    params: dict[str, Any] = field(default_factory=dict)  # key -> values, all combinations: "0,1,2"
    zip: Any = None  # rows that belong together: [{scene: a, seed: 0}, ...], or key -> list
    jobs: str | None = None  # a JSON list of lists of overrides, taken as it is


@dataclass
class UntilSweeperConf(GridSweeperConf):
    _target_: str = "hydra_plugins.isosweep_plugins.UntilSweeper"
    max_seeds: int = 10  # seeds of a row at most
    min_seeds: int = 3  # seeds of every row before the first look
    alpha: float = 0.05  # chance that any of the pairs is decided by luck
    metric: str | None = (
        None  # a score of the records, or `objective` (validation PSNR); null: the table's first
    )
    against: Any = None  # the baseline row, e.g. "model=nerf"; null compares every two rows


@dataclass
class OptunaSweeperConf(OptunaSettings):
    _target_: str = "hydra_plugins.isosweep_plugins.OptunaSweeper"
    direction: Any = "maximize"  # of the validation PSNR
    storage: Any = (
        None  # sqlite:///study.db keeps the study, and the same command goes on with it; null: in memory
    )
    study_name: str | None = None  # null: the sweep's name
    n_trials: int = 20  # of the study: trials that a storage holds already count


@dataclass
class LocalLauncherConf(LocalSettings):
    _target_: str = "hydra_plugins.isosweep_plugins.LocalLauncher"


@dataclass
class SlurmLauncherConf(SlurmSettings):
    _target_: str = "hydra_plugins.isosweep_plugins.SlurmLauncher"


class GridSweeper(Sweeper):
    """All combinations of the swept values, planned and checked before the first run starts."""

    def __init__(self, params: Any = None, zip: Any = None, jobs: str | None = None) -> None:
        self.params, self.zip, self.jobs = params, zip, jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.context = hydra_context
        self.config: DictConfig = config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Sequence[JobReturn]:
        from isosweep.launchers.hydra_sweeps import sweep

        return sweep(self, arguments)


class UntilSweeper(GridSweeper):
    """Adds seeds only for rows of the grid that belong to a pair not yet decided."""

    def __init__(
        self,
        max_seeds: int,
        min_seeds: int,
        alpha: float,
        metric: str | None = None,
        against: Any = None,
        **grid: Any,
    ) -> None:
        super().__init__(**grid)
        self.max_seeds, self.min_seeds, self.alpha = max_seeds, min_seeds, alpha
        self.metric, self.against = metric, against

    def sweep(self, arguments: list[str]) -> Sequence[JobReturn]:
        from isosweep.launchers.until import until

        return until(self, arguments)


class OptunaSweeper(Sweeper):
    """hydra-optuna-sweeper's search, which says what every trial gave."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.context, self.config = hydra_context, config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        from isosweep.launchers.searches import search

        def implementation() -> type[Any]:
            from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl

            return OptunaSweeperImpl

        search(self, arguments, implementation)


class LocalLauncher(Launcher):
    """Runs every job in a process of its own, in slots of this machine."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from isosweep.launchers.hydra_sweeps import launch_local

        return launch_local(self.context, self.config, job_overrides, self.settings)


class SlurmLauncher(Launcher):
    """Submits job arrays to SLURM and returns."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from isosweep.launchers.hydra_sweeps import launch_slurm

        return launch_slurm(self.context, self.config, job_overrides, self.settings)


class OptunaConfig(SearchPathPlugin):
    """Puts our config of ``hydra/sweeper=optuna`` in the place of the extra's, which has the same name.

    Hydra loads all plugins, in an order of its own, before it asks them about the search path.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        _STORE.store(group="hydra/sweeper", name="optuna", node=OptunaSweeperConf, provider="isosweep")


_STORE = ConfigStore.instance()
_STORE.store(group="hydra/sweeper", name="grid", node=GridSweeperConf, provider="isosweep")
_STORE.store(group="hydra/sweeper", name="until", node=UntilSweeperConf, provider="isosweep")
_STORE.store(group="hydra/launcher", name="local", node=LocalLauncherConf, provider="isosweep")
_STORE.store(group="hydra/launcher", name="slurm", node=SlurmLauncherConf, provider="isosweep")
