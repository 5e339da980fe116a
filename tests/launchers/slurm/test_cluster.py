"""What SLURM's commands print is understood, also when they refuse, hang or contradict each other.

The recorded outputs come from SLURM 22.05.8 with scripts/slurm_local.sh's configuration; nodes.txt, partitions.txt,
config.txt and the accounts from the same with more nodes, partitions and enforced accounting.
"""

import ast
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from isosweep.launchers.launch_folder import write_plan
from isosweep.launchers.planning import Planned
from isosweep.launchers.settings import SlurmSettings
from isosweep.launchers.slurm import calls
from isosweep.launchers.slurm.calls import (
    ClusterError,
    ClusterUnreachable,
    chunks,
    clean_environment,
    require_cluster,
    run,
    seconds,
    shell_defaults,
)
from isosweep.launchers.slurm.job_states import JobState, cancel_jobs, expand, explain, job_states
from isosweep.launchers.slurm.launcher import split, submit
from isosweep.launchers.slurm.limits import max_array_size, slurm_conf
from tests.launchers.slurm.conftest import RECORDED, StandIns

ASKING = ("calls", "job_states", "limits", "preflight", "refusals")
SOURCES = [Path(calls.__file__).with_name(f"{name}.py") for name in ASKING]
SACCT_OFF = "Slurm accounting storage is disabled"
NO_CONTROLLER = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text()


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_only_the_standard_library_and_each_other_are_imported(path):
    roots = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            ours = ("isosweep.launchers.slurm", "isosweep.launchers.settings", "isosweep.errors")
            assert not (node.module or "").startswith("isosweep") or (node.module or "").startswith(ours)
            roots.add((node.module or "").split(".")[0])
    assert roots - {"isosweep"} <= sys.stdlib_module_names


# --- calls ---------------------------------------------------------------------------------------


def test_a_missing_command_says_what_to_do(stand_ins):
    with pytest.raises(
        ClusterError, match=r"'sbatch' was sought on PATH and not found.*login node.*launcher=local"
    ):
        require_cluster()


def test_a_command_that_hangs_is_ended_in_time_with_what_it_started(stand_ins):
    # the stand-in's own child (sleep) holds the pipe: killing the script alone would wait for the child
    stand_ins.say("squeue", sleep=60)
    start = time.monotonic()
    with pytest.raises(ClusterUnreachable, match=r"squeue -h did not answer within 0.5 s"):
        run(["squeue", "-h"], timeout_s=0.5)
    assert time.monotonic() - start < 10


def test_require_ends_in_time_with_a_controller_that_hangs(stand_ins):
    stand_ins.say("sbatch", "slurm 22.05.8")
    stand_ins.say("squeue", "slurm 22.05.8")
    stand_ins.say("scontrol", "slurm 22.05.8", when="--version")
    stand_ins.say("scontrol", sleep=60, when="ping")
    start = time.monotonic()
    with pytest.raises(ClusterUnreachable, match="scontrol ping did not answer within 1 s"):
        require_cluster(timeout_s=1)
    assert time.monotonic() - start < 10


def test_require_of_a_controller_that_is_down_and_of_one_whose_backup_is_up(stand_ins):
    for name in ("sbatch", "squeue"):
        stand_ins.say(name, "slurm 22.05.8")
    stand_ins.say("scontrol", "slurm 22.05.8", when="--version")
    stand_ins.say("scontrol", "Slurmctld(primary) at vm is DOWN\n*** RESTORE ***\n", when="ping", code=1)
    with pytest.raises(
        ClusterUnreachable, match=r"no SLURM controller answers.*said: Slurmctld.primary. at vm is DOWN"
    ):
        require_cluster()
    up = "Slurmctld(primary) at a is DOWN\nSlurmctld(backup) at b is UP\n"
    stand_ins.say("scontrol", up, when="ping")
    require_cluster()


