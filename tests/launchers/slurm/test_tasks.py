"""A run of several SLURM tasks: what a job asks for, and what its tasks are told. No cluster is needed."""

import pytest

from isosweep.launchers.settings import SlurmSettings
from isosweep.launchers.slurm.calls import ClusterError
from isosweep.launchers.slurm.job import place_of_task
from isosweep.launchers.slurm.launcher import _parameters, with_gpus_of_runs
from isosweep.runtime.ranks import Place, place


def test_a_job_has_a_task_and_a_gpu_for_each_process_of_its_run() -> None:
    four = with_gpus_of_runs(SlurmSettings(gpus_per_run=4, cpus_per_task=10, srun_args=["--x"]))
    asked = _parameters("sweep", four)
    assert (asked["gpus_per_node"], asked["ntasks_per_node"], asked["cpus_per_task"], asked["nodes"]) == (
        4,
        4,
        2,
        1,
    )
    assert asked["srun_args"] == ["--gpu-bind=none", "--kill-on-bad-exit=0", "--x"]
    one = _parameters("sweep", with_gpus_of_runs(SlurmSettings(cpus_per_task=10)))
    assert (one["gpus_per_node"], one["ntasks_per_node"], one["cpus_per_task"]) == (1, 1, 10)
    assert "srun_args" not in one


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"gres": "gpu:a100:2"}, "gpus_per_run=4, and gres=gpu:a100:2 gives a job 2 GPUs: ask for 4"),
        ({"gpus_per_node": 2}, "gpus_per_run=4, and gpus_per_node=2 gives a job 2 GPUs: ask for 4"),
        ({"gpus_per_node": 0}, "gpus_per_node=0 gives a job 0 GPUs: ask for 4"),
    ],
)
def test_fewer_gpus_than_processes_are_refused(given: dict, words: str) -> None:
    with pytest.raises(ClusterError, match=words):
        with_gpus_of_runs(SlurmSettings(gpus_per_run=4, **given))
    assert with_gpus_of_runs(SlurmSettings(gpus_per_run=4, gres="gpu:a100:4")).gres == "gpu:a100:4"
    assert with_gpus_of_runs(SlurmSettings(gpus_per_run=4, gpus_per_node=8)).gpus_per_node == 8
    with pytest.raises(ClusterError, match="gpus_per_run=0: give 1 or more"):
        with_gpus_of_runs(SlurmSettings(gpus_per_run=0))


def test_each_task_is_told_its_place() -> None:
    slurm = {"SLURM_PROCID": "3", "SLURM_LOCALID": "3", "SLURM_JOB_ID": "70123", "SLURM_NTASKS": "4"}
    told = place_of_task(slurm, 4)
    assert place({**slurm, **told}) == Place(3, 4, 3, 4, 1), "SLURM has dealt out the cores already"
    assert told["MASTER_PORT"] == str(20_000 + 70123 % 12_000)
    assert place_of_task({**slurm, "SLURM_JOB_ID": "70124"}, 4)["MASTER_PORT"] != told["MASTER_PORT"]
