"""What Hydra finds of isosweep: it takes plugins from this namespace only. The work is in isosweep.launchers.

Hydra imports this file at every start, so it imports nothing that is heavy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class GridSweeperConf:
    _target_: str = "hydra_plugins.isosweep_plugins.GridSweeper"
    params: dict[str, Any] = field(default_factory=dict)  # key -> values, all combinations: "0,1,2"
    zip: Any = None  # rows that belong together: [{scene: a, seed: 0}, ...], or key -> list
    jobs: str | None = None  # a JSON list of lists of overrides, taken as it is


@dataclass
class LocalLauncherConf:
    _target_: str = "hydra_plugins.isosweep_plugins.LocalLauncher"
    slots: int | None = None  # runs at a time; null: slots_per_gpu a GPU, or one for every four cores
    slots_per_gpu: int = 1
    gpus: list[str] | None = None  # null takes those that are visible
    max_failures: int | None = None  # failures after which nothing new is started
    grace_s: float = 120.0  # seconds a run may take to save and end after Ctrl-C


@dataclass
class SlurmLauncherConf:
    _target_: str = "hydra_plugins.isosweep_plugins.SlurmLauncher"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None  # nodes not to use
    gres: str | None = None  # instead of gpus_per_node, e.g. gpu:a100:1
    timeout_min: int = 240  # a run that needs longer saves, is requeued and goes on
    cpus_per_task: int = 4
    gpus_per_node: int = 1  # 0 runs on the CPU
    mem_gb: float | None = None
    array_parallelism: int = 256  # runs at a time
    signal_delay_s: int = 120  # warning before the time limit, to save a checkpoint
    max_num_timeout: int = 100  # time limits a run may meet before it is given up
    setup: list[str] = field(default_factory=list)  # shell lines before the run: module load, conda activate
    python: str | None = None  # e.g. "apptainer exec --nv image.sif python"; null is this interpreter
    srun_args: list[str] = field(default_factory=list)  # e.g. ["--container-image=..."]
    additional_parameters: dict[str, Any] = field(default_factory=dict)  # any other option of sbatch
    name: str | None = None  # job name; null is the sweep's
    wait: bool = False  # return when the last run has ended, with their exit code


class GridSweeper(Sweeper):
    """All combinations of the swept values, planned and checked before the first run starts."""

    def __init__(self, params: Any = None, zip: Any = None, jobs: str | None = None) -> None:
        self.params, self.zip, self.jobs = params, zip, jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from isosweep.launchers.sweeping import sweep

        return sweep(self, arguments)


class LocalLauncher(Launcher):
    """A process a run, in slots of this machine."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from isosweep.launchers.sweeping import launch_local

        return launch_local(self.context, self.config, job_overrides, self.settings)


class SlurmLauncher(Launcher):
    """Job arrays on SLURM; returns after submission."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from isosweep.launchers.sweeping import launch_slurm

        return launch_slurm(self.context, self.config, job_overrides, self.settings)


_STORE = ConfigStore.instance()
_STORE.store(group="hydra/sweeper", name="grid", node=GridSweeperConf, provider="isosweep")
_STORE.store(group="hydra/launcher", name="local", node=LocalLauncherConf, provider="isosweep")
_STORE.store(group="hydra/launcher", name="slurm", node=SlurmLauncherConf, provider="isosweep")