def test_a_failure_keeps_the_commands_own_words(stand_ins):
    stand_ins.say("scontrol", err="slurm_load_partitions error: Access/permission denied", code=1)
    with pytest.raises(
        ClusterError, match=r"scontrol show partition failed; it said: .*permission denied"
    ) as info:
        run(["scontrol", "show", "partition"])
    assert not isinstance(info.value, ClusterUnreachable)
    assert info.value.words == "slurm_load_partitions error: Access/permission denied"
    stand_ins.say("scontrol", code=7)
    with pytest.raises(ClusterError, match="it said: nothing, exit code 7"):
        run(["scontrol", "show", "partition"])


def test_query_commands_do_not_see_formats_of_the_shell(stand_ins, monkeypatch):
    monkeypatch.setenv("SQUEUE_FORMAT", "%u")
    monkeypatch.setenv("SLURM_BITSTR_LEN", "8")
    monkeypatch.setenv("SLURM_CONF", "/site/slurm.conf")
    stand_ins.say("squeue")
    run(["squeue"])
    seen = (stand_ins.folder / "env").read_text()
    assert "SQUEUE_FORMAT" not in seen
    assert "SLURM_CONF='/site/slurm.conf'" in seen
    assert "SLURM_BITSTR_LEN='0'" in seen


def test_clean_environment_of_a_shell_and_of_a_job():
    env = {
        "HOME": "/home/u",
        "SLURM_CONF": "/site/slurm.conf",
        "SLURM_CLUSTERS": "east",
        "SLURM_JWT": "token",
        "SBATCH_PARTITION": "old",
        "SRUN_CPUS_PER_TASK": "2",
        "SLURM_CPU_BIND": "cores",
        "SLURMISH": "kept",
        "CUDA_VISIBLE_DEVICES": "0",
    }
    kept = {k: env[k] for k in ("HOME", "SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT", "SLURMISH")}
    assert clean_environment(env) == kept | {"CUDA_VISIBLE_DEVICES": "0"}
    # inside an allocation the cards are that job's, and SLURM gives the new job its own
    assert clean_environment(env | {"SLURM_JOB_ID": "7"}) == kept
    assert shell_defaults(env | {"SBATCH_ACCOUNT": "vision", "SBATCH_QOS": ""}) == {
        "account": "vision",
        "partition": "old",
    }


def test_ids_are_dealt_out_over_command_lines_that_fit():
    ids = [str(10_000_000 + i) for i in range(20_000)]
    parts = list(chunks(ids))
    assert [one for part in parts for one in part] == ids
    assert len(parts) == 4
    assert max(len(",".join(part)) for part in parts) <= 50_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0:05", 5),
        ("1:30:00", 5400),
        ("2-00:00:01", 172801),
        ("UNLIMITED", None),
        ("INVALID", None),
        ("", None),
    ],
)
def test_seconds(text, expected):
    assert seconds(text) == expected


# --- arrays --------------------------------------------------------------------------------------


def test_max_array_size_is_the_smaller_of_two_limits(stand_ins):
    stand_ins.say("scontrol", recorded("config"))
    assert max_array_size(slurm_conf()) == 1001
    stand_ins.say("scontrol", "MaxArraySize = 1001\nSchedulerParameters = bf_interval=2,max_array_tasks=64\n")
    assert max_array_size(slurm_conf()) == 64
    stand_ins.say("scontrol", "MaxArraySize = 0\n")
    with pytest.raises(ClusterError, match="job arrays are switched off"):
        max_array_size(slurm_conf())


def test_split():
    jobs = list(range(2503))
    assert [len(part) for part in split(jobs[:1002], 1001)] == [501, 501]
    assert split(jobs[:1001], 1001) == [jobs[:1001]]
    assert split([], 5) == []
    parts = split(jobs, 1001)
    assert [one for part in parts for one in part] == jobs
    assert [len(part) for part in parts] == [834, 834, 835]


