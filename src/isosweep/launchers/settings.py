"""What ``hydra.launcher.*`` may say for this machine and for SLURM.

Plain dataclasses without Hydra or torch: ``hydra_plugins`` makes its config nodes from them, and the launchers
read them.
"""

from dataclasses import dataclass, field


@dataclass
class LocalSettings:
    """``hydra/launcher=local``."""

    slots: int | None = None  # runs at a time; null: slots_per_gpu a GPU, or one for every four cores
    slots_per_gpu: int = 1
    gpus_per_run: int = 1  # GPUs, and processes, that share the batches of one run
    gpus: list[str] | None = None  # null takes those that are visible
    max_failures: int | None = None  # failures after which nothing new is started
    grace_s: float = 120.0  # seconds a run may take to save and end after Ctrl-C


@dataclass
class SlurmSettings:
    """``hydra/launcher=slurm``. Names are submitit's where it has them; null leaves it to the cluster's default."""

    partition: str | None = None  # several are separated by commas
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None  # nodes not to use
    gres: str | None = None  # instead of gpus_per_node, e.g. gpu:a100:1
    timeout_min: int = 240  # a run that needs longer saves, is requeued and goes on
    cpus_per_task: int = 4
    gpus_per_node: int = 1  # 0 runs on the CPU
    gpus_per_run: int = 1  # more than 1: as many tasks share the batches of one run; gpus_per_node follows
    mem_gb: float | None = None  # GiB
    array_parallelism: int = 256  # runs of one array at a time
    signal_delay_s: int = 120  # warning before the time limit, to save a checkpoint
    max_num_timeout: int = 100  # time limits a run may meet before it is given up
    setup: list[str] = field(default_factory=list)  # shell lines before the run: module load, conda activate
    python: str | None = None  # e.g. "apptainer exec --nv image.sif python"; null is this interpreter
    srun_args: list[str] = field(default_factory=list)  # e.g. ["--container-image=..."]
    # any other option of sbatch; true is an option without a value
    additional_parameters: dict[str, int | float | bool | str | None] = field(default_factory=dict)
    name: str | None = None  # job name; null is the sweep's
    wait: bool = False  # return when the last run has ended, with exit code 1 where one failed
