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

from isosweep.launchers.slurm import cluster as lab
from isosweep.launchers.slurm.calls import chunks, run, seconds
from isosweep.launchers.slurm.cluster import ClusterError, ClusterUnreachable, JobState, Request
from isosweep.launchers.slurm.limits import gres_parts
from isosweep.launchers.slurm.job_states import expand
from tests.launchers.slurm.conftest import RECORDED, StandIns

ASKING = ("calls", "cluster", "job_states", "limits", "preflight")
SOURCES = [Path(lab.__file__).with_name(f"{name}.py") for name in ASKING]
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
            assert not (node.module or "").startswith("isosweep") or ".launchers.slurm" in (node.module or "")
            roots.add((node.module or "").split(".")[0])
    assert roots - {"isosweep"} <= sys.stdlib_module_names


# --- calls ---------------------------------------------------------------------------------------


def test_a_missing_command_says_what_to_do(stand_ins):
    with pytest.raises(
        ClusterError, match=r"'sbatch' was sought on PATH and not found.*login node.*launcher=local"
    ):
        lab.require()


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
        lab.require(timeout_s=1)
    assert time.monotonic() - start < 10


def test_require_of_a_controller_that_is_down_and_of_one_whose_backup_is_up(stand_ins):
    for name in ("sbatch", "squeue"):
        stand_ins.say(name, "slurm 22.05.8")
    stand_ins.say("scontrol", "slurm 22.05.8", when="--version")
    stand_ins.say("scontrol", "Slurmctld(primary) at vm is DOWN\n*** RESTORE ***\n", when="ping", code=1)
    with pytest.raises(
        ClusterUnreachable, match=r"no SLURM controller answers.*said: Slurmctld.primary. at vm is DOWN"
    ):
        lab.require()
    up = "Slurmctld(primary) at a is DOWN\nSlurmctld(backup) at b is UP\n"
    stand_ins.say("scontrol", up, when="ping")
    lab.require()


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
    assert lab.clean_environment(env) == kept | {"CUDA_VISIBLE_DEVICES": "0"}
    # inside an allocation the cards are that job's, and SLURM gives the new job its own
    assert lab.clean_environment(env | {"SLURM_JOB_ID": "7"}) == kept
    assert lab.shell_defaults(env | {"SBATCH_ACCOUNT": "vision", "SBATCH_QOS": ""}) == {
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
    assert lab.max_array_size() == 1001
    stand_ins.say("scontrol", "MaxArraySize = 1001\nSchedulerParameters = bf_interval=2,max_array_tasks=64\n")
    assert lab.max_array_size() == 64
    stand_ins.say("scontrol", "MaxArraySize = 0\n")
    with pytest.raises(ClusterError, match="job arrays are switched off"):
        lab.max_array_size()


def test_split():
    assert lab.split(1002, 1001) == [range(501), range(501, 1002)]
    assert lab.split(1001, 1001) == [range(1001)]
    assert lab.split(0, 5) == []
    parts = lab.split(2503, 1001)
    assert [i for part in parts for i in part] == list(range(2503))
    assert [len(part) for part in parts] == [834, 834, 835]
    with pytest.raises(ValueError, match="arrays of 0"):
        lab.split(3, 0)


# --- preflight -----------------------------------------------------------------------------------


@pytest.fixture
def odd(stand_ins) -> StandIns:
    """A cluster with closed partitions, drained nodes, typed GPUs and enforced accounts."""
    stand_ins.say("scontrol", recorded("config"), when="show config")
    stand_ins.say("scontrol", recorded("partitions"), when="show partition")
    stand_ins.say("sinfo", recorded("nodes"))
    stand_ins.say("sacctmgr", recorded("associations"), when="show assoc")
    stand_ins.say("sacctmgr", recorded("qos"), when="show qos")
    stand_ins.say("sacctmgr", "vision\n", when="show user")
    stand_ins.say(
        "sbatch", err="sbatch: Job 12 to start at 2026-11-21T14:58:34 using 1 processors on nodes n1"
    )
    return stand_ins


def test_a_request_that_fits_passes_and_asks_the_cluster_itself_last(odd):
    request = Request("main", timeout_min=60, cpus_per_task=4, gpus_per_node=2, mem_gb=7.8125, nodes=2)
    assert lab.preflight(request, jobs=5) == []
    assert odd.calls("sbatch") == [
        "sbatch --test-only --output=/dev/null --partition=main --time=60 --cpus-per-task=4 --gpus-per-node=2"
        " --mem=8000M --nodes=2 --wrap=true"
    ]


WRONG = {
    "unknown partition": (
        Request("mian"),
        r"no partition 'mian' on this cluster; did you mean 'main'\? There are: cpu,",
    ),
    "one unknown of two": (Request("main,gpux"), r"no partition 'gpux'.*did you mean 'gpu'"),
    "empty partition": (Request(""), "no partition ''"),
    "drained partition": (
        Request("old"),
        "partition 'old' is DRAIN: it starts no jobs. Up are: cpu, gpu, high,",
    ),
    "hidden partition that is down": (Request("secret"), "partition 'secret' is DOWN"),
    "too many GPUs": (
        Request("main", gpus_per_node=3),
        r"no node of partition 'main' has 3 x gpu: its largest, n1, has 2. Its nodes have: 2 x gpu",
    ),
    "GPUs of a type that is elsewhere": (
        Request("main", gres="gpu:a100:1"),
        r"no node of partition 'main' has 1 x gpu:a100: its largest, n1, has 0",
    ),
    "too many of one type": (
        Request("gpu", gpus_per_node="a100:5"),
        r"no node of partition 'gpu' has 5 x gpu:a100: its largest, g1, has 4. .* 2 x gpu:v100, 4 x gpu:a100",
    ),
    "a resource nobody has": (Request("main", gres="shard:1"), "has 1 x shard: its largest, n1, has 0"),
    "GPUs where there are none": (Request("cpu", gpus_per_node=1), "Its nodes have: no GPUs"),
    "too many CPUs": (
        Request("main", cpus_per_task=5),
        r"no node of partition 'main' has 5 CPUs: its largest, n1, has 4 CPUs and 7.8 GiB",
    ),
    "too much memory": (Request("main", mem_gb=8), "no node of partition 'main' has 8 GiB of memory"),
    "more nodes than there are": (Request("main", nodes=3), "2 nodes have that; a job asks for 3"),
    "more nodes than the partition allows": (
        Request("cpu", nodes=5),
        "nodes=5 is above the 4 a job may have",
    ),
    "time": (
        Request("main", timeout_min=61),
        r"timeout_min=61 is above the 60 minutes of partition 'main' \(MaxTime=01:00:00\): such jobs pend for "
        "ever as PartitionTimeLimit. Set timeout_min=60 or less",
    ),
    "time in days": (Request("gpu", timeout_min=2881), r"above the 2880 minutes .*MaxTime=2-00:00:00"),
    "unknown feature": (
        Request("gpu", constraint="h100"),
        r"no node of partition 'gpu' has the feature 'h100'; did you mean 'a100'\? There are: a100, ib",
    ),
    "account": (
        Request("main", account="vison"),
        r"account 'vison' is not one of yours; did you mean 'vision'",
    ),
    "account of the partition": (
        Request("gpu", account="theory"),
        "partition 'gpu' does not take account 'theory'; it takes: vision",
    ),
    "unknown QOS": (Request("main", qos="sort"), r"no QOS 'sort' on this cluster; did you mean 'short'"),
    "QOS of the account": (
        Request("main", account="theory", qos="long"),
        "account 'theory' may not use QOS 'long'; There are: normal",
    ),
    "time of the QOS": (
        Request("main", qos="short", timeout_min=31),
        "timeout_min=31 is above the 30 minutes a job of account 'vision' with QOS 'short' may run",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_request_that_can_never_run_is_refused_with_what_there_is(odd, case):
    request, words = WRONG[case]
    with pytest.raises(ClusterError, match=words):
        lab.preflight(request, jobs=1)
    assert not odd.calls("sbatch")


def test_all_of_it_must_be_on_one_node(odd):
    nodes = "a|main|64|8000|gpu:8(S:0-1)|idle|(null)|none\nb|main|4|512000|(null)|idle|(null)|none\n"
    odd.say("sinfo", nodes)
    with pytest.raises(ClusterError, match="no single node has 1 x gpu, 100 GiB; a job asks for 1"):
        lab.preflight(Request("main", gpus_per_node=1, mem_gb=100), jobs=1)


def test_a_qos_may_lift_the_partitions_limit(odd):
    assert lab.preflight(Request("main", qos="free", timeout_min=90), jobs=1) == []


def test_nothing_is_guessed_about_accounts_where_accounting_is_silent(odd):
    odd.say("sacctmgr", err="sacctmgr: error: Sending PersistInit msg: Connection refused", code=1)
    assert lab.preflight(Request("gpu", account="nobody_knows"), jobs=99) == []
    (warning,) = lab.preflight(Request("main", qos="free", timeout_min=90), jobs=1)
    assert "unless QOS 'free' lifts that limit: accounting did not answer" in warning


def test_accounts_are_not_judged_where_nothing_is_enforced(odd):
    config = recorded("config").replace("associations,limits,qos", "none")
    odd.say("scontrol", config, when="show config")
    assert lab.preflight(Request("gpu", account="anything", qos="any"), jobs=10) == []
    assert not odd.calls("sacctmgr")


def test_one_partition_of_two_that_fits_is_enough(odd):
    (warning,) = lab.preflight(Request("cpu,main", gpus_per_node=1), jobs=1)
    assert "no node of partition 'cpu' has 1 x gpu" in warning
    assert "other partitions remain" in warning
    with pytest.raises(ClusterError, match=r"partition 'main' has 3 x gpu.*partition 'cpu' has 3 x gpu"):
        lab.preflight(Request("main,cpu", gpus_per_node=3), jobs=1)


def test_nodes_that_are_down_now_are_a_warning(odd):
    # n1 and n2 as recorded when drained, with a separator of ours in the reason
    nodes = "".join(f"n{i}|main|4|8000|gpu:2|drained|(null)|a|b disk full\n" for i in (1, 2))
    odd.say("sinfo", nodes)
    odd.say("sbatch", err="allocation failure: Requested node configuration is not available", code=1)
    (warning,) = lab.preflight(Request("main"), jobs=1)
    assert warning.startswith(
        "0 of the 2 nodes that fit can take a job right now (n1 drained (a|b disk full); n2"
    )
    odd.say("sbatch", err="allocation failure: Invalid account or account/partition combination", code=1)
    with pytest.raises(ClusterError, match="Invalid account"):
        lab.preflight(Request("main"), jobs=1)


def test_fewer_nodes_up_than_a_job_needs_are_a_warning(odd):
    odd.say("sinfo", "n1|main|4|8000|gpu:2|idle|(null)|none\nn2|main|4|8000|gpu:2|down*|(null)|none\n")
    odd.say("sbatch", err="allocation failure: Requested node configuration is not available", code=1)
    (warning,) = lab.preflight(Request("main", nodes=2), jobs=1)
    assert warning.startswith("1 of the 2 nodes that fit can take a job right now (n2 down*)")
    with pytest.raises(ClusterError, match="configuration is not available"):
        lab.preflight(Request("main", nodes=1), jobs=1)


TAKES_JOBS = {"idle~": True, "mixed": True, "planned": True, "reserved": True, "powered_down": True}
TAKES_NONE = {
    "idle*": False,
    "down*": False,
    "unknown*": False,
    "idle$": False,
    "maint": False,
    "draining": False,
}


@pytest.mark.parametrize(("state", "up"), (TAKES_JOBS | TAKES_NONE).items())
def test_which_states_of_a_node_take_jobs(odd, state, up):
    odd.say("sinfo", f"n1|main|4|8000|gpu:2|{state}|(null)|none\n")
    assert bool(lab.preflight(Request("main"), jobs=1)) is not up


def test_too_many_jobs_for_the_account_and_for_the_cluster_are_warnings(odd):
    (warning,) = lab.preflight(Request("main"), jobs=6)
    assert warning.startswith("6 jobs, and account vision may have 5 in the queue at once")
    assert lab.preflight(Request("main"), jobs=5) == []
    # the QOS allows fewer
    (warning,) = lab.preflight(Request("main", qos="short"), jobs=3)
    assert "QOS short may have 2" in warning
    assert any("MaxJobCount" in w for w in lab.preflight(Request("main", account="theory"), jobs=10_001))


REFUSALS = {
    "allocation failure: Requested node configuration is not available": "no node of this partition has all of",
    "allocation failure: Invalid account or account/partition combination specified": "set account=",
    "allocation failure: Invalid qos specification": "set qos=",
    "allocation failure: Invalid feature specification": "no node has this constraint",
    "allocation failure: Required partition not available (inactive or drain)": "choose another one",
    "sbatch: error: QOSMaxWallDurationPerJobLimit\nallocation failure: Job violates accounting/QOS policy (job "
    "submit limit, user's size and/or time limits)": "a limit of your account or QOS forbids it",
    "sbatch: error: our plugin says no": "the cluster refuses such a job",
}


@pytest.mark.parametrize("words", REFUSALS)
def test_the_clusters_last_word_is_translated_and_kept(odd, words):
    odd.say("sbatch", err=words, code=1)
    with pytest.raises(ClusterError) as info:
        lab.preflight(Request("main"), jobs=1)
    assert REFUSALS[words] in str(info.value)
    assert str(info.value).endswith(f"SLURM's words: {words}")
    assert info.value.words == words


def test_a_last_word_that_does_not_come_is_a_warning(odd):
    odd.say("sbatch", err="allocation failure: Socket timed out on send/recv operation", code=1)
    (warning,) = lab.preflight(Request("main"), jobs=1)
    assert "did not confirm" in warning
    assert "Socket timed out" in warning


def test_no_default_partition_is_an_error(odd):
    odd.say("scontrol", recorded("partitions").replace("Default=YES", "Default=NO"), when="show partition")
    with pytest.raises(ClusterError, match="no default partition: set partition="):
        lab.preflight(Request(), jobs=1)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("gpu:a100:4(S:0-1),gpu:v100:2", [("gpu", "a100", 4), ("gpu", "v100", 2)]),
        ("gpu:2", [("gpu", "", 2)]),
        ("gres/gpu:a100", [("gpu", "a100", 1)]),
        ("gpu:tesla:no_consume:2,shard:1K", [("gpu", "tesla", 2), ("shard", "", 1024)]),
        ("(null)", []),
        ("", []),
    ],
)
def test_gres_parts(text, parts):
    assert list(gres_parts(text)) == parts


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
    assert lab.job_states(list(STATES)) == STATES
    assert len(history.calls()) < 10


def test_live_jobs_need_the_queue_only(history):
    assert lab.job_states(["22_4", "33_0"]) == {one: STATES[one] for one in ("22_4", "33_0")}
    assert [call.split()[0] for call in history.calls()] == ["squeue"]


def test_ended_jobs_that_the_controller_has_forgotten_come_from_accounting(history):
    history.say("squeue", err="slurm_load_jobs error: Invalid job id specified", code=1)
    old = ["21", "22_0", "22_1", "22_2", "22_3", "30"]
    assert lab.job_states(old) == {one: STATES[one] for one in old}


def test_attempts_of_a_requeued_job_count_and_the_newest_wins(history):
    rows = [
        "5|NODE_FAIL|1:0|9|2026-11-20T10:00:00|n1",
        "5|COMPLETED|0:0|70|2026-11-20T12:00:00|n3",
        "5|REQUEUED|0:0|30|2026-11-20T11:00:00|n2",
        "5.batch|COMPLETED|0:0|70|2026-11-20T12:00:00|n3",
    ]
    history.say("squeue", "")
    history.say("sacct", "\n".join(rows))
    assert lab.job_states(["5"]) == {
        "5": JobState("finished", node="n3", elapsed_s=70, exit_code=0, restarts=2)
    }


def test_out_of_memory_and_node_failures(history):
    history.say("squeue", "")
    history.say(
        "sacct", "5|OUT_OF_MEMORY|0:125|9|2026-11-20T10:00:00|n1\n6|NODE_FAIL|0:0|9|2026-11-20T10:00:00|n1\n"
    )
    states = lab.job_states(["5", "6"])
    assert (states["5"].state, states["5"].signal, states["6"].state) == ("oom", 125, "node_fail")


def test_without_accounting_the_controller_tells_exit_codes_while_it_remembers(history):
    history.say("sacct", err=SACCT_OFF, code=1)
    history.say("scontrol", recorded("jobs"), when="show job")
    states = lab.job_states(["22_1", "22_2", "22_0", "21", "33_3", "777"])
    assert (states["22_1"].state, states["22_1"].exit_code) == ("failed", 3)
    assert (states["22_2"].state, states["22_2"].signal) == ("failed", 9)
    assert (states["22_0"].state, states["22_0"].exit_code) == ("finished", 0)
    assert states["21"].state == "timeout"
    # whether it was cancelled or ended long ago only accounting could tell
    assert states["33_3"].state == "unknown"
    assert states["777"].reason == "the controller has forgotten this job, and accounting does not answer"


def test_a_record_of_accounting_that_lags_behind_loses_to_the_queue(history):
    history.say("sacct", recorded("sacct").replace("22_1|FAILED|3:0", "22_1|RUNNING|0:0"))
    assert lab.job_states(["22_1"])["22_1"].state == "failed"
    history.say("squeue", "")
    history.say("sacct", "5|RUNNING|0:0|9|2026-11-20T10:00:00|n1\n")
    (state,) = lab.job_states(["5"]).values()
    assert state == JobState(reason="accounting has it as running, the controller does not know it")


def test_a_silent_controller_is_an_error_worth_a_second_try(history):
    history.say("squeue", err=NO_CONTROLLER, code=1)
    with pytest.raises(ClusterUnreachable, match="Unable to contact slurm controller"):
        lab.job_states(["1"])


@pytest.mark.parametrize("wrong", ["", "x", "-u", "12_", "12_[0-3]", "1,2"])
def test_what_is_no_job_id_is_not_asked_for(history, wrong):
    with pytest.raises(ClusterError, match="is no SLURM job"):
        lab.job_states([wrong])
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
    states = lab.job_states([str(i) for i in range(1000, 7000)])
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
    assert "smaller timeout_min" in (lab.explain("PartitionTimeLimit") or "")
    assert "drained" in (lab.explain("ReqNodeNotAvail, UnavailableNodes:n1") or "")
    assert "will not start as it is" in (lab.explain("QOSMaxWallDurationPerJobLimit") or "")
    assert "never if this job" in (lab.explain("AssocGrpGRES") or "")
    assert "budget" in (lab.explain("AssocGrpCPUMinutesLimit") or "")
    assert "scontrol release" in (lab.explain("launch failed requeued held") or "")
    nodes = "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions"
    assert "they are back" in (lab.explain(nodes) or "")
    for waiting in (
        None,
        "",
        "Priority",
        "Resources",
        "JobArrayTaskLimit",
        "BeginTime",
        "QOSMaxJobsPerUserLimit",
    ):
        assert lab.explain(waiting) is None


def test_every_reason_starts_with_slurms_own_word():
    assert (lab.explain("JobHeldUser") or "").startswith("JobHeldUser: ")


def test_cancel_asks_once_for_an_array_and_takes_ended_jobs_as_done(stand_ins):
    done = "scancel: error: Kill job error on job id 5: Job/step already completing or completed"
    stand_ins.say("scancel", err=done, code=1)
    lab.cancel(["12_3", "12_1", "12_2", "7", "5_4", "5"])
    assert stand_ins.calls() == ["scancel 12_[1-3] 7 5"]
    stand_ins.say(
        "scancel", err="scancel: error: Kill job error on job id 5: Access/permission denied", code=1
    )
    with pytest.raises(ClusterError, match="permission denied"):
        lab.cancel(["5"])


def test_cancel_of_nothing_calls_nothing(stand_ins):
    lab.cancel([])
    assert not stand_ins.calls()


# --- the real cluster ----------------------------------------------------------------------------

slurm = pytest.mark.slurm


@slurm
def test_real_cluster_answers_and_says_its_sizes(cluster):
    lab.require()
    assert lab.max_array_size() == 1001
    assert [len(part) for part in lab.split(1002, lab.max_array_size())] == [501, 501]


@slurm
@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request("mian"), "no partition 'mian'.*did you mean 'main'"),
        (Request("main", gpus_per_node=3), "has 3 x gpu: its largest, n1, has 2"),
        (Request("main", gres="gpu:a100:1"), "has 1 x gpu:a100"),
        (Request("main", timeout_min=61), "PartitionTimeLimit"),
        (Request("main", nodes=3), "a job asks for 3"),
        (Request("main", constraint="x|y"), "no node has this constraint.*SLURM's words.*Invalid feature"),
    ],
    ids=["partition", "GPUs", "type", "time", "nodes", "last word"],
)
def test_real_cluster_refuses(cluster, request_, words):
    with pytest.raises(ClusterError, match=words):
        lab.preflight(request_, jobs=1)