def test_an_array_that_slurm_refuses_is_an_error_in_its_words(stand_ins, tmp_path, monkeypatch):
    """What changed between the check and the submission, or what the check cannot see."""
    monkeypatch.chdir(tmp_path)
    stand_ins.say("scontrol", recorded("config"))
    stand_ins.say("srun")
    stand_ins.say("sbatch", err="sbatch: error: AssocMaxSubmitJobLimit", code=1)
    planned = [Planned(number=i, overrides=[f"seed={i}"], todo="train", reason="new run") for i in range(2)]
    folder, launch = write_plan("refused", tmp_path / "runs", planned, [], "slurm")
    words = r"^0 of 2 runs are submitted, the others are not: .*MaxSubmitJobs.*SLURM's words.*"
    words += r"retry refused --root .*runs$"
    with pytest.raises(ClusterError, match=words):
        submit("refused", folder, launch, planned, SlurmSettings(), [])


# --- the states of jobs --------------------------------------------------------------------------


@pytest.fixture
def history(stand_ins) -> StandIns:
    """Jobs of every kind, as squeue and sacct -D showed them at one moment."""
    stand_ins.say("squeue", recorded("squeue"))
    stand_ins.say("sacct", recorded("sacct"))
    stand_ins.say("scontrol", err="slurm_load_jobs error: Invalid job id specified", code=1)
    return stand_ins


STATES = {
    "21": JobState("timeout", node="n1", elapsed_s=64),
    "22_0": JobState("finished", node="n1", elapsed_s=0, exit_code=0),
    "22_1": JobState("failed", node="n1", elapsed_s=0, exit_code=3),
    "22_2": JobState("failed", node="n1", elapsed_s=0, signal=9),
    "22_3": JobState("cancelled", "CANCELLED by 0", "n2", 22),
    "22_4": JobState("running", node="n1", elapsed_s=89, restarts=1, left_s=511),  # requeued by scontrol
    "23": JobState("pending", "Resources", elapsed_s=0, restarts=1, left_s=600),  # preempted, requeued
    "30": JobState("preempted", node="n1", elapsed_s=11),
    "33_0": JobState("pending", "PartitionTimeLimit", elapsed_s=0, left_s=5400),
    "33_3": JobState(
        "cancelled", "cancelled before it started"
    ),  # sacct still lists it as pending in 33_[0-9%2]
    "34": JobState("pending", "JobHeldUser", elapsed_s=0, left_s=600),
    "777": JobState(reason="neither the controller nor accounting knows this job"),
    "33": JobState(reason="33 is an array: its tasks are called 33_0, 33_1, ..."),
}


def test_the_state_of_every_kind_of_job(history):
    assert job_states(list(STATES)) == STATES
    assert len(history.calls()) < 10


def test_live_jobs_need_the_queue_only(history):
    assert job_states(["22_4", "33_0"]) == {one: STATES[one] for one in ("22_4", "33_0")}
    assert [call.split()[0] for call in history.calls()] == ["squeue"]


def test_ended_jobs_that_the_controller_has_forgotten_come_from_accounting(history):
    history.say("squeue", err="slurm_load_jobs error: Invalid job id specified", code=1)
    old = ["21", "22_0", "22_1", "22_2", "22_3", "30"]
    assert job_states(old) == {one: STATES[one] for one in old}


def test_attempts_of_a_requeued_job_count_and_the_newest_wins(history):
    rows = [
        "5|NODE_FAIL|1:0|9|2026-11-20T10:00:00|n1",
        "5|COMPLETED|0:0|70|2026-11-20T12:00:00|n3",
        "5|REQUEUED|0:0|30|2026-11-20T11:00:00|n2",
        "5.batch|COMPLETED|0:0|70|2026-11-20T12:00:00|n3",
    ]
    history.say("squeue", "")
    history.say("sacct", "\n".join(rows))
    assert job_states(["5"]) == {"5": JobState("finished", node="n3", elapsed_s=70, exit_code=0, restarts=2)}


def test_out_of_memory_and_node_failures(history):
    history.say("squeue", "")
    history.say(
        "sacct", "5|OUT_OF_MEMORY|0:125|9|2026-11-20T10:00:00|n1\n6|NODE_FAIL|0:0|9|2026-11-20T10:00:00|n1\n"
    )
    states = job_states(["5", "6"])
    assert (states["5"].state, states["5"].signal, states["6"].state) == ("oom", 125, "node_fail")


def test_without_accounting_the_controller_tells_exit_codes_while_it_remembers(history):
    history.say("sacct", err=SACCT_OFF, code=1)
    history.say("scontrol", recorded("jobs"), when="show job")
    states = job_states(["22_1", "22_2", "22_0", "21", "33_3", "777"])
    assert (states["22_1"].state, states["22_1"].exit_code) == ("failed", 3)
    assert (states["22_2"].state, states["22_2"].signal) == ("failed", 9)
    assert (states["22_0"].state, states["22_0"].exit_code) == ("finished", 0)
    assert states["21"].state == "timeout"
    # whether it was cancelled or ended long ago only accounting could tell
    assert states["33_3"].state == "unknown"
    assert states["777"].reason == "the controller has forgotten this job, and accounting does not answer"


def test_a_record_of_accounting_that_lags_behind_loses_to_the_queue(history):
    history.say("sacct", recorded("sacct").replace("22_1|FAILED|3:0", "22_1|RUNNING|0:0"))
    assert job_states(["22_1"])["22_1"].state == "failed"
    history.say("squeue", "")
    history.say("sacct", "5|RUNNING|0:0|9|2026-11-20T10:00:00|n1\n")
    (state,) = job_states(["5"]).values()
    assert state == JobState(reason="accounting has it as running, the controller does not know it")


def test_a_silent_controller_is_an_error_worth_a_second_try(history):
    history.say("squeue", err=NO_CONTROLLER, code=1)
    with pytest.raises(ClusterUnreachable, match="Unable to contact slurm controller"):
        job_states(["1"])


@pytest.mark.parametrize("wrong", ["", "x", "-u", "12_", "12_[0-3]", "1,2"])
def test_what_is_no_job_id_is_not_asked_for(history, wrong):
    with pytest.raises(ClusterError, match="is no SLURM job"):
        job_states([wrong])
    assert not history.calls()


def test_thousands_of_jobs_in_a_few_calls(history):
    width = {"JobArrayID": 40, "State": 20, "TimeUsed": 20, "TimeLeft": 20, "RestartCnt": 10, "NodeList": 60}
    live = dict(zip(width, ["", "RUNNING", "0:10", "1:00", "0", "n1"], strict=True))
    rows = []
    for i in range(5000, 7000):
        live["JobArrayID"] = str(i)
        rows.append("".join(live[name].ljust(width[name]) for name in width) + "None")
    history.say("squeue", "\n".join(rows))
    history.say("sacct", "".join(f"{i}|FAILED|1:0|3|2026-11-20T10:00:00|n1\n" for i in range(1000, 5000)))
    start = time.monotonic()
    states = job_states([str(i) for i in range(1000, 7000)])
    assert time.monotonic() - start < 10
    assert sum(s.state == "failed" for s in states.values()) == 4000
    assert sum(s.state == "running" for s in states.values()) == 2000
    assert len(history.calls()) <= 4


def test_expand():
    assert expand("12_[5-6,9,20-30:5%2]") == ["12_5", "12_6", "12_9", "12_20", "12_25", "12_30"]
    assert expand("12_3") == ["12_3"]
    assert expand("12+1") == ["12+1"]
    assert expand("12_[5,9,...") == []
    assert expand("CLUSTER: east") == []


def test_reasons_are_explained_where_waiting_is_not_enough():
    assert "smaller timeout_min" in (explain("PartitionTimeLimit") or "")
    assert "drained" in (explain("ReqNodeNotAvail, UnavailableNodes:n1") or "")
    assert "will not start as it is" in (explain("QOSMaxWallDurationPerJobLimit") or "")
    assert "never if this job" in (explain("AssocGrpGRES") or "")
    assert "budget" in (explain("AssocGrpCPUMinutesLimit") or "")
    assert "scontrol release" in (explain("launch failed requeued held") or "")
    nodes = "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions"
    assert "they are back" in (explain(nodes) or "")
    for waiting in (
        None,
        "",
        "Priority",
        "Resources",
        "JobArrayTaskLimit",
        "BeginTime",
        "QOSMaxJobsPerUserLimit",
    ):
        assert explain(waiting) is None