@slurm
def test_real_cluster_takes_what_fits(cluster):
    fits = Request("scavenge", timeout_min=60, cpus_per_task=4, gpus_per_node=2, mem_gb=2, nodes=2)
    assert lab.preflight(fits, jobs=100) == []
    assert lab.preflight(Request(), jobs=1) == []
    (warning,) = lab.preflight(fits, jobs=10_001)
    assert "MaxJobCount" in warning


@slurm
def test_real_life_of_jobs(cluster):
    failing = cluster.submit("--time=5", wrap="exit 3")
    killed = cluster.submit("--time=5", wrap="kill -9 $$")
    array = cluster.submit("--time=5", "--array=0-4%1", wrap="sleep 100")
    fine = cluster.submit("--time=5")
    forever = cluster.submit("--time=90")
    ids = [failing, killed, fine, forever, *(f"{array}_{i}" for i in range(5))]

    def states() -> dict[str, str]:
        return {one: s.state for one, s in lab.job_states(ids).items()}

    cluster.until(lambda: states()[f"{array}_0"] == "running")
    running = lab.job_states([f"{array}_0"])[f"{array}_0"]
    assert running.node in ("n1", "n2")
    assert 0 < (running.left_s or 0) <= 300
    cluster.until(lambda: {states()[one] for one in (failing, killed, fine)} == {"failed", "finished"})
    ended = lab.job_states(ids)
    assert (ended[failing].exit_code, ended[killed].signal, ended[fine].exit_code) == (3, 9, 0)
    assert ended[f"{array}_3"].state == "pending"
    assert "smaller timeout_min" in (lab.explain(ended[forever].reason) or "")
    lab.cancel([f"{array}_0", f"{array}_3", fine])
    cluster.until(lambda: states()[f"{array}_0"] == "cancelled" and states()[f"{array}_1"] == "running")
    # a waiting task that is cancelled vanishes from the queue and from accounting
    assert lab.job_states([f"{array}_3"])[f"{array}_3"].state == "cancelled"
    lab.cancel([array, forever])
    cluster.until(lambda: all(states()[one] == "cancelled" for one in (forever, f"{array}_1", f"{array}_4")))


@slurm
def test_real_requeue_counts_and_the_job_is_live(cluster):
    one = cluster.submit("--time=5", wrap="sleep 100")
    cluster.until(lambda: lab.job_states([one])[one].state == "running")
    run(["scontrol", "requeue", one])
    cluster.until(lambda: lab.job_states([one])[one].restarts == 1)
    assert lab.job_states([one])[one].live
    lab.cancel([one])
    cluster.until(lambda: lab.job_states([one])[one].state == "cancelled")
    assert asdict(lab.job_states([one])[one])["restarts"] == 1


@slurm
def test_real_surrounding_job_does_not_reach_a_query(cluster, monkeypatch):
    monkeypatch.setenv("SQUEUE_FORMAT", "%u")
    monkeypatch.setenv("SQUEUE_STATES", "COMPLETED")
    one = cluster.submit("--hold")
    assert lab.job_states([one])[one].reason == "JobHeldUser"