def test_every_reason_starts_with_slurms_own_word():
    assert (explain("JobHeldUser") or "").startswith("JobHeldUser: ")


def test_cancel_asks_once_for_an_array_and_takes_ended_jobs_as_done(stand_ins):
    done = "scancel: error: Kill job error on job id 5: Job/step already completing or completed"
    stand_ins.say("scancel", err=done, code=1)
    cancel_jobs(["12_3", "12_1", "12_2", "7", "5_4", "5"])
    assert stand_ins.calls() == ["scancel 12_[1-3] 7 5"]
    stand_ins.say(
        "scancel", err="scancel: error: Kill job error on job id 5: Access/permission denied", code=1
    )
    with pytest.raises(ClusterError, match="permission denied"):
        cancel_jobs(["5"])


def test_cancel_of_nothing_calls_nothing(stand_ins):
    cancel_jobs([])
    assert not stand_ins.calls()


# --- the real cluster ----------------------------------------------------------------------------

slurm = pytest.mark.slurm


@slurm
def test_real_cluster_answers_and_says_its_sizes(cluster):
    require_cluster()
    assert max_array_size(slurm_conf()) == 1001


@slurm
def test_real_life_of_jobs(cluster):
    failing = cluster.submit("--time=5", wrap="exit 3")
    killed = cluster.submit("--time=5", wrap="kill -9 $$")
    array = cluster.submit("--time=5", "--array=0-4%1", wrap="sleep 100")
    fine = cluster.submit("--time=5")
    forever = cluster.submit("--time=90")
    ids = [failing, killed, fine, forever, *(f"{array}_{i}" for i in range(5))]

    def states() -> dict[str, str]:
        return {one: s.state for one, s in job_states(ids).items()}

    cluster.until(lambda: states()[f"{array}_0"] == "running")
    running = job_states([f"{array}_0"])[f"{array}_0"]
    assert running.node in ("n1", "n2")
    assert 0 < (running.left_s or 0) <= 300
    cluster.until(lambda: {states()[one] for one in (failing, killed, fine)} == {"failed", "finished"})
    ended = job_states(ids)
    assert (ended[failing].exit_code, ended[killed].signal, ended[fine].exit_code) == (3, 9, 0)
    assert ended[f"{array}_3"].state == "pending"
    assert "smaller timeout_min" in (explain(ended[forever].reason) or "")
    cancel_jobs([f"{array}_0", f"{array}_3", fine])
    cluster.until(lambda: states()[f"{array}_0"] == "cancelled" and states()[f"{array}_1"] == "running")
    # a waiting task that is cancelled vanishes from the queue and from accounting
    assert job_states([f"{array}_3"])[f"{array}_3"].state == "cancelled"
    cancel_jobs([array, forever])
    cluster.until(lambda: all(states()[one] == "cancelled" for one in (forever, f"{array}_1", f"{array}_4")))


@slurm
def test_real_requeue_counts_and_the_job_is_live(cluster):
    one = cluster.submit("--time=5", wrap="sleep 100")
    cluster.until(lambda: job_states([one])[one].state == "running")
    run(["scontrol", "requeue", one])
    cluster.until(lambda: job_states([one])[one].restarts == 1)
    assert job_states([one])[one].live
    cancel_jobs([one])
    cluster.until(lambda: job_states([one])[one].state == "cancelled")
    assert asdict(job_states([one])[one])["restarts"] == 1


@slurm
def test_real_surrounding_job_does_not_reach_a_query(cluster, monkeypatch):
    monkeypatch.setenv("SQUEUE_FORMAT", "%u")
    monkeypatch.setenv("SQUEUE_STATES", "COMPLETED")
    one = cluster.submit("--hold")
    assert job_states([one])[one].reason == "JobHeldUser"
